//! Whether a knock of one row is new (PROTOCOL 3.5: freshness, silence to recordings, clock wrong).
//!
//! What was accepted is remembered by *stamp*, not by time: a stamp [`MARGIN`] behind the row's `last` is silence whatever
//! else holds, so only knock ids above that line need to be kept, and no clock, set back or not, can make an accepted
//! knock new again.

use crate::id::{KnockId, Stamp};
use std::time::{Duration, Instant};

/// W: how far a stamp may lie from the controller's time, either way.
pub const FRESHNESS_WINDOW: Duration = Duration::from_secs(60);

/// How far behind the newest accepted stamp a knock may still come in: the two of a dual-stack client may overtake each
/// other.
pub const MARGIN: Duration = Duration::from_secs(2);

/// At most one sealed time answer per row in this time.
pub(super) const TIME_ANSWER_PAUSE: Duration = Duration::from_secs(60);
/// Between two challenges of one gateway's link after a start.
const LINK_ANSWER_PAUSE: Duration = Duration::from_secs(2);

/// Knock ids kept per row. More are above the line only for a device that stamps by counting on from a wrong clock;
/// then the line rises.
const KNOWN_LIMIT: usize = 32;

/// What one row remembers of its knocks. Only knocks that Noise found authentic get here.
#[derive(Debug, Clone, Default)]
pub(super) struct Freshness {
    /// The newest stamp accepted; written to disk now and then, off the knock path.
    last: Stamp,
    /// Stamps up to here are silence.
    floor: Stamp,
    /// What was accepted up to here is not known by its id: it was before this start. Such stamps get no time answer.
    unknown_until: Stamp,
    /// Ids above the floor that were accepted or given a time answer.
    known: Vec<(Stamp, KnockId)>,
    time_told: Option<Instant>,
}

/// What a knock's stamp and id say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// New, and from now.
    Fresh,
    /// New, but its clock is wrong: tell it the time.
    OffClock,
    /// As old as, or older than, what was accepted: a recording.
    Old,
    /// This very knock was here before.
    Seen,
    /// Its clock is wrong, and the row was told the time within the last minute.
    ToldAlready,
}

/// What freshness is judged against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present {
    /// The monotonic clock.
    pub(super) mono: Instant,
    /// The controller's time.
    pub(super) time: Stamp,
    /// Stamps up to here need a challenge: where nobody keeps a durable seen-set, one from before a restart could hide
    /// among them (C4).
    pub(super) challenge_until: Stamp,
}

impl Freshness {
    /// A row whose newest accepted stamp on disk is `last`.
    pub(super) fn since(last: Stamp) -> Self {
        let mut freshness = Self::default();
        freshness.restore(last);
        freshness
    }

    /// Up to `last` knocks were accepted of which nothing else is remembered.
    pub(super) fn restore(&mut self, last: Stamp) {
        if last > self.last {
            self.unknown_until = last;
            self.raise(last);
        }
    }

    pub(super) fn last(&self) -> Stamp {
        self.last
    }

    /// Nothing is changed by asking. `challenged`: the knock echoes a challenge that the controller gave within a minute.
    pub(super) fn judge(&self, stamp: Stamp, id: KnockId, challenged: bool, present: Present) -> Verdict {
        if stamp <= self.floor {
            return Verdict::Old;
        }
        if self.known.iter().any(|(_, known)| *known == id) {
            return Verdict::Seen;
        }
        let in_time = stamp.abs_diff(present.time) <= FRESHNESS_WINDOW && stamp > present.challenge_until;
        if in_time || challenged {
            return Verdict::Fresh;
        }
        // A new id above the floor is no recording of this life. A device that counts on from a stamp ahead of its clock,
        // and did not hear that its last ones were accepted, is at or below `last` here, and has to be answered.
        if stamp <= self.unknown_until {
            return Verdict::Old;
        }
        // A link's knock after a start has nothing wrong with its clock: only a gateway's own key makes one, and a gateway
        // that restarts in that minute must not be shut out until it is over.
        let pause = if stamp <= present.challenge_until { LINK_ANSWER_PAUSE } else { TIME_ANSWER_PAUSE };
        let pausing = self.time_told.is_some_and(|told| present.mono < told + pause);
        if pausing { Verdict::ToldAlready } else { Verdict::OffClock }
    }

    /// The knock is accepted: it never will be again, and no older one.
    pub(super) fn accept(&mut self, stamp: Stamp, id: KnockId) {
        self.raise(stamp);
        self.know(stamp, id);
    }

    /// The knock got a time answer: it never gets anything again. `last` does not move, so that no stamp, however far
    /// in the future, shuts the device out.
    pub(super) fn tell_time(&mut self, stamp: Stamp, id: KnockId, now: Instant) {
        self.time_told = Some(now);
        self.know(stamp, id);
    }

