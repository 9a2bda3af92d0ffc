//! What is said on the control stream of an enrolment.

use super::Secrets;
use crate::channel::{Control, out_of_order};
use crate::dial::Dialled;
use crate::error::ClientError;
use vestibule_proto::enrol::{EnrolConfirm, EnrolDone, EnrolStart, EnrolUpload, Enrolled};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::frame;
use vestibule_proto::id::{DeviceId, GatewayId, UserName};
use vestibule_proto::key::Secret;
use vestibule_proto::login::{LoginNames, RegistrationStart};
use vestibule_proto::session::{GatewayHello, Wanted};
use vestibule_proto::words::{DeviceKeys, DeviceWords};

/// What is registered.
pub(super) struct Registration {
    pub(super) user: UserName,
    pub(super) gateway: GatewayId,
    pub(super) device_name: String,
    pub(super) fingerprint_commitment: [u8; 32],
    pub(super) login_input: Secret<32>,
}

/// What the gateway gave.
pub(super) struct Agreed {
    pub(super) enrolled: Enrolled,
    /// The device's words, if it has to be approved.
    pub(super) awaits: Option<DeviceWords>,
}

/// `EnrolStart` ⇄ `EnrolResponse`, `EnrolUpload` ⇄ `Enrolled`.
pub(super) async fn register(
    dialled: &Dialled,
    registration: Registration,
    secrets: &Secrets,
) -> Result<(Agreed, Control), ClientError> {
    let Registration { user, gateway, device_name, fingerprint_commitment, login_input } = registration;
    let begun = RegistrationStart::begin(login_input, &mut SystemEntropy);
    let (begun, registration_request) = begun.map_err(ClientError::unexpected)?;
    let keys = secrets.seed.keys();
    let (d_out, d_in, d_tls) = (secrets.d_out.public(), keys.d_in.public(), keys.d_tls.spki());
    let start = EnrolStart {
        user: user.to_string(),
        device_name,
        d_out,
        d_in,
        d_tls,
        psk_g: keys.psk_g,
        fingerprint_commitment,
        registration_request,
    };
    let mut control = Control::greet(&dialled.connection, Wanted::Enrol(Box::new(start))).await?;
    let response = match control.hear().await? {
        GatewayHello::Enrol(response) => *response,
        GatewayHello::Refused(reason) => return Err(ClientError::from_reason(reason)),
        GatewayHello::Challenge { .. }
        | GatewayHello::Welcome(_)
        | GatewayHello::WelcomeDirect(..)
        | GatewayHello::Enrolled(_)
        | GatewayHello::EnrolledWaiting(_) => return Err(out_of_order()),
    };
    let device = response.device;
    let names = LoginNames { user, gateway, device };
    let stretched = tokio::task::spawn_blocking(move || {
        begun.finish(&response.registration_response, &names, &response.ksf, &mut SystemEntropy)
    });
    let record = stretched.await.map_err(ClientError::unexpected)?.map_err(ClientError::unexpected)?;
    let words =
        DeviceWords::of(&DeviceKeys { gateway, device, d_out, d_in, d_tls, fingerprint_commitment, record: &record });
    control.say(&EnrolUpload { record }).await?;
    let agreed = |enrolled: Enrolled, awaits| {
        (enrolled.device == device).then_some(Agreed { enrolled, awaits }).ok_or_else(out_of_order)
    };
    match control.hear().await? {
        GatewayHello::Enrolled(enrolled) => Ok((agreed(*enrolled, None)?, control)),
        GatewayHello::EnrolledWaiting(enrolled) => Ok((agreed(*enrolled, Some(words))?, control)),
        GatewayHello::Refused(reason) => Err(ClientError::from_reason(reason)),
        GatewayHello::Challenge { .. }
        | GatewayHello::Welcome(_)
        | GatewayHello::WelcomeDirect(..)
        | GatewayHello::Enrol(_) => Err(out_of_order()),
    }
}

/// `EnrolConfirm` ⇄ `EnrolDone`: the credential is on the disk; the device becomes active. Says whether it is published.
pub(super) async fn confirm(mut control: Control, device: DeviceId) -> Result<bool, ClientError> {
    control.say(&EnrolConfirm { device }).await?;
    let document = control.hear_document().await?;
    // The last word is the only one that has a type of its own; a refusal has that of all others.
    match frame::decode::<GatewayHello>(&document) {
        Ok(GatewayHello::Refused(reason)) => Err(ClientError::from_reason(reason)),
        Ok(_) | Err(_) => {
            let EnrolDone { published } = frame::decode(&document).map_err(|_| out_of_order())?;
            Ok(published)
        }
    }
}
