//! The gateway's side of registration and login.

use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup,
};

use super::suite::{Suite, take};
use super::{LoginContext, LoginError, LoginNames, RECORD_LEN, SessionKey};
use crate::entropy::{Entropy, RandCore};
use crate::key::Secret;

/// The gateway's own secrets of OPAQUE: OPRF seed, key pair, and a public key for records of users that do not exist.
pub struct OpaqueSetup(ServerSetup<Suite>);

impl OpaqueSetup {
    /// Size of its stored form in bytes: OPRF seed 64, private key 32, public key 32.
    pub const SIZE: usize = 128;

    /// A fresh set-up. Whoever changes it at a gateway makes every record useless.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self(ServerSetup::new(&mut RandCore(entropy)))
    }

    /// The set-up that [`to_bytes`](Self::to_bytes) stored.
    ///
    /// # Errors
    /// [`LoginError::DamagedRecord`] if it is none.
    pub fn from_bytes(bytes: &Secret<128>) -> Result<Self, LoginError> {
        ServerSetup::deserialize(bytes.expose()).map(Self).map_err(|_| LoginError::DamagedRecord)
    }

    /// The set-up for storage.
    ///
    /// # Errors
    /// None today; [`LoginError`] if its size were not [`SIZE`](Self::SIZE).
    pub fn to_bytes(&self) -> Result<Secret<128>, LoginError> {
        take(&mut self.0.serialize())
    }
}

/// Registration at the gateway: without state of its own.
pub struct RegistrationServer;

impl RegistrationServer {
    /// RegistrationResponse, 64 bytes (E1).
    ///
    /// # Errors
    /// [`LoginError::Malformed`] if `request` is not a RegistrationRequest.
    pub fn begin(setup: &OpaqueSetup, request: &[u8], names: &LoginNames) -> Result<Vec<u8>, LoginError> {
        let request = RegistrationRequest::<Suite>::deserialize(request)?;
        let start = ServerRegistration::start(&setup.0, request, &names.credential_identifier())?;
        Ok(start.message.serialize().to_vec())
    }

    /// The record to store, out of RegistrationUpload.
    ///
    /// # Errors
    /// [`LoginError::Malformed`] if `upload` is not a RegistrationUpload.
    pub fn finish(upload: &[u8]) -> Result<[u8; RECORD_LEN], LoginError> {
        let upload = RegistrationUpload::<Suite>::deserialize(upload)?;
        let record = ServerRegistration::finish(upload).serialize();
        record.as_slice().try_into().map_err(|_| LoginError::Malformed)
    }
}

/// Login at the gateway, before its first message.
pub struct LoginServer;

impl LoginServer {
    /// Answers KE1 (L2): the state that expects KE3, and KE2, 320 bytes. Without a record the answer is that of a user who
    /// exists and has another password: of the same size and, but for the reading of the record, after the same work.
    ///
    /// # Errors
    /// [`LoginError::Malformed`] if `ke1` is not a KE1, [`LoginError::DamagedRecord`] if `record` is not a record.
    pub fn begin(
        setup: &OpaqueSetup,
        record: Option<&[u8]>,
        ke1: &[u8],
        context: &LoginContext,
        names: &LoginNames,
        entropy: &mut dyn Entropy,
    ) -> Result<(ExpectLoginFinish, Vec<u8>), LoginError> {
        let ke1 = CredentialRequest::<Suite>::deserialize(ke1)?;
        let record = record.map(ServerRegistration::<Suite>::deserialize).transpose();
        let record = record.map_err(|_| LoginError::DamagedRecord)?;
        let id = names.credential_identifier();
        let parameters = parameters(context, names);
        let start = ServerLogin::start(&mut RandCore(entropy), &setup.0, record, ke1, &id, parameters)?;
        let expect = ExpectLoginFinish { state: start.state, context: *context, names: names.clone() };
        Ok((expect, start.message.serialize().to_vec()))
    }
}

/// A gateway that has sent KE2 and expects KE3.
pub struct ExpectLoginFinish {
    state: ServerLogin<Suite>,
    context: LoginContext,
    names: LoginNames,
}

impl ExpectLoginFinish {
    /// Checks KE3: the client has proved the login (L4).
    ///
    /// # Errors
    /// [`LoginError::WrongPassword`] if the proof is wrong, [`LoginError::Malformed`] if `ke3` is not a KE3. Both count as a try.
    pub fn finish(self, ke3: &[u8]) -> Result<SessionKey, LoginError> {
        let ke3 = CredentialFinalization::deserialize(ke3)?;
        let mut finish = self.state.finish(ke3, parameters(&self.context, &self.names))?;
        take(&mut finish.session_key)
    }
}

fn parameters<'a>(context: &'a LoginContext, names: &'a LoginNames) -> ServerLoginParameters<'a, 'a> {
    ServerLoginParameters { context: Some(context), identifiers: names.identifiers() }
}
