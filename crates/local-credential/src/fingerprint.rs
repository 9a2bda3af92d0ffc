//! Device fingerprint: what tells this machine from another one, gathered afresh at each use and never stored.
//!
//! A fingerprint is no secret: whoever has a copy of the disk can name it. It stops a *copied file* from opening by
//! itself on another machine. A TPM is no source of it, for a source may be missing: see [`crate::tpm`].

mod sources;

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use sources::{Fixed, ReadSource, Sources};

/// Where one part of the fingerprint comes from. The number is its bit in a key slot's mask, so it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Source {
    /// `machine-id(5)`: chosen at installation of the operating system.
    MachineId = 0,
    /// The mainboard's or virtual machine's UUID of SMBIOS ("DMI"); usually readable by root alone.
    ProductUuid = 1,
    /// The id of the root filesystem, where it comes from the filesystem itself and not from its place.
    FilesystemId = 2,
}

impl Source {
    /// All sources, in the order of their bits.
    pub const ALL: [Self; 3] = [Self::MachineId, Self::ProductUuid, Self::FilesystemId];

    /// The bit of this source in a mask.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The source with this bit, `None` for a bit that this version doesn't know.
    #[must_use]
    pub fn from_bit(bit: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.bit() == bit)
    }

    /// The sources of a mask, in the order of their bits; unknown bits are left out.
    pub(crate) fn of_mask(mask: u8) -> Vec<Self> {
        Self::ALL.into_iter().filter(|source| source.bit() & mask != 0).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MachineId => "machine id",
            Self::ProductUuid => "DMI product uuid",
            Self::FilesystemId => "filesystem id",
        })
    }
}

/// Not one source could be read, so there is nothing to bind a credential to or to open one with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this machine has neither a machine id nor a readable product uuid or filesystem id")]
pub struct NoSource;

/// What the sources of this machine said at one moment: for each readable source a digest of its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint {
    readings: Vec<Reading>,
}

/// One source and `SHA-256("vestibule/1 source" ‖ number of the source 1 ‖ value)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) source: Source,
    pub(crate) digest: [u8; 32],
}

impl Fingerprint {
    /// Reads all sources now. Called at each use: a fingerprint kept from an earlier moment proves nothing.
    ///
    /// # Errors
    /// [`NoSource`] if not one of them can be read.
    pub fn gather(sources: &Sources) -> Result<Self, NoSource> {
        let mut readings: Vec<Reading> = sources.readers().filter_map(read).collect();
        readings.sort_by_key(|reading| reading.source);
        readings.dedup_by_key(|reading| reading.source);
        if readings.is_empty() { Err(NoSource) } else { Ok(Self { readings }) }
    }

    /// Which sources were readable.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        self.readings.iter().map(|reading| reading.source).collect()
    }

    /// What the gateway stores of this machine at enrolment (part of `A1`, PROTOCOL 3.3):
    /// `SHA-256("vestibule/1 fingerprint" ‖ salt 16 ‖ (number of the source 1 ‖ digest 32) of each readable source)`.
    ///
    /// `salt` is random per device and kept in the credential, so that two commitments of one machine can't be linked.
    #[must_use]
    pub fn commitment(&self, salt: &[u8; 16]) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(b"vestibule/1 fingerprint").chain_update(salt);
        for reading in &self.readings {
            hash.update([reading.source as u8]);
            hash.update(reading.digest);
        }
        hash.finalize().into()
    }

    pub(crate) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// The mask of the readable sources.
    pub(crate) fn mask(&self) -> u8 {
        self.readings.iter().fold(0, |mask, reading| mask | reading.source.bit())
    }
}

impl fmt::Debug for Fingerprint {
    /// Names the sources, not their values: those are nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fingerprint").field(&self.sources()).finish()
    }
}

fn read(reader: &dyn ReadSource) -> Option<Reading> {
    let source = reader.source();
    let value = reader.read()?;
    let hash =
        Sha256::new().chain_update(b"vestibule/1 source").chain_update([source as u8]).chain_update(value.as_slice());
    Some(Reading { source, digest: hash.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [5; 16];

    fn fingerprint(values: &[(Source, &str)]) -> Fingerprint {
        Fingerprint::gather(&Sources::fixed(values)).unwrap()
    }

    #[test]
    fn a_machine_without_any_source_has_no_fingerprint() {
        assert_eq!(Fingerprint::gather(&Sources::fixed(&[])), Err(NoSource));
    }

    #[test]
    fn the_order_of_the_readers_does_not_matter() {
        let one = fingerprint(&[(Source::MachineId, "a"), (Source::FilesystemId, "b")]);
        let other = fingerprint(&[(Source::FilesystemId, "b"), (Source::MachineId, "a")]);
        assert_eq!(one, other);
        assert_eq!(one.commitment(&SALT), other.commitment(&SALT));
        assert_eq!(one.sources(), [Source::MachineId, Source::FilesystemId]);
    }

    #[test]
    fn the_commitment_depends_on_every_value_its_source_and_the_salt() {
        let whole = fingerprint(&[(Source::MachineId, "a"), (Source::ProductUuid, "b")]).commitment(&SALT);
        for other in [
            fingerprint(&[(Source::MachineId, "a")]),
            fingerprint(&[(Source::MachineId, "a"), (Source::ProductUuid, "c")]),
            fingerprint(&[(Source::MachineId, "b"), (Source::ProductUuid, "a")]),
            fingerprint(&[(Source::MachineId, "a"), (Source::FilesystemId, "b")]),
        ] {
            assert_ne!(whole, other.commitment(&SALT), "{other:?}");
        }
        let same = fingerprint(&[(Source::MachineId, "a"), (Source::ProductUuid, "b")]);
        assert_ne!(whole, same.commitment(&[6; 16]));
        assert_eq!(whole, same.commitment(&SALT));
    }

    #[test]
    fn bits_of_sources_stay_as_they_are_in_files() {
        assert_eq!(Source::ALL.map(Source::bit), [1, 2, 4]);
        assert_eq!(Source::from_bit(16), None);
        assert_eq!(Source::of_mask(0b1101), [Source::MachineId, Source::FilesystemId]);
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", fingerprint(&[(Source::MachineId, "a")])), "Fingerprint([MachineId])");
    }

    #[test]
    fn this_machine_has_a_fingerprint_and_it_is_stable() {
        let first = Fingerprint::gather(&Sources::system()).unwrap();
        assert_eq!(first, Fingerprint::gather(&Sources::system()).unwrap());
    }
}
