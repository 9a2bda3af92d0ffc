//! Ed25519 (RFC 8032), and the form in which TLS carries such keys (RFC 7250, RFC 8410).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::Secret;
use crate::entropy::Entropy;
use crate::hex::{self, NotHex};

/// What precedes the 32 bytes of an Ed25519 public key in its SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What precedes the 32 bytes of the seed in an Ed25519 key's PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An Ed25519 key pair: the TLS identity of a device (`D_tls`), a gateway (`G_tls`) or a controller. Cloning is cheap.
#[derive(Clone)]
pub struct SigningKey {
    seed: Secret<32>,
    spki: Spki,
    parsed: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// A fresh random key pair.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self::from_seed(Secret::random(entropy))
    }

    /// The key pair of this seed; every 32 bytes are one.
    #[must_use]
    pub fn from_seed(seed: Secret<32>) -> Self {
        let parsed = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are an Ed25519 seed");
        let mut spki = Spki([0; 44]);
        spki.0[..12].copy_from_slice(&SPKI_PREFIX);
        spki.0[12..].copy_from_slice(parsed.public_key().as_ref());
        Self { seed, spki, parsed: Arc::new(parsed) }
    }

    /// Its public half, as TLS carries it.
    #[must_use]
    pub fn spki(&self) -> Spki {
        self.spki
    }

    /// The seed, for whoever stores it.
    #[must_use]
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The key pair as PKCS #8 version 1 in DER: the form that TLS libraries take, 48 bytes.
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.seed.expose());
        der
    }

    /// The signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.parsed.sign(message).as_ref());
        signature
    }
}

/// The SubjectPublicKeyInfo of an Ed25519 key in DER, 44 bytes: what TLS presents as a raw public key, and what pins are
/// compared with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spki([u8; 44]);

impl Spki {
    /// The key with these 44 bytes; `None` if they are not the SubjectPublicKeyInfo of an Ed25519 key.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let bytes: [u8; 44] = der.try_into().ok()?;
        bytes.starts_with(&SPKI_PREFIX).then_some(Self(bytes))
    }

    /// The bytes of the SubjectPublicKeyInfo.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 44] {
        &self.0
    }

    /// Whether `signature` is this key's signature of `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0[SPKI_PREFIX.len()..]).verify(message, signature).is_ok()
    }
}

impl fmt::Display for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the SubjectPublicKeyInfo of an Ed25519 key.
impl FromStr for Spki {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        Self::from_der(&hex::decode::<44>(text)?).ok_or(NotHex { expected: 88 })
    }
}

impl Serialize for Spki {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::bytes_serde::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Spki {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; 44] = crate::bytes_serde::deserialize(deserializer)?;
        Self::from_der(&bytes).ok_or_else(|| serde::de::Error::custom("not an Ed25519 public key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signs_as_in_the_rfc() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let key = SigningKey::from_seed(Secret::new(hex::decode(seed).unwrap()));
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(key.spki().to_string(), format!("302a300506032b6570032100{public}"));
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(&key.sign(&[0x72])), signature);
    }

    #[test]
    fn verifies_its_own_signatures_only() {
        let key = SigningKey::random(&mut SeededEntropy::new(1));
        let other = SigningKey::random(&mut SeededEntropy::new(2));
        let mut signature = key.sign(b"rows");
        assert!(key.spki().verify(b"rows", &signature));
        assert!(!key.spki().verify(b"row", &signature));
        assert!(!other.spki().verify(b"rows", &signature));
        assert!(!key.spki().verify(b"rows", &signature[..63]));
        signature[0] ^= 1;
        assert!(!key.spki().verify(b"rows", &signature));
    }

    #[test]
    fn other_kinds_of_keys_are_no_spki() {
        let mut der = *SigningKey::random(&mut SeededEntropy::new(1)).spki().as_bytes();
        assert_eq!(Spki::from_der(&der).map(|spki| *spki.as_bytes()), Some(der));
        assert_eq!(Spki::from_der(&der[..43]), None);
        // The last byte of the algorithm: 0x70 is Ed25519, 0x6e X25519.
        der[8] = 0x6e;
        assert_eq!(Spki::from_der(&der), None);
        assert!(postcard::from_bytes::<Spki>(&der).is_err());
    }

    #[test]
    fn pkcs8_is_read_by_the_library() {
        let key = SigningKey::random(&mut SeededEntropy::new(1));
        let read = Ed25519KeyPair::from_pkcs8(&key.pkcs8()).unwrap();
        assert_eq!(read.public_key().as_ref(), &key.spki().as_bytes()[12..]);
    }
}
