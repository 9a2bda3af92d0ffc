//! R2, the dialling side: a connection goes on from another address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use vestibule_proto::moving;
use vestibule_proto::ticket::Tag;

use crate::dial::{OnlyPeer, socket};
use crate::guarded::Guarded;

/// How far the word should be ahead of the connection.
pub const LEAD: Duration = Duration::from_millis(30);

/// A fresh socket for an endpoint that [`dial`](crate::dial()) made, and whether the peer has answered there.
#[derive(Debug)]
pub struct Relocation {
    socket: Arc<Guarded<OnlyPeer>>,
    peer: SocketAddr,
}

impl Relocation {
    /// Says "I moved" to `peer` from a new socket at `bind`.
    ///
    /// # Errors
    /// This host has no such address, or no route.
    pub fn begin(bind: SocketAddr, peer: SocketAddr, tag: &Tag) -> io::Result<Self> {
        let relocation = Self { socket: socket(bind, peer)?, peer };
        relocation.say(tag)?;
        Ok(relocation)
    }

    /// Says it again, or with the next tag.
    ///
    /// # Errors
    /// What the kernel says. A datagram may get lost anyway.
    pub fn say(&self, tag: &Tag) -> io::Result<()> {
        self.socket.wire.send(self.peer, None, &moving::moved(tag))
    }

    /// Puts the new socket under the endpoint: its connection says something at once, and all that it sends from now on goes this
    /// way. Again: it says something once more, however long QUIC would wait.
    ///
    /// A door in the kernel learns of the new source only from the gateway: what comes there earlier is lost. So give it
    /// [`LEAD`] between word and connection.
    ///
    /// # Errors
    /// The runtime is going down.
    pub fn go(&self, endpoint: &Endpoint) -> io::Result<()> {
        endpoint.rebind_abstract(self.socket.clone())
    }

    /// Whether anything of the connection has come to the new socket: the peer has let it in.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.socket.counters.snapshot().quic_passed > 0
    }
}
