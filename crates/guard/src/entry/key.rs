//! The public half of a browser's key.

use super::text::fixed;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// Bytes of a key: a point of P-256, not compressed (SEC 1 section 2.3.3).
const KEY_LEN: usize = 65;
/// Bytes of a signature: r and s (IEEE P1363), as WebCrypto gives it.
const SIGNATURE_LEN: usize = 64;

/// A public key of ECDSA over P-256, made by a browser at login: 65 bytes, a point of the curve, not compressed. As text: 87
/// characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntryKey([u8; KEY_LEN]);

impl EntryKey {
    /// Reads the text of a key; `None`: it is none.
    pub fn read(text: &str) -> Option<Self> {
        fixed(text).and_then(Self::from_bytes)
    }

    /// From its bytes; `None`: they are no point of the curve.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Option<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).is_ok().then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether this text is its signature of `message`: 64 bytes as base64url.
    pub fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0);
        fixed::<SIGNATURE_LEN>(signature).is_some_and(|signature| key.verify(message, &signature).is_ok())
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryKey({self})")
    }
}
