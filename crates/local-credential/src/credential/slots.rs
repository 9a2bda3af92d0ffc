//! Key slots: `K1` wrapped for the full set of sources and for each set without one of them.

use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use vestibule_proto::id::UserName;
use vestibule_proto::key::{Secret, hkdf};
use zeroize::Zeroizing;

use super::error::OpenError;
use super::format::{Layout, Slot, slot_masks};
use crate::fingerprint::{Fingerprint, Source};

/// `K1`, and which source was missing for it.
pub(super) struct Unwrapped {
    pub(super) k1: Secret<32>,
    pub(super) missing: Option<Source>,
}

/// What a slot's key is made of besides the sources.
#[derive(Clone, Copy)]
pub(super) struct Machine<'a> {
    pub(super) user: &'a UserName,
    pub(super) fingerprint: &'a Fingerprint,
    /// What the TPM gives to programs of this machine, if the credential is sealed to one: part of every slot's key.
    pub(super) tpm_secret: Option<&'a Secret<32>>,
}

/// Wraps `k1` for all sources of the fingerprint and for each set without one.
pub(super) fn wrap(k1: &Secret<32>, salt1: &[u8; 16], machine: Machine<'_>) -> Vec<Slot> {
    let wrap_one = |mask| Slot { mask, wrapped: wrap_with(&slot_key(salt1, mask, machine), mask, k1) };
    slot_masks(machine.fingerprint.mask()).into_iter().map(wrap_one).collect()
}

/// Opens the first slot whose sources are all readable and say what they said at enrolment.
///
/// # Errors
/// [`OpenError::SourcesMissing`] if no slot's sources are all readable; [`OpenError::WrongDeviceOrUser`] if none opens.
pub(super) fn unwrap(layout: &Layout, machine: Machine<'_>) -> Result<Unwrapped, OpenError> {
    let fingerprint = machine.fingerprint;
    let full = layout.slots.first().map_or(0, |slot| slot.mask);
    let missing = Source::of_mask(full & !fingerprint.mask());
    let mut readable = layout.slots.iter().filter(|slot| slot.mask & !fingerprint.mask() == 0).peekable();
    if readable.peek().is_none() {
        return Err(OpenError::SourcesMissing { missing });
    }
    let open_one = |slot: &Slot| unwrap_with(&slot_key(&layout.salt1, slot.mask, machine), slot);
    let k1 = readable.find_map(open_one).ok_or(OpenError::WrongDeviceOrUser)?;
    Ok(Unwrapped { k1, missing: missing.first().copied() })
}

/// What is sealed of the fingerprint: the bit and the digest of each source.
pub(super) fn readings(fingerprint: &Fingerprint) -> Vec<(u8, [u8; 32])> {
    fingerprint.readings().iter().map(|reading| (reading.source.bit(), reading.digest)).collect()
}

/// A source may be missing; it may not say something else than at enrolment.
///
/// # Errors
/// [`OpenError::SourceDiffers`] names the first source that does.
pub(super) fn compare(sealed: &[(u8, [u8; 32])], fingerprint: &Fingerprint) -> Result<(), OpenError> {
    let differs =
        |source: Source, digest: &[u8; 32]| sealed.iter().any(|(bit, sealed)| *bit == source.bit() && sealed != digest);
    match fingerprint.readings().iter().find(|reading| differs(reading.source, &reading.digest)) {
        Some(reading) => Err(OpenError::SourceDiffers { which: reading.source }),
        None => Ok(()),
    }
}

/// Each part of the input has a length that the mask fixes.
fn slot_key(salt1: &[u8; 16], mask: u8, machine: Machine<'_>) -> Secret<32> {
    let Machine { user, fingerprint, tpm_secret } = machine;
    let mut input = Zeroizing::new(Vec::with_capacity(1 + 8 * 33 + 32 + 32));
    input.push(mask);
    for reading in fingerprint.readings().iter().filter(|reading| reading.source.bit() & mask != 0) {
        input.push(reading.source as u8);
        input.extend_from_slice(&reading.digest);
    }
    input.extend_from_slice(&Sha256::new().chain_update(b"vestibule/1 user").chain_update(user.as_str()).finalize());
    match tpm_secret {
        None => hkdf(salt1, &[&input], b"vestibule/1 l1 slot"),
        Some(secret) => {
            input.extend_from_slice(secret.expose());
            hkdf(salt1, &[&input], b"vestibule/1 l1 slot tpm")
        }
    }
}

/// The nonce may be constant: a slot key is used for one message ever, for salt1 is new with every `K1`.
fn wrap_with(slot_key: &Secret<32>, mask: u8, k1: &Secret<32>) -> [u8; 48] {
    let mut wrapped = [0; 48];
    let (body, tag_place) = wrapped.split_at_mut(32);
    body.copy_from_slice(k1.expose());
    let cipher = XChaCha20Poly1305::new(slot_key.expose().into());
    let tag = cipher.encrypt_in_place_detached(&XNonce::default(), &[mask], body);
    tag_place.copy_from_slice(&tag.expect("32 bytes are within the cipher's limit"));
    wrapped
}

fn unwrap_with(slot_key: &Secret<32>, slot: &Slot) -> Option<Secret<32>> {
    let mut body = Zeroizing::new([0; 32]);
    body.copy_from_slice(&slot.wrapped[..32]);
    let cipher = XChaCha20Poly1305::new(slot_key.expose().into());
    let tag = slot.wrapped[32..].into();
    let opened = cipher.decrypt_in_place_detached(&XNonce::default(), &[slot.mask], body.as_mut(), tag);
    opened.ok().map(|()| Secret::new(*body))
}
