//! What a door can be told.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use vestibule_proto::id::TicketId;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::{NatPolicy, Tag};

/// One change of what a door lets through. Whatever no command admits stays outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// From now on the tags of this admission open the door, each once.
    Admit(Admission),
    /// The admission window is over, or the admission was replaced or withdrawn: its unspent tags open nothing any more.
    /// Who came in by one of them stays in. A ticket that the door doesn't know is no error: the window may just have ended.
    Withdraw(TicketId),
    /// Nothing from this source passes any more, until another tag is spent there (revocation). A source that isn't in is no
    /// error.
    Cut(SocketAddr),
}

/// One admission: what the gateway promised a device by its *ready* (PROTOCOL 3.4, I2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The name of the admission; the first eight bytes of each of its tags.
    pub ticket: TicketId,
    /// What first packets may bear as destination connection id (D1, n = 0 to 3): four connects per admission.
    pub tags: [Tag; 4],
    /// What opens TCP (D0 and the preface); `None` for a connection's moves, and where the gateway takes no TCP.
    pub tcp: Option<Box<TcpTags>>,
    /// The client's address as the controller announced it.
    pub announced: IpAddr,
    /// How the address that comes must agree with the announced one.
    pub policy: NatPolicy,
    /// The end of the admission window: from then on an unspent tag opens nothing.
    pub deadline: Instant,
}

impl Admission {
    /// The tags that a datagram may bear: of first packets, and of D0.
    pub(crate) fn in_datagrams(&self) -> Vec<Tag> {
        let more = self.tcp.iter().flat_map(|tcp| tcp.datagrams);
        self.tags.into_iter().chain(more).collect()
    }
}