    fn raise(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
        self.floor = self.floor.max(self.last.saturating_sub(MARGIN));
        let floor = self.floor;
        self.known.retain(|(stamp, _)| *stamp > floor);
    }

    fn know(&mut self, stamp: Stamp, id: KnockId) {
        if self.known.len() >= KNOWN_LIMIT {
            self.forget_one();
        }
        self.known.push((stamp, id));
    }

    /// Forgets the oldest knock; the floor takes over for it, though never beyond `last`.
    fn forget_one(&mut self) {
        let oldest = self.known.iter().enumerate().min_by_key(|(_, (stamp, _))| *stamp);
        let Some((at, &(stamp, _))) = oldest else { return };
        self.known.swap_remove(at);
        self.floor = self.floor.max(stamp.min(self.last));
        let floor = self.floor;
        self.known.retain(|(stamp, _)| *stamp > floor);
    }
}

/// Authentic knocks of one row: one a second, and a burst of five.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    /// When the row would be at rest again had it knocked in time since.
    rested: Option<Instant>,
}

impl Rate {
    const PER_KNOCK: Duration = Duration::from_secs(1);
    const BURST: u32 = 5;

    /// Whether another knock is within the rate; if so it is counted.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let rested = self.rested.map_or(now, |rested| rested.max(now)) + Self::PER_KNOCK;
        let within = rested <= now + Self::PER_KNOCK * Self::BURST;
        if within {
            self.rested = Some(rested);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);

