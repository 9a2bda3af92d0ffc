//! The wall clock as a role reads it: never running back under it (m2).
//!
//! Stamps are judged by the wall clock, and a wall clock may be set back, on purpose or by a bad time server. What had
//! expired would then live again. So a role's time goes on by the monotonic clock wherever the wall clock would fall
//! behind it. Clients whose own clocks are right then get a sealed time answer and come in.

use crate::id::{Now, Stamp};
use std::time::{Duration, Instant};

/// A wall clock that lies further behind than this is followed after all: one of the two readings was nonsense, and to
/// insist on the later one would make every client ask its user until the role restarts.
pub const FOLLOWED_BACK: Duration = Duration::from_secs(24 * 3_600);

/// A wall clock that never runs back by less than [`FOLLOWED_BACK`].
#[derive(Debug, Clone)]
pub struct SteadyClock {
    start: Stamp,
    /// The latest reading at which the wall clock was not behind; time goes on from here.
    anchor: Now,
    followed_back: u64,
}

impl SteadyClock {
    /// A clock that starts at `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { start: now.wall, anchor: now, followed_back: 0 }
    }

    /// The time at `now`: the wall clock, or what it would be had it not been set back.
    pub fn read(&mut self, now: Now) -> Stamp {
        let expected = self.anchor.wall.saturating_add(now.mono.saturating_duration_since(self.anchor.mono));
        let behind = expected.saturating_since(now.wall);
        if !behind.is_zero() && behind <= FOLLOWED_BACK {
            return expected;
        }
        self.followed_back += u64::from(!behind.is_zero());
        self.anchor = now;
        now.wall
    }

    /// When this clock will read `time`, unless the wall clock is set meanwhile; `None` beyond all reason.
    #[must_use]
    pub fn when(&self, time: Stamp) -> Option<Instant> {
        self.anchor.mono.checked_add(time.saturating_since(self.anchor.wall))
    }

    /// When the role started, by its wall clock.
    #[must_use]
    pub fn start(&self) -> Stamp {
        self.start
    }

    /// How often the wall clock was followed far back.
    #[must_use]
    pub fn followed_back(&self) -> u64 {
        self.followed_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn start() -> Now {
        Now::new(Instant::now(), Stamp::from_millis(1_800_000_000_000))
    }

    #[test]
    fn goes_on_when_the_wall_clock_is_set_back() {
        let t = start();
        let mut clock = SteadyClock::new(t);
        assert_eq!(clock.read(t.after(HOUR)), t.wall.saturating_add(HOUR));
        let back = Now::new(t.mono + 2 * HOUR, t.wall);
        assert_eq!(clock.read(back), t.wall.saturating_add(2 * HOUR));
        let caught_up = Now::new(t.mono + 3 * HOUR, t.wall.saturating_add(4 * HOUR));
        assert_eq!(clock.read(caught_up), t.wall.saturating_add(4 * HOUR));
        assert_eq!((clock.start(), clock.followed_back()), (t.wall, 0));
    }

    #[test]
    fn follows_a_wall_clock_that_had_been_years_ahead() {
        let t = start();
        let mut clock = SteadyClock::new(t);
        let ahead = Now::new(t.mono, t.wall.saturating_add(10 * 365 * 24 * HOUR));
        assert_eq!(clock.read(ahead), ahead.wall);
        assert_eq!(clock.read(t.after(HOUR)), t.wall.saturating_add(HOUR));
        assert_eq!(clock.followed_back(), 1);
    }

    proptest! {
        #[test]
        fn never_runs_back_by_a_day_or_less(jumps in prop::collection::vec((0..100_000u64, -86_400_000i64..86_400_000), 1..40)) {
            let t = start();
            let (mut clock, mut mono, mut before) = (SteadyClock::new(t), t.mono, t.wall);
            for (elapsed, jump) in jumps {
                mono += Duration::from_millis(elapsed);
                let due = before.as_millis() + elapsed;
                let wall = Stamp::from_millis(due.saturating_add_signed(jump));
                let reading = clock.read(Now::new(mono, wall));
                prop_assert!(reading >= before && reading >= wall);
                before = reading;
            }
        }
    }
}
