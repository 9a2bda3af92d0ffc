//! Devices.

use vestibule_proto::id::Stamp;

use super::super::answer::{Answer, DeviceView};
use super::super::request::DeviceRequest;
use super::super::{AdminError, selector};
use super::{Outcome, name, told};
use crate::directory::{Device, DeviceState, Directory, guess_policy};

pub(super) async fn execute(directory: &Directory, request: DeviceRequest, now: Stamp) -> Outcome {
    match request {
        DeviceRequest::List { user } => {
            let user = user.map(|text| name(&text)).transpose()?;
            told(Answer::Devices(directory.devices(user).await?.iter().map(view).collect()))
        }
        DeviceRequest::Show { device } => told(Answer::Device(Box::new(view(&find(directory, &device).await?)))),
        DeviceRequest::Revoke { device } => {
            let device = find(directory, &device).await?;
            let effects = directory.revoke_device(device.id, now).await?;
            let already = if device.state == DeviceState::Revoked { " already" } else { "" };
            Ok((Answer::Done(format!("the device {} of {} is revoked{already}", device.id, device.user)), effects))
        }
        DeviceRequest::Resume { device } => {
            let device = find(directory, &device).await?;
            let effects = directory.resume_device(device.id, now).await?;
            let so = if device.state == DeviceState::Active { "was not suspended" } else { "may be used again" };
            Ok((Answer::Done(format!("the device {} of {} {so}", device.id, device.user)), effects))
        }
    }
}

async fn find(directory: &Directory, text: &str) -> Result<Device, AdminError> {
    selector::device(directory.devices(None).await?, text)
}

pub(super) fn view(device: &Device) -> DeviceView {
    DeviceView {
        id: device.id,
        user: device.user.clone(),
        name: device.name.clone(),
        state: device.state,
        tries: device.guesses.count,
        limit: guess_policy().limit,
        last_try: (device.guesses.count > 0).then_some(device.guesses.last),
        created: device.created,
        last_seen: device.last_seen,
        digest: device.digest,
        trouble: None,
    }
}
