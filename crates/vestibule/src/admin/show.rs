//! Answers of the gateway as tables and lines.

use crate::fault::Fault;
use crate::output::{self, Output};
use serde::Serialize;
use vestibule_dark::Way;
use vestibule_gateway::admin::{
    Answer, DeviceView, InvitationView, Invited, KeyView, ServiceView, SessionView, Status, UserDetail, UserView,
};
use vestibule_gateway::directory::{AuditEntry, Source};
use vestibule_proto::id::Stamp;

/// Digits of an id that lists show; enough to name it, and `show` tells the rest.
const ID_DIGITS: usize = 8;

/// Prints an answer.
pub(crate) fn answer(answer: &Answer, output: &Output) -> Result<(), Fault> {
    match answer {
        Answer::Users(users) => output.list(users, &["user", "groups", "state", "devices", "sessions"], user_cells),
        Answer::User(user) => user_detail(user, output),
        Answer::Devices(devices) => self::devices(devices, output),
        Answer::Device(device) => device_lines(device, output),
        Answer::Invited(invited) => self::invited(invited, output),
        Answer::Invitations(list) => {
            output.list(list, &["id", "user", "state", "expires", "altered links"], invitation_cells)
        }
        Answer::Invitation(invitation) => invitation_lines(invitation, output),
        Answer::Services(list) => {
            output.list(list, &["service", "kind", "upstream", "allowed", "defined in"], service_cells)
        }
        Answer::Service(service) => service_lines(service, output),
        Answer::Sessions(list) => {
            output.list(list, &["id", "user", "device", "from", "state", "connections", "expires"], session_cells)
        }
        Answer::Session(session) => session_lines(session, output),
        Answer::Audit(entries) => {
            output.list(entries, &["time", "what", "user", "device", "from", "detail"], audit_cells)
        }
        Answer::Status(status) => status_lines(status, output),
        Answer::Key(key) => key_lines(key, output),
        Answer::Done(text) => output.say(&serde_json::json!({ "done": text }), || text.clone()),
    }
}

fn user_cells(user: &UserView) -> Vec<String> {
    vec![
        user.name.to_string(),
        user.groups.join(" "),
        if user.suspended { "suspended" } else { "active" }.to_owned(),
        user.devices.to_string(),
        user.sessions.to_string(),
    ]
}

