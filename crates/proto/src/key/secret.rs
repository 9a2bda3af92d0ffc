//! Secret bytes.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::entropy::Entropy;

/// `N` secret bytes: erased when dropped, compared in constant time, without a printed form.
#[derive(Clone)]
pub struct Secret<const N: usize>(Zeroizing<[u8; N]>);

/// A key that two parties share since enrolment (`psk_c`, `psk_r`, `psk_g`): 32 bytes.
pub type Psk = Secret<32>;

/// `K_realm`, which every device of a controller, its gateways and the controller itself hold: 32 bytes. It lets the
/// controller drop strangers' datagrams for the price of a hash.
pub type RealmKey = Secret<32>;

impl<const N: usize> Secret<N> {
    /// Takes over these bytes. The caller's copy, if it keeps one, is the caller's to erase.
    #[must_use]
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh random secret.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut secret = Self::new([0; N]);
        entropy.fill(secret.0.as_mut());
        secret
    }

    /// The secret bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// For `#[serde(with = "vestibule_proto::key::exposed")]` on a [`Secret`] field: writes the secret in clear, so only into
/// a sealed message or a file that nobody else may read.
pub mod exposed {
    use serde::{Deserializer, Serializer};

    use super::Secret;

    /// Writes the bytes: exactly `N` in binary formats, hexadecimal in readable ones.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer, const N: usize>(secret: &Secret<N>, serializer: S) -> Result<S::Ok, S::Error> {
        crate::bytes_serde::serialize(secret.expose(), serializer)
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Any other length or, in readable formats, anything but hexadecimal digits.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<Secret<N>, D::Error> {
        crate::bytes_serde::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::entropy::SeededEntropy;

    #[derive(Serialize, Deserialize)]
    struct Document {
        #[serde(with = "exposed")]
        secret: Secret<40>,
    }

    #[test]
    fn is_written_only_on_request_and_reads_back() {
        let document = Document { secret: Secret::random(&mut SeededEntropy::new(1)) };
        let binary = postcard::to_stdvec(&document).unwrap();
        assert_eq!(binary, document.secret.expose());
        let read: Document = postcard::from_bytes(&binary).unwrap();
        assert!(read.secret == document.secret);
    }

    #[test]
    fn differs_in_every_bit() {
        let secret = Secret::new([0; 8]);
        for bit in 0..64 {
            assert!(secret != Secret::new((1u64 << bit).to_be_bytes()));
        }
    }
}
