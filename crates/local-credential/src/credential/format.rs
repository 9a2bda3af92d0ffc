//! The bytes of the file, versions 1 and 2. Numbers are big-endian.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `VSTBcred` |
//! | 8 | 2 | version: 1, or 2 if it is sealed to a TPM |
//! | 10 | 4 | length of the whole file |
//! | 14 | 1 | typo bits `t`, 0 to 32 |
//! | 15 | 1 | Argon2id lanes |
//! | 16 | 4 | Argon2id memory, KiB |
//! | 20 | 4 | Argon2id passes |
//! | 24 | 16 | salt1 |
//! | 40 | 16 | salt2 |
//! | 56 | 32 | layer 2: seed2 XOR K2 |
//! | 88 | 4 | check: the first `t` bits, the others 0 |
//! | 92 | 1 | number of key slots |
//! | 93 | 49 each | key slots: mask 1, wrapped K1 48. The full set first, then the sets without one source, by its bit |
//! | … | 1 | version 2 alone: number of sealed objects, 1 (for the device) or 2 (for device and password) |
//! | … | 2 + … each | version 2 alone: length at most 804, sealed object ([`vestibule_tpm::object`]) |
//! | … | 24 | nonce of layer 1 |
//! | … | … | layer 1, its tag (16) at its end |
//! | end − 16 | 16 | checksum: the head of SHA-256 over what stands before |
//!
//! The checksum tells damage from a wrong machine. It is over bytes that whoever holds the file sees, so it says nothing
//! about a password. Magic, version, length and checksum stay where they are in every later version.

use sha2::{Digest, Sha256};

use super::error::OpenError;
use super::params::Params;
use crate::tpm::{SealedObject, TpmObjects, TpmUse};

const MAGIC: &[u8; 8] = b"VSTBcred";
/// Of a file that no TPM has a part in.
const VERSION: u16 = 1;
/// Of one that is sealed to a TPM.
const VERSION_TPM: u16 = 2;
/// Magic, version and length.
const PREAMBLE_LEN: usize = 14;
const CHECKSUM_LEN: usize = 16;

/// The fields of the file.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) params: Params,
    pub(super) salt1: [u8; 16],
    pub(super) salt2: [u8; 16],
    pub(super) layer2: [u8; 32],
    pub(super) check: [u8; 4],
    pub(super) slots: Vec<Slot>,
    pub(super) tpm: Option<TpmObjects>,
    pub(super) nonce: [u8; 24],
    pub(super) layer1: Vec<u8>,
}

/// `K1` wrapped for one set of sources.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The bits of the sources of the set.
    pub(super) mask: u8,
    /// Ciphertext 32, tag 16.
    pub(super) wrapped: [u8; 48],
}

