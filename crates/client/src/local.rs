//! Step 1, local authentication: the credential is opened on this device, with this user's password, before a packet is sent.

use crate::error::{ClientError, CredentialTrouble, TpmTrouble};
use crate::home::CredentialFile;
use crate::kept::Kept;
use crate::knock;
use crate::rehearsal::rehearse;
use crate::timings::LocalTimes;
use std::path::{Path, PathBuf};
use std::time::Instant;
use vestibule_local_credential::file::{ReadError, SaveError};
use vestibule_local_credential::password::Password;
use vestibule_local_credential::state::State;
use vestibule_local_credential::tpm::TpmError;
use vestibule_local_credential::{
    CreateError, DeviceUnlocked, Fingerprint, Locked, OpenError, Sealed, Source, Sources, TpmUse, credential::InnerKeys,
};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::Secret;
use vestibule_proto::login::password_input;
use vestibule_proto::words::DeviceWords;

/// Opens the first layer of a credential: the right machine and user name. No password is needed for it, so a person is
/// told before being asked for one.
///
/// # Errors
/// [`ClientError::Credential`].
pub fn recognise(file: &CredentialFile, sources: &Sources) -> Result<Recognised, ClientError> {
    let begun = Instant::now();
    let failed = |error: OpenError| credential_error(&file.path, error);
    let locked = Locked::load(&file.path).map_err(failed)?.with_tpm(sources.tpm());
    let fingerprint = Fingerprint::gather(sources).map_err(|_| ClientError::Credential {
        trouble: CredentialTrouble::NoFingerprint,
        path: file.path.display().to_string(),
    })?;
    let device = locked.unlock_device(&file.user, &fingerprint).map_err(failed)?;
    let needs_raise = locked.needs_raise();
    Ok(Recognised { device, needs_raise, path: file.path.clone(), device_time: begun.elapsed() })
}

/// The words of a device that was enrolled under approval and never let in since: as far as this machine knows it waits.
#[must_use]
pub fn awaits_approval(file: &CredentialFile, sealed: &Sealed) -> Option<DeviceWords> {
    sealed.awaits.filter(|_| State::load(&file.path).is_ok_and(|state| knock::never_let_in(&state)))
}

/// A credential that has recognised machine and user; the password is still unknown.
pub struct Recognised {
    device: DeviceUnlocked,
    needs_raise: bool,
    path: PathBuf,
    device_time: std::time::Duration,
}

impl Recognised {
    /// What does not depend on the password: user, gateway, device, addresses.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        self.device.sealed()
    }

    /// A source of the fingerprint that was there at enrolment and is missing now: worth a warning.
    #[must_use]
    pub fn missing(&self) -> Option<Source> {
        self.device.missing()
    }

    /// What a TPM does for the credential.
    #[must_use]
    pub fn tpm(&self) -> TpmUse {
        self.device.tpm()
    }

    /// Whether the credential was sealed at a lower stretching cost than is the default today: worth a reminder to renew it
    /// ([`renew`](crate::enrol::renew)).
    #[must_use]
    pub fn needs_raise(&self) -> bool {
        self.needs_raise
    }

    /// Opens the second layer. Costs one Argon2id (256 MiB by default): not for an async thread.
    ///
    /// # Errors
    /// [`CredentialTrouble::WrongPassword`], [`CredentialTrouble::Tpm`], or [`ClientError::Unexpected`] without the memory for it.
    pub fn unlock(&self, password: &Password) -> Result<Unlocked, ClientError> {
        let begun = Instant::now();
        // Argon2id takes longer, so that the knock that follows finds this done. Without a thread it does it itself.
        let (d_out, controller) = (self.sealed().d_out.clone(), self.sealed().controller_key);
        let _preparing = std::thread::Builder::new().name("preparing".to_owned()).spawn(move || {
            SystemEntropy::seed();
            d_out.keep_agreement(&controller);
            rehearse();
        });
        let opened = self.device.unlock_password(password).map_err(|error| credential_error(&self.path, error))?;
        let argon2id = begun.elapsed();
        let login_input = password_input(&opened.sealed.pepper, password.expose());
        let times = LocalTimes { device: self.device_time, argon2id };
        Ok(Unlocked {
            sealed: opened.sealed,
            keys: opened.keys,
            login_input,
            needs_raise: self.needs_raise,
            tpm: self.tpm(),
            kept: Kept::new(self.device.clone(), self.path.clone()),
            path: self.path.clone(),
            times,
        })
    }
}

