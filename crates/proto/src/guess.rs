//! How often a password may be guessed (m12): pure policy over one durable counter per device.
//!
//! Wrong passwords count wherever they show: a knock whose inner seal is wrong, and a failed login (C12). The counter is
//! written down *before* the answer, by the shell; this module only says what a count means.

use crate::id::Stamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wrong passwords of one device since its last login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuessCount {
    /// How many.
    pub count: u8,
    /// When the latest was counted.
    pub last: Stamp,
}

/// Whether the next password of a device is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Allowed,
    /// Not before so much time has passed; until then even the right one is refused unseen.
    Wait(Duration),
    /// Never again, until the gateway's owner resets the count.
    Suspended,
}

/// What a device may do: a few tries at once, then one per delay, and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessPolicy {
    /// Wrong passwords without any delay.
    pub free: u8,
    /// The delay after the last free one; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest delay.
    pub longest_delay: Duration,
    /// With so many wrong passwords the device is suspended.
    pub limit: u8,
}

impl Default for GuessPolicy {
    /// 5 free, then 60 s doubling to 1 h, suspended at 20: a thief gets 20 tries in half a day or more, seen by the owner.
    fn default() -> Self {
        Self { free: 5, first_delay: Duration::from_secs(60), longest_delay: Duration::from_secs(3_600), limit: 20 }
    }
}

impl GuessCount {
    /// After one more wrong password, at `now`.
    #[must_use]
    pub fn counted(self, now: Stamp) -> Self {
        Self { count: self.count.saturating_add(1), last: self.last.max(now) }
    }

    /// The same count, dated `now` if its date lies in the future. A clock that was set back since then thus
    /// restarts one delay instead of locking the device until the old time comes again.
    #[must_use]
    pub fn not_after(self, now: Stamp) -> Self {
        Self { last: self.last.min(now), ..self }
    }
}

impl GuessPolicy {
    /// What `count` means at `now`.
    #[must_use]
    pub fn verdict(&self, count: GuessCount, now: Stamp) -> Verdict {
        if count.count >= self.limit {
            return Verdict::Suspended;
        }
        let Some(delay) = self.delay(count.count) else { return Verdict::Allowed };
        let wait = count.last.saturating_add(delay).saturating_since(now);
        if wait.is_zero() { Verdict::Allowed } else { Verdict::Wait(wait) }
    }

    /// The delay after the `count`-th wrong password; `None` while tries are free.
    fn delay(&self, count: u8) -> Option<Duration> {
        let beyond = count.checked_sub(self.free)?;
        let doubled = 1u32.checked_shl(u32::from(beyond)).and_then(|factor| self.first_delay.checked_mul(factor));
        Some(doubled.map_or(self.longest_delay, |delay| delay.min(self.longest_delay)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);

    fn wait_after(count: u8) -> Verdict {
        GuessPolicy::default().verdict(GuessCount { count, last: T }, T)
    }

    #[test]
    fn five_are_free_then_a_minute_doubles_to_an_hour_and_twenty_end_it() {
        for count in 0..5 {
            assert_eq!(wait_after(count), Verdict::Allowed, "{count}");
        }
        let minutes = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60];
        for (count, minutes) in (5..).zip(minutes) {
            assert_eq!(wait_after(count), Verdict::Wait(Duration::from_secs(minutes * 60)), "{count}");
        }
        for count in 20..=255 {
            assert_eq!(wait_after(count), Verdict::Suspended, "{count}");
        }
    }

    #[test]
    fn a_delay_ends_when_it_is_over() {
        let (policy, count) = (GuessPolicy::default(), GuessCount { count: 5, last: T });
        let at = |ms| policy.verdict(count, T.saturating_add(Duration::from_millis(ms)));
        assert_eq!(at(59_999), Verdict::Wait(Duration::from_millis(1)));
        assert_eq!(at(60_000), Verdict::Allowed);
    }

    #[test]
    fn a_clock_set_back_costs_one_delay_at_most() {
        let back = T.saturating_sub(Duration::from_secs(3_600));
        let count = GuessCount { count: 5, last: T }.not_after(back);
        assert_eq!(GuessPolicy::default().verdict(count, back), Verdict::Wait(Duration::from_secs(60)));
    }

    #[test]
    fn a_limit_below_the_free_tries_still_ends_it() {
        let policy = GuessPolicy { limit: 3, ..GuessPolicy::default() };
        assert_eq!(policy.verdict(GuessCount { count: 3, last: T }, T), Verdict::Suspended);
    }

    proptest! {
        /// Whoever guesses whenever the policy lets him gets `limit` guesses, and no two after the free ones are closer
        /// than the policy's delay.
        #[test]
        fn nobody_gets_more_than_the_limit(pauses in prop::collection::vec(0..5_000u64, 0..200)) {
            let policy = GuessPolicy::default();
            let (mut now, mut count, mut looked_at) = (T, GuessCount::default(), Vec::new());
            for pause in pauses {
                now = now.saturating_add(Duration::from_secs(pause));
                if policy.verdict(count, now) == Verdict::Allowed {
                    looked_at.push(now);
                    count = count.counted(now);
                }
            }
            prop_assert!(looked_at.len() <= 20);
            for (nth, pair) in looked_at.windows(2).enumerate().skip(4) {
                let delay = Duration::from_secs((60u64 << (nth - 4).min(6)).min(3_600));
                prop_assert!(pair[1].saturating_since(pair[0]) >= delay, "{nth}");
            }
        }
    }
}
