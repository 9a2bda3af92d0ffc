//! HKDF and HMAC, both over SHA-256, for keys; BLAKE2s (RFC 7693) where a datagram is checked before anything else.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use blake2::digest::{Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use zeroize::Zeroizing;

use super::Secret;

/// HKDF-SHA256 (RFC 5869) of all parts of `ikm`, one behind the other, with `label` as its info: `N` bytes.
#[must_use]
pub fn hkdf<const N: usize>(salt: &[u8], ikm: &[&[u8]], label: &[u8]) -> Secret<N> {
    let ikm = Zeroizing::new(ikm.concat());
    fill(&Salt::new(HKDF_SHA256, salt).extract(&ikm), label)
}

/// HKDF-Expand alone (RFC 5869, 2.3): `N` bytes from a key that is uniformly random already.
#[must_use]
pub fn expand<const N: usize>(key: &Secret<32>, label: &[u8]) -> Secret<N> {
    fill(&Prk::new_less_safe(HKDF_SHA256, key.expose()), label)
}

/// HMAC-SHA-256 under `key` of all parts, one behind the other. Parts of varying length must be delimited by the caller.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

/// BLAKE2s with a 16-byte output, keyed with `key` (at most 32 bytes), of all parts, one behind the other.
pub(crate) fn blake2s_mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = blake2s_mac_state(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The state of [`blake2s_mac`] before its first part.
pub(crate) fn blake2s_mac_state(key: &[u8]) -> Blake2sMac<U16> {
    <Blake2sMac<U16> as Mac>::new_from_slice(key).expect("a key of BLAKE2s has at most 32 bytes")
}

/// BLAKE2s with a 32-byte output of all parts, one behind the other.
pub(crate) fn blake2s_hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Length of an output, in bytes.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn fill<const N: usize>(prk: &Prk, label: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 gives at most 255 blocks") };
    let mut out = Zeroizing::new([0; N]);
    prk.expand(&[label], Length(N))
        .and_then(|okm| okm.fill(out.as_mut()))
        .expect("HKDF fails for lengths alone, and the length was checked when this was compiled");
    Secret::new(*out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// RFC 5869, appendix A.1.
    #[test]
    fn hkdf_gives_the_rfcs_output() {
        let salt: [u8; 13] = hex::decode("000102030405060708090a0b0c").unwrap();
        let info: [u8; 10] = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let okm = hkdf::<42>(&salt, &[&[0x0b; 20], &[0x0b; 2]], &info);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hex::encode(okm.expose()), expected);

        let prk = hex::decode("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5").unwrap();
        assert_eq!(hex::encode(expand::<42>(&Secret::new(prk), &info).expose()), expected);
    }

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_gives_the_rfcs_output() {
        let tag = hmac(b"Jefe", &[b"what do ya want ", b"", b"for nothing?"]);
        assert_eq!(hex::encode(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
