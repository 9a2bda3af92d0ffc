//! Sessions.

use vestibule_proto::id::Stamp;

use super::super::answer::{Answer, SessionView};
use super::super::request::SessionRequest;
use super::super::{AdminError, selector};
use super::user::device_names;
use super::{Outcome, told};
use crate::directory::{Device, Directory, EndReason, SessionRecord, What};

pub(super) async fn execute(directory: &Directory, request: SessionRequest, now: Stamp) -> Outcome {
    match request {
        SessionRequest::List { all } => {
            let sessions = if all { directory.all_sessions().await? } else { directory.live_sessions(now).await? };
            told(Answer::Sessions(views(sessions, &directory.devices(None).await?)))
        }
        SessionRequest::Show { session } => {
            let found = find(directory, &session).await?;
            let devices = directory.devices(Some(found.user.clone())).await?;
            told(Answer::Session(Box::new(view(found, &devices))))
        }
        SessionRequest::Revoke { session } => {
            let found = find(directory, &session).await?;
            if found.ended.is_some() {
                return told(Answer::Done(format!("the session {} of {} has ended already", found.id, found.user)));
            }
            let effects = directory.end_session(found.id, EndReason::Revoked, now).await?;
            Ok((Answer::Done(format!("the session {} of {} is ended", found.id, found.user)), effects))
        }
    }
}

async fn find(directory: &Directory, text: &str) -> Result<SessionRecord, AdminError> {
    selector::by_id(directory.all_sessions().await?, What::Session, text, |session| session.id.to_string())
}

pub(super) fn views(sessions: Vec<SessionRecord>, devices: &[Device]) -> Vec<SessionView> {
    let names = device_names(devices);
    sessions.into_iter().map(|session| named(names.get(&session.device).copied(), session)).collect()
}

fn view(session: SessionRecord, devices: &[Device]) -> SessionView {
    named(device_names(devices).get(&session.device).copied(), session)
}

fn named(device_name: Option<&str>, session: SessionRecord) -> SessionView {
    SessionView {
        id: session.id,
        user: session.user,
        device: session.device,
        device_name: device_name.map(str::to_owned),
        address: session.address,
        created: session.created,
        expires: session.expires,
        idle_limit: session.idle_limit.as_secs(),
        last_use: session.last_use,
        ended: session.ended.map(|(ended, _)| ended),
        reason: session.ended.map(|(_, reason)| reason),
        live: None,
    }
}
