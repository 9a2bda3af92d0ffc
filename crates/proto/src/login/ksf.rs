//! How a password is stretched.

use argon2::{Algorithm, Argon2, Block, Params, RECOMMENDED_SALT_LEN, Version};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Parameters of Argon2id as OPAQUE's key stretching function. Stored with the record that was made with them: a login
/// must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct KsfParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Parameters outside of what Argon2 allows or what we are willing to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds")]
pub struct KsfOutOfBounds {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl KsfParams {
    /// What new records are made with: 64 MiB, 3 passes, 1 lane.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

    /// The most memory that a peer's parameters may make us use, in KiB: 1 GiB.
    pub const MOST_MEMORY_KIB: u32 = 1024 * 1024;
    /// The most passes that a peer's parameters may make us compute.
    pub const MOST_PASSES: u32 = 16;
    /// The most lanes.
    pub const MOST_LANES: u32 = 16;

    /// Argon2id with so many KiB of memory, passes over it, and lanes.
    ///
    /// # Errors
    /// [`KsfOutOfBounds`] for less than Argon2's least (8 KiB per lane, 1 pass, 1 lane) or more than the `MOST_` constants.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, KsfOutOfBounds> {
        let lanes_fit = lanes >= 1 && lanes <= Self::MOST_LANES;
        let passes_fit = passes >= 1 && passes <= Self::MOST_PASSES;
        if lanes_fit && passes_fit && memory_kib >= 8 * lanes && memory_kib <= Self::MOST_MEMORY_KIB {
            Ok(Self { memory_kib, passes, lanes })
        } else {
            Err(KsfOutOfBounds { memory_kib, passes, lanes })
        }
    }

    /// Memory, in KiB.
    #[must_use]
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    fn argon2(&self) -> Result<Argon2<'static>, argon2::Error> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None)?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// Argon2id of `input`, with a salt of zeros as RFC 9807 has it, into `output`. Its memory is erased.
    fn stretch(&self, input: &[u8], output: &mut [u8]) -> Result<(), argon2::Error> {
        let argon2 = self.argon2()?;
        let mut memory = Zeroizing::new(vec![Block::default(); argon2.params().block_count()]);
        argon2.hash_password_into_with_memory(input, &[0; RECOMMENDED_SALT_LEN], output, memory.as_mut_slice())
    }
}

impl Default for KsfParams {
    /// [`KsfParams::STANDARD`]: opaque-ke would fall back to it where no parameters are given, which we never do.
    fn default() -> Self {
        Self::STANDARD
    }
}

impl Ksf for KsfParams {
    fn hash<L: ArrayLength<u8>>(&self, mut input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        let mut output = GenericArray::default();
        let stretched = self.stretch(&input, &mut output);
        input.zeroize();
        stretched.map(|()| output).map_err(|_| InternalError::KsfError)
    }
}

impl TryFrom<(u32, u32, u32)> for KsfParams {
    type Error = KsfOutOfBounds;

    fn try_from((memory_kib, passes, lanes): (u32, u32, u32)) -> Result<Self, KsfOutOfBounds> {
        Self::new(memory_kib, passes, lanes)
    }
}

impl From<KsfParams> for (u32, u32, u32) {
    fn from(params: KsfParams) -> Self {
        (params.memory_kib, params.passes, params.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_argon2_or_tighter() {
        for (memory_kib, passes, lanes) in [(8, 1, 1), (128, 16, 16), (KsfParams::MOST_MEMORY_KIB, 1, 1)] {
            assert!(KsfParams::new(memory_kib, passes, lanes).unwrap().argon2().is_ok());
        }
        for (memory_kib, passes, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 2), (8, 17, 1), (1 << 21, 1, 1)] {
            assert!(KsfParams::new(memory_kib, passes, lanes).is_err(), "{memory_kib} {passes} {lanes}");
        }
    }

    #[test]
    fn stretches_like_the_library() {
        let (mut ours, mut theirs) = ([0; 64], [0; 64]);
        let params = KsfParams::new(64, 2, 2).unwrap();
        params.stretch(b"input", &mut ours).unwrap();
        params.argon2().unwrap().hash_password_into(b"input", &[0; 16], &mut theirs).unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn what_is_read_from_the_wire_is_bounded() {
        let wire = postcard::to_stdvec(&(u32::MAX, 1u32, 1u32)).unwrap();
        assert!(postcard::from_bytes::<KsfParams>(&wire).is_err());
        let wire = postcard::to_stdvec(&KsfParams::STANDARD).unwrap();
        assert_eq!(postcard::from_bytes(&wire), Ok(KsfParams::STANDARD));
    }
}
