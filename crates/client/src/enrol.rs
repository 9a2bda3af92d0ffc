//! E1: an invitation becomes a device with a local credential.
//!
//! Knock as the invitation → dial → `EnrolStart` ⇄ `EnrolResponse` → `EnrolUpload` ⇄ `Enrolled` → the credential is written
//! beside its final place → `EnrolConfirm` ⇄ `EnrolDone` → it takes its place. Whoever is killed on the way runs the same
//! command again: before the confirmation the invitation is still good, after it the credential is there to be taken.

mod channel;
mod place;
mod renewal;

pub use renewal::{RenewOptions, renew};

use crate::arrive::{Arrived, arrive};
use crate::connect;
use crate::error::{ClientError, CredentialTrouble, InvitationTrouble, Refused};
use crate::home::{CredentialFile, Home};
use crate::identity::{Identity, Names};
use crate::local::{self, create_error, save_error};
use crate::timings::LocalTimes;
use crate::why::Passage;
use channel::Agreed;
use place::{Place, is_for_now};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;
use vestibule_local_credential::password::{Password, refuse_if_common};
use vestibule_local_credential::tpm;
use vestibule_local_credential::{Credential, Fingerprint, NewCredential, Params, Sealed, Seed, Sources, TpmUse};
use vestibule_proto::entropy::{self, SystemEntropy};
use vestibule_proto::id::{DeviceId, GatewayId, Stamp, UserName};
use vestibule_proto::inner::Purpose;
use vestibule_proto::invitation::{Invitation, LinkError};
use vestibule_proto::key::{PrivateKey, Secret};
use vestibule_proto::login::{LoginNames, password_input};
use vestibule_proto::words::DeviceWords;

/// Longest name of a device, in bytes.
const DEVICE_NAME_LEN: usize = 64;

/// Where and how to enrol.
pub struct EnrolOptions {
    /// Where the credential goes; made if missing.
    pub home: Home,
    /// How the gateway's lists call this device.
    pub device_name: String,
    /// What the fingerprint is made of.
    pub sources: Sources,
    /// Whether an existing credential for the same user and gateway may be replaced. It is kept until the new one is active.
    pub replace: bool,
    /// What stretching the password costs, apart from the typo bits, which the gateway sets.
    pub stretching: Params,
    /// Whether the credential is sealed to this machine's TPM.
    pub tpm: TpmChoice,
}

/// Whether a new credential is sealed to this machine's TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TpmChoice {
    /// Where there is one that this user may use.
    #[default]
    Auto,
    /// Yes, or there is no credential.
    Require,
    /// No.
    Never,
}

impl FromStr for TpmChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "require" => Ok(Self::Require),
            "never" => Ok(Self::Never),
            _ => Err("one of auto, require, never"),
        }
    }
}

/// What a TPM would do for a new credential, as it was found out by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmOutlook {
    /// That.
    pub tpm: TpmUse,
    /// Why nothing, where it was asked for.
    pub reason: Option<String>,
    path: Option<PathBuf>,
}

impl TpmOutlook {
    /// Asks this machine's TPM, by sealing something to it. Some commands, in which it blocks.
    #[must_use]
    pub fn find(choice: TpmChoice, sources: &Sources) -> Self {
        let wanted = sources.tpm().filter(|_| choice != TpmChoice::Never);
        let Some(path) = wanted else { return Self { tpm: TpmUse::None, reason: None, path: None } };
        match tpm::look(path) {
            Ok(tpm) => Self { tpm, reason: None, path: Some(path.to_owned()) },
            Err(error) => Self { tpm: TpmUse::None, reason: Some(error.to_string()), path: None },
        }
    }

    /// The same for the credential of this file. Some commands to the TPM, in which it blocks: to be called while nothing waits.
    ///
    /// # Errors
    /// [`CredentialTrouble::TpmRequired`].
    fn wanted(choice: TpmChoice, sources: &Sources, file: &CredentialFile) -> Result<Self, ClientError> {
        let found = Self::find(choice, sources);
        if choice == TpmChoice::Require && found.tpm == TpmUse::None {
            let reason = found.reason.unwrap_or_else(|| "this machine has no TPM".to_owned());
            return Err(required(file, reason));
        }
        Ok(found)
    }
}

