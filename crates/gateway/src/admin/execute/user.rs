//! Users.

use std::collections::BTreeMap;

use vestibule_policy::Grant;
use vestibule_proto::id::{Stamp, UserName};

use super::super::answer::{Answer, UserDetail, UserView};
use super::super::{AdminError, request::UserRequest};
use super::{Outcome, counts, device, invite, name, session, shown_or, told};
use crate::directory::{Device, Directory, SessionRecord, User, What};

pub(super) async fn execute(directory: &Directory, request: UserRequest, now: Stamp) -> Outcome {
    match request {
        UserRequest::Add { name: text, groups } => {
            let name: UserName = name(&text)?;
            let effects = directory.add_user(name.clone(), &groups, now).await?;
            let shown = detail(directory, &name, now).await;
            Ok((shown_or(shown, || format!("the user {name} is added")), effects))
        }
        UserRequest::Groups { name: text, groups } => {
            let name: UserName = name(&text)?;
            let effects = directory.set_groups(name.clone(), &groups, now).await?;
            let shown = detail(directory, &name, now).await;
            Ok((shown_or(shown, || format!("the groups of the user {name} are changed")), effects))
        }
        UserRequest::List => told(Answer::Users(list(directory, now).await?)),
        UserRequest::Show { name: text } => told(detail(directory, &name(&text)?, now).await?),
        UserRequest::Remove { name: text } => {
            let name: UserName = name(&text)?;
            let effects = directory.remove_user(name.clone(), now).await?;
            let mut told = format!("the user {text} and all its devices are removed");
            let left = still_granted(directory, &name).await.unwrap_or_default();
            if !left.is_empty() {
                told += &format!(
                    "; the configuration file goes on granting {} to user:{name}, for whom another user of that name would be taken: remove it there",
                    left.join(", ")
                );
            }
            Ok((Answer::Done(told), effects))
        }
        UserRequest::Suspend { name: text } => {
            let name = name(&text)?;
            let already = if is_suspended(directory, &name)? { " already" } else { "" };
            let effects = directory.suspend_user(name, now).await?;
            Ok((Answer::Done(format!("the user {text} is suspended{already}")), effects))
        }
        UserRequest::Resume { name: text } => {
            let name = name(&text)?;
            let so = if is_suspended(directory, &name)? { "is no longer" } else { "was not" };
            let effects = directory.resume_user(name, now).await?;
            Ok((Answer::Done(format!("the user {text} {so} suspended")), effects))
        }
    }
}

/// The services whose grants name this user.
async fn still_granted(directory: &Directory, name: &UserName) -> Result<Vec<String>, AdminError> {
    let grant = Grant::User(name.as_str().to_owned());
    let services = directory.services().await?;
    let granting = services.iter().filter(|service| service.grants.contains(&grant));
    Ok(granting.map(|service| service.name.to_string()).collect())
}

fn is_suspended(directory: &Directory, name: &UserName) -> Result<bool, AdminError> {
    Ok(directory.user(name)?.is_some_and(|user| user.suspended))
}

async fn list(directory: &Directory, now: Stamp) -> Result<Vec<UserView>, AdminError> {
    let (devices, sessions) = (directory.devices(None).await?, directory.live_sessions(now).await?);
    let mut owned: BTreeMap<&UserName, (usize, usize)> = BTreeMap::new();
    for device in devices.iter().filter(|device| counts(device.state)) {
        owned.entry(&device.user).or_default().0 += 1;
    }
    for session in &sessions {
        owned.entry(&session.user).or_default().1 += 1;
    }
    let counted = |user: User| {
        let (devices, sessions) = owned.get(&user.name).copied().unwrap_or_default();
        view(user, devices, sessions)
    };
    Ok(directory.users().await?.into_iter().map(counted).collect())
}

async fn detail(directory: &Directory, name: &UserName, now: Stamp) -> Result<Answer, AdminError> {
    let user = directory.user(name)?.ok_or_else(|| AdminError::not_found(What::User, name.as_str()))?;
    let devices = directory.devices(Some(name.clone())).await?;
    let sessions = directory.live_sessions(now).await?;
    let sessions: Vec<SessionRecord> = sessions.into_iter().filter(|session| session.user == *name).collect();
    let invitations = directory.invitations().await?;
    let services = directory.catalogue().await?.services_of(name);
    let active = devices.iter().filter(|device| counts(device.state)).count();
    Ok(Answer::User(Box::new(UserDetail {
        user: view(user, active, sessions.len()),
        sessions: session::views(sessions, &devices),
        devices: devices.iter().map(|device| device::view(directory, device)).collect::<Vec<_>>(),
        invitations: invitations
            .iter()
            .filter(|invited| invited.user == *name)
            .map(|invited| invite::view(invited, now))
            .collect(),
        services: services.into_iter().map(|service| service.name).collect(),
    })))
}

fn view(user: User, devices: usize, sessions: usize) -> UserView {
    let User { name, groups, suspended, created } = user;
    UserView { name, groups, suspended, created, devices, sessions }
}

/// How the devices are called, by id.
pub(super) fn device_names(devices: &[Device]) -> BTreeMap<vestibule_proto::id::DeviceId, &str> {
    devices.iter().map(|device| (device.id, device.name.as_str())).collect()
}
