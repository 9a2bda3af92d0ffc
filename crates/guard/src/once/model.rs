//! Any interleaving of what can happen to commands, crashes among them, against the one thing that counts: how often each was
//! given to the application. The disk is a list of records of which a crash takes any part that was not synced. Of the large
//! commands the application gets the beginning before they have a name.

use super::ledger::{Bounds, Decision, Ledger, Now};
use super::name::ClaimName;
use super::record::{About, Record};
use super::starts::{Extent, Start, Starts, key_of};
use super::{Interrupted, Replay};
use crate::{AppName, LogicalAddress, Serial, Stamp, UserName};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

const COMMANDS: u8 = 4;
/// From here on they are large.
pub(super) const LARGE: u8 = 2;
const EXTENT: Extent = Extent { length: None, boundary: 0 };
const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(3_600), total: 1_000, per_user: 1_000, per_address: 1_000 };

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Claim(u8),
    /// Its record goes into the queue.
    Queue(u8),
    /// Everything queued is on the disk, and whoever waits is told.
    Sync,
    /// It goes to the application, if it may.
    Forward(u8),
    /// The end of a large one has come.
    Name(u8),
    Answered(u8),
    Unsent(u8),
    Drop(u8),
    /// Power loss: this many of the records that were not synced are there afterwards.
    Crash(usize),
    Acknowledge,
    /// Somebody sets the wall clock, and what is outdated by it is swept away; the session lives.
    SetClock(u64),
}

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// A command goes to the application while its record waits for the disk.
    SentUnsynced,
    /// A start of the process looks at outcomes only, not at what was sent.
    OutcomesOnly,
    /// A command whose connection broke after it was sent is given back.
    GivenBackWhenSent,
    /// What is old by the wall clock is forgotten while its session lives.
    SweptByTheClock,
    /// A start of the process does not look at what began and never had a name.
    BegunForgotten,
    /// What begins like one that has come to its end is not compared with it.
    AlikeRuns,
}

/// How far the task that runs a command is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    Claimed,
    Queued,
    MaySend,
    Forwarded,
    /// A large one, by its start alone.
    Begun,
    StartQueued,
    MayBegin,
    /// Its beginning was forwarded.
    Half,
    /// Its name is in the queue of the log.
    Named,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) starts: Starts,
    pub(super) running: HashMap<u8, Stage>,
    pub(super) disk: Vec<Record>,
    pub(super) synced: usize,
    /// What really happened.
    pub(super) forwards: HashMap<u8, u32>,
    pub(super) answered: HashSet<u8>,
    pub(super) interrupted: Vec<Interrupted>,
    flaw: Option<Flaw>,
    now: u64,
    /// How many there have been: the time by a clock that nobody sets.
    steps: u64,
}

impl World {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        Self {
            flaw,
            ledger: Ledger::new(BOUNDS),
            starts: Starts::new(BOUNDS),
            running: HashMap::new(),
            disk: Vec::new(),
            synced: 0,
            forwards: HashMap::new(),
            answered: HashSet::new(),
            interrupted: Vec::new(),
            now: 1,
            steps: 0,
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        (self.now, self.steps) = (self.now.saturating_add(1), self.steps + 1);
        match step {
            Step::Claim(n) => self.claim(n),
            Step::Queue(n) => self.queue(n),
            Step::Sync => self.sync(),
            Step::Forward(n) => self.forward(n),
            Step::Name(n) => self.name(n),
            Step::Answered(n) => self.answer(n),
            Step::Unsent(n) => self.unsent(n),
            Step::Drop(n) => self.drop_running(n),
            Step::Crash(kept) => self.crash(kept),
            Step::Acknowledge => self.acknowledge(),
            Step::SetClock(wall) => self.set_clock(wall),
        }
    }

    fn time(&self) -> Now {
        Now { wall: Stamp(self.now), running: Duration::from_millis(self.steps) }
    }

    fn set_clock(&mut self, wall: u64) {
        self.now = wall;
        let lives = self.flaw != Some(Flaw::SweptByTheClock);
        self.ledger.expire(self.time(), |_| lives);
        self.starts.expire(self.time(), |_| lives);
    }

    fn forwarded(&self, n: u8) -> u32 {
        self.forwards.get(&n).copied().unwrap_or(0)
    }

    /// A repeat is told nothing that isn't so.
    fn claim(&mut self, n: u8) {
        if n >= LARGE && !self.begin(n) {
            return;
        }
        let decision = self.ledger.claim(name(n), &user(), address(), self.time());
        let running = self.running.contains_key(&n);
        match decision {
            Decision::First => {
                assert!(!running && self.forwarded(n) == 0, "{n} would run a second time");
                self.running.insert(n, Stage::Claimed);
            }
            Decision::Wait => assert!(running, "{n}: nobody to wait for"),
            Decision::Done { .. } => assert!(self.answered.contains(&n), "{n} was never answered"),
            // Not sent and yet unknown is the word of a crash between disk and network: careful, not wrong.
            Decision::Unknown { .. } => assert!(!running),
            Decision::Full => panic!("there is room"),
        }
    }