    fn id(number: u64) -> KnockId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        KnockId::new(bytes)
    }

    fn at(ms: i64) -> Stamp {
        Stamp::from_millis(T.as_millis().saturating_add_signed(ms))
    }

    fn present(ms: i64) -> Present {
        Present { mono: Instant::now(), time: at(ms), challenge_until: Stamp::default() }
    }

    #[test]
    fn the_window_is_sixty_seconds_both_ways() {
        let row = Freshness::default();
        let judged = |ms| row.judge(at(ms), id(1), false, present(0));
        assert_eq!([judged(-60_001), judged(-60_000)], [Verdict::OffClock, Verdict::Fresh]);
        assert_eq!([judged(60_000), judged(60_001)], [Verdict::Fresh, Verdict::OffClock]);
    }

    #[test]
    fn an_accepted_knock_is_never_new_again_and_nothing_older_is() {
        let mut row = Freshness::default();
        row.accept(at(0), id(1));
        assert_eq!(row.judge(at(0), id(1), true, present(0)), Verdict::Seen);
        assert_eq!(row.judge(at(-1_999), id(2), false, present(0)), Verdict::Fresh, "overtaken by the other family");
        assert_eq!(row.judge(at(-2_000), id(3), true, present(0)), Verdict::Old);
        row.accept(at(5_000), id(4));
        assert_eq!(row.judge(at(0), id(1), true, present(5_000)), Verdict::Old);
    }

    #[test]
    fn what_was_written_to_disk_holds_after_a_restart() {
        let row = Freshness::since(at(0));
        assert_eq!(row.judge(at(-2_000), id(1), true, present(0)), Verdict::Old);
        assert_eq!(row.judge(at(-70_000), id(1), false, present(0)), Verdict::Old);
        assert_eq!(row.judge(at(1), id(1), false, present(0)), Verdict::Fresh);
    }

    #[test]
    fn a_wrong_clock_is_told_once_a_minute_and_once_per_knock_and_moves_nothing() {
        let mut row = Freshness::since(at(0));
        let (far, mut now) = (at(3_600_000), present(10));
        assert_eq!(row.judge(far, id(1), false, now), Verdict::OffClock);
        row.tell_time(far, id(1), now.mono);
        assert_eq!(row.judge(far, id(1), true, now), Verdict::Seen);
        assert_eq!(row.judge(far, id(2), false, now), Verdict::ToldAlready);
        assert_eq!(row.judge(at(11), id(3), false, now), Verdict::Fresh, "the key is not burnt");
        now.mono += TIME_ANSWER_PAUSE;
        assert_eq!(row.judge(far, id(2), false, now), Verdict::OffClock);
        assert_eq!(row.last(), at(0));
        now.time = far;
        assert_eq!(
            row.judge(far, id(1), false, now),
            Verdict::Seen,
            "an hour later its time has come, but it is known"
        );
    }

    #[test]
    fn a_device_that_did_not_hear_of_its_last_acceptance_is_told_the_time_and_a_recording_is_not() {
        let mut row = Freshness::since(at(0));
        for number in 1..=5 {
            row.accept(at(number), id(number as u64));
        }
        let hour_later = present(3_600_000);
        assert_eq!(row.judge(at(3), id(3), false, hour_later), Verdict::Seen);
        assert_eq!(row.judge(at(3), id(99), false, hour_later), Verdict::OffClock, "a new knock that counts on");
        assert_eq!(row.judge(at(0), id(98), false, hour_later), Verdict::Old);
        let restarted = Freshness::since(row.last());
        assert_eq!(restarted.judge(at(3), id(3), false, hour_later), Verdict::Old);
        assert_eq!(restarted.judge(at(5), id(99), false, hour_later), Verdict::Old);
        assert_eq!(restarted.judge(at(6), id(99), false, hour_later), Verdict::OffClock);
    }

    #[test]
    fn a_challenge_stands_for_the_window_but_not_for_being_new() {
        let mut row = Freshness::since(at(0));
        assert_eq!(row.judge(at(86_400_000), id(1), true, present(0)), Verdict::Fresh);
        row.accept(at(86_400_000), id(1));
        assert_eq!(row.judge(at(0), id(2), true, present(0)), Verdict::Old);
    }

    #[test]
    fn after_a_start_stamps_up_to_w_need_a_challenge_where_nobody_remembers() {
        let row = Freshness::since(at(-1));
        let quarantined = Present { challenge_until: at(60_000), ..present(0) };
        assert_eq!(row.judge(at(60_000), id(1), false, quarantined), Verdict::OffClock);
        assert_eq!(row.judge(at(60_000), id(1), true, quarantined), Verdict::Fresh);
        let later = Present { challenge_until: at(60_000), ..present(60_001) };
        assert_eq!(row.judge(at(60_001), id(1), false, later), Verdict::Fresh);
    }

    #[test]
    fn memory_is_bounded_and_the_floor_takes_over() {
        let mut row = Freshness::since(at(0));
        for number in 1..=1_000 {
            assert_eq!(row.judge(at(number), id(number as u64), true, present(0)), Verdict::Fresh);
            row.accept(at(number), id(number as u64));
            assert!(row.known.len() <= KNOWN_LIMIT);
        }
        for number in 1..=1_000 {
            assert_ne!(row.judge(at(number), id(number as u64), true, present(0)), Verdict::Fresh);
        }
        let mut row = Freshness::since(at(0));
        for number in 1..=1_000 {
            row.tell_time(at(1_000_000 + number), id(number as u64), Instant::now());
        }
        assert!(row.known.len() <= KNOWN_LIMIT);
        assert_eq!(row.judge(at(1), id(0), false, present(1)), Verdict::Fresh, "wrong clocks don't raise the floor");
    }

    #[test]
    fn five_at_once_then_one_a_second() {
        let (mut rate, t) = (Rate::default(), Instant::now());
        let taken = (0..10).filter(|_| rate.take(t)).count();
        assert_eq!(taken, 5);
        assert!(!rate.take(t + Duration::from_millis(999)));
        assert!(rate.take(t + Duration::from_secs(1)));
        assert!(!rate.take(t + Duration::from_secs(1)));
        let rested = t + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| rate.take(rested)).count(), 5);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Knock { number: u64, stamp: i64, challenged: bool },
        Clock(i64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..40u64, -130_000..130_000i64, prop::bool::weighted(0.2))
                .prop_map(|(number, stamp, challenged)| Step::Knock { number, stamp: stamp / 500 * 500, challenged }),
            1 => (-200_000..200_000i64).prop_map(Step::Clock),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever the clocks do: no knock is accepted twice in one life of the controller, none at or behind the margin
        /// after a restart, none told the time after it was accepted.
        #[test]
        fn no_knock_is_accepted_twice(steps in prop::collection::vec(step(), 0..120)) {
            let (mut row, mut time, mut written) = (Freshness::default(), 0, Stamp::default());
            let mut accepted = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Clock(ms) => time = ms,
                    Step::Restart => {
                        written = row.last();
                        row = Freshness::since(written);
                        let line = row.last().saturating_sub(MARGIN);
                        accepted.retain(|(stamp, _)| *stamp <= line);
                    }
                    Step::Knock { number, stamp, challenged } => {
                        // One number is one knock: its stamp is fixed by the client that made it.
                        let stamp = at(stamp + number as i64);
                        let key = (stamp, number);
                        let mut bytes = [0; 16];
                        bytes[..8].copy_from_slice(&number.to_be_bytes());
                        bytes[8..].copy_from_slice(&stamp.as_millis().to_be_bytes());
                        let id = KnockId::new(bytes);
                        match row.judge(stamp, id, challenged, present(time)) {
                            Verdict::Fresh => {
                                prop_assert!(accepted.insert(key));
                                row.accept(stamp, id);
                            }
                            Verdict::OffClock => {
                                prop_assert!(!accepted.contains(&key) && stamp > written);
                                row.tell_time(stamp, id, Instant::now());
                            }
                            Verdict::Old | Verdict::Seen | Verdict::ToldAlready => {}
                        }
                    }
                }
            }
        }
    }
}
