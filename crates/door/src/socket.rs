//! The back end `socket`: no privileges, no kernel state. The receive path of our own UDP socket asks it about each
//! datagram, the send path about each destination.
//!
//! What a stranger's datagram costs is one look-up: of its ticket if it is a first packet, else of its source. Both tables
//! are hash tables of fixed limits; their locks are held for that one look-up, by the one task that reads the socket and
//! now and then by a command (`examples/contention.rs` measures both).

mod live;
mod source;
mod tickets;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vestibule_proto::id::TicketId;

use crate::nftables::Stay;
use crate::{Command, Door, DoorError, TcpDoor};
use live::{LiveSources, Pass};
pub(crate) use source::Source;
use tickets::{Bearer, Tickets};

/// How long after its first use a tag lets further first packets pass from the source it is bound to, and how long the
/// caller may take to [`hold`](Door::hold) that source. A hybrid ClientHello needs two Initial datagrams, and each of
/// them may have to be sent again.
pub const FIRST_FLIGHT: Duration = Duration::from_secs(3);

/// How much a [`SocketDoor`] keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Admissions at a time; about 500 bytes each.
    pub admissions: usize,
    /// Live sources at a time; about 80 bytes each.
    pub sources: usize,
}

impl Default for Limits {
    /// 131,072 of both.
    fn default() -> Self {
        Self { admissions: 1 << 17, sources: 1 << 17 }
    }
}

/// The answer to a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPacket {
    /// It bears no tag that opens the door for its source. Drop it and say nothing.
    Stranger,
    /// It bore an unspent tag of this ticket, which is now spent and bound to its source. The source is live.
    Spent(TicketId),
    /// It comes from the source that spent its tag less than [`FIRST_FLIGHT`] ago.
    Again(TicketId),
}

/// The door that our own socket asks.
pub struct SocketDoor {
    limits: Limits,
    // Taken in this order where both are needed.
    tickets: Mutex<Tickets>,
    live: LiveSources,
    tcp: TcpDoor,
}

impl SocketDoor {
    /// A closed door with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tickets: Mutex::new(Tickets::default()),
            live: LiveSources::new(limits.sources),
            tcp: TcpDoor::new(limits.admissions),
        }
    }

    /// Where a source stands.
    pub(crate) fn stay(&self, source: Source, now: Instant) -> Stay {
        self.live.stay(source, now)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        // Nothing panics while it holds the lock; and if it did, the table would still only admit what was admitted.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SocketDoor {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Door for SocketDoor {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError> {
        let mut tickets = self.tickets();
        tickets.remove_expired(now);
        self.tcp.remove_expired(now);
        match command {
            Command::Admit(admission) => {
                tickets.admit(admission, self.limits.admissions, now)?;
                self.tcp.admit(admission);
            }
            Command::Withdraw(ticket) => {
                self.tcp.withdraw(ticket);
                tickets.withdraw(ticket, now);
            }
            Command::Cut(source) => self.live.remove(Source::from(*source)),
        }
        Ok(())
    }

    fn admitted(&self) -> usize {
        self.tickets().len()
    }

    fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket {
        let source = Source::from(source);
        let mut tickets = self.tickets();
        match tickets.bearer(source, dcid, now) {
            Bearer::Nobody => FirstPacket::Stranger,
            Bearer::Unspent(ticket) => {
                // With no room for its source the tag stays unspent: the client sends its packet again.
                if !self.live.enter(source, now) {
                    return FirstPacket::Stranger;
                }
                tickets.spend(source, dcid, now);
                FirstPacket::Spent(ticket)
            }
            // The source may have been cut or forgotten since.
            Bearer::Bound(ticket) if self.live.contains(source, now) => FirstPacket::Again(ticket),
            Bearer::Bound(_) => FirstPacket::Stranger,
        }
    }

    fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold> {
        let source = Source::from(source);
        let ticket = self.tickets().take_over(source, dcid, now)?;
        let pass = self.live.hold(source)?;
        Some(Hold { ticket, source, pass })
    }

    fn release(&self, hold: &Hold) {
        self.live.release(hold.source, hold.pass);
    }

    fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.live.contains(Source::from(source), now)
    }

    fn live(&self) -> usize {
        self.live.len()
    }

    fn tcp(&self) -> &TcpDoor {
        &self.tcp
    }
}

/// A live source in the care of one connection; to be given back by [`Door::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Hold {
    ticket: TicketId,
    source: Source,
    pass: Pass,
}

impl Hold {
    /// The ticket by which the source came in.
    #[must_use]
    pub fn ticket(&self) -> TicketId {
        self.ticket
    }

    pub(crate) fn source(&self) -> Source {
        self.source
    }
}