    /// Whether only the whole content tells what it is.
    fn begin(&mut self, n: u8) -> bool {
        let (_, start) = self.starts.begin((start_of(n), EXTENT), &user(), address(), self.time());
        let running = self.running.get(&n).copied();
        match start {
            Start::Alike if self.flaw == Some(Flaw::AlikeRuns) => {
                self.running.entry(n).or_insert(Stage::Begun);
                return false;
            }
            Start::First => {
                assert!(running.is_none() && self.forwarded(n) == 0, "{n} would begin a second time");
                self.running.insert(n, Stage::Begun);
            }
            Start::Wait => assert!(running.is_some(), "{n}: nobody to wait for"),
            Start::Unknown { .. } => assert!(running.is_none(), "{n} is under way"),
            Start::Alike => {}
            Start::Full => panic!("there is room"),
        }
        start == Start::Alike
    }

    /// Its end has come, and it is claimed by its name.
    fn name(&mut self, n: u8) {
        if self.running.get(&n) == Some(&Stage::Half) {
            let decision = self.ledger.claim(name(n), &user(), address(), self.time());
            assert_eq!(decision, Decision::First, "{n} is known");
            self.running.insert(n, Stage::Named);
            let (begun, given) = (key(n).0, Stamp(self.now));
            self.disk.push(Record::SentAll { name: name(n).0, begun, given, about: about() });
        }
    }

    fn queue(&mut self, n: u8) {
        if self.advance(n, Stage::Begun, Stage::StartQueued) {
            let (start, given) = (start_of(n).0, Stamp(self.now));
            self.disk.push(Record::Begun { start, extent: EXTENT, given, about: about() });
        }
        if self.advance(n, Stage::Claimed, Stage::Queued) {
            self.disk.push(Record::Sent { name: name(n).0, given: Stamp(self.now), about: about() });
        }
    }

    fn sync(&mut self) {
        self.synced = self.disk.len();
        for (n, stage) in &mut self.running {
            match *stage {
                Stage::Queued => {
                    *stage = Stage::MaySend;
                    self.ledger.sent(name(*n));
                }
                Stage::StartQueued => {
                    *stage = Stage::MayBegin;
                    self.starts.sent(key(*n));
                }
                Stage::Named => {
                    *stage = Stage::Forwarded;
                    self.ledger.sent(name(*n));
                    self.starts.whole(key(*n), Stamp(self.now));
                }
                Stage::Claimed | Stage::MaySend | Stage::Forwarded | Stage::Begun | Stage::MayBegin | Stage::Half => {}
            }
        }
    }

    fn forward(&mut self, n: u8) {
        let early = self.flaw == Some(Flaw::SentUnsynced)
            && (self.advance(n, Stage::Queued, Stage::Forwarded) || self.advance(n, Stage::StartQueued, Stage::Half));
        if early || self.advance(n, Stage::MaySend, Stage::Forwarded) || self.advance(n, Stage::MayBegin, Stage::Half) {
            *self.forwards.entry(n).or_default() += 1;
        }
    }

    fn answer(&mut self, n: u8) {
        if self.running.get(&n) == Some(&Stage::Forwarded) {
            self.running.remove(&n);
            self.answered.insert(n);
            self.ledger.done(name(n), Stamp(self.now), 200, false);
            self.disk.push(Record::Done { name: name(n).0, at: Stamp(self.now), status: 200, stored: false });
        }
    }

    fn unsent(&mut self, n: u8) {
        let careless = self.flaw == Some(Flaw::GivenBackWhenSent);
        match self.running.get(&n).copied() {
            Some(Stage::Forwarded) if careless => {
                self.running.remove(&n);
                self.ledger.give_back(name(n));
                self.disk.push(Record::Unsent { name: name(n).0 });
            }
            Some(stage @ (Stage::Claimed | Stage::Queued | Stage::MaySend)) => {
                self.running.remove(&n);
                self.ledger.give_back(name(n));
                if stage != Stage::Claimed {
                    self.disk.push(Record::Unsent { name: name(n).0 });
                }
            }
            Some(stage @ (Stage::Begun | Stage::StartQueued | Stage::MayBegin)) => {
                self.running.remove(&n);
                self.starts.give_back(key(n));
                if stage != Stage::Begun {
                    self.disk.push(Record::Unsent { name: key(n).0 });
                }
            }
            Some(Stage::Forwarded | Stage::Half | Stage::Named) | None => {}
        }
    }