impl Layout {
    /// The whole file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.associated(self.layer1.len());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.layer1);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// All that precedes layer 1's nonce, for a layer 1 of `layer1_len` bytes with its tag: its associated data.
    pub(super) fn associated(&self, layer1_len: usize) -> Vec<u8> {
        let tpm = self.tpm.as_ref().map_or_else(Vec::new, encode_tpm);
        let length = PREAMBLE_LEN + 79 + 49 * self.slots.len() + tpm.len() + 24 + layer1_len + CHECKSUM_LEN;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        let version = if self.tpm.is_some() { VERSION_TPM } else { VERSION };
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&[self.params.typo_bits(), self.params.lanes()]);
        bytes.extend_from_slice(&self.params.memory_kib().to_be_bytes());
        bytes.extend_from_slice(&self.params.passes().to_be_bytes());
        bytes.extend_from_slice(&self.salt1);
        bytes.extend_from_slice(&self.salt2);
        bytes.extend_from_slice(&self.layer2);
        bytes.extend_from_slice(&self.check);
        bytes.push(u8::try_from(self.slots.len()).unwrap_or(u8::MAX));
        for slot in &self.slots {
            bytes.push(slot.mask);
            bytes.extend_from_slice(&slot.wrapped);
        }
        bytes.extend_from_slice(&tpm);
        bytes
    }

    /// What a TPM does for it.
    pub(super) fn tpm_use(&self) -> TpmUse {
        self.tpm.as_ref().map_or(TpmUse::None, TpmObjects::tpm_use)
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`OpenError::NotACredential`], [`OpenError::Truncated`], [`OpenError::Damaged`], [`OpenError::NewerVersion`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let (version, body) = body(bytes)?;
        Self::decode_body(version, body).ok_or(OpenError::Damaged)
    }

    fn decode_body(version: u16, body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let [typo_bits, lanes] = take(&mut rest)?;
        let memory_kib = u32::from_be_bytes(take(&mut rest)?);
        let passes = u32::from_be_bytes(take(&mut rest)?);
        let params = Params::new(memory_kib, passes, lanes, typo_bits).ok()?;
        let (salt1, salt2, layer2, check) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let [count] = take(&mut rest)?;
        let slots = (0..count).map(|_| take_slot(&mut rest)).collect::<Option<Vec<_>>>()?;
        let tpm = if version == VERSION_TPM { Some(take_tpm(&mut rest)?) } else { None };
        let nonce = take(&mut rest)?;
        let no_bit_behind = u32::from_be_bytes(check).checked_shl(typo_bits.into()).unwrap_or(0) == 0;
        (no_bit_behind && canonical(&slots)).then(|| Self {
            params,
            salt1,
            salt2,
            layer2,
            check,
            slots,
            tpm,
            nonce,
            layer1: rest.to_vec(),
        })
    }
}

/// The masks of the slots of a credential that was sealed to the sources in `full`.
pub(super) fn slot_masks(full: u8) -> Vec<u8> {
    let bits = (0..u8::BITS).map(|bit| 1 << bit).filter(|bit| full & bit != 0);
    let smaller = bits.map(|bit| full & !bit).filter(|mask| *mask != 0);
    std::iter::once(full).chain(smaller).collect()
}

fn canonical(slots: &[Slot]) -> bool {
    let full = slots.first().map_or(0, |slot| slot.mask);
    full != 0 && slots.iter().map(|slot| slot.mask).eq(slot_masks(full))
}

