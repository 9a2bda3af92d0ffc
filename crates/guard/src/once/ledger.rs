//! Which commands were given, and what became of them: pure, no I/O and no clock.
//!
//! ```text
//!            claim              sending             answered
//! (nothing) ───────► claimed ───────────► sent ───────────────► done
//!     ▲                 │                  │ └─ lost, crashed ─► unknown
//!     └─ unsent, lost, crashed ◄─ unsent ──┘
//! ```
//! Only `sent` and what follows is on the disk: what a crash finds merely claimed was provably never sent and is forgotten.

use super::name::ClaimName;
use crate::counts::one_less;
use crate::{LogicalAddress, Stamp, UserName};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// What the ledger may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long a claim is kept at least: no shorter than a page can be used.
    pub(crate) keep: Duration,
    /// Claims in all.
    pub(crate) total: usize,
    /// Claims of one user, of all sessions together: nobody takes the room of everybody else.
    pub(crate) per_user: usize,
    /// Claims of one logical address.
    pub(crate) per_address: usize,
}

/// How a claim stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Given, its answer not yet there; nothing was sent.
    Claimed,
    /// It may have taken effect from now on.
    Sent,
    /// Answered.
    Done { at: Stamp, status: u16, stored: bool },
    /// It was sent, and nobody knows what became of it.
    Unknown,
}

/// What a new request of a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// The first: the caller runs it.
    First,
    /// A repeat while the first runs.
    Wait,
    /// A repeat of an answered one.
    Done { at: Stamp, status: u16, stored: bool },
    /// A repeat of one that was sent at `at` with unknown outcome.
    Unknown { at: Stamp },
    /// No room; nothing was claimed.
    Full,
}

/// The time by two clocks: either alone may lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What the wall clock says.
    pub(crate) wall: Stamp,
    /// How long the process has been running, by a clock that nobody sets.
    pub(crate) running: Duration,
}

#[cfg_attr(test, derive(Clone))]
struct Entry {
    given: Stamp,
    /// How long the process had been running by then; one of an earlier process was given at its very beginning.
    since: Duration,
    user: Arc<UserName>,
    address: LogicalAddress,
    standing: Standing,
}

impl Entry {
    fn runs(&self) -> bool {
        matches!(self.standing, Standing::Claimed | Standing::Sent)
    }
}

/// All claims in force.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Ledger {
    bounds: Bounds,
    entries: HashMap<ClaimName, Entry>,
    /// All of them by the time they were given: they go in about this order.
    by_age: BTreeSet<(Stamp, ClaimName)>,
    held: HashMap<LogicalAddress, usize>,
    held_by: HashMap<Arc<UserName>, usize>,
}

