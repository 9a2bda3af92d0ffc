//! The two layers: layer 1 sealed with a tag, layer 2 camouflaged without.

use argon2::{Algorithm, Argon2, Block, Version};
use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use vestibule_proto::entropy::{self, Entropy};
use vestibule_proto::key::{self, PrivateKey, Psk, Secret, SigningKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::content::Content;
use super::error::{CreateError, NoMemory, OpenError};
use super::format::Layout;
use super::params::Params;
use crate::password::Password;

const TAG_LEN: usize = 16;

/// `seed2`: from it come the keys that only the right password gives. Sealed into one credential and nowhere else.
pub struct Seed(Secret<32>);

impl Seed {
    /// A fresh seed.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self(Secret::random(entropy))
    }

    /// The keys of this seed, by HKDF-SHA-256 without salt and with the labels `vestibule/1 D_in`, `vestibule/1 D_tls` and
    /// `vestibule/1 psk_g`. Every seed gives valid keys.
    #[must_use]
    pub fn keys(&self) -> InnerKeys {
        InnerKeys {
            d_in: PrivateKey::from_bytes(self.derive(b"vestibule/1 D_in")),
            d_tls: SigningKey::from_seed(self.derive(b"vestibule/1 D_tls")),
            psk_g: self.derive(b"vestibule/1 psk_g"),
        }
    }

    fn derive(&self, label: &[u8]) -> Secret<32> {
        key::hkdf(b"", &[self.0.expose()], label)
    }

    pub(super) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(super) fn secret(&self) -> &Secret<32> {
        &self.0
    }
}

/// The device's keys that take the password; their public halves and `psk_g` are known to the gateway alone.
#[derive(Clone)]
pub struct InnerKeys {
    /// `D_in`, the device's key of the inner part of a knock.
    pub d_in: PrivateKey,
    /// `D_tls`, the device's key in TLS.
    pub d_tls: SigningKey,
    /// `psk_g`, shared with the gateway.
    pub psk_g: Psk,
}

/// Argon2id of the password under salt2.
///
/// # Errors
/// [`NoMemory`] if the memory can't be had.
pub(super) fn stretch(password: &Password, salt2: &[u8; 16], params: Params) -> Result<Secret<32>, NoMemory> {
    let kib = params.memory_kib();
    let argon_params = argon2::Params::new(kib, params.passes(), params.lanes().into(), Some(32))
        .expect("the bounds of Params lie within those of Argon2");
    let mut blocks: Vec<Block> = Vec::new();
    blocks.try_reserve_exact(argon_params.block_count()).map_err(|_| NoMemory { kib })?;
    blocks.resize(argon_params.block_count(), Block::default());
    let mut stretched = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, argon_params)
        .hash_password_into_with_memory(password.expose(), salt2, stretched.as_mut(), &mut blocks)
        .expect("password, salt and output are within Argon2's limits");
    blocks.iter_mut().for_each(Block::zeroize);
    Ok(Secret::new(*stretched))
}

/// `K2`: the stretched password bound to `K1`, and to what the TPM gave for it.
pub(super) fn k2(
    stretched: &Secret<32>,
    salt2: &[u8; 16],
    k1: &Secret<32>,
    tpm_secret: Option<&Secret<32>>,
) -> Secret<32> {
    match tpm_secret {
        None => key::hkdf(salt2, &[stretched.expose(), k1.expose()], b"vestibule/1 l2"),
        Some(secret) => key::hkdf(salt2, &[stretched.expose(), k1.expose(), secret.expose()], b"vestibule/1 l2 tpm"),
    }
}

/// What the TPM asks for before it gives its part of `K2`: known to who knows the password and has opened layer 1.
pub(super) fn tpm_auth(stretched: &Secret<32>, salt2: &[u8; 16], k1: &Secret<32>) -> Secret<32> {
    key::hkdf(salt2, &[stretched.expose(), k1.expose()], b"vestibule/1 tpm auth")
}

/// `seed XOR K2`, both ways.
pub(super) fn xor(one: &[u8; 32], other: &Secret<32>) -> Secret<32> {
    let mut result = Zeroizing::new(*one);
    result.iter_mut().zip(other.expose()).for_each(|(byte, mask)| *byte ^= mask);
    Secret::new(*result)
}

