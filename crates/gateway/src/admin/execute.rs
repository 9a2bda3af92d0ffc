//! Requests, carried out on the directory.

mod device;
mod invite;
mod service;
mod session;
mod user;

use std::str::FromStr;

use vestibule_proto::entropy::Entropy;
use vestibule_proto::id::{InvalidName, Stamp};

use super::answer::{Answer, Status};
use super::{AdminError, Request};
use crate::directory::{DeviceState, Directory, Effect, InvitationState, What};

/// What a request comes to: its answer, and what the running role has to do about it.
type Outcome = Result<(Answer, Vec<Effect>), AdminError>;

/// Carries out one request. [`SessionView::live`](super::SessionView::live) and [`Status::running`] are left for the
/// running role to fill in.
///
/// Errors: [`AdminError`]; nothing was done then.
pub async fn execute(
    directory: &Directory,
    request: Request,
    now: Stamp,
    entropy: &mut (dyn Entropy + Send),
) -> Outcome {
    match request {
        Request::User(request) => user::execute(directory, request, now).await,
        Request::Device(request) => device::execute(directory, request, now).await,
        Request::Invite(request) => invite::execute(directory, request, now, entropy).await,
        Request::Service(request) => service::execute(directory, request, now).await,
        Request::Session(request) => session::execute(directory, request, now).await,
        Request::Key(_) => Err(AdminError::invalid("this is about the gateway's keys", "vestibule gateway rotate")),
        Request::Audit(query) => {
            let user = query.user.clone();
            let entries = directory.audit_entries(query).await?;
            match user.filter(|_| entries.is_empty()) {
                Some(user) if directory.user(&user)?.is_none() => Err(AdminError::not_found(What::User, user.as_str())),
                Some(_) | None => told(Answer::Audit(entries)),
            }
        }
        Request::Status => told(Answer::Status(Box::new(status(directory, now).await?))),
    }
}

async fn status(directory: &Directory, now: Stamp) -> Result<Status, AdminError> {
    let devices = directory.devices(None).await?;
    let invitations = directory.invitations().await?;
    let is_open = |state: InvitationState, expires: Stamp| state == InvitationState::Open && now < expires;
    Ok(Status {
        gateway: directory.identity().gateway,
        name: directory.identity().name.clone(),
        users: directory.users().await?.len(),
        devices: devices.iter().filter(|device| counts(device.state)).count(),
        invitations: invitations.iter().filter(|invited| is_open(invited.state, invited.expires)).count(),
        services: directory.services().await?.len(),
        sessions: directory.live_sessions(now).await?.len(),
        running: None,
    })
}

/// Whether a device in this state counts as one of its user's.
pub(crate) fn counts(state: DeviceState) -> bool {
    match state {
        DeviceState::Waiting | DeviceState::Active | DeviceState::Suspended => true,
        DeviceState::Pending | DeviceState::Revoked => false,
    }
}

/// An answer that changes nothing.
fn told(answer: Answer) -> Outcome {
    Ok((answer, Vec::new()))
}

/// What a change is answered with. It stands already: if it can't be shown, the running role must hear of it all the same.
fn shown_or(shown: Result<Answer, AdminError>, done: impl FnOnce() -> String) -> Answer {
    shown.unwrap_or_else(|error| {
        tracing::warn!(%error, "a change is carried out but can't be shown");
        Answer::Done(done())
    })
}

/// A name as it was typed.
fn name<T: FromStr<Err = InvalidName>>(text: &str) -> Result<T, AdminError> {
    text.parse().map_err(|error| AdminError::invalid(format!("`{text}` is not a name: {error}"), "choose another name"))
}
