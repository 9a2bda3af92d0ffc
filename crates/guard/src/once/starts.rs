//! Large commands that have begun: of their content no more is known than how it starts and how much of it there is. Pure.
//!
//! What a page sends again could be the same command as long as it starts alike and is as long: until the first has come to its
//! end it waits, afterwards all of it is read and compared before the application gets a byte.

use super::ledger::{Bounds, Decision, Ledger, Now};
use super::name::ClaimName;
use crate::{LogicalAddress, Stamp, UserName};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Sets these digests apart from every other SHA-256 of the project.
const DOMAIN: &[u8] = b"vestibule start 1";

/// How much of a body there is, as far as its head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// Its declared length in bytes; `None` where it is sent without.
    pub length: Option<u64>,
    /// Bytes of the boundary between its parts; 0 where it has none. The same upload has another boundary each time, which some
    /// browsers make longer or shorter.
    pub boundary: u16,
}

impl Extent {
    /// Whether two bodies of these extents could have the same content.
    pub fn could_be(self, other: Self) -> bool {
        let (Some(one), Some(two)) = (self.length, other.length) else { return true };
        match u64::from(self.boundary.abs_diff(other.boundary)) {
            0 => one == two,
            // One boundary more or less for each part.
            each => one.abs_diff(two).is_multiple_of(each) && (one > two) == (self.boundary > other.boundary),
        }
    }
}

/// What a command that starts like this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// None that it could be: the caller runs it.
    First,
    /// One that it could be is under way.
    Wait,
    /// One that it could be has come to its end and has its own name: only the whole content tells.
    Alike,
    /// One that it could be began at `at` and never came to its end.
    Unknown { at: Stamp },
    /// No room; nothing has begun.
    Full,
}

/// All that have begun and are remembered.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Starts {
    ledger: Ledger,
    /// By the name of their start.
    alike: HashMap<ClaimName, Vec<(Extent, ClaimName)>>,
}

