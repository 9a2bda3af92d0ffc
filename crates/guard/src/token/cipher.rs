//! XAES-256-GCM (C2SP): AES-256-GCM under a key that AES-CMAC derives anew for each nonce of 24 bytes, so that random nonces never
//! meet however many pages a key seals.

use super::NONCE_LEN;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

/// The bytes that sealing adds.
pub(super) const TAG_LEN: usize = 16;
/// The first part of the nonce goes into the key, the rest into AES-GCM.
const INTO_KEY: usize = 12;

/// A key, ready for use.
pub(super) struct Cipher {
    block: EncryptingKey,
    /// What CMAC adds to the last block of a message (K1 of RFC 4493).
    last: Zeroizing<[u8; 16]>,
}

/// It does not open.
pub(super) struct Sealed;

impl Cipher {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, secret).expect("32 bytes are a key of AES-256");
        let block = EncryptingKey::ecb(key).expect("AES-256 works on single blocks");
        let mut last = Zeroizing::new([0; 16]);
        block.encrypt(last.as_mut()).expect("16 bytes are a whole block");
        double(&mut last);
        Self { block, last }
    }

    /// Seals `content` in place and returns the tag that belongs behind it.
    pub(super) fn seal(&self, nonce: &[u8; NONCE_LEN], associated: &[u8], content: &mut [u8]) -> [u8; TAG_LEN] {
        let (key, nonce) = self.derive(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(associated), content).expect("a page is short");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Opens `sealed`, content and tag, in place.
    pub(super) fn open<'a>(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], Sealed> {
        let (key, nonce) = self.derive(nonce);
        key.open_in_place(nonce, Aad::from(associated), sealed).map(|content| &*content).map_err(|_| Sealed)
    }

    /// The key of this nonce: CMAC of two blocks, both of which are the last of their message.
    fn derive(&self, nonce: &[u8; NONCE_LEN]) -> (LessSafeKey, Nonce) {
        let mut key = Zeroizing::new([0; 32]);
        for (block, counter) in key.chunks_exact_mut(16).zip([1, 2]) {
            block[..4].copy_from_slice(&[0, counter, b'X', 0]);
            block[4..].copy_from_slice(&nonce[..INTO_KEY]);
            block.iter_mut().zip(self.last.iter()).for_each(|(byte, last)| *byte ^= last);
        }
        self.block.encrypt(key.as_mut()).expect("32 bytes are whole blocks");
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("32 bytes are a key of AES-256-GCM");
        let mut rest = [0; NONCE_LEN - INTO_KEY];
        rest.copy_from_slice(&nonce[INTO_KEY..]);
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(rest))
    }
}

/// Doubles an element of GF(2^128), in constant time.
fn double(block: &mut [u8; 16]) {
    let number = u128::from_be_bytes(*block);
    let carry = 0_u128.wrapping_sub(number >> 127);
    *block = ((number << 1) ^ (carry & 0x87)).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sealed(key: u8, nonce: &[u8; NONCE_LEN], associated: &[u8], content: &[u8]) -> String {
        let mut bytes = content.to_vec();
        let tag = Cipher::new(&[key; 32]).seal(nonce, associated, &mut bytes);
        bytes.extend(tag);
        hex(&bytes)
    }

    /// The vectors of the specification; the two keys differ in the bit that doubling carries out.
    #[test]
    fn it_is_xaes_256_gcm() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        assert_eq!(sealed(1, nonce, b"", b"XAES-256-GCM"), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        assert_eq!(
            sealed(3, nonce, b"c2sp.org/XAES-256-GCM", b"XAES-256-GCM"),
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"
        );
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else() {
        let (cipher, nonce) = (Cipher::new(&[7; 32]), [9; NONCE_LEN]);
        let mut bytes = b"content".to_vec();
        let tag = cipher.seal(&nonce, b"associated", &mut bytes);
        bytes.extend(tag);
        assert!(cipher.open(&nonce, b"another", &mut bytes.clone()).is_err());
        assert!(cipher.open(&[8; NONCE_LEN], b"associated", &mut bytes.clone()).is_err());
        assert!(Cipher::new(&[8; 32]).open(&nonce, b"associated", &mut bytes.clone()).is_err());
        assert_eq!(cipher.open(&nonce, b"associated", &mut bytes).ok(), Some(&b"content"[..]));
    }
}