fn required(file: &CredentialFile, reason: String) -> ClientError {
    let path = file.path.display().to_string();
    ClientError::Credential { trouble: CredentialTrouble::TpmRequired { reason }, path }
}

/// A device that was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledDevice {
    /// Its credential.
    pub file: CredentialFile,
    /// The device at the gateway.
    pub device: DeviceId,
    /// What a TPM does for its credential.
    pub tpm: TpmUse,
    /// Whether the controller knows it already; if not it will as soon as the gateway's link stands.
    pub published: bool,
    /// Its words, if the gateway's owner has to approve it before it can be used: to be compared with those that the owner sees.
    pub awaits: Option<DeviceWords>,
    /// An earlier run had done all but the last step; this one did that.
    pub completed_earlier: bool,
}

/// Reads an invitation's link. Nothing is sent.
///
/// # Errors
/// [`ClientError::Invitation`].
pub fn read_link(text: &str) -> Result<Invitation, ClientError> {
    Invitation::from_link(text).map_err(|error| {
        ClientError::Invitation(match error {
            LinkError::Scheme(_) => InvitationTrouble::NotOne,
            LinkError::Altered => InvitationTrouble::Altered,
            LinkError::Newer => InvitationTrouble::Newer,
        })
    })
}

/// Looks whether an enrolment could go ahead, before a password is asked for. Nothing is sent.
///
/// # Errors
/// [`CredentialTrouble::Exists`], [`CredentialTrouble::NoFingerprint`], [`CredentialTrouble::TpmRequired`], or [`ClientError::Files`]
/// if the directory can't be used.
pub fn check(invitation: &Invitation, options: &EnrolOptions) -> Result<TpmOutlook, ClientError> {
    Prepared::new(invitation, options).map(|prepared| prepared.tpm)
}

/// Looks whether `password` may be set at an enrolment by this invitation. Nothing is sent.
///
/// # Errors
/// [`ClientError::WeakPassword`].
pub fn check_password(invitation: &Invitation, password: &Password) -> Result<(), ClientError> {
    check_new_password(&invited(invitation)?, password)
}

/// Looks whether `password` may become this user's. Nothing is sent.
///
/// # Errors
/// [`ClientError::WeakPassword`].
pub fn check_new_password(user: &UserName, password: &Password) -> Result<(), ClientError> {
    refuse_if_common(password, user).map_err(|weak| ClientError::WeakPassword { reason: weak.to_string() })
}

fn invited(invitation: &Invitation) -> Result<UserName, ClientError> {
    UserName::parse(&invitation.user).map_err(|_| ClientError::Invitation(InvitationTrouble::Newer))
}

/// Enrols this device with `password`, which is set by this and never leaves the device.
///
/// # Errors
/// [`ClientError::WeakPassword`] and those of [`check`] before anything is sent; then [`ClientError::Invitation`], and everything
/// that a knock, a connection and a file can meet.
pub async fn enrol(
    invitation: &Invitation,
    password: Arc<Password>,
    options: &EnrolOptions,
) -> Result<EnrolledDevice, ClientError> {
    let prepared = Prepared::new(invitation, options)?;
    check_password(invitation, &password)?;
    match prepared.run(&password).await {
        // By this device, perhaps: then its credential waits beside its place.
        Err(error @ ClientError::Invitation(InvitationTrouble::Used)) => prepared.take_up(&password, error).await,
        outcome => outcome,
    }
}

/// All that is known before the first packet.
struct Prepared<'a> {
    invitation: &'a Invitation,
    options: &'a EnrolOptions,
    user: UserName,
    fingerprint: Fingerprint,
    place: Place,
    tpm: TpmOutlook,
}