    fn drop_running(&mut self, n: u8) {
        match self.running.get(&n) {
            Some(Stage::Claimed | Stage::Queued | Stage::Begun | Stage::StartQueued) => self.unsent(n),
            Some(Stage::MaySend | Stage::Forwarded) => self.lose(n, false, true),
            Some(Stage::MayBegin | Stage::Half) => self.lose(n, true, false),
            Some(Stage::Named) => self.lose(n, true, true),
            None => {}
        }
    }

    /// Nobody knows what became of its beginning, and of all of it.
    fn lose(&mut self, n: u8, start: bool, all: bool) {
        self.running.remove(&n);
        if start {
            self.starts.unknown(key(n));
            self.disk.push(Record::Unknown { name: key(n).0 });
        }
        if all {
            self.ledger.unknown(name(n));
            self.disk.push(Record::Unknown { name: name(n).0 });
        }
    }

    fn crash(&mut self, kept: usize) {
        let unsynced = self.disk.len() - self.synced;
        self.disk.truncate(self.synced + kept.min(unsynced));
        self.synced = self.disk.len();
        self.running.clear();
        (self.ledger, self.starts, self.interrupted) = self.replayed(&self.disk);
        // Whatever reached the application is remembered, and what has no outcome is told.
        for n in self.forwards.keys() {
            let told = self.interrupted.iter().any(|one| is_of(one.name, *n));
            assert!(told || is_settled(&self.disk, *n), "{n} was forwarded and nobody is told");
        }
    }

    /// What a start makes of these records.
    pub(super) fn replayed(&self, records: &[Record]) -> (Ledger, Starts, Vec<Interrupted>) {
        let unread = |record: &Record| match self.flaw {
            Some(Flaw::OutcomesOnly) => opens(record),
            Some(Flaw::BegunForgotten) => matches!(record, Record::Begun { .. }),
            Some(Flaw::SentUnsynced | Flaw::GivenBackWhenSent | Flaw::SweptByTheClock | Flaw::AlikeRuns) | None => {
                false
            }
        };
        let mut replay = Replay::new(BOUNDS);
        records.iter().filter(|record| !unread(record)).cloned().for_each(|record| replay.take(record));
        replay.end()
    }

    fn acknowledge(&mut self) {
        for one in self.interrupted.drain(..) {
            self.disk.push(Record::Unknown { name: one.name.0 });
        }
    }

    fn advance(&mut self, n: u8, from: Stage, to: Stage) -> bool {
        let stage = self.running.get_mut(&n).filter(|stage| **stage == from);
        stage.map(|stage| *stage = to).is_some()
    }
}

fn opens(record: &Record) -> bool {
    matches!(record, Record::Sent { .. } | Record::SentAll { .. } | Record::Begun { .. })
}

fn is_of(one: ClaimName, n: u8) -> bool {
    one == name(n) || one == key(n)
}

/// Whether a record among these says what became of it.
pub(super) fn is_settled(records: &[Record], n: u8) -> bool {
    records.iter().any(|record| is_of(record.name(), n) && !opens(record))
}

pub(super) fn name(n: u8) -> ClaimName {
    ClaimName([n; 32])
}

fn start_of(n: u8) -> ClaimName {
    ClaimName([n | 0x80; 32])
}

/// What a large one is called until it has its name.
pub(super) fn key(n: u8) -> ClaimName {
    key_of(start_of(n), EXTENT)
}

fn user() -> UserName {
    UserName::new("alice").unwrap()
}

fn address() -> LogicalAddress {
    LogicalAddress("fd00::1".parse().unwrap())
}

fn about() -> About {
    About {
        user: user(),
        address: address(),
        app: AppName::new("orders").unwrap(),
        serial: Serial(1),
        method: "POST".to_owned(),
        path: "/".to_owned(),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let n = 0..COMMANDS;
    prop_oneof![
        3 => n.clone().prop_map(Step::Claim),
        3 => n.clone().prop_map(Step::Queue),
        3 => Just(Step::Sync),
        3 => n.clone().prop_map(Step::Forward),
        3 => n.clone().prop_map(Step::Name),
        2 => n.clone().prop_map(Step::Answered),
        1 => n.clone().prop_map(Step::Unsent),
        1 => n.prop_map(Step::Drop),
        1 => (0..6usize).prop_map(Step::Crash),
        1 => Just(Step::Acknowledge),
        1 => any::<u64>().prop_map(Step::SetClock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn never_twice_whatever_happens(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = World::new(None);
        for step in steps {
            world.step(step);
        }
        world.crash(0);
        (0..COMMANDS).for_each(|n| world.claim(n));
        prop_assert!(world.forwards.values().all(|times| *times == 1));
    }
}