/// The first `typo_bits` bits of `HMAC-SHA-256(seed, "typo")`, the others 0. What it is compared with lies in the file, so
/// the comparison need not be in constant time.
pub(super) fn check(seed: &Secret<32>, typo_bits: u8) -> [u8; 4] {
    let [a, b, c, d, ..] = key::hmac(seed.expose(), &[b"typo"]);
    let kept = u32::MAX.checked_shl(32 - u32::from(typo_bits)).unwrap_or(0);
    (u32::from_be_bytes([a, b, c, d]) & kept).to_be_bytes()
}

/// Seals `content` into the layout under a fresh nonce.
///
/// # Errors
/// [`CreateError::Content`].
pub(super) fn seal_content(
    layout: &mut Layout,
    content: &Content,
    k1: &Secret<32>,
    entropy: &mut dyn Entropy,
) -> Result<(), CreateError> {
    let mut body = content.encode()?;
    layout.nonce = entropy::bytes(entropy);
    let associated = layout.associated(body.len() + TAG_LEN);
    let cipher = XChaCha20Poly1305::new(k1.expose().into());
    let tag = cipher.encrypt_in_place_detached(&layout.nonce.into(), &associated, &mut body);
    let tag = tag.expect("a few KiB are within the cipher's limit");
    layout.layer1 = [body.as_slice(), tag.as_slice()].concat();
    Ok(())
}

/// Opens layer 1 with the right `K1`.
///
/// # Errors
/// [`OpenError::Damaged`] if the tag is wrong or the content is not one.
pub(super) fn open_content(layout: &Layout, k1: &Secret<32>) -> Result<Content, OpenError> {
    let associated = layout.associated(layout.layer1.len());
    let split = layout.layer1.len().checked_sub(TAG_LEN).ok_or(OpenError::Damaged)?;
    let (body, tag) = layout.layer1.split_at(split);
    let mut body = Zeroizing::new(body.to_vec());
    XChaCha20Poly1305::new(k1.expose().into())
        .decrypt_in_place_detached(&layout.nonce.into(), &associated, &mut body, tag.into())
        .map_err(|_| OpenError::Damaged)?;
    Content::decode(&body).ok_or(OpenError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K1: [u8; 32] = [9; 32];

    #[test]
    fn stretching_is_argon2id_bound_to_k1() {
        let params = Params::new(64, 2, 1, 10).unwrap();
        let password = Password::new("correct horse").unwrap();
        let stretched = stretch(&password, &[7; 16], params).unwrap();
        let mut plain = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, argon2::Params::new(64, 2, 1, None).unwrap())
            .hash_password_into(b"correct horse", &[7; 16], &mut plain)
            .unwrap();
        assert!(*stretched.expose() == plain);
        assert!(stretched != stretch(&password, &[6; 16], params).unwrap());
        let of = |k1: [u8; 32], tpm_secret: Option<[u8; 32]>| {
            k2(&stretched, &[7; 16], &Secret::new(k1), tpm_secret.map(Secret::new).as_ref())
        };
        assert!(of(K1, None) == key::hkdf(&[7; 16], &[&plain, &K1], b"vestibule/1 l2"));
        assert!(of(K1, None) != of([8; 32], None));
        assert!(of(K1, Some([1; 32])) != of(K1, Some([2; 32])));
        assert!(tpm_auth(&stretched, &[7; 16], &Secret::new(K1)) != of(K1, None));
    }

    #[test]
    fn check_keeps_the_first_bits_only() {
        let seed = Secret::new([1; 32]);
        let whole = u32::from_be_bytes(check(&seed, 32));
        let digest = key::hmac(seed.expose(), &[b"typo"]);
        assert_eq!(whole.to_be_bytes(), digest[..4]);
        assert_eq!(check(&seed, 0), [0; 4]);
        for bits in 1..32 {
            let kept = u32::from_be_bytes(check(&seed, bits));
            assert_eq!(kept >> (32 - bits), whole >> (32 - bits));
            assert_eq!(kept << bits, 0);
        }
    }

    #[test]
    fn the_keys_of_a_seed_are_three_independent_derivations() {
        let keys = Seed::from_secret(Secret::new([1; 32])).keys();
        let derived = |label| key::hkdf::<32>(b"", &[&[1; 32]], label);
        assert!(*keys.d_in.secret() == derived(b"vestibule/1 D_in"));
        assert!(*keys.d_tls.seed() == derived(b"vestibule/1 D_tls"));
        assert!(keys.psk_g == derived(b"vestibule/1 psk_g"));
    }
}