impl<'a> Prepared<'a> {
    fn new(invitation: &'a Invitation, options: &'a EnrolOptions) -> Result<Self, ClientError> {
        let user = invited(invitation)?;
        options.home.prepare()?;
        let place = Place::choose(&options.home, &user, invitation, &options.sources)?;
        let tpm = TpmOutlook::wanted(options.tpm, &options.sources, &place.file)?;
        Self::at(place, user, invitation, options, tpm)
    }

    fn at(
        place: Place,
        user: UserName,
        invitation: &'a Invitation,
        options: &'a EnrolOptions,
        tpm: TpmOutlook,
    ) -> Result<Self, ClientError> {
        if !options.replace && place.is_taken() {
            let path = place.file.path.display().to_string();
            return Err(ClientError::Credential { trouble: CredentialTrouble::Exists, path });
        }
        let fingerprint = Fingerprint::gather(&options.sources).map_err(|_| ClientError::Credential {
            trouble: CredentialTrouble::NoFingerprint,
            path: place.file.path.display().to_string(),
        })?;
        Ok(Self { invitation, options, user, fingerprint, place, tpm })
    }

    async fn run(&self, password: &Arc<Password>) -> Result<EnrolledDevice, ClientError> {
        let secrets = Secrets::random();
        let identity = Identity::of_invitation(self.invitation);
        let passage = &mut Passage::default();
        let arriving = arrive(&identity, Purpose::Enrol, None, None, passage);
        let Arrived { dialled, .. } = arriving.await.map_err(not_taken)?;
        let registration = channel::Registration {
            user: self.user.clone(),
            gateway: self.invitation.gateway,
            device_name: device_name(&self.options.device_name),
            fingerprint_commitment: self.fingerprint.commitment(&secrets.fingerprint_salt),
            login_input: password_input(&secrets.pepper, password.expose()),
        };
        let said = channel::register(&dialled, registration, &secrets).await;
        let (agreed, control) = connect::closing(&dialled, said)?;
        let (device, awaits) = (agreed.enrolled.device, agreed.awaits);
        let kept = self.keep(agreed, secrets, Arc::clone(password)).await;
        let tpm = connect::closing(&dialled, kept)?;
        let confirmed = channel::confirm(control, device).await;
        let published = connect::closing(&dialled, confirmed)?;
        self.place.take()?;
        connect::close(&dialled.endpoint, &dialled.connection).await;
        Ok(EnrolledDevice { published, awaits, ..self.enrolled(device, false, tpm) })
    }

    /// Seals the credential and writes it beside its place: on the disk when this returns. What a TPM does for it.
    async fn keep(&self, agreed: Agreed, secrets: Secrets, password: Arc<Password>) -> Result<TpmUse, ClientError> {
        let params =
            self.options.stretching.with_typo_bits(agreed.enrolled.typo_bits).map_err(ClientError::unexpected)?;
        let (sealed, tpm) = (self.sealed(agreed, &secrets), self.tpm.path.clone());
        let new = NewCredential { sealed, seed: secrets.seed, tpm };
        let (fingerprint, pending) = (self.fingerprint.clone(), self.place.pending());
        let kept = tokio::task::spawn_blocking(move || {
            let credential = Credential::create(new, &password, &fingerprint, params, &mut SystemEntropy);
            let credential = credential.map_err(create_error)?;
            credential.save(&pending).map_err(|error| save_error(&pending, error))?;
            Ok(credential.tpm())
        });
        kept.await.map_err(ClientError::unexpected)?
    }

    fn sealed(&self, agreed: Agreed, secrets: &Secrets) -> Sealed {
        let invitation = self.invitation;
        let Agreed { enrolled, awaits } = agreed;
        let pins =
            if enrolled.gateway_pins.is_empty() { invitation.gateway_pins.clone() } else { enrolled.gateway_pins };
        Sealed {
            user: self.user.clone(),
            gateway: invitation.gateway,
            gateway_name: invitation.gateway_name.clone(),
            device: enrolled.device,
            device_name: device_name(&self.options.device_name),
            d_out: secrets.d_out.clone(),
            psk_c: enrolled.psk_c,
            psk_r: enrolled.psk_r,
            realm: invitation.realm.clone(),
            pepper: secrets.pepper.clone(),
            digest: enrolled.digest,
            controller_key: invitation.controller_key,
            gateway_key: invitation.gateway_key,
            gateway_pins: pins,
            controllers: invitation.controllers.clone(),
            version_floor: enrolled.version_floor,
            fingerprint_salt: secrets.fingerprint_salt,
            enrolled: Stamp::from_system(SystemTime::now()),
            resume: None,
            awaits,
            realm_epoch: 0,
        }
    }

