//! E1: a device is enrolled, inside the channel that its invitation's keys have opened.
//!
//! Nothing counts before the last message: whoever is cut off on the way begins again with the same invitation.

use crate::control::Control;
use crate::directory::{EnrolError, NewDevice};
use crate::effects;
use crate::shared::{Shared, entropy, now};
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::admission::Granted;
use vestibule_proto::enrol::{EnrolConfirm, EnrolDone, EnrolResponse, EnrolStart, EnrolUpload, Enrolled};
use vestibule_proto::id::{DeviceId, UserName};
use vestibule_proto::login::{LoginNames, RegistrationServer};
use vestibule_proto::session::{GatewayHello, Reason, SESSION_WAITING};

/// The largest message that is read, in bytes.
const MESSAGE_LIMIT: usize = 1_024;

/// How long the client waits, at most, for the controller to have its row: otherwise it gets it as soon as the link stands.
pub(crate) const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);

/// Runs the enrolment of a client that speaks this version at most.
///
/// # Errors
/// The reason to tell the client.
pub(crate) async fn enrol(
    shared: &Arc<Shared>,
    granted: &Granted,
    control: &mut Control,
    (start, newest): (EnrolStart, u16),
) -> Result<(), Reason> {
    let invitation = granted.device;
    let refuse = |error: EnrolError| refused(invitation, &error);
    let invited = shared.directory.usable_invitation(invitation, now().wall).await.map_err(refuse)?;
    if UserName::parse(&start.user).ok().as_ref() != Some(&invited.user) {
        return Err(Reason::Malformed);
    }
    // A device that replaces itself has been approved, and proved its password a moment ago.
    let awaits = shared.settings().approve && invited.replaces.is_none();
    if awaits && newest < SESSION_WAITING {
        return Err(Reason::Version);
    }
    let device = DeviceId::random(&mut entropy());
    let names = LoginNames { user: invited.user.clone(), gateway: shared.keys.gateway, device };
    let registration_response = RegistrationServer::begin(&shared.keys.opaque, &start.registration_request, &names)
        .map_err(|_| Reason::Malformed)?;
    let ksf = shared.settings().ksf;
    control.say(&GatewayHello::Enrol(Box::new(EnrolResponse { device, registration_response, ksf }))).await?;

    let upload: EnrolUpload = control.hear(MESSAGE_LIMIT).await?;
    let record = RegistrationServer::finish(&upload.record).map_err(|_| Reason::Malformed)?;
    let new = NewDevice {
        id: device,
        name: start.device_name,
        d_out: start.d_out,
        d_in: start.d_in,
        d_tls: start.d_tls,
        psk_g: start.psk_g,
        fingerprint_commitment: start.fingerprint_commitment,
        record: record.to_vec(),
        ksf,
        version_floor: granted.version,
        awaits,
    };
    let pending =
        shared.directory.register_device(invitation, new, now().wall, &mut entropy()).await.map_err(refuse)?;
    let enrolled = Enrolled {
        device,
        digest: pending.digest,
        psk_c: pending.psk_c,
        psk_r: pending.psk_r,
        gateway_pins: shared.keys.introduction().gateway_pins,
        typo_bits: shared.settings().typo_bits,
        version_floor: granted.version,
    };
    let agreed = if awaits { GatewayHello::EnrolledWaiting } else { GatewayHello::Enrolled };
    control.say(&agreed(Box::new(enrolled))).await?;

    let confirm: EnrolConfirm = control.hear(MESSAGE_LIMIT).await?;
    if confirm.device != device {
        return Err(Reason::Malformed);
    }
    let published = confirm_device(shared, invitation, device).await.map_err(refuse)?;
    shared.counters.enrolled_device();
    tracing::info!(%device, user = %invited.user, published, awaits, "device enrolled");
    Ok(control.say(&EnrolDone { published }).await?)
}

/// The device is active from here on. True if the controller has its row.
async fn confirm_device(shared: &Arc<Shared>, invitation: DeviceId, device: DeviceId) -> Result<bool, EnrolError> {
    let one_at_a_time = shared.changing.lock().await;
    let effects = shared.directory.confirm_device(invitation, device, now().wall).await?;
    let published = effects::carry_out(shared, effects).await;
    drop(one_at_a_time);
    let Some(published) = published else { return Ok(false) };
    Ok(matches!(tokio::time::timeout(PUBLISHED_WITHIN, published).await, Ok(Ok(true))))
}

fn refused(invitation: DeviceId, error: &EnrolError) -> Reason {
    tracing::warn!(%invitation, %error, "an enrolment was refused");
    error.reason()
}
