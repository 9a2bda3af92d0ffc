//! The client's side of registration and login.

use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, RegistrationResponse,
};

use super::suite::{Suite, take};
use super::{KsfParams, LoginContext, LoginError, LoginNames, SessionKey};
use crate::entropy::{Entropy, RandCore};
use crate::key::Secret;

/// A client that has sent RegistrationRequest and expects RegistrationResponse.
pub struct RegistrationStart {
    password_input: Secret<32>,
    state: ClientRegistration<Suite>,
}

impl RegistrationStart {
    /// Starts a registration (E1); the second value is RegistrationRequest, 32 bytes.
    ///
    /// # Errors
    /// [`LoginError::Malformed`], with a probability of 2^-252.
    pub fn begin(password_input: Secret<32>, entropy: &mut dyn Entropy) -> Result<(Self, Vec<u8>), LoginError> {
        let start = ClientRegistration::<Suite>::start(&mut RandCore(entropy), password_input.expose())?;
        Ok((Self { password_input, state: start.state }, start.message.serialize().to_vec()))
    }

    /// RegistrationUpload, 192 bytes: the record for the gateway to store. Takes as long as the stretching does.
    ///
    /// # Errors
    /// [`LoginError::Malformed`] if `response` is not a RegistrationResponse.
    pub fn finish(
        self,
        response: &[u8],
        names: &LoginNames,
        ksf: &KsfParams,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, LoginError> {
        let response = RegistrationResponse::deserialize(response)?;
        let parameters = ClientRegistrationFinishParameters::new(names.identifiers(), Some(ksf));
        let password = self.password_input.expose();
        let finish = self.state.finish(&mut RandCore(entropy), password, response, parameters)?;
        Ok(finish.message.serialize().to_vec())
    }
}

/// A client that has sent KE1 and expects KE2.
pub struct LoginStart {
    password_input: Secret<32>,
    state: ClientLogin<Suite>,
}

impl LoginStart {
    /// Starts a login (L1); the second value is KE1, 96 bytes.
    ///
    /// # Errors
    /// [`LoginError::Malformed`], with a probability of 2^-252.
    pub fn begin(password_input: Secret<32>, entropy: &mut dyn Entropy) -> Result<(Self, Vec<u8>), LoginError> {
        let start = ClientLogin::<Suite>::start(&mut RandCore(entropy), password_input.expose())?;
        Ok((Self { password_input, state: start.state }, start.message.serialize().to_vec()))
    }

    /// Finishes the login on this side (L3): KE3, 64 bytes, and the key that the gateway will have too. The gateway has proved
    /// that it holds this device's record. Takes as long as the stretching does.
    ///
    /// # Errors
    /// [`LoginError::WrongPassword`] if the password, a name or the context is not what the gateway has, or if it knows no such
    /// user; [`LoginError::Malformed`] if `ke2` is not a KE2.
    pub fn finish(
        self,
        ke2: &[u8],
        context: &LoginContext,
        names: &LoginNames,
        ksf: &KsfParams,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, SessionKey), LoginError> {
        let response = CredentialResponse::deserialize(ke2)?;
        let parameters = ClientLoginFinishParameters::new(Some(context), names.identifiers(), Some(ksf));
        let password = self.password_input.expose();
        let mut finish = self.state.finish(&mut RandCore(entropy), password, response, parameters)?;
        Ok((finish.message.serialize().to_vec(), take(&mut finish.session_key)?))
    }
}
