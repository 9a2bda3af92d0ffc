//! R2: a connection's places at the door. It holds the one it came in from, and each that its own end moved it to by a one-time
//! tag, until the connection is known to be elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::DropGuard;
use vestibule_door::{Admission, Command, Door, DoorError, FirstPacket, Hold};
use vestibule_proto::id::TicketId;
use vestibule_proto::moving::{Followed, Move, MoveKey, Renewal};
use vestibule_proto::ticket::{NatPolicy, Tag};

/// How long after a move all places of a connection stay: longer than QUIC takes to validate a path or to give it up (three
/// probe time-outs of the slower one).
pub const GRACE: Duration = Duration::from_secs(5);

/// Places of one connection at a time. A device moves seldom; one that doesn't is no reason to fill the door.
const PLACES: usize = 16;

/// Where a connection may move to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The address that the connection came in from.
    pub announced: IpAddr,
    /// How a new address must agree with that.
    pub policy: NatPolicy,
    /// Until when it may move: the session's end.
    pub until: Instant,
}

/// The connections that may move, by the names of their moves.
#[derive(Default)]
pub(crate) struct Flows(Mutex<HashMap<TicketId, Weak<Held>>>);

impl Flows {
    /// Whether a tag belongs to a move, and not to an admission.
    pub(crate) fn knows(&self, name: &TicketId) -> bool {
        self.table().contains_key(name)
    }

    /// "I moved", with this tag, from there. The place is held at once, and the old one stays.
    pub(crate) fn handle_moved(&self, source: SocketAddr, tag: &[u8; Tag::SIZE], now: Instant) -> Moved {
        let tag = Tag::new(*tag);
        let Some(held) = self.table().get(&tag.ticket()).and_then(Weak::upgrade) else { return Moved::Stranger };
        match held.door.first_packet(source, tag.as_bytes(), now) {
            FirstPacket::Stranger => Moved::Stranger,
            FirstPacket::Again(_) => Moved::Again,
            FirstPacket::Spent(name) => held.take_place(source, &tag, &name, now),
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<TicketId, Weak<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of "I moved".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It moves nothing.
    Stranger,
    /// It has moved the connection already: its sender has not heard of that yet.
    Again,
    /// The connection may go on from there.
    Placed,
}

/// A connection's places at the door, held until the last owner of this is gone.
pub(crate) struct Held {
    door: Arc<dyn Door>,
    flows: Arc<Flows>,
    state: Mutex<State>,
    moved: Notify,
}

struct State {
    places: Vec<Place>,
    moving: Option<(Followed, Terms)>,
}

struct Place {
    source: SocketAddr,
    hold: Hold,
    since: Instant,
}

impl Held {
    pub(crate) fn new(door: Arc<dyn Door>, flows: Arc<Flows>, source: SocketAddr, hold: Hold) -> Arc<Self> {
        let places = vec![Place { source, hold, since: Instant::now() }];
        Arc::new(Self { door, flows, state: Mutex::new(State { places, moving: None }), moved: Notify::new() })
    }

    fn take_place(self: &Arc<Self>, source: SocketAddr, tag: &Tag, name: &TicketId, now: Instant) -> Moved {
        let Some(hold) = self.door.hold(source, tag.as_bytes(), now) else { return Moved::Stranger };
        let mut state = self.state();
        let has_room = state.places.len() < PLACES;
        let Some((followed, terms)) = state.moving.as_mut().filter(|_| has_room) else {
            self.door.release(&hold);
            return Moved::Stranger;
        };
        if let Some(Renewal { admit, withdraw }) = followed.handle_spent(name) {
            let terms = *terms;
            if let Some(before) = withdraw {
                self.forget(&before, now);
            }
            if let Err(error) = self.expect(&admit, terms, now) {
                tracing::debug!(%error, "a connection can't move once more");
            }
        }
        state.places.push(Place { source, hold, since: now });
        drop(state);
        self.moved.notify_one();
        Moved::Placed
    }

    /// The tags of this move open the door from now on.
    fn expect(self: &Arc<Self>, expected: &Move, terms: Terms, now: Instant) -> Result<(), DoorError> {
        let Terms { announced, policy, until } = terms;
        let admission =
            Admission { ticket: expected.name, tags: expected.tags, tcp: None, announced, policy, deadline: until };
        self.door.apply(&Command::Admit(admission), now)?;
        self.flows.table().insert(expected.name, Arc::downgrade(self));
        Ok(())
    }

    fn forget(&self, name: &TicketId, now: Instant) {
        self.flows.table().remove(name);
        if let Err(error) = self.door.apply(&Command::Withdraw(*name), now) {
            tracing::warn!(%error, "the door still knows tags of a move");
        }
    }

    fn stop_moving(&self) {
        let moving = self.state().moving.take();
        for name in moving.into_iter().flat_map(|(followed, _)| followed.names()) {
            self.forget(&name, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop_moving();
        for place in &self.state().places {
            self.door.release(&place.hold);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let sources: Vec<SocketAddr> = state.places.iter().map(|place| place.source).collect();
        f.debug_struct("Held").field("sources", &sources).field("moves", &state.moving.is_some()).finish()
    }
}

/// The role's say in where a connection may move. Dropped, it moves no more; one over TCP ends soon.
#[derive(Debug)]
pub struct Flow {
    held: Option<Arc<Held>>,
    _stays: Option<DropGuard>,
}

impl Flow {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { held: Some(held), _stays: None }
    }

    /// Of a connection that stays where it is, and ends with this.
    pub(crate) fn fixed(stays: Option<DropGuard>) -> Self {
        Self { held: None, _stays: stays }
    }

    /// Lets the connection move from now on. Call it once, with the key that its other end has as well.
    ///
    /// # Errors
    /// What the door says; the connection then stays where it is.
    pub fn follow(&self, key: MoveKey, terms: Terms) -> Result<(), DoorError> {
        let Some(held) = &self.held else { return Ok(()) };
        let (followed, first) = Followed::new(key);
        let mut state = held.state();
        held.expect(&first, terms, Instant::now())?;
        state.moving = Some((followed, terms));
        Ok(())
    }

    /// Waits until the connection has got another place. [`GRACE`] later, [`Flow::settle`] it.
    pub async fn moved(&self) {
        match &self.held {
            Some(held) => held.moved.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The connection is at `source`: who has answered QUIC's challenge there. Its other places are given up, but for those that
    /// it got less than [`GRACE`] ago. A source that is none of its places changes nothing.
    pub fn settle(&self, source: SocketAddr, now: Instant) {
        let Some(held) = &self.held else { return };
        let mut state = held.state();
        if !state.places.iter().any(|place| is_same(place.source, source)) {
            return;
        }
        let stays = |place: &Place| is_same(place.source, source) || now.saturating_duration_since(place.since) < GRACE;
        let (stay, go): (Vec<Place>, Vec<Place>) = std::mem::take(&mut state.places).into_iter().partition(stays);
        state.places = stay;
        for place in go {
            held.door.release(&place.hold);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.stop_moving();
        }
    }
}

/// Whether two forms of an address (IPv4, IPv4 mapped into IPv6) are one.
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}