/// What one of this start and extent is called.
pub(crate) fn key_of(start: ClaimName, extent: Extent) -> ClaimName {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(&start.0);
    context.update(&[u8::from(extent.length.is_some())]);
    context.update(&extent.length.unwrap_or(0).to_be_bytes());
    context.update(&extent.boundary.to_be_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    ClaimName(key)
}

impl Starts {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { ledger: Ledger::new(bounds), alike: HashMap::new() }
    }

    /// One that starts like this has come. Says what it is called that it is, or that it could be.
    pub(crate) fn begin(
        &mut self,
        (start, extent): (ClaimName, Extent),
        user: &UserName,
        address: LogicalAddress,
        now: Now,
    ) -> (ClaimName, Start) {
        let (key, known) = (key_of(start, extent), self.worst_of(start, extent));
        if let Some((other, decision)) = known {
            return (other, decision);
        }
        match self.ledger.claim(key, user, address, now) {
            Decision::Full => (key, Start::Full),
            Decision::First | Decision::Wait | Decision::Done { .. } | Decision::Unknown { .. } => {
                self.alike.entry(start).or_default().push((extent, key));
                (key, Start::First)
            }
        }
    }

    /// Of those that it could be the one that stands most in its way.
    fn worst_of(&mut self, start: ClaimName, extent: Extent) -> Option<(ClaimName, Start)> {
        let ledger = &self.ledger;
        let alike = self.alike.get_mut(&start)?;
        alike.retain(|(_, key)| ledger.standing(*key).is_some());
        let could_be = alike.iter().filter(|(other, _)| extent.could_be(*other));
        let standing = |(_, key): &(Extent, ClaimName)| match ledger.standing(*key)? {
            Decision::Wait | Decision::First | Decision::Full => Some((2, *key, Start::Wait)),
            Decision::Unknown { at } => Some((1, *key, Start::Unknown { at })),
            Decision::Done { .. } => Some((0, *key, Start::Alike)),
        };
        let worst = could_be.filter_map(standing).max_by_key(|(weight, ..)| *weight);
        worst.map(|(_, key, start)| (key, start))
    }

    /// Its record is on the disk: its beginning may be sent from now on.
    pub(crate) fn sent(&mut self, key: ClaimName) {
        self.ledger.sent(key);
    }

    /// All of it has come, and it has its own name.
    pub(crate) fn whole(&mut self, key: ClaimName, at: Stamp) {
        self.ledger.done(key, at, 0, false);
    }

    /// It broke off.
    pub(crate) fn unknown(&mut self, key: ClaimName) {
        self.ledger.unknown(key);
    }

    /// Nothing of it was sent.
    pub(crate) fn give_back(&mut self, key: ClaimName) {
        self.ledger.give_back(key);
    }

    /// A record of the disk: it began at `given`.
    pub(crate) fn replay(
        &mut self,
        (start, extent): (ClaimName, Extent),
        user: &UserName,
        address: LogicalAddress,
        given: Stamp,
    ) {
        let key = key_of(start, extent);
        self.ledger.replay_sent(key, user, address, given);
        let alike = self.alike.entry(start).or_default();
        alike.retain(|(_, other)| *other != key);
        alike.push((extent, key));
    }

    /// As [`Ledger::release`].
    pub(crate) fn release(&mut self, is_over: impl Fn(LogicalAddress) -> bool) -> usize {
        let gone = self.ledger.release(is_over);
        self.tidy(gone);
        gone
    }

    /// As [`Ledger::expire`].
    pub(crate) fn expire(&mut self, now: Now, lives: impl Fn(LogicalAddress) -> bool) {
        let gone = self.ledger.expire(now, lives);
        self.tidy(gone);
    }

    /// How the one of this name stands.
    #[cfg(test)]
    pub(crate) fn standing(&self, key: ClaimName) -> Option<Decision> {
        self.ledger.standing(key)
    }

    fn tidy(&mut self, gone: usize) {
        if gone > 0 {
            let ledger = &self.ledger;
            self.alike.retain(|_, alike| {
                alike.retain(|(_, key)| ledger.standing(*key).is_some());
                !alike.is_empty()
            });
        }
    }

    /// When the oldest began that is remembered.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        self.ledger.oldest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(1), total: 5, per_user: 4, per_address: 3 };
    const START: ClaimName = ClaimName([1; 32]);

    fn of(length: u64) -> Extent {
        Extent { length: Some(length), boundary: 0 }
    }

    fn parts(length: u64, boundary: u16) -> Extent {
        Extent { length: Some(length), boundary }
    }

    fn begin(starts: &mut Starts, start: ClaimName, extent: Extent, at: u64) -> (ClaimName, Start) {
        let (alice, address) = (UserName::new("alice").unwrap(), LogicalAddress("fd00::1".parse().unwrap()));
        let now = Now { wall: Stamp(at), running: Duration::from_millis(at) };
        starts.begin((start, extent), &alice, address, now)
    }

    #[test]
    fn lengths_tell_contents_apart_where_boundaries_are_as_long() {
        assert!(of(10).could_be(of(10)) && !of(10).could_be(of(11)));
        let without = Extent { length: None, boundary: 0 };
        assert!(without.could_be(of(10)) && of(10).could_be(without) && without.could_be(without));
        // Three boundaries, each two longer.
        assert!(parts(1_000, 30).could_be(parts(1_006, 32)) && parts(1_006, 32).could_be(parts(1_000, 30)));
        assert!(!parts(1_000, 30).could_be(parts(1_005, 32)), "half a boundary");
        assert!(!parts(1_006, 30).could_be(parts(1_000, 32)), "a longer boundary makes no upload shorter");
        assert!(!parts(1_000, 30).could_be(parts(1_006, 30)));
    }

    #[test]
    fn what_could_be_the_same_waits_and_everything_else_runs() {
        let mut starts = Starts::new(BOUNDS);
        let (key, first) = begin(&mut starts, START, of(10), 1);
        assert_eq!(first, Start::First);
        assert_eq!(begin(&mut starts, START, of(10), 2), (key, Start::Wait));
        starts.sent(key);
        assert_eq!(begin(&mut starts, START, of(10), 2), (key, Start::Wait));
        assert_eq!(begin(&mut starts, START, Extent { length: None, boundary: 0 }, 2), (key, Start::Wait));
        let (other, second) = begin(&mut starts, START, of(11), 2);
        assert_eq!(second, Start::First, "of another length");
        assert_eq!(begin(&mut starts, ClaimName([2; 32]), of(10), 2).1, Start::First, "of another start");
        assert_eq!(begin(&mut starts, ClaimName([3; 32]), of(10), 2).1, Start::Full);
        starts.whole(key, Stamp(3));
        assert_eq!(begin(&mut starts, START, of(10), 4), (key, Start::Alike));
        starts.sent(other);
        starts.unknown(other);
        assert_eq!(begin(&mut starts, START, of(11), 4), (other, Start::Unknown { at: Stamp(2) }));
        let either = Extent { length: None, boundary: 0 };
        assert_eq!(begin(&mut starts, START, either, 4), (other, Start::Unknown { at: Stamp(2) }), "the worse of two");
    }

    #[test]
    fn what_was_never_sent_leaves_nothing() {
        let mut starts = Starts::new(BOUNDS);
        let (key, _) = begin(&mut starts, START, of(10), 1);
        starts.give_back(key);
        assert_eq!(begin(&mut starts, START, of(10), 2), (key, Start::First));
    }

    #[test]
    fn what_the_disk_tells_is_under_way_until_it_is_said_otherwise() {
        let mut starts = Starts::new(BOUNDS);
        let (alice, address) = (UserName::new("alice").unwrap(), LogicalAddress("fd00::1".parse().unwrap()));
        starts.replay((START, of(10)), &alice, address, Stamp(1));
        let key = key_of(START, of(10));
        assert_eq!(begin(&mut starts, START, of(10), 2), (key, Start::Wait));
        starts.unknown(key);
        assert_eq!(begin(&mut starts, START, of(10), 2), (key, Start::Unknown { at: Stamp(1) }));
        assert_eq!(starts.oldest(), Some(Stamp(1)));
        assert_eq!(starts.release(|_| true), 1);
        assert!(starts.alike.is_empty() && starts.oldest().is_none());
        assert_eq!(begin(&mut starts, START, of(10), 3).1, Start::First);
    }

    #[test]
    fn they_go_with_their_pages() {
        let mut starts = Starts::new(BOUNDS);
        let (key, _) = begin(&mut starts, START, of(10), 1);
        starts.sent(key);
        let late = Now { wall: Stamp(5_000), running: Duration::from_secs(5) };
        starts.expire(late, |_| true);
        assert_eq!(begin(&mut starts, START, of(10), 2).1, Start::Wait, "never while it runs");
        starts.whole(key, Stamp(2));
        starts.expire(late, |_| true);
        assert!(starts.alike.is_empty());
    }
}
