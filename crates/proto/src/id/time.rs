//! Time as the protocol sees it: passed in, never asked for.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A wall-clock time: milliseconds since the Unix epoch. Eight bytes, big-endian, in messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(u64);

impl Stamp {
    /// The time so many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// A clock's reading. What lies before the epoch is the epoch, what lies beyond the range its end.
    #[must_use]
    pub fn from_system(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }

    /// So much later, or the end of the range.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// So much earlier, or the epoch.
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How far two times lie apart, whichever is the later.
    #[must_use]
    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// The present, twice: a clock that only goes forward, for deadlines, and the wall clock, for stamps. The caller reads
/// both once per event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock: every deadline and time-out is measured by it.
    pub mono: Instant,
    /// Wall clock: what is written into messages and compared with their stamps. It may jump.
    pub wall: Stamp,
}

impl Now {
    /// The present by these two clocks.
    #[must_use]
    pub const fn new(mono: Instant, wall: Stamp) -> Self {
        Self { mono, wall }
    }

    /// The present, `by` later on both clocks.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: self.wall.saturating_add(by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_milliseconds_and_never_wraps() {
        let t = Stamp::from_system(UNIX_EPOCH + Duration::from_micros(1_500_999));
        assert_eq!(t, Stamp::from_millis(1_500));
        assert_eq!(Stamp::from_system(UNIX_EPOCH - Duration::from_secs(1)), Stamp::from_millis(0));
        assert_eq!(t.saturating_sub(Duration::from_secs(9)), Stamp::from_millis(0));
        assert_eq!(t.saturating_add(Duration::MAX), Stamp::from_millis(u64::MAX));
        assert_eq!(t.abs_diff(Stamp::from_millis(2_000)), Duration::from_millis(500));
        assert_eq!(t.saturating_since(Stamp::from_millis(2_000)), Duration::ZERO);
    }
}
