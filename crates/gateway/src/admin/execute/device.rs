//! Devices.

use vestibule_proto::id::{Stamp, UserName};

use super::super::answer::{Answer, DeviceView};
use super::super::request::DeviceRequest;
use super::super::{AdminError, selector};
use super::{Outcome, name, told};
use crate::directory::{Device, DeviceState, Directory, What, guess_policy};

pub(super) async fn execute(directory: &Directory, request: DeviceRequest, now: Stamp) -> Outcome {
    match request {
        DeviceRequest::List { user: None } => told(listed(directory, &directory.devices(None).await?)),
        DeviceRequest::List { user: Some(text) } => {
            let user: UserName = name(&text)?;
            let devices = directory.devices(Some(user.clone())).await?;
            // Of a user who was removed there may still be revoked devices.
            if devices.is_empty() && directory.user(&user)?.is_none() {
                return Err(AdminError::not_found(What::User, &text));
            }
            told(listed(directory, &devices))
        }
        DeviceRequest::Show { device } => {
            told(Answer::Device(Box::new(view(directory, &find(directory, &device).await?))))
        }
        DeviceRequest::Approve { device } => {
            let device = find(directory, &device).await?;
            let effects = directory.approve_device(device.id, now).await?;
            let so = if device.state == DeviceState::Waiting { "is approved" } else { "did not wait for approval" };
            Ok((Answer::Done(format!("{} {so}", called(&device))), effects))
        }
        DeviceRequest::Revoke { device } => {
            let device = find(directory, &device).await?;
            let effects = directory.revoke_device(device.id, now).await?;
            let already = if device.state == DeviceState::Revoked { " already" } else { "" };
            Ok((Answer::Done(format!("{} is revoked{already}", called(&device))), effects))
        }
        DeviceRequest::Resume { device } => {
            let device = find(directory, &device).await?;
            let effects = directory.resume_device(device.id, now).await?;
            let so = if device.state == DeviceState::Active { "was not suspended" } else { "may be used again" };
            Ok((Answer::Done(format!("{} {so}", called(&device))), effects))
        }
    }
}

fn listed(directory: &Directory, devices: &[Device]) -> Answer {
    Answer::Devices(devices.iter().map(|device| view(directory, device)).collect())
}

/// A device by both of its names, for sentences.
fn called(device: &Device) -> String {
    format!("the device {} of {} ({})", device.name, device.user, device.id)
}

async fn find(directory: &Directory, text: &str) -> Result<Device, AdminError> {
    selector::device(directory.devices(None).await?, text)
}

pub(super) fn view(directory: &Directory, device: &Device) -> DeviceView {
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
        words: (device.state == DeviceState::Waiting).then(|| directory.words(device).to_string()),
        trouble: None,
    }
}
