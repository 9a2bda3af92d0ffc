//! Randomness, passed in by the caller, so that nothing in this crate draws any by itself.
//!
//! The shells of the roles pass [`SystemEntropy`]; tests and test vectors pass [`SeededEntropy`], with which every
//! message of the protocol is the same in every run.

use crate::key::blake2s_hash;

/// A source of cryptographically secure random bytes.
///
/// Whoever implements it answers for the security of every key of a handshake: outside tests use [`SystemEntropy`].
pub trait Entropy {
    /// Fills all of `out` with fresh random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// `N` random bytes.
#[must_use]
pub fn bytes<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The operating system's randomness, through the generator of aws-lc-rs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl SystemEntropy {
    /// Draws once, so that the next draw finds the generator seeded. The first draw of a process gathers the seed for tens
    /// of milliseconds: whoever has other work to wait for does this beside it, on a thread of its own.
    ///
    /// # Panics
    /// As [`Entropy::fill`].
    pub fn seed() {
        Self.fill(&mut [0; 1]);
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system gives no randomness. To go on with predictable keys would be worse.
    fn fill(&mut self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the operating system gives randomness");
    }
}

/// A stream of bytes that is a function of a seed. For tests and test vectors only: its output is no secret.
///
/// Block *i* (from 0) of the stream is `BLAKE2s-256("vestibule/1 seeded entropy" ‖ seed 32 ‖ i 8 big-endian)`; what one
/// call leaves of a block the next one takes.
#[derive(Debug, Clone)]
pub struct SeededEntropy {
    seed: [u8; 32],
    next_block: u64,
    block: [u8; 32],
    used: usize,
}

impl SeededEntropy {
    /// The stream of the seed whose last eight bytes are `number`, big-endian, and whose others are 0.
    #[must_use]
    pub fn new(number: u64) -> Self {
        let mut seed = [0; 32];
        seed[24..].copy_from_slice(&number.to_be_bytes());
        Self::from_seed(seed)
    }

    /// The stream of `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, next_block: 0, block: [0; 32], used: 32 }
    }

    fn refill(&mut self) {
        let number = self.next_block.to_be_bytes();
        self.block = blake2s_hash(&[b"vestibule/1 seeded entropy", &self.seed, &number]);
        self.next_block += 1;
        self.used = 0;
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                self.refill();
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

/// Our entropy as the generator that `opaque-ke` asks for.
pub(crate) struct RandCore<'a>(pub(crate) &'a mut dyn Entropy);

impl rand_core::RngCore for RandCore<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(bytes(self.0))
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(bytes(self.0))
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::CryptoRng for RandCore<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_stream_does_not_depend_on_how_it_is_cut() {
        let whole: [u8; 100] = bytes(&mut SeededEntropy::new(7));
        let mut cut = [0; 100];
        let mut entropy = SeededEntropy::new(7);
        let (head, tail) = cut.split_at_mut(33);
        entropy.fill(head);
        entropy.fill(tail);
        assert_eq!(whole, cut);
    }

    #[test]
    fn streams_of_two_seeds_differ() {
        let first: [u8; 32] = bytes(&mut SeededEntropy::new(1));
        let second: [u8; 32] = bytes(&mut SeededEntropy::new(2));
        assert_ne!(first, second);
    }

    #[test]
    fn the_system_gives_different_bytes_each_time() {
        let first: [u8; 32] = bytes(&mut SystemEntropy);
        let second: [u8; 32] = bytes(&mut SystemEntropy);
        assert_ne!(first, second);
    }
}
