//! Wall-clock time as a value.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Milliseconds since 1970-01-01 UTC, leap seconds apart. Always passed in: nothing pure reads a clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// This much later; the end of time at most.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This much earlier; 1970 at least.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; nothing when it isn't.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stop_at_the_ends_of_time() {
        let second = Duration::from_secs(1);
        assert_eq!(Stamp(5).after(second), Stamp(1_005));
        assert_eq!(Stamp(u64::MAX).after(second), Stamp(u64::MAX));
        assert_eq!(Stamp(5).before(second), Stamp(0));
        assert_eq!(Stamp(1_005).since(Stamp(5)), second);
        assert_eq!(Stamp(5).since(Stamp(1_005)), Duration::ZERO);
        assert_eq!(Stamp(0).after(Duration::MAX), Stamp(u64::MAX));
    }
}
