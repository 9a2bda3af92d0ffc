//! What a credential's password layer costs, and how much of a typing mistake it shows.

use thiserror::Error;

/// Stretching cost (Argon2id, RFC 9106) and typo bits of one credential; stored in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    memory_kib: u32,
    passes: u32,
    lanes: u8,
    typo_bits: u8,
}

/// Values outside the bounds of [`Params::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("memory must be 8 KiB a lane to 4 GiB, passes 1 to 64, lanes 1 to 16, typo bits 0 to 32")]
pub struct InvalidParams;

impl Params {
    const MOST_MEMORY_KIB: u32 = 4 << 20;
    const MOST_PASSES: u32 = 64;
    const MOST_LANES: u8 = 16;
    const MOST_TYPO_BITS: u8 = 32;

    /// Memory in KiB (8 a lane to 4 GiB), passes over it (1 to 64), lanes (1 to 16), typo bits (0 to 32).
    ///
    /// # Errors
    /// [`InvalidParams`] outside these bounds.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u8, typo_bits: u8) -> Result<Self, InvalidParams> {
        let memory_fits = memory_kib >= 8 * lanes as u32 && memory_kib <= Self::MOST_MEMORY_KIB;
        let passes_fit = passes >= 1 && passes <= Self::MOST_PASSES;
        let lanes_fit = lanes >= 1 && lanes <= Self::MOST_LANES;
        if memory_fits && passes_fit && lanes_fit && typo_bits <= Self::MOST_TYPO_BITS {
            Ok(Self { memory_kib, passes, lanes, typo_bits })
        } else {
            Err(InvalidParams)
        }
    }

    /// The same cost with another number of typo bits: more find more typing mistakes and help a thief of the file as
    /// much (he drops all but 2^-t of his candidates off line).
    ///
    /// # Errors
    /// [`InvalidParams`] above 32.
    pub const fn with_typo_bits(self, typo_bits: u8) -> Result<Self, InvalidParams> {
        Self::new(self.memory_kib, self.passes, self.lanes, typo_bits)
    }

    /// The same cost with all typo bits: for a check that tells nobody anything whom a TPM has not let pass.
    #[must_use]
    pub(super) const fn complete(self) -> Self {
        Self { typo_bits: Self::MOST_TYPO_BITS, ..self }
    }

    /// Memory that Argon2id fills, in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// How often Argon2id goes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes of Argon2id; one thread computes them all.
    #[must_use]
    pub const fn lanes(self) -> u8 {
        self.lanes
    }

    /// `t`: so many bits of a digest of the seed stand in the file. One wrong password in 2^t passes them.
    #[must_use]
    pub const fn typo_bits(self) -> u8 {
        self.typo_bits
    }

    /// Whether a guess costs less memory, or less work, than with `other`.
    pub(super) fn weaker_than(self, other: Self) -> bool {
        let work = |params: Self| u64::from(params.memory_kib) * u64::from(params.passes);
        self.memory_kib < other.memory_kib || work(self) < work(other)
    }
}

impl Default for Params {
    /// 256 MiB, 3 passes, 1 lane, 10 typo bits (PROTOCOL 3.2).
    fn default() -> Self {
        Self { memory_kib: 256 << 10, passes: 3, lanes: 1, typo_bits: 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(Params::new(8, 1, 1, 0).is_ok());
        assert!(Params::new(4 << 20, 64, 16, 32).is_ok());
        for (memory, passes, lanes, bits) in
            [(7, 1, 1, 0), (15, 1, 2, 0), ((4 << 20) + 1, 1, 1, 0), (8, 0, 1, 0), (8, 65, 1, 0), (8, 1, 0, 0)]
        {
            assert_eq!(Params::new(memory, passes, lanes, bits), Err(InvalidParams));
        }
        assert_eq!(Params::new(1024, 1, 17, 0), Err(InvalidParams));
        assert_eq!(Params::default().with_typo_bits(33), Err(InvalidParams));
    }

    #[test]
    fn the_default_is_that_of_the_protocol() {
        assert_eq!(Ok(Params::default()), Params::new(262_144, 3, 1, 10));
    }

    #[test]
    fn weaker_means_less_memory_or_less_work() {
        let weaker = |memory, passes| Params::new(memory, passes, 1, 10).unwrap().weaker_than(Params::default());
        assert!(weaker(262_143, 64));
        assert!(weaker(262_144, 2));
        assert!(!weaker(262_144, 3));
        assert!(!weaker(524_288, 2));
    }
}