/// An open credential: all that it takes to knock and to log in. Zeroized when dropped.
pub struct Unlocked {
    pub(crate) sealed: Sealed,
    pub(crate) keys: InnerKeys,
    pub(crate) login_input: Secret<32>,
    pub(crate) needs_raise: bool,
    pub(crate) tpm: TpmUse,
    pub(crate) path: PathBuf,
    pub(crate) times: LocalTimes,
    pub(crate) kept: Kept,
}

impl Unlocked {
    /// What does not depend on the password.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// As [`Recognised::needs_raise`].
    #[must_use]
    pub fn needs_raise(&self) -> bool {
        self.needs_raise
    }
}

pub(crate) fn credential_error(path: &Path, error: OpenError) -> ClientError {
    let trouble = match error {
        OpenError::File(error) => read_trouble(error),
        OpenError::NotACredential | OpenError::Truncated | OpenError::Damaged => CredentialTrouble::Damaged,
        OpenError::NewerVersion { .. } => CredentialTrouble::Newer,
        OpenError::WrongDeviceOrUser => CredentialTrouble::OtherMachineOrUser,
        OpenError::SourcesMissing { .. } | OpenError::SourceDiffers { .. } => {
            CredentialTrouble::MachineChanged { reason: error.to_string() }
        }
        OpenError::WrongPassword => CredentialTrouble::WrongPassword,
        OpenError::Tpm(error) => CredentialTrouble::Tpm(tpm_trouble(error)),
        OpenError::NoMemory { .. } => return ClientError::unexpected(error),
    };
    ClientError::Credential { trouble, path: path.display().to_string() }
}

fn tpm_trouble(error: TpmError) -> TpmTrouble {
    match error {
        TpmError::Absent => TpmTrouble::Absent,
        TpmError::OtherTpm => TpmTrouble::Other,
        TpmError::Denied => TpmTrouble::Denied,
        TpmError::LockedOut { seconds } => TpmTrouble::LockedOut { seconds },
        TpmError::Unreachable(_)
        | TpmError::Malformed
        | TpmError::WrongAuth
        | TpmError::OwnerAuth
        | TpmError::Refused { .. } => TpmTrouble::Failed { reason: error.to_string() },
    }
}

fn read_trouble(error: ReadError) -> CredentialTrouble {
    match error {
        ReadError::Missing => CredentialTrouble::Missing,
        ReadError::TooOpen { mode } => CredentialTrouble::TooOpen { mode },
        ReadError::TooLarge { .. } | ReadError::NotAFile => CredentialTrouble::Damaged,
        ReadError::Symlink | ReadError::ForeignOwner { .. } | ReadError::Io(_) => {
            CredentialTrouble::File { reason: error.to_string() }
        }
    }
}

pub(crate) fn create_error(error: CreateError) -> ClientError {
    ClientError::unexpected(error)
}

pub(crate) fn save_error(path: &Path, error: SaveError) -> ClientError {
    use crate::error::Trouble;
    let trouble = match error {
        SaveError::Full => Trouble::Full,
        SaveError::ReadOnly => Trouble::ReadOnly,
        SaveError::Denied => Trouble::Denied,
        SaveError::NoDirectory => Trouble::Missing,
        SaveError::Io(_) => Trouble::Other { reason: error.to_string() },
    };
    ClientError::Files { path: path.display().to_string(), trouble }
}