    /// The gateway says that the invitation was used: by an earlier run of this device, perhaps. `used` is told otherwise.
    async fn take_up(&self, password: &Arc<Password>, used: ClientError) -> Result<EnrolledDevice, ClientError> {
        let taken = take_up(&self.place, &self.options.sources, self.invitation.gateway, password).await?;
        taken.map(|(device, tpm)| self.enrolled(device, true, tpm)).ok_or(used)
    }

    fn enrolled(&self, device: DeviceId, completed_earlier: bool, tpm: TpmUse) -> EnrolledDevice {
        EnrolledDevice { file: self.place.file.clone(), device, tpm, published: true, awaits: None, completed_earlier }
    }
}

/// If an earlier run was killed between the gateway's confirmation and its own last step, the credential that it left logs in,
/// and takes its place. `None` if there is none that does.
async fn take_up(
    place: &Place,
    sources: &Sources,
    gateway: GatewayId,
    password: &Arc<Password>,
) -> Result<Option<(DeviceId, TpmUse)>, ClientError> {
    let file = CredentialFile { path: place.pending(), ..place.file.clone() };
    let recognised = match local::recognise(&file, sources) {
        Ok(recognised) => recognised,
        Err(error) if is_for_now(&error) => return Err(error),
        Err(_) => return Ok(None),
    };
    if recognised.sealed().gateway != gateway {
        return Ok(None);
    }
    let password = Arc::clone(password);
    let unlocked = tokio::task::spawn_blocking(move || recognised.unlock(&password));
    let unlocked = unlocked.await.map_err(ClientError::unexpected)??;
    let tpm = unlocked.tpm;
    let names = Names::of(&unlocked.sealed);
    let identity = Identity::of_device(&unlocked.sealed, &unlocked.keys, file.path);
    let LoginNames { device, .. } = names.login;
    let (times, passage) = (LocalTimes::default(), &mut Passage::default());
    let connected = connect::log_in(&identity, &names, unlocked.login_input, times, None, passage).await;
    let connected = match connected {
        Ok(connected) => connected,
        // It has no other proof that the gateway knows it, and gets one as soon as it is approved.
        Err(error @ ClientError::AwaitsApproval { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    place.take()?;
    connect::end(connected).await;
    Ok(Some((device, tpm)))
}

/// What this device makes for itself. The gateway gets public halves; the pepper goes nowhere.
struct Secrets {
    d_out: PrivateKey,
    seed: Seed,
    pepper: Secret<32>,
    fingerprint_salt: [u8; 16],
}

impl Secrets {
    fn random() -> Self {
        let entropy = &mut SystemEntropy;
        Self {
            d_out: PrivateKey::random(entropy),
            seed: Seed::random(entropy),
            pepper: Secret::random(entropy),
            fingerprint_salt: entropy::bytes(entropy),
        }
    }
}

/// A refusal of an invitation has nothing to do with passwords: its inner half is not the one that was issued.
fn not_taken(error: ClientError) -> ClientError {
    let ClientError::Refused { why, .. } = &error else { return error };
    if matches!(why, Refused::WrongPassword | Refused::Revoked | Refused::Suspended) {
        ClientError::Invitation(InvitationTrouble::Unknown)
    } else {
        error
    }
}

/// A name that fits into tables: without control characters, not too long, never empty.
fn device_name(name: &str) -> String {
    let mut plain: String = name.trim().chars().filter(|character| !character.is_control()).collect();
    plain.truncate(plain.floor_char_boundary(DEVICE_NAME_LEN));
    if plain.is_empty() { "device".to_owned() } else { plain }
}

#[cfg(test)]
mod tests;
