//! Steps 2 to 5 of the connect at the client: it knocks, knocks again, and reads guidance.
//!
//! One [`Knocker`] is one attempt to be admitted. It sends K1 to each address family of the controller (50 ms apart), repeats the
//! same bytes after 250 ms, 500 ms and 1 s, makes a new K1 2 s after that, and gives up after three of them. What
//! arrives and is not the sealed answer to one of its own knocks changes nothing.
//!
//! The verbs: [`poll_transmit`](Knocker::poll_transmit), [`handle_input`](Knocker::handle_input),
//! [`handle_timeout`](Knocker::handle_timeout), [`poll_timeout`](Knocker::poll_timeout), [`poll_event`](Knocker::poll_event).

mod asking;
mod device;
mod reading;

pub use device::{Ask, Device, LinkDevice};

use crate::entropy::Entropy;
use crate::id::{Now, Stamp};
use crate::inner::Refusal;
use crate::outer::Guidance;
use crate::ticket::Ticket;
use asking::{Asking, Identity, Line};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The second address family is tried so long after the first.
const FAMILY_DELAY: Duration = Duration::from_millis(50);

/// A clock that is further off is not corrected without asking the person (PROTOCOL.md §3.5).
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 3_600);

/// A clock that is off by less needs no correction: half of the window in which stamps are fresh.
const CLOCK_AGREES: Duration = Duration::from_secs(30);

/// A controller may correct our clock so often, and make us bear a cookie so often, before we give up asking.
const PATIENCE: u8 = 3;

/// When a knock is repeated, and when it is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Pauses after each sending of the same K1; after the last of them a new K1 is made.
    pub pauses: Vec<Duration>,
    /// How many K1 are made for each address family, those after a corrected clock or a cookie not counted.
    pub rounds: u8,
}

impl Default for Schedule {
    /// 250 ms, 500 ms, 1 s, 2 s; three rounds: about 11 s in all.
    fn default() -> Self {
        Self { pauses: [250, 500, 1_000, 2_000].map(Duration::from_millis).to_vec(), rounds: 3 }
    }
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// What has become of a knock.
pub enum KnockEvent {
    /// The door is open for us; the machine is done.
    Admitted(Admitted),
    /// Our clock is off; the next knock bears the controller's time.
    ClockCorrected {
        /// How many milliseconds the controller's clock is ahead of ours.
        offset_ms: i64,
    },
    /// We were not admitted; the machine is done.
    Failed(KnockFailure),
}

/// What the client needs to come in.
pub struct Admitted {
    /// Addresses of the gateway, by its own word where it gave one, else the controller's; at most 4.
    pub gateways: Vec<SocketAddr>,
    /// From which the tags derive.
    pub ticket: Ticket,
    /// How long the door stands open, counted from *ready*.
    pub window: Duration,
    /// Our address as the controller saw it.
    pub seen: SocketAddr,
    /// Our address as the controller announced it to the gateway; `None` for a gateway's own link.
    pub announced: Option<SocketAddr>,
    /// The controller told the gateway another address than us, or one that can't be ours: it lies, or something rewrites addresses.
    pub address_mismatch: bool,
    /// The stamp that was accepted: the next knock must bear a later one, so it is to be written down.
    pub stamp: Stamp,
    /// How many milliseconds the controller's clock is ahead of ours, as far as that is known; 0 if they agree. To be kept for
    /// the next knock ([`Knocker::with_clock_offset`]): the controller tells the time once a minute only.
    pub clock_offset_ms: i64,
}

/// Why a knock did not lead to an admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnockFailure {
    /// Silence: no network, no controller there, or the controller does not know this device. They look alike on purpose.
    NoAnswer,
    /// Our clock is off by more than [`CLOCK_TOLERANCE`]: the person must decide.
    ClockFarOff {
        /// How many milliseconds the controller's clock is ahead of ours.
        offset_ms: i64,
    },
    /// The gateway refuses, for a reason that it sealed to this device.
    Refused(Refusal),
    /// The gateway refuses, and the reason can't be read with this device's keys.
    RefusedUnreadable,
    /// The controller has no link to the gateway, or the gateway did not answer it in time.
    GatewayAway,
    /// The controller has too much to do.
    Busy,
}

/// The knock's machine at the client (or at a gateway that links).
pub struct Knocker {
    identity: Identity,
    schedule: Schedule,
    /// One line of attempts per address family.
    lines: Vec<Line>,
    clock: Clock,
    transmits: VecDeque<Transmit>,
    events: VecDeque<KnockEvent>,
    done: bool,
}

/// Which stamps this client may give.
struct Clock {
    offset_ms: i64,
    /// The newest stamp that a controller accepted, in an earlier knock.
    acknowledged: Stamp,
    /// The newest stamp given since, or since the clock was corrected.
    given: Stamp,
    challenge: Option<[u8; 24]>,
    corrections: u8,
}

impl Clock {
    fn new(acknowledged: Stamp) -> Self {
        Self { offset_ms: 0, acknowledged, given: acknowledged, challenge: None, corrections: 0 }
    }

    /// `max(clock + offset, last stamp + 1 ms)`: a clock that fell back still gets an answer.
    fn next_stamp(&mut self, now: Now) -> Stamp {
        let millis = now.wall.as_millis().saturating_add_signed(self.offset_ms);
        self.given = Stamp::from_millis(millis.max(self.given.as_millis().saturating_add(1)));
        self.given
    }

