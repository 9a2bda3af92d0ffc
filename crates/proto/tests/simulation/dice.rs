//! Chance, a function of a seed.

use vestibule_proto::entropy::{Entropy, SeededEntropy, bytes};

pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        u64::from_be_bytes(bytes(&mut self.0)) % limit
    }

    /// True so many times of a thousand.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }
}

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}
