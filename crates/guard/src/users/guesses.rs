//! How often a password may be guessed: pure policy over one durable counter for each name.

use crate::Stamp;
use std::time::Duration;

/// Wrong passwords without any delay.
const FREE: u32 = 5;
/// The delay after the last free one; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(3_600);

/// The passwords of one name since the last right one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Guesses {
    pub(super) count: u32,
    pub(super) last: Stamp,
}

impl Guesses {
    pub(super) const NONE: Self = Self { count: 0, last: Stamp(0) };

    /// One more, now; or how long to wait before.
    pub(super) fn guess(self, now: Stamp) -> Result<Self, Duration> {
        // A clock that was set back since then restarts one delay at most.
        let last = self.last.min(now);
        let wait = last.after(self.delay()).since(now);
        if wait.is_zero() { Ok(Self { count: self.count.saturating_add(1), last: now }) } else { Err(wait) }
    }

    fn delay(self) -> Duration {
        let Some(beyond) = self.count.checked_sub(FREE) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
        FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Stamp = Stamp(1_800_000_000_000);

    #[test]
    fn five_are_free_then_a_minute_doubles_to_an_hour() {
        for count in 0..5 {
            assert!(Guesses { count, last: NOW }.guess(NOW).is_ok(), "{count}");
        }
        for (count, minutes) in (5..).zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
            let guesses = Guesses { count, last: NOW };
            let wait = Duration::from_secs(60 * minutes);
            assert_eq!(guesses.guess(NOW), Err(wait), "{count}");
            assert_eq!(guesses.guess(NOW.after(wait)), Ok(Guesses { count: count + 1, last: NOW.after(wait) }));
        }
        assert_eq!(Guesses { count: u32::MAX, last: NOW }.guess(NOW), Err(LONGEST_DELAY));
    }

    #[test]
    fn a_clock_set_back_costs_one_delay_at_most() {
        let guesses = Guesses { count: 5, last: NOW };
        assert_eq!(guesses.guess(NOW.before(Duration::from_secs(86_400))), Err(FIRST_DELAY));
    }

    proptest! {
        /// Whoever guesses whenever he may gets one guess an hour in the long run.
        #[test]
        fn nobody_gets_more(pauses in prop::collection::vec(0..4_000_u64, 0..300)) {
            let (mut guesses, mut now, mut seen) = (Guesses::NONE, NOW, 0);
            for pause in pauses {
                now = now.after(Duration::from_secs(pause));
                if let Ok(counted) = guesses.guess(now) {
                    guesses = counted;
                    seen += 1;
                }
            }
            prop_assert!(seen <= 11 + now.since(NOW).as_secs() / 3_600, "{seen} in {:?}", now.since(NOW));
        }
    }
}