impl Ledger {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: HashMap::new(), by_age: BTreeSet::new(), held: HashMap::new(), held_by: HashMap::new() }
    }

    /// A request of this name has come.
    pub(crate) fn claim(&mut self, name: ClaimName, user: &UserName, address: LogicalAddress, now: Now) -> Decision {
        if let Some(decision) = self.standing(name) {
            return decision;
        }
        let held = self.held.get(&address).copied().unwrap_or(0);
        let held_by = self.held_by.get(user).copied().unwrap_or(0);
        let bounds = &self.bounds;
        if held >= bounds.per_address || held_by >= bounds.per_user || self.entries.len() >= bounds.total {
            return Decision::Full;
        }
        let user = self.known(user);
        self.enter(name, Entry { given: now.wall, since: now.running, user, address, standing: Standing::Claimed });
        Decision::First
    }

    /// What a repeat of this name would be, if there is one to repeat.
    pub(crate) fn standing(&self, name: ClaimName) -> Option<Decision> {
        let entry = self.entries.get(&name)?;
        Some(match entry.standing {
            Standing::Claimed | Standing::Sent => Decision::Wait,
            Standing::Done { at, status, stored } => Decision::Done { at, status, stored },
            Standing::Unknown => Decision::Unknown { at: entry.given },
        })
    }

    /// Its record is on the disk: it may be sent from now on.
    pub(crate) fn sent(&mut self, name: ClaimName) {
        if let Some(entry) = self.entries.get_mut(&name)
            && entry.standing == Standing::Claimed
        {
            entry.standing = Standing::Sent;
        }
    }

    /// It was answered.
    pub(crate) fn done(&mut self, name: ClaimName, at: Stamp, status: u16, stored: bool) {
        self.settle(name, Standing::Done { at, status, stored });
    }

    /// It was sent and its answer will not come.
    pub(crate) fn unknown(&mut self, name: ClaimName) {
        self.settle(name, Standing::Unknown);
    }

    /// It was provably not sent: as if never given. What is settled stays so.
    pub(crate) fn give_back(&mut self, name: ClaimName) {
        if self.running(name).is_some() {
            self.remove(name);
        }
    }

    /// A record of the disk: the claim was given at `given` and sent.
    pub(crate) fn replay_sent(&mut self, name: ClaimName, user: &UserName, address: LogicalAddress, given: Stamp) {
        self.remove(name);
        let user = self.known(user);
        self.enter(name, Entry { given, since: Duration::ZERO, user, address, standing: Standing::Sent });
    }

    /// Clears away what is settled of addresses whose session is over: no page of theirs opens any more. Says how many.
    pub(crate) fn release(&mut self, is_over: impl Fn(LogicalAddress) -> bool) -> usize {
        let over: HashSet<_> = self.held.keys().copied().filter(|&address| is_over(address)).collect();
        if over.is_empty() {
            return 0;
        }
        let of_those = |entry: &Entry| over.contains(&entry.address) && !entry.runs();
        let gone: Vec<_> = self.entries.iter().filter(|(_, entry)| of_those(entry)).map(|(&name, _)| name).collect();
        gone.iter().for_each(|&name| self.remove(name));
        gone.len()
    }

    /// Forgets the claims that have outlived their time, and says how many. As long as the session of a claim lives (`lives`), its
    /// pages may open again when somebody sets the wall clock back: then a claim must be old by both clocks.
    pub(crate) fn expire(&mut self, now: Now, lives: impl Fn(LogicalAddress) -> bool) -> usize {
        let before = (now.wall.before(self.bounds.keep), ClaimName([0; 32]));
        let outdated: Vec<ClaimName> = self.by_age.range(..before).map(|(_, name)| *name).collect();
        let held = self.len();
        for name in outdated {
            if self.entries.get(&name).is_some_and(|entry| self.may_go(entry, now, &lives)) {
                self.remove(name);
            }
        }
        held - self.len()
    }

    fn may_go(&self, entry: &Entry, now: Now, lives: impl Fn(LogicalAddress) -> bool) -> bool {
        let young = now.running.saturating_sub(entry.since) <= self.bounds.keep;
        !(entry.runs() || young && lives(entry.address))
    }

    /// When the oldest claim was given that is held.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        self.by_age.first().map(|(given, _)| *given)
    }

    /// How many claims are held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn running(&mut self, name: ClaimName) -> Option<&mut Entry> {
        self.entries.get_mut(&name).filter(|entry| entry.runs())
    }

    fn settle(&mut self, name: ClaimName, standing: Standing) {
        if let Some(entry) = self.running(name) {
            entry.standing = standing;
        }
    }

    fn enter(&mut self, name: ClaimName, entry: Entry) {
        *self.held.entry(entry.address).or_default() += 1;
        *self.held_by.entry(entry.user.clone()).or_default() += 1;
        self.by_age.insert((entry.given, name));
        self.entries.insert(name, entry);
    }

    fn remove(&mut self, name: ClaimName) {
        let Some(entry) = self.entries.remove(&name) else { return };
        self.by_age.remove(&(entry.given, name));
        one_less(&mut self.held, &entry.address);
        one_less(&mut self.held_by, &entry.user);
    }

    /// The name as it is held already, if it is.
    fn known(&self, user: &UserName) -> Arc<UserName> {
        self.held_by.get_key_value(user).map_or_else(|| Arc::new(user.clone()), |(known, _)| known.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(1), total: 5, per_user: 4, per_address: 3 };

    fn ledger() -> Ledger {
        Ledger::new(BOUNDS)
    }

    fn at(milliseconds: u64) -> Now {
        Now { wall: Stamp(milliseconds), running: Duration::from_millis(milliseconds) }
    }

    fn name(n: u8) -> ClaimName {
        ClaimName([n; 32])
    }

    fn alice() -> UserName {
        UserName::new("alice").unwrap()
    }

    fn bob() -> UserName {
        UserName::new("bob").unwrap()
    }

    fn address(n: u16) -> LogicalAddress {
        LogicalAddress(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into())
    }

    #[test]
    fn a_command_runs_once_and_every_repeat_is_told() {
        let mut ledger = ledger();
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(1)), Decision::First);
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(2)), Decision::Wait);
        ledger.sent(name(1));
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(2)), Decision::Wait);
        ledger.done(name(1), Stamp(5), 201, true);
        let done = Decision::Done { at: Stamp(5), status: 201, stored: true };
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(6)), done);
        ledger.give_back(name(1));
        ledger.unknown(name(1));
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(6)), done, "what is settled stays so");
    }

    #[test]
    fn lost_after_sending_is_unknown_and_unsent_is_forgotten() {
        let mut ledger = ledger();
        ledger.claim(name(1), &alice(), address(1), at(1));
        ledger.sent(name(1));
        ledger.unknown(name(1));
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(2)), Decision::Unknown { at: Stamp(1) });
        ledger.claim(name(2), &alice(), address(1), at(1));
        ledger.give_back(name(2));
        assert_eq!(ledger.claim(name(2), &alice(), address(1), at(2)), Decision::First);
    }

    #[test]
    fn room_is_bounded_for_each_and_for_all() {
        let mut ledger = ledger();
        for n in 0..3 {
            assert_eq!(ledger.claim(name(n), &alice(), address(1), at(1)), Decision::First);
        }
        assert_eq!(ledger.claim(name(9), &alice(), address(1), at(1)), Decision::Full, "one address");
        assert_eq!(ledger.claim(name(3), &alice(), address(2), at(1)), Decision::First);
        assert_eq!(ledger.claim(name(4), &alice(), address(2), at(1)), Decision::Full, "one user, by whatever session");
        assert_eq!(ledger.claim(name(4), &bob(), address(3), at(1)), Decision::First, "another has room");
        assert_eq!(ledger.claim(name(9), &bob(), address(3), at(1)), Decision::Full, "all");
        assert_eq!(ledger.claim(name(0), &alice(), address(1), at(1)), Decision::Wait, "repeats need no room");
    }

    /// Three claims, given when the process was a millisecond old.
    fn three() -> Ledger {
        let mut ledger = ledger();
        for n in 0..3 {
            ledger.claim(name(n), &alice(), address(1), at(1));
            ledger.sent(name(n));
        }
        ledger
    }

    #[test]
    fn claims_go_when_their_pages_have_gone_but_never_while_they_run() {
        let mut ledger = three();
        ledger.done(name(0), Stamp(3), 200, false);
        assert_eq!(ledger.expire(at(1_001), |_| true), 0, "to the end of the page's life");
        assert_eq!(ledger.expire(at(1_002), |_| true), 1);
        assert_eq!((ledger.len(), ledger.entries.get(&name(1)).map(|e| e.standing)), (2, Some(Standing::Sent)));
        assert_eq!(ledger.oldest(), Some(Stamp(1)));
        ledger.unknown(name(1));
        ledger.unknown(name(2));
        assert_eq!(ledger.expire(at(1_002), |_| true), 2);
        assert!(ledger.held.is_empty() && ledger.held_by.is_empty() && ledger.by_age.is_empty());
    }

    #[test]
    fn settled_claims_go_with_their_session_and_running_ones_stay() {
        let mut ledger = ledger();
        for (n, of) in [(0, 1), (1, 1), (2, 2)] {
            ledger.claim(name(n), &alice(), address(of), at(1));
            ledger.sent(name(n));
        }
        ledger.done(name(0), Stamp(3), 200, false);
        ledger.unknown(name(2));
        assert_eq!(ledger.release(|_| false), 0);
        assert_eq!(ledger.release(|one| one == address(1)), 1);
        assert_eq!(ledger.claim(name(1), &alice(), address(1), at(4)), Decision::Wait, "it runs");
        assert_eq!(ledger.claim(name(2), &alice(), address(2), at(4)), Decision::Unknown { at: Stamp(1) });
        for n in [3, 4] {
            assert_eq!(ledger.claim(name(n), &alice(), address(3), at(4)), Decision::First, "there is room again");
        }
        assert_eq!(ledger.claim(name(5), &alice(), address(3), at(4)), Decision::Full);
    }

    #[test]
    fn a_wall_clock_that_jumps_ahead_forgets_nothing_of_a_session_that_lives() {
        let mut ledger = three();
        (0..3).for_each(|n| ledger.done(name(n), Stamp(3), 200, false));
        let years_ahead = Now { wall: Stamp(1 << 40), running: Duration::from_millis(900) };
        assert_eq!(ledger.expire(years_ahead, |_| true), 0);
        // Put right again, the page opens, and the repeat is one.
        assert!(matches!(ledger.claim(name(1), &alice(), address(1), at(901)), Decision::Done { .. }));
        // One that jumps back keeps everything, too.
        let long_after = Now { wall: Stamp(5), running: Duration::from_secs(100) };
        assert_eq!(ledger.expire(long_after, |_| false), 0);
        assert_eq!(ledger.expire(years_ahead, |_| false), 3, "its pages open no more: the session is over");
    }

    #[test]
    fn a_start_with_a_wrong_clock_forgets_nothing_of_a_session_that_lives() {
        let mut ledger = ledger();
        ledger.replay_sent(name(1), &alice(), address(1), Stamp(1));
        ledger.unknown(name(1));
        let wrong = |running| Now { wall: Stamp(1 << 40), running: Duration::from_millis(running) };
        assert_eq!(ledger.expire(wrong(0), |_| true), 0);
        assert_eq!(ledger.expire(wrong(1_000), |_| true), 0);
        assert_eq!(ledger.expire(wrong(1_001), |_| true), 1);
    }
}
