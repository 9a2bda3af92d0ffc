//! How long to wait before the next attempt: doubling, bounded, with jitter.

use std::time::Duration;
use vestibule_proto::entropy::{self, Entropy};

/// The first wait; the next ones double.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits between attempts of one thing. Each is drawn from the upper half of its span, so that many gateways whose
/// controller comes back don't arrive together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Waits anew from the first; to be called after a success that lasted.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait before the next attempt, in whole milliseconds.
    pub(crate) fn next(&mut self, entropy: &mut dyn Entropy) -> Duration {
        let span = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let random = f64::from(u32::from_be_bytes(entropy::bytes(entropy))) / f64::from(u32::MAX);
        Duration::from_millis(span.mul_f64(0.5 + random / 2.0).as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_proto::entropy::SeededEntropy;

    #[test]
    fn waits_double_up_to_the_bound_and_differ() {
        let (mut backoff, mut entropy) = (Backoff::default(), SeededEntropy::new(1));
        let waits: Vec<_> = (0..40).map(|_| backoff.next(&mut entropy)).collect();
        for (failures, wait) in waits.iter().enumerate() {
            let span = FIRST.saturating_mul(1 << failures.min(20)).min(LONGEST);
            assert!(*wait >= span / 2 && *wait <= span, "{failures}: {wait:?}");
            assert_eq!(wait.subsec_micros() % 1_000, 0, "told in the log");
        }
        assert_ne!(waits[38], waits[39]);
        backoff.reset();
        assert!(backoff.next(&mut entropy) <= FIRST);
    }
}
