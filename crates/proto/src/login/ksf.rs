//! How a password is stretched.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

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

    /// The function that these parameters name.
    pub(super) fn argon2(&self) -> Argon2<'static> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None)
            .expect("the bounds of this type lie within those of Argon2");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
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
            let _ = KsfParams::new(memory_kib, passes, lanes).unwrap().argon2();
        }
        for (memory_kib, passes, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 2), (8, 17, 1), (1 << 21, 1, 1)] {
            assert!(KsfParams::new(memory_kib, passes, lanes).is_err(), "{memory_kib} {passes} {lanes}");
        }
    }

    #[test]
    fn what_is_read_from_the_wire_is_bounded() {
        let wire = postcard::to_stdvec(&(u32::MAX, 1u32, 1u32)).unwrap();
        assert!(postcard::from_bytes::<KsfParams>(&wire).is_err());
        let wire = postcard::to_stdvec(&KsfParams::STANDARD).unwrap();
        assert_eq!(postcard::from_bytes(&wire), Ok(KsfParams::STANDARD));
    }
}
