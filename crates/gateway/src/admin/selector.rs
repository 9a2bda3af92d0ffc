//! Which thing the owner means: by id, by the beginning of an id, or by a name that fits one alone.

use std::fmt::Display;

use super::AdminError;
use crate::directory::{Device, DeviceState, What};

/// Fewest digits of an id that are taken for the beginning of one.
const PREFIX_LEN: usize = 4;

/// The one thing whose id is `text` or begins with it.
pub(super) fn by_id<T>(things: Vec<T>, what: What, text: &str, id: impl Fn(&T) -> String) -> Result<T, AdminError> {
    let text = text.to_ascii_lowercase();
    let matches = |thing: &T| text.len() >= PREFIX_LEN && id(thing).starts_with(&text);
    the_only(things.into_iter().filter(matches).collect(), what, &text, id)
}

/// The one device whose id is `text` or begins with it, or whose name is `text` or `USER/NAME`. A revoked device steps back behind
/// those that may still be used: each change of the password leaves one of the same name behind.
pub(super) fn device(devices: Vec<Device>, text: &str) -> Result<Device, AdminError> {
    let named = |device: &&Device| match text.split_once('/') {
        Some((user, name)) => device.user.as_str() == user && device.name == name,
        None => device.name == text,
    };
    let mut found: Vec<_> = devices.iter().filter(named).cloned().collect();
    if found.iter().any(|device| device.state != DeviceState::Revoked) {
        found.retain(|device| device.state != DeviceState::Revoked);
    }
    if found.is_empty() {
        return by_id(devices, What::Device, text, |device| device.id.to_string());
    }
    the_only(found, What::Device, text, |device| device.id.to_string())
}

fn the_only<T, I: Display>(mut found: Vec<T>, what: What, text: &str, id: impl Fn(&T) -> I) -> Result<T, AdminError> {
    if found.len() > 1 {
        let ids: Vec<_> = found.iter().take(4).map(|thing| id(thing).to_string()).collect();
        let message = format!("`{text}` fits {} {what}s: {}", found.len(), ids.join(" "));
        let next = match what {
            What::Device => "name it by its id, or as USER/NAME",
            What::User | What::Invitation | What::Service | What::Session => "give more of the id",
        };
        return Err(AdminError::invalid(message, next));
    }
    found.pop().ok_or_else(|| AdminError::not_found(what, text))
}
