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

use crate::{Command, Door, DoorError};
use live::{LiveSources, Pass};
use source::Source;
use tickets::{Bearer, Tickets};

/// How long after its first use a tag lets further first packets pass from the source it is bound to, and how long the
/// caller may take to [`hold`](SocketDoor::hold) that source. A hybrid ClientHello needs two Initial datagrams, and each of
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
    /// 65,536 of both.
    fn default() -> Self {
        Self { admissions: 1 << 16, sources: 1 << 16 }
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
}

impl SocketDoor {
    /// A closed door with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, tickets: Mutex::new(Tickets::default()), live: LiveSources::new(limits.sources) }
    }

    /// Asks about a first packet with destination connection id `dcid` from `source` (step D1). A tag is spent by the
    /// first packet that bears it from an address that the admission's policy accepts; from then on it is bound to that
    /// address and port, which become live.
    pub fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket {
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

    /// Takes over the source that spent the tag `dcid`, so that it stays live until the [`Hold`] is given back; `None`
    /// if no such tag was spent there within [`FIRST_FLIGHT`] or somebody took it over already. One connection per tag.
    pub fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold> {
        let source = Source::from(source);
        let ticket = self.tickets().take_over(source, dcid, now)?;
        let pass = self.live.hold(source)?;
        Some(Hold { ticket, source, pass })
    }

    /// Gives a hold back: its connection ended. The source stops being live unless another connection holds it.
    pub fn release(&self, hold: &Hold) {
        self.live.release(hold.source, hold.pass);
    }

    /// Whether `source` is live: it spent a tag less than [`FIRST_FLIGHT`] ago, or a connection holds it. Asked for every
    /// datagram of an established connection, in both directions.
    #[must_use]
    pub fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.live.contains(Source::from(source), now)
    }

    /// Nothing from this source passes any more, as by [`Command::Cut`].
    pub fn forget(&self, source: SocketAddr) {
        self.live.remove(Source::from(source));
    }

    /// How many sources are held or have just come in.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
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
        match command {
            Command::Admit(admission) => tickets.admit(admission, self.limits.admissions, now)?,
            Command::Withdraw(ticket) => tickets.withdraw(ticket, now),
            Command::Cut(source) => self.live.remove(Source::from(*source)),
        }
        Ok(())
    }

    fn admitted(&self) -> usize {
        self.tickets().len()
    }
}

/// A live source in the care of one connection; to be given back by [`SocketDoor::release`].
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
}
