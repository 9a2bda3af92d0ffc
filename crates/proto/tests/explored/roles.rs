//! The two roles with their disks: each a machine while it runs, its own randomness, and what it was given since its start.

use crate::common::{Person, Realm, address};
use crate::explored::events::Flaw;
use crate::explored::world::GATEWAY;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use vestibule_proto::admission::{AdmissionConfig, Admissions, SEEN_KEPT};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{KnockId, Now, Stamp, TicketId};
use vestibule_proto::recognition::{Limits, LinkState, Recognition, Row};
use vestibule_proto::ticket::Tag;

/// Small tables: a run is begun many thousand times.
const LIMITS: Limits =
    Limits { rows: 4, rows_per_gateway: 4, waiting: 8, copies: 16, wasted_per_second: 500, sights: 64 };

/// What a role was given since it was started. Machines are functions of it: no clock, no randomness of their own.
#[derive(Clone, Copy, Hash)]
pub(crate) struct History(u64);

impl History {
    fn begin(life: u64, disk: impl Hash, now: Now) -> Self {
        Self(hash((life, disk, now.wall)))
    }

    pub(crate) fn note(&mut self, what: &str, input: impl Hash, now: Now) {
        self.0 = hash((self.0, what, input, now.wall));
    }
}

pub(crate) fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

pub(crate) struct Controller {
    pub(crate) machine: Recognition,
    pub(crate) entropy: SeededEntropy,
    pub(crate) history: History,
    /// On disk: the row's `last`.
    pub(crate) last: Stamp,
    life: u64,
}

impl Controller {
    pub(crate) fn start(realm: &Realm, person: &Person, last: Stamp, life: u64, now: Now) -> Self {
        let mut entropy = SeededEntropy::new(1_000 + life);
        let mut machine = Recognition::new(realm.controller.clone(), now, LIMITS, &mut entropy);
        machine.upsert_row(Row { last, ..person.row.clone() }).unwrap();
        machine.set_link(realm.gateway.id, LinkState::Up);
        Self { machine, entropy, history: History::begin(life, last, now), last, life }
    }

    /// How many knocks it has accepted, or told the time.
    pub(crate) fn heard(&self) -> u64 {
        self.machine.counters().accepted + self.machine.counters().time_told
    }

    /// Killed, and started again from its disk.
    pub(crate) fn restarted(&self, realm: &Realm, person: &Person, now: Now) -> Self {
        Self::start(realm, person, self.last, self.life + 1, now)
    }

    /// The gateway was away: what it was asked is lost.
    pub(crate) fn relink(&mut self, realm: &Realm, now: Now) {
        self.history.note("link", (), now);
        self.machine.set_link(realm.gateway.id, LinkState::Down);
        self.machine.handle_timeout(now);
        self.machine.set_link(realm.gateway.id, LinkState::Up);
    }

    /// Writes `last` down, off the knock's path.
    pub(crate) fn flush(&mut self, now: Now) {
        self.history.note("flush", (), now);
        for (_, last) in self.machine.dirty_last() {
            self.last = last;
        }
    }
}

/// The gateway's disk: the seen-set, and the newest stamp that was forgotten.
#[derive(Clone, Default, Hash)]
pub(crate) struct SeenSet {
    entries: BTreeSet<(KnockId, Stamp)>,
    floor: Stamp,
}

impl SeenSet {
    /// Enters a knock; false if it is not fresh.
    pub(crate) fn enter(&mut self, knock: KnockId, stamp: Stamp) -> bool {
        stamp > self.floor && !self.holds(knock) && self.entries.insert((knock, stamp))
    }

    /// The answer alone.
    pub(crate) fn is_fresh(&self, knock: KnockId, stamp: Stamp) -> bool {
        stamp > self.floor && !self.holds(knock)
    }

    fn holds(&self, knock: KnockId) -> bool {
        self.entries.iter().any(|(other, _)| *other == knock)
    }

    fn forget(&mut self, now: Now) {
        let old = now.wall.saturating_sub(SEEN_KEPT);
        let gone = self.entries.extract_if(.., |(_, stamp)| *stamp <= old).map(|(_, stamp)| stamp).max();
        self.floor = self.floor.max(gone.unwrap_or_default());
    }
}

pub(crate) struct Gateway {
    pub(crate) machine: Admissions,
    pub(crate) entropy: SeededEntropy,
    pub(crate) history: History,
    pub(crate) seen: SeenSet,
    /// Which tags open, as the door's back end has it: it goes with the process, and is shut then.
    pub(crate) door: BTreeMap<TicketId, [Tag; 4]>,
    life: u64,
}

impl Gateway {
    pub(crate) fn start(realm: &Realm, person: &Person, seen: SeenSet, life: u64, now: Now) -> Self {
        let config =
            AdmissionConfig { addresses: vec![address(GATEWAY)], pending_limit: 8, ..AdmissionConfig::default() };
        let mut machine = Admissions::new(realm.gateway.clone(), config, now);
        machine.upsert_device(person.admissible.clone());
        let (entropy, history) = (SeededEntropy::new(2_000 + life), History::begin(life, &seen, now));
        Self { machine, entropy, history, seen, door: BTreeMap::new(), life }
    }

    pub(crate) fn restarted(&self, realm: &Realm, person: &Person, flaw: Option<Flaw>, now: Now) -> Self {
        let seen = if flaw == Some(Flaw::SeenNotKept) { SeenSet::default() } else { self.seen.clone() };
        Self::start(realm, person, seen, self.life + 1, now)
    }

    pub(crate) fn forget(&mut self, now: Now) {
        self.seen.forget(now);
    }
}
