//! Many measurements of the same.

use std::time::{Duration, Instant};

/// Durations, sorted.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Sorts them.
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// Runs `once` so many times, after a tenth as many that don't count.
    ///
    /// # Errors
    /// The first that `once` gives.
    pub(crate) fn measure<E>(count: usize, mut once: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        for _ in 0..count / 10 {
            once()?;
        }
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            once()?;
            samples.push(start.elapsed());
        }
        Ok(Self::new(samples))
    }

    /// The smallest sample that at least `percent` of all are not above (nearest rank); zero where there are none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or_default()
    }

    /// The same in microseconds.
    pub(crate) fn micros(&self, percent: f64) -> f64 {
        self.percentile(percent).as_secs_f64() * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples = Samples::new((1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!(samples.percentile(50.0), Duration::from_micros(50));
        assert_eq!(samples.percentile(99.0), Duration::from_micros(99));
        assert_eq!(samples.percentile(100.0), Duration::from_micros(100));
        assert_eq!(samples.percentile(0.0), Duration::from_micros(1));
        assert_eq!(Samples::new(Vec::new()).percentile(50.0), Duration::ZERO);
        assert_eq!(Samples::new(vec![Duration::from_micros(7)]).percentile(99.0), Duration::from_micros(7));
    }

    #[test]
    fn the_first_tenth_does_not_count() {
        let mut runs = 0;
        let samples = Samples::measure(20, || {
            runs += 1;
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!((runs, samples.0.len()), (22, 20));
        assert_eq!(Samples::measure(5, || Err("no")).err(), Some("no"));
    }
}
