//! What a TPM 2.0 does for a credential: it keeps two secrets, which lie in the file as objects that it alone can load.
//!
//! * **The device's secret** is part of every slot's key, so that layer 1 opens on the machine with this TPM and nowhere else,
//!   whatever is imitated there. Every program that may use the TPM gets it, before a password is asked for. It is no source of
//!   the fingerprint: of those one may be missing.
//! * **The password's secret** is part of `K2`. The TPM gives it for an auth value that comes from the password and `K1`,
//!   counts wrong ones, and takes no more after some.
//!
//! # Why the second is not always there
//!
//! The TPM's answer tells a right password from a wrong one for certain. That keeps what a stolen machine promises (no unlimited
//! test of passwords) only while the TPM's limit stands against who has the whole machine: there must be a lock-out, slow enough,
//! and an authorisation that the thief does not have must be needed to reset it ([`Lockout::limits_guesses`]). Most systems
//! come without that authorisation. There the credential has the first secret alone, and layer 2 stays as it is without a TPM:
//! without a tag, with `t` typo bits, each guess beyond these at the gateway.

use std::path::Path;

use vestibule_proto::entropy::{Entropy, SystemEntropy};
use vestibule_proto::key::Secret;

pub use vestibule_tpm::{Lockout, SealedObject, Tpm, TpmError};

/// What a TPM does for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmUse {
    /// Nothing.
    None,
    /// The file opens on this machine alone.
    Device,
    /// The same, and the TPM counts wrong passwords and locks itself.
    Password,
}

/// What of it stands in the file.
#[derive(Clone)]
pub(crate) struct TpmObjects {
    pub(crate) device: SealedObject,
    pub(crate) password: Option<SealedObject>,
}

impl TpmObjects {
    pub(crate) fn tpm_use(&self) -> TpmUse {
        if self.password.is_some() { TpmUse::Password } else { TpmUse::Device }
    }
}

/// The secrets of a new credential, and what stands in the file for them.
pub(crate) struct SealedSecrets {
    pub(crate) objects: TpmObjects,
    pub(crate) device: Secret<32>,
    pub(crate) password: Option<Secret<32>>,
}

/// Looks what the TPM at `path` would do for a new credential, by trying it.
///
/// # Errors
/// [`TpmError`], by which it would do nothing.
pub fn look(path: &Path) -> Result<TpmUse, TpmError> {
    let mut tpm = Tpm::open(path)?;
    let trial = Secret::random(&mut SystemEntropy);
    let object = tpm.seal(&trial, None, &mut SystemEntropy)?;
    if tpm.unseal(&object, None, &mut SystemEntropy)? != trial {
        return Err(TpmError::Malformed);
    }
    Ok(if tpm.lockout()?.limits_guesses() { TpmUse::Password } else { TpmUse::Device })
}

/// Makes the secrets of a new credential and seals them, the password's one with `auth` before it.
///
/// # Errors
/// [`TpmError`].
pub(crate) fn seal(path: &Path, auth: &Secret<32>, entropy: &mut dyn Entropy) -> Result<SealedSecrets, TpmError> {
    let mut tpm = Tpm::open(path)?;
    let device = Secret::random(entropy);
    let device_object = tpm.seal(&device, None, entropy)?;
    let (password, password_object) = if tpm.lockout()?.limits_guesses() {
        let secret = Secret::random(entropy);
        let object = tpm.seal(&secret, Some(auth), entropy)?;
        (Some(secret), Some(object))
    } else {
        (None, None)
    };
    Ok(SealedSecrets { objects: TpmObjects { device: device_object, password: password_object }, device, password })
}

/// Has the TPM at `path` give back one of them.
///
/// # Errors
/// [`TpmError`]; [`TpmError::Absent`] where no TPM is known.
pub(crate) fn unseal(
    path: Option<&Path>,
    object: &SealedObject,
    auth: Option<&Secret<32>>,
) -> Result<Secret<32>, TpmError> {
    Tpm::open(path.ok_or(TpmError::Absent)?)?.unseal(object, auth, &mut SystemEntropy)
}
