//! The guard of a role's socket: what comes in, what goes out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::udp::RecvMeta;
use tokio::sync::Notify;
use vestibule_door::{Door, FirstPacket};
use vestibule_proto::header::MESSAGE_LEN;
use vestibule_proto::moving::read_moved;
use vestibule_proto::tcp::TagDatagram;

use crate::counters::CountersSnapshot;
use crate::flow::{Flows, Moved};
use crate::guarded::Guard;
use crate::knocks::KnockSink;
use crate::shape::{Shape, shape};

/// The controller's cheap check of a knock.
pub trait KnockFilter: Send + Sync {
    /// Whether the knock is worth a place in the queue: its mac1 is right. `datagram` has the length, the type and the
    /// version of a knock. Asked for every such datagram of every stranger: it must not allocate, log or wait.
    fn passes(&self, datagram: &[u8]) -> bool;
}

/// What an endpoint takes besides QUIC.
#[derive(Clone)]
pub enum Role {
    /// Nothing.
    Gateway,
    /// Knocks that pass the filter.
    Controller(Arc<dyn KnockFilter>),
}

impl Role {
    pub(crate) fn takes_knocks(&self) -> bool {
        match self {
            Self::Gateway => false,
            Self::Controller(_) => true,
        }
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "Gateway",
            Self::Controller(_) => "Controller",
        })
    }
}

/// The guard.
pub(crate) struct Gate {
    pub(crate) role: Role,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) knocks: KnockSink,
    pub(crate) flows: Arc<Flows>,
    /// Is told of each D0 that opened TCP; `None` where there is none.
    pub(crate) awaited: Option<Arc<Notify>>,
    /// Whether the socket has several addresses, so that answers must be told which to leave from.
    pub(crate) many_addresses: bool,
    /// Set for good when the endpoint closes. A closing quinn refuses first packets aloud, so none may reach it.
    pub(crate) closing: AtomicBool,
}

impl Gate {
    fn take_knock(&self, meta: &RecvMeta, datagram: &[u8], counted: &mut CountersSnapshot) {
        let passes = match &self.role {
            Role::Gateway => false,
            Role::Controller(filter) => filter.passes(datagram),
        };
        match datagram.first_chunk::<MESSAGE_LEN>().filter(|_| passes) {
            None => counted.knocks_refused += 1,
            Some(knock) => {
                let local = meta.dst_ip.filter(|_| self.many_addresses);
                if self.knocks.push(meta.addr, local, knock) {
                    counted.knocks_passed += 1;
                } else {
                    counted.queue_full += 1;
                }
            }
        }
    }

    fn takes_first(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> bool {
        if self.closing.load(Ordering::Relaxed) {
            return false;
        }
        match self.door.first_packet(source, dcid, now) {
            FirstPacket::Stranger => false,
            // A tag that moves a connection begins none.
            FirstPacket::Spent(ticket) | FirstPacket::Again(ticket) => !self.flows.knows(&ticket),
        }
    }

    fn take_move(&self, source: SocketAddr, datagram: &[u8], now: Instant, counted: &mut CountersSnapshot) {
        let tag = read_moved(datagram).filter(|_| !self.closing.load(Ordering::Relaxed));
        match tag.map_or(Moved::Stranger, |tag| self.flows.handle_moved(source, tag, now)) {
            Moved::Stranger => counted.moves_refused += 1,
            Moved::Placed => counted.moves += 1,
            Moved::Again => {}
        }
    }

    /// Nobody is told, not even its sender.
    fn take_tag_datagram(&self, source: SocketAddr, datagram: &[u8], now: Instant, counted: &mut CountersSnapshot) {
        let awaited = self.awaited.as_ref().filter(|_| !self.closing.load(Ordering::Relaxed));
        let opens = |datagram| self.door.tcp().datagram(source, &datagram, now);
        match awaited.filter(|_| TagDatagram::read(datagram).and_then(opens).is_some()) {
            Some(awaited) => {
                counted.tag_datagrams += 1;
                awaited.notify_one();
            }
            None => counted.tag_datagrams_refused += 1,
        }
    }
}

impl Guard for Gate {
    fn admits(&self, meta: &RecvMeta, datagram: &[u8], now: Instant, counted: &mut CountersSnapshot) -> bool {
        let passes = match shape(datagram) {
            Shape::Foreign => {
                counted.foreign += 1;
                return false;
            }
            Shape::Knock => {
                self.take_knock(meta, datagram, counted);
                return false;
            }
            Shape::Moved => {
                self.take_move(meta.addr, datagram, now, counted);
                return false;
            }
            Shape::TagDatagram => {
                self.take_tag_datagram(meta.addr, datagram, now, counted);
                return false;
            }
            // Who is in needs a tag for another connection like everybody else.
            Shape::First(dcid) => self.takes_first(meta.addr, dcid, now),
            Shape::Later => self.door.is_live(meta.addr, now),
        };
        if passes {
            counted.quic_passed += 1;
        } else {
            counted.quic_refused += 1;
        }
        passes
    }

    fn may_reach(&self, to: SocketAddr, now: Instant) -> bool {
        self.door.is_live(to, now)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("role", &self.role).finish_non_exhaustive()
    }
}
