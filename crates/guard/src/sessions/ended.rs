//! What became of sessions that are over, for as long as their clients may ask.

use super::Gone;
use crate::{Binding, Stamp};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// For so long a client is told why its session is over.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Reasons by client, a bounded number of them: the oldest are forgotten first.
pub(super) struct Ended {
    limit: usize,
    reasons: HashMap<[u8; 32], (Stamp, Gone)>,
    order: BTreeSet<(Stamp, [u8; 32])>,
}

impl Ended {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { limit, reasons: HashMap::new(), order: BTreeSet::new() }
    }

    /// Remembers why a client's session is over; of several the last.
    pub(super) fn insert(&mut self, binding: &Binding, why: Gone, at: Stamp) {
        if self.reasons.get(&binding.0).is_some_and(|(known, _)| *known > at) {
            return;
        }
        self.remove(binding);
        self.reasons.insert(binding.0, (at, why));
        self.order.insert((at, binding.0));
        while self.order.len() > self.limit {
            self.forget_first();
        }
    }

    pub(super) fn remove(&mut self, binding: &Binding) {
        if let Some((at, _)) = self.reasons.remove(&binding.0) {
            self.order.remove(&(at, binding.0));
        }
    }

    pub(super) fn why(&self, binding: &Binding) -> Gone {
        self.reasons.get(&binding.0).map_or(Gone::Unknown, |(_, why)| *why)
    }

    pub(super) fn forget_old(&mut self, now: Stamp) {
        while self.order.first().is_some_and(|(at, _)| at.after(REMEMBERED) <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, binding)) = self.order.pop_first() {
            self.reasons.remove(&binding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_for_a_day() {
        let mut ended = Ended::with_limit(2);
        for (byte, at) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            ended.insert(&Binding([byte; 32]), Gone::Idle, Stamp(at));
        }
        let why = |ended: &Ended| [1, 2, 3].map(|byte| ended.why(&Binding([byte; 32])));
        assert_eq!(why(&ended), [Gone::Idle, Gone::Unknown, Gone::Idle]);
        ended.forget_old(Stamp(30).after(REMEMBERED));
        assert_eq!(why(&ended), [Gone::Unknown, Gone::Unknown, Gone::Idle]);
        ended.remove(&Binding([3; 32]));
        assert_eq!(why(&ended), [Gone::Unknown; 3]);
        assert!(ended.order.is_empty() && ended.reasons.is_empty());
    }
}