    /// Drops an offset of an earlier knock when the controller's time shows that our clock is right by now.
    fn compare(&mut self, controller_time: Stamp, now: Now) {
        if self.corrections == 0 && controller_time.abs_diff(now.wall) <= CLOCK_AGREES {
            self.offset_ms = 0;
        }
    }

    /// The controller's word on the time. A stamp of ours that is later than it was not accepted, and must not lift those that
    /// follow: the accepted one would be as far ahead, and until that time has come each knock would need a challenge.
    fn correct(&mut self, offset_ms: i64, guidance: &Guidance) {
        self.offset_ms = offset_ms;
        self.challenge = guidance.challenge;
        if self.given > guidance.controller_time {
            let before = Stamp::from_millis(guidance.controller_time.as_millis().saturating_sub(1));
            self.given = before.max(self.acknowledged);
        }
    }
}

impl Knocker {
    /// A device's knock at `controllers` (those of one family are tried in turn). `own` are this machine's global addresses, `last_stamp`
    /// the highest stamp of this device that was ever accepted ([`Admitted::stamp`]).
    #[must_use]
    pub fn new(
        device: Arc<Device>,
        ask: Ask,
        controllers: &[SocketAddr],
        own: Vec<SocketAddr>,
        last_stamp: Stamp,
        now: Now,
    ) -> Self {
        Self::start(Identity::Device { device, ask, own }, controllers, last_stamp, now)
    }

    /// A gateway's knock for its own link (C1).
    #[must_use]
    pub fn for_link(device: Arc<LinkDevice>, controllers: &[SocketAddr], last_stamp: Stamp, now: Now) -> Self {
        Self::start(Identity::Link(device), controllers, last_stamp, now)
    }

    /// Begins with what an earlier knock has found our clock to be behind by, in milliseconds. More than [`CLOCK_TOLERANCE`] counts for
    /// nothing: it was never learned from a controller.
    #[must_use]
    pub fn with_clock_offset(mut self, offset_ms: i64) -> Self {
        if Duration::from_millis(offset_ms.unsigned_abs()) <= CLOCK_TOLERANCE {
            self.clock.offset_ms = offset_ms;
        }
        self
    }

    /// Changes when knocks are repeated and given up.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    fn start(identity: Identity, controllers: &[SocketAddr], last_stamp: Stamp, now: Now) -> Self {
        let mut lines: Vec<Line> = Vec::with_capacity(2);
        for controller in controllers {
            match lines.iter_mut().find(|line| line.is_of_family(controller)) {
                Some(line) => line.add(*controller),
                None => {
                    let delay = FAMILY_DELAY * u32::try_from(lines.len()).unwrap_or(u32::MAX);
                    lines.push(Line::new(*controller, now.mono + delay));
                }
            }
        }
        Self {
            identity,
            schedule: Schedule::default(),
            lines,
            clock: Clock::new(last_stamp),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            done: false,
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<KnockEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called next; `None` when the machine is done.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.done { None } else { self.lines.iter().filter_map(Line::deadline).min() }
    }

    /// The stamp of the newest K1. What the next [`Knocker`] needs is [`Admitted::stamp`]: a stamp that nobody accepted binds nobody.
    #[must_use]
    pub fn last_stamp(&self) -> Stamp {
        self.clock.given
    }

    /// Sends what is due. Call it once at the start, too.
    pub fn handle_timeout(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if self.done {
            return;
        }
        for index in 0..self.lines.len() {
            while self.lines[index].deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.advance(index, now, entropy);
            }
        }
        if self.lines.iter().all(|line| line.deadline().is_none()) {
            self.finish(KnockEvent::Failed(KnockFailure::NoAnswer));
        }
    }

    /// Reads a datagram that came from `from`. Anything but the answer to one of our knocks is without effect.
    pub fn handle_input(&mut self, from: SocketAddr, datagram: &[u8], now: Now, entropy: &mut dyn Entropy) {
        if self.done {
            return;
        }
        for index in 0..self.lines.len() {
            if self.read(index, from, datagram, now, entropy) {
                return;
            }
        }
    }

    /// Repeats the line's K1, makes a new one, or gives the line up.
    fn advance(&mut self, index: usize, now: Now, entropy: &mut dyn Entropy) {
        let line = &mut self.lines[index];
        if let Some(again) = line.repeat(&self.schedule, now.mono) {
            self.transmits.push_back(again);
        } else if line.begin_round(self.schedule.rounds) {
            self.knock(index, now, entropy);
        } else {
            line.give_up();
        }
    }

    /// Step 2: makes and sends a new K1 on a line.
    fn knock(&mut self, index: usize, now: Now, entropy: &mut dyn Entropy) {
        let stamp = self.clock.next_stamp(now);
        let line = &mut self.lines[index];
        match Asking::begin(&self.identity, line.target(), stamp, self.clock.challenge, line.cookie(), entropy) {
            Ok(asking) => self.transmits.push_back(line.ask(asking, &self.schedule, now.mono)),
            // The pinned keys are no keys: no knock can be made with them, on any line.
            Err(_) => line.give_up(),
        }
    }

    fn finish(&mut self, event: KnockEvent) {
        self.done = true;
        self.transmits.clear();
        self.events.push_back(event);
    }
}
