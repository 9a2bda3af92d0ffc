//! How long each step of a connect took, by the monotonic clock.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Step 1, on this device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTimes {
    /// Reading the file, the fingerprint, and layer 1.
    pub device: Duration,
    /// Layer 2: the password's Argon2id (slow on purpose; 256 MiB by default).
    pub argon2id: Duration,
}

/// Steps 1 to 6 of one connect. Times of the waits, in order; they do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Step 1: local authentication. Zero for a resumption.
    pub local: LocalTimes,
    /// Steps 2 to 5: from the first packet of the knock until guidance with *ready* was read.
    pub knock: Duration,
    /// Step 6: from the first packet to the gateway until TLS stood.
    pub dial: Duration,
    /// Step 6: from the first message in TLS until the session stood, without `ksf`. For a resumption R1.
    pub login: Duration,
    /// The login's own Argon2id (OPAQUE's key stretching; 64 MiB by default). Zero for a resumption.
    pub ksf: Duration,
}

impl Timings {
    /// From the first packet of the knock until the session stood, both Argon2id apart.
    #[must_use]
    pub fn network(&self) -> Duration {
        self.knock + self.dial + self.login
    }

    /// Everything.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.local.device + self.local.argon2id + self.network() + self.ksf
    }
}

/// Step T for one connection inside a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTimes {
    /// From asking until the upstream was connected.
    pub open: Duration,
    /// From asking until the first byte came back, if one did.
    pub first_byte: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_hold_every_part_once() {
        let ms = Duration::from_millis;
        let timings = Timings {
            local: LocalTimes { device: ms(1), argon2id: ms(20) },
            knock: ms(300),
            dial: ms(4_000),
            login: ms(50_000),
            ksf: ms(600_000),
        };
        assert_eq!(timings.network(), ms(54_300));
        assert_eq!(timings.total(), ms(654_321));
    }
}
