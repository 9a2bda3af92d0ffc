//! A device replaces itself: new keys, stretched as today's defaults say, and the same password or another one.
//!
//! A seed is never sealed twice (PROTOCOL 3.2), so neither the password nor its stretching cost changes in a credential that is
//! there. Login → `Renew` ⇄ `Renewal`, an invitation for this device → E1 with it, as at any enrolment. The former device
//! ends with the confirmation and not before, so whoever is killed on the way has one that works, or a new one that waits beside
//! its place and is taken by the same command.

use super::place::Place;
use super::{
    EnrolOptions, EnrolledDevice, Prepared, TpmChoice, TpmOutlook, check_new_password, read_link, required, take_up,
};
use crate::channel::Control;
use crate::connect::{self, Connected};
use crate::error::ClientError;
use crate::home::{CredentialFile, Home};
use crate::identity::{Identity, Names};
use crate::local::Unlocked;
use crate::why::Passage;
use std::path::Path;
use std::sync::Arc;
use vestibule_local_credential::{Params, Password, Sources, TpmUse};
use vestibule_proto::id::UserName;
use vestibule_proto::invitation::Invitation;
use vestibule_proto::session::{ClientNotice, Notice};

/// How to renew.
pub struct RenewOptions {
    /// What the fingerprint is made of.
    pub sources: Sources,
    /// What stretching the password costs, apart from the typo bits, which the gateway sets.
    pub stretching: Params,
    /// Whether the new credential is sealed to this machine's TPM. One that was stays so unless told otherwise: `Auto` then is
    /// as `Require`.
    pub tpm: TpmChoice,
}

/// Replaces the credential in `file`, that `unlocked` is the content of, by one with new keys and `password`. Nobody else may be
/// using it: its sessions end.
///
/// # Errors
/// [`ClientError::WeakPassword`] before anything is sent; then everything that a login and an enrolment can meet. The former
/// credential is as good as before unless this returns `Ok`.
pub async fn renew(
    file: &CredentialFile,
    unlocked: Unlocked,
    password: Arc<Password>,
    options: RenewOptions,
) -> Result<EnrolledDevice, ClientError> {
    check_new_password(&unlocked.sealed.user, &password)?;
    let Unlocked { sealed, keys, login_input, path, times, tpm, .. } = unlocked;
    let names = Names::of(&sealed);
    let identity = Identity::of_device(&sealed, &keys, path);
    let place = Place { file: file.clone() };
    let choice = kept_sealed(options.tpm, tpm);
    // Before there is a session that would wait for it.
    let outlook = TpmOutlook::wanted(choice, &options.sources, file)?;
    if options.tpm == TpmChoice::Auto && tpm == TpmUse::Password && outlook.tpm == TpmUse::Device {
        let reason =
            "the TPM no longer limits guesses; `--tpm require` seals the credential to it without that".to_owned();
        return Err(required(file, reason));
    }
    let passage = &mut Passage::default();
    let mut connected = match connect::log_in(&identity, &names, login_input, times, None, passage).await {
        Ok(connected) => connected,
        Err(error @ ClientError::LoginFailed { .. }) => return Err(error),
        // The former device may have ended already: then its successor waits beside its place.
        Err(error) => {
            let taken = take_up(&place, &options.sources, sealed.gateway, &password).await?;
            let (device, tpm) = taken.ok_or(error)?;
            return Ok(EnrolledDevice {
                file: file.clone(),
                device,
                tpm,
                published: true,
                awaits: None,
                completed_earlier: true,
            });
        }
    };
    let options = EnrolOptions {
        home: Home::new(file.path.parent().unwrap_or(Path::new("."))),
        device_name: sealed.device_name.clone(),
        sources: options.sources,
        replace: true,
        stretching: options.stretching,
        tpm: choice,
    };
    let renewed = match invited(&mut connected.control, &identity, &sealed.user).await {
        Ok(invitation) => replace(place, &invitation, (&options, outlook), &password).await,
        Err(error) => Err(error),
    };
    farewell(connected, renewed.is_ok()).await;
    renewed
}

/// A credential does not lose its TPM because that can't be used today.
fn kept_sealed(choice: TpmChoice, former: TpmUse) -> TpmChoice {
    match (choice, former) {
        (TpmChoice::Auto, TpmUse::Device | TpmUse::Password) => TpmChoice::Require,
        (TpmChoice::Auto | TpmChoice::Require | TpmChoice::Never, _) => choice,
    }
}

/// Asks for an invitation, and believes it if it leads where this device was enrolled.
async fn invited(control: &mut Control, identity: &Identity, user: &UserName) -> Result<Invitation, ClientError> {
    control.say(&ClientNotice::Renew).await?;
    let link = loop {
        match control.hear().await? {
            Notice::Renewal(Ok(link)) => break link,
            Notice::Renewal(Err(reason)) | Notice::Ended(reason) => return Err(ClientError::from_reason(reason)),
            // The invitation tells the keys, too.
            Notice::Services(_) | Notice::Direct(_) | Notice::Realm(_) | Notice::GatewayKey(_) => {}
        }
    };
    let invitation = read_link(link.expose())?;
    let device = &identity.device;
    let same = invitation.gateway == device.gateway && invitation.gateway_key == device.gateway_key;
    if same && invitation.user == user.as_str() {
        Ok(invitation)
    } else {
        Err(ClientError::unexpected("the gateway invites this device to another place"))
    }
}

async fn replace(
    place: Place,
    invitation: &Invitation,
    (options, tpm): (&EnrolOptions, TpmOutlook),
    password: &Arc<Password>,
) -> Result<EnrolledDevice, ClientError> {
    let user = place.file.user.clone();
    Prepared::at(place, user, invitation, options, tpm)?.run(password).await
}

/// The session ends: with its device if that was replaced, else in order.
async fn farewell(connected: Connected, replaced: bool) {
    if replaced {
        connect::close(&connected.live.endpoint, &connected.live.connection).await;
    } else {
        connect::end(connected).await;
    }
}
