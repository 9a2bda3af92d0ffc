//! The suite, and opaque-ke's errors in our terms.

use opaque_ke::errors::ProtocolError;
use opaque_ke::{CipherSuite, Ristretto255, TripleDh};
use zeroize::Zeroize;

use super::{KsfParams, LoginError};
use crate::key::Secret;

/// ristretto255 for the OPRF and the key exchange, SHA-512, and our own stretching function.
pub(super) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2::Sha512>;
    type Ksf = KsfParams;
}

impl From<ProtocolError> for LoginError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::InvalidLoginError => Self::WrongPassword,
            ProtocolError::LibraryError(_)
            | ProtocolError::SerializationError
            | ProtocolError::SizeError { .. }
            | ProtocolError::ReflectedValueError => Self::Malformed,
            ProtocolError::Custom(never) => match never {},
        }
    }
}

/// Takes secret bytes over from a library's type and erases them there.
pub(super) fn take<const N: usize>(bytes: &mut [u8]) -> Result<Secret<N>, LoginError> {
    let secret = <[u8; N]>::try_from(&*bytes).map(Secret::new).map_err(|_| LoginError::Malformed);
    bytes.zeroize();
    secret
}
