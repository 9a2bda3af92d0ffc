//! A sealed object, as it lies in a file.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 32 | parent: SHA-256 of the public area of the key that it was sealed under |
//! | 32 | 2 | length of the public area, at most 256 |
//! | 34 | … | public area (TPMT_PUBLIC) |
//! | … | 2 | length of the private area, at most 512 |
//! | … | … | private area (TPM2B_PRIVATE without its length), encrypted by the TPM under its parent |
//!
//! No part of it is a secret: only the TPM that made it can load it.

use crate::error::TpmError;
use crate::response::{MOST_PRIVATE, MOST_PUBLIC};
use crate::wire::{Reader, Writer};

/// What a TPM gave back for a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedObject {
    pub(crate) parent: [u8; 32],
    pub(crate) public: Vec<u8>,
    pub(crate) private: Vec<u8>,
}

impl SealedObject {
    /// Most bytes of an object.
    pub const LIMIT: usize = 32 + 2 + MOST_PUBLIC + 2 + MOST_PRIVATE;

    /// As the table says.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Writer::new().bytes(&self.parent).sized(&self.public).sized(&self.private).finish().to_vec()
    }

    /// # Errors
    /// [`TpmError::Malformed`] for what [`SealedObject::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let mut parent = [0; 32];
        parent.copy_from_slice(reader.take(32)?);
        let (public, private) = (reader.sized(MOST_PUBLIC)?.to_vec(), reader.sized(MOST_PRIVATE)?.to_vec());
        reader.end()?;
        Ok(Self { parent, public, private })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_malformed() {
        let object = SealedObject { parent: [1; 32], public: vec![2; MOST_PUBLIC], private: vec![3; MOST_PRIVATE] };
        let bytes = object.to_bytes();
        assert_eq!(bytes.len(), SealedObject::LIMIT);
        assert!(SealedObject::from_bytes(&bytes).is_ok_and(|read| read == object));
        for length in 0..bytes.len() {
            assert!(SealedObject::from_bytes(&bytes[..length]).is_err(), "length {length}");
        }
        assert!(SealedObject::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        let longer = SealedObject { public: vec![2; MOST_PUBLIC + 1], ..object };
        assert!(SealedObject::from_bytes(&longer.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(object) = SealedObject::from_bytes(&bytes) {
                prop_assert_eq!(object.to_bytes(), bytes);
            }
        }
    }
}