/// The version, and what lies between preamble and checksum, both found right.
fn body(bytes: &[u8]) -> Result<(u16, &[u8]), OpenError> {
    if bytes.len() < PREAMBLE_LEN {
        let begins = MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC);
        return Err(if begins { OpenError::Truncated } else { OpenError::NotACredential });
    }
    let mut rest = bytes;
    let preamble = (take::<8>(&mut rest), take(&mut rest), take(&mut rest));
    let (Some(magic), Some(version), Some(length)) = preamble else { return Err(OpenError::Truncated) };
    if magic != *MAGIC {
        return Err(OpenError::NotACredential);
    }
    if (bytes.len() as u64) < u64::from(u32::from_be_bytes(length)) {
        return Err(OpenError::Truncated);
    }
    let (checked, found) = bytes.split_at(bytes.len() - CHECKSUM_LEN.min(bytes.len()));
    if bytes.len() as u64 != u64::from(u32::from_be_bytes(length)) || checksum(checked) != found {
        return Err(OpenError::Damaged);
    }
    match u16::from_be_bytes(version) {
        version @ (VERSION | VERSION_TPM) => {
            checked.get(PREAMBLE_LEN..).map(|body| (version, body)).ok_or(OpenError::Damaged)
        }
        0 => Err(OpenError::Damaged),
        version => Err(OpenError::NewerVersion { version }),
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut head = [0; CHECKSUM_LEN];
    head.copy_from_slice(&Sha256::digest(bytes)[..CHECKSUM_LEN]);
    head
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_slot(rest: &mut &[u8]) -> Option<Slot> {
    let [mask] = take(rest)?;
    Some(Slot { mask, wrapped: take(rest)? })
}

fn encode_tpm(objects: &TpmObjects) -> Vec<u8> {
    let all: Vec<Vec<u8>> =
        [Some(&objects.device), objects.password.as_ref()].into_iter().flatten().map(SealedObject::to_bytes).collect();
    let mut bytes = vec![u8::try_from(all.len()).unwrap_or(u8::MAX)];
    for object in all {
        bytes.extend_from_slice(&u16::try_from(object.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&object);
    }
    bytes
}

fn take_tpm(rest: &mut &[u8]) -> Option<TpmObjects> {
    let [count] = take(rest)?;
    let device = take_object(rest)?;
    let password = match count {
        1 => None,
        2 => Some(take_object(rest)?),
        _ => return None,
    };
    Some(TpmObjects { device, password })
}

fn take_object(rest: &mut &[u8]) -> Option<SealedObject> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (object, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    SealedObject::from_bytes(object).ok()
}

/// Makes length and checksum right, for tests and fuzz targets: they would not come far without.
pub(crate) fn mend(bytes: &mut [u8]) {
    if bytes.len() < PREAMBLE_LEN + CHECKSUM_LEN {
        return;
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[10..PREAMBLE_LEN].copy_from_slice(&length.to_be_bytes());
    let (checked, place) = bytes.split_at_mut(length as usize - CHECKSUM_LEN);
    place.copy_from_slice(&checksum(checked));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(full: u8) -> Layout {
        Layout {
            params: Params::new(8, 1, 1, 10).unwrap(),
            salt1: [1; 16],
            salt2: [2; 16],
            layer2: [3; 32],
            check: [0xff, 0xc0, 0, 0],
            slots: slot_masks(full).into_iter().map(|mask| Slot { mask, wrapped: [4; 48] }).collect(),
            tpm: None,
            nonce: [5; 24],
            layer1: vec![6; 40],
        }
    }

    fn object(byte: u8) -> SealedObject {
        let areas = [&[byte; 32][..], &[0, 3], &[byte; 3], &[0, 5], &[byte; 5]].concat();
        SealedObject::from_bytes(&areas).unwrap()
    }

    /// Offsets as the table says them.
    #[test]
    fn offsets() {
        let bytes = layout(0b101).encode();
        assert_eq!(bytes[..10], *b"VSTBcred\x00\x01");
        assert_eq!(bytes[10..14], u32::try_from(bytes.len()).unwrap().to_be_bytes());
        assert_eq!(bytes[14..24], [10, 1, 0, 0, 0, 8, 0, 0, 0, 1]);
        assert_eq!((bytes[24], bytes[40], bytes[56]), (1, 2, 3));
        assert_eq!(bytes[88..93], [0xff, 0xc0, 0, 0, 3]);
        assert_eq!((bytes[93], bytes[142], bytes[191]), (0b101, 0b100, 0b001));
        assert_eq!((bytes[239], bytes[240], bytes[263], bytes[264]), (4, 5, 5, 6));
        assert_eq!(bytes.len(), 264 + 40 + 16);
    }

    /// Version 2: the objects stand between slots and nonce, all else is where it was.
    #[test]
    fn offsets_with_a_tpm() {
        let plain = layout(0b101).encode();
        for password in [None, Some(object(8))] {
            let written = Layout { tpm: Some(TpmObjects { device: object(7), password }), ..layout(0b101) };
            let bytes = written.encode();
            let count = if written.tpm.as_ref().is_some_and(|tpm| tpm.password.is_some()) { 2 } else { 1 };
            assert_eq!(bytes[..10], *b"VSTBcred\x00\x02");
            assert_eq!(bytes[14..240], plain[14..240]);
            assert_eq!(bytes[240..243], [u8::try_from(count).unwrap(), 0, 44]);
            assert_eq!((bytes[243], bytes[bytes.len() - 16 - 40 - 24]), (7, 5));
            assert_eq!(bytes.len(), plain.len() + 1 + 46 * count);
            assert_eq!(Layout::decode(&bytes).unwrap().encode(), bytes);
            for (place, wrong) in [(240, 0), (240, 3), (241, 4), (242, 43), (242, 45), (275, 2)] {
                let mut altered = bytes.clone();
                altered[place] = wrong;
                mend(&mut altered);
                assert_eq!(Layout::decode(&altered).err(), Some(OpenError::Damaged), "{wrong} at {place}");
            }
        }
    }

    #[test]
    fn slots_are_the_full_set_and_all_sets_without_one() {
        assert_eq!(slot_masks(0b001), [0b001]);
        assert_eq!(slot_masks(0b011), [0b011, 0b010, 0b001]);
        assert_eq!(slot_masks(0b111), [0b111, 0b110, 0b101, 0b011]);
        assert_eq!(slot_masks(0xff).len(), 9);
    }

    #[test]
    fn other_slots_are_damage() {
        for masks in [&[][..], &[0], &[1, 1], &[3], &[3, 2], &[3, 1, 2], &[1, 3, 2], &[7, 6, 5, 3, 1]] {
            let mut layout = layout(1);
            layout.slots = masks.iter().map(|mask| Slot { mask: *mask, wrapped: [4; 48] }).collect();
            assert_eq!(Layout::decode(&layout.encode()).err(), Some(OpenError::Damaged), "{masks:?}");
        }
    }

    #[test]
    fn bits_behind_the_check_are_damage() {
        for (typo_bits, check, right) in [
            (0, [0, 0, 0, 0], true),
            (0, [0x80, 0, 0, 0], false),
            (10, [0xff, 0xe0, 0, 0], false),
            (31, [0xff, 0xff, 0xff, 0xfe], true),
            (31, [0, 0, 0, 1], false),
            (32, [0, 0, 0, 1], true),
        ] {
            let mut layout = layout(1);
            layout.params = Params::new(8, 1, 1, typo_bits).unwrap();
            layout.check = check;
            assert_eq!(Layout::decode(&layout.encode()).is_ok(), right, "{typo_bits} {check:?}");
        }
    }

    #[test]
    fn a_later_version_is_told_and_version_0_is_damage() {
        for (version, error) in [(0, OpenError::Damaged), (3, OpenError::NewerVersion { version: 3 })] {
            let mut bytes = layout(1).encode();
            bytes[9] = version;
            assert_eq!(Layout::decode(&bytes).err(), Some(OpenError::Damaged), "its checksum is wrong");
            mend(&mut bytes);
            assert_eq!(Layout::decode(&bytes).err(), Some(error));
        }
    }

    #[test]
    fn other_files_are_told() {
        for other in [&b"#!/bin/sh\n"[..], b"VSTBkeys", b"\0", &[0; 300]] {
            assert_eq!(Layout::decode(other).err(), Some(OpenError::NotACredential));
        }
    }

    #[test]
    fn a_longer_file_is_damage() {
        let mut bytes = layout(1).encode();
        bytes.push(0);
        assert_eq!(Layout::decode(&bytes).err(), Some(OpenError::Damaged));
    }

    #[test]
    fn a_length_that_leaves_no_room_is_damage() {
        for length in 0..100u32 {
            let mut bytes = b"VSTBcred\x00\x01".to_vec();
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(bytes.len().max(length as usize), 0);
            let whole = bytes.len() == length as usize;
            if whole {
                mend(&mut bytes);
            }
            assert_eq!(Layout::decode(&bytes).err(), Some(OpenError::Damaged), "length {length}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            full in 1u8..,
            salts in any::<([u8; 16], [u8; 16])>(),
            layer2 in any::<[u8; 32]>(),
            check in any::<u32>(),
            typo_bits in 0u8..=32,
            layer1 in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let check = check & u32::MAX.checked_shl(32 - u32::from(typo_bits)).unwrap_or(0);
            let written = Layout {
                params: Params::new(8, 1, 1, typo_bits).unwrap(),
                salt1: salts.0,
                salt2: salts.1,
                layer2,
                check: check.to_be_bytes(),
                layer1,
                ..layout(full)
            };
            let bytes = written.encode();
            let read = Layout::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}