fn user_detail(detail: &UserDetail, output: &Output) -> Result<(), Fault> {
    let devices: Vec<String> =
        detail.devices.iter().map(|device| format!("{} ({})", device.name, word(&device.state))).collect();
    let user = &detail.user;
    output.show(
        detail,
        &[
            ("user", user.name.to_string()),
            ("groups", user.groups.join(" ")),
            ("state", if user.suspended { "suspended" } else { "active" }.to_owned()),
            ("added", moment(user.created)),
            ("devices", devices.join(", ")),
            ("sessions", user.sessions.to_string()),
            ("may use", detail.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        ],
    )
}

/// With the words of those that wait, if any does.
fn devices(devices: &[DeviceView], output: &Output) -> Result<(), Fault> {
    let mut heads = vec!["device", "user", "state", "wrong passwords", "last seen", "id"];
    if devices.iter().all(|device| device.words.is_none()) {
        return output.list(devices, &heads, device_cells);
    }
    heads.push("words to compare");
    output.list(devices, &heads, |device| {
        let mut cells = device_cells(device);
        cells.push(device.words.clone().unwrap_or_default());
        cells
    })?;
    if !output.is_json() {
        output::note(
            "The words are right if the person reads the same ones from the device: vestibule device approve NAME",
        );
    }
    Ok(())
}

fn device_cells(device: &DeviceView) -> Vec<String> {
    vec![
        device.name.clone(),
        device.user.to_string(),
        if device.trouble.is_some() { "unusable".to_owned() } else { word(&device.state) },
        format!("{} of {}", device.tries, device.limit),
        device.last_seen.map_or_else(dash, moment),
        short(&device.id),
    ]
}

fn device_lines(device: &DeviceView, output: &Output) -> Result<(), Fault> {
    let mut lines = vec![
        ("device", device.name.clone()),
        ("user", device.user.to_string()),
        ("state", word(&device.state)),
        ("wrong passwords", format!("{} of {}", device.tries, device.limit)),
        ("enrolled", moment(device.created)),
        ("last seen", device.last_seen.map_or_else(dash, moment)),
        ("id", device.id.to_string()),
        ("login digest", device.digest.to_string()),
    ];
    lines.extend(device.words.iter().map(|words| ("words to compare", words.clone())));
    lines.extend(device.trouble.iter().map(|trouble| ("unusable", trouble.clone())));
    output.show(device, &lines)
}

fn invited(invited: &Invited, output: &Output) -> Result<(), Fault> {
    output.say(invited, || invited.link.clone())?;
    if !output.is_json() {
        output::note(&format!(
            "Whoever has this link can enrol one device as {}, once, until {}:\n  vestibule enroll     (it asks for the link)",
            invited.user,
            moment(invited.expires)
        ));
        if let Some(trouble) = &invited.trouble {
            output::note(&format!("It can't be used yet: {trouble}."));
        }
    }
    Ok(())
}

fn invitation_cells(invitation: &InvitationView) -> Vec<String> {
    vec![
        short(&invitation.id),
        invitation.user.to_string(),
        word(&invitation.state),
        moment(invitation.expires),
        invitation.altered.to_string(),
    ]
}

fn invitation_lines(invitation: &InvitationView, output: &Output) -> Result<(), Fault> {
    let mut lines = vec![
        ("invitation", invitation.id.to_string()),
        ("user", invitation.user.to_string()),
        ("state", word(&invitation.state)),
        ("issued", moment(invitation.created)),
        ("expires", moment(invitation.expires)),
        ("used", invitation.used.map_or_else(dash, moment)),
        ("by device", invitation.used_by.map_or_else(dash, |device| device.to_string())),
        ("altered links", invitation.altered.to_string()),
    ];
    lines.extend(invitation.trouble.iter().map(|trouble| ("unusable", trouble.clone())));
    output.show(invitation, &lines)
}

fn service_cells(service: &ServiceView) -> Vec<String> {
    vec![
        service.name.to_string(),
        word(&service.kind),
        service.upstream.clone(),
        service.allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        source(service).to_owned(),
    ]
}

fn service_lines(service: &ServiceView, output: &Output) -> Result<(), Fault> {
    output.show(
        service,
        &[
            ("service", service.name.to_string()),
            ("kind", word(&service.kind)),
            ("upstream", service.upstream.clone()),
            ("direct", service.direct.map_or_else(|| "no".to_owned(), |port| format!("TCP port {port}"))),
            ("allowed", service.allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            ("who that is now", service.users.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            ("defined in", source(service).to_owned()),
        ],
    )
}

fn session_cells(session: &SessionView) -> Vec<String> {
    let remote = session.live.as_ref().and_then(|live| live.remote).unwrap_or(session.address);
    vec![
        short(&session.id),
        session.user.to_string(),
        session.device_name.clone().unwrap_or_else(dash),
        remote.to_string(),
        session_state(session),
        flows(session),
        moment(session.expires),
    ]
}

fn session_lines(session: &SessionView, output: &Output) -> Result<(), Fault> {
    output.show(
        session,
        &[
            ("session", session.id.to_string()),
            ("user", session.user.to_string()),
            ("device", session.device_name.clone().unwrap_or_else(dash)),
            ("from", session.address.to_string()),
            ("state", session_state(session)),
            ("began", moment(session.created)),
            ("last used", moment(session.last_use)),
            ("expires", moment(session.expires)),
            ("idle limit", output::span(session.idle_limit)),
            ("connections", flows(session)),
        ],
    )
}

fn session_state(session: &SessionView) -> String {
    match (&session.ended, &session.live) {
        (Some(_), _) => session.reason.as_ref().map_or_else(|| "ended".to_owned(), word),
        (None, Some(live)) if live.remote.is_some() => match live.way {
            Some(Way::Tcp) => "connected over TCP".to_owned(),
            _ => "connected".to_owned(),
        },
        (None, _) => "away".to_owned(),
    }
}

fn flows(session: &SessionView) -> String {
    let flows = session.live.iter().flat_map(|live| &live.flows);
    let text: Vec<String> = flows.map(|(service, count)| format!("{service}×{count}")).collect();
    if text.is_empty() { dash() } else { text.join(" ") }
}

fn audit_cells(entry: &AuditEntry) -> Vec<String> {
    vec![
        moment(entry.time),
        entry.kind.as_str().to_owned(),
        entry.user.as_ref().map_or_else(dash, ToString::to_string),
        entry.device.as_ref().map_or_else(dash, short),
        entry.address.map_or_else(dash, |address| address.to_string()),
        entry.detail.clone(),
    ]
}

fn status_lines(status: &Status, output: &Output) -> Result<(), Fault> {
    let mut lines = vec![
        ("gateway", format!("{} ({})", status.name, status.gateway)),
        ("users", status.users.to_string()),
        ("devices", status.devices.to_string()),
        ("open invitations", status.invitations.to_string()),
        ("services", status.services.to_string()),
        ("sessions", status.sessions.to_string()),
    ];
    if let Some(running) = &status.running {
        lines.push(("up for", output::span(running.uptime)));
        lines.push(("listens on", running.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
        lines.push(("link", link(running)));
        lines.push(("connected sessions", running.connected.to_string()));
        lines.push(("connections", running.flows.to_string()));
        lines.extend(running.counters.iter().map(|(name, value)| (name.as_str(), value.to_string())));
    }
    output.show(status, &lines)
}

fn key_lines(key: &KeyView, output: &Output) -> Result<(), Fault> {
    let former = match key.former_until {
        Some(until) => format!("counts until {}", output::moment(until.as_millis())),
        None => "counts no more".to_owned(),
    };
    let controller = match key.controller_has_it {
        true => "has the present one",
        false => "gets the present one with the next link",
    };
    output.show(key, &[("present key", key.key.clone()), ("former key", former), ("controller", controller.to_owned())])
}

fn link(running: &vestibule_gateway::admin::Running) -> String {
    running.link.as_ref().map_or_else(
        || "none yet".to_owned(),
        |link| {
            let state = if link.up { "up" } else { "down" };
            let trouble = link.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            format!("{state} for {} to {}{trouble}", output::span(link.since), link.controller)
        },
    )
}

fn moment(stamp: Stamp) -> String {
    output::moment(stamp.as_millis())
}

fn dash() -> String {
    "-".to_owned()
}

fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(ID_DIGITS).collect()
}

/// Where a service is defined, and may be removed.
fn source(service: &ServiceView) -> &'static str {
    match service.source {
        Source::File => "gateway.toml",
        Source::Directory => "database",
    }
}

/// The word by which JSON names a value without fields.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.to_lowercase(),
        Ok(_) | Err(_) => String::new(),
    }
}
