//! What `gateway status` and the lists of sessions tell of the running role.

use crate::admin::{Answer, DeviceView, LinkView, LiveSession, Running, SessionView, counts};
use crate::shared::Shared;
use std::time::Instant;
use vestibule_proto::id::DeviceId;

/// Fills in what only the running role knows.
pub(crate) async fn enrich(shared: &Shared, answer: &mut Answer) {
    match answer {
        Answer::Status(status) => {
            status.sessions = shared.sessions.len();
            status.running = Some(running(shared).await);
        }
        Answer::Sessions(views) => views.iter_mut().for_each(|view| add_live(shared, view)),
        Answer::Session(view) => add_live(shared, view),
        Answer::User(detail) => {
            detail.sessions.iter_mut().for_each(|view| add_live(shared, view));
            detail.devices.iter_mut().for_each(|view| add_trouble(shared, view));
        }
        Answer::Devices(views) => views.iter_mut().for_each(|view| add_trouble(shared, view)),
        Answer::Device(view) => add_trouble(shared, view),
        Answer::Invited(invited) => invited.trouble = trouble_of_invitation(shared, &invited.id),
        Answer::Invitation(view) => view.trouble = trouble_of_invitation(shared, &view.id),
        Answer::Done(_)
        | Answer::Key(_)
        | Answer::Users(_)
        | Answer::Invitations(_)
        | Answer::Services(_)
        | Answer::Service(_)
        | Answer::Audit(_) => {}
    }
}

fn add_live(shared: &Shared, view: &mut SessionView) {
    let Some(session) = shared.sessions.get(&view.id) else { return };
    let live = session.view(Instant::now());
    view.live = Some(LiveSession { remote: live.remote, way: live.way, idle: live.idle.as_secs(), flows: live.flows });
}

/// A row that the controller does not hold lets nobody in.
fn add_trouble(shared: &Shared, view: &mut DeviceView) {
    if counts(view.state) {
        view.trouble = shared.link.left_out().of(&view.digest);
    }
}

fn trouble_of_invitation(shared: &Shared, id: &DeviceId) -> Option<String> {
    let invited = shared.directory.invitation(id).ok().flatten()?;
    shared.link.left_out().of(&invited.digest)
}

/// The running role, as `gateway status` shows it.
pub(crate) async fn running(shared: &Shared) -> Running {
    let now = Instant::now();
    let views: Vec<_> = shared.sessions.all().iter().map(|session| session.view(now)).collect();
    Running {
        uptime: shared.started.elapsed().as_secs(),
        listen: shared.darks.iter().filter_map(|dark| dark.local_addr().ok()).collect(),
        link: Some(link(shared)),
        connected: views.iter().filter(|view| view.remote.is_some()).count(),
        flows: views.iter().flat_map(|view| &view.flows).map(|(_, count)| count).sum(),
        counters: counters(shared).await,
    }
}

fn link(shared: &Shared) -> LinkView {
    let state = shared.link.view();
    LinkView {
        controller: state.up.map_or_else(|| shared.keys.controllers.join(" "), |controller| controller.to_string()),
        up: state.up.is_some(),
        since: state.since.as_secs(),
        rtt_us: state.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        trouble: state.trouble,
    }
}

async fn counters(shared: &Shared) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    let mut add = |group: &str, named: &[(&str, u64)]| {
        counters.extend(named.iter().map(|(name, value)| (format!("{group}.{name}"), *value)));
    };
    for dark in &shared.darks {
        add("datagrams", &dark.counters().named());
    }
    let (admissions, (requests, doors)) = shared.admission.counters().await;
    let named = [
        ("received", admissions.received),
        ("unknown", admissions.unknown),
        ("not_vouched", admissions.not_vouched),
        ("repeated", admissions.repeated),
        ("seen", admissions.seen),
        ("wrong", admissions.wrong),
        ("refused", admissions.refused),
        ("ready", admissions.ready),
        ("granted", admissions.granted),
        ("unused", admissions.unused),
        ("stuck", admissions.stuck),
        ("requests_open", requests as u64),
        ("doors_open", doors as u64),
    ];
    add("admissions", &named);
    let connections = shared.contacts.len() as u64;
    let at_the_door = [("admitted", shared.door.admitted() as u64), ("live", shared.door.live() as u64)];
    add("door", &at_the_door);
    if let Some(dropped) = shared.door.dropped() {
        add("door", &[("dropped", dropped)]);
    }
    add("gateway", &[("connections", connections)]);
    add("gateway", &shared.counters.named());
    add("udp", &shared.datagrams.named());
    counters
}
