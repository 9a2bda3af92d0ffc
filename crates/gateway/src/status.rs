//! What `gateway status` and the lists of sessions tell of the running role.

use crate::admin::{Answer, LinkView, LiveSession, Running, SessionView};
use crate::shared::Shared;
use std::time::Instant;
use vestibule_door::Door;

/// Fills in what only the running role knows.
pub(crate) async fn enrich(shared: &Shared, answer: &mut Answer) {
    match answer {
        Answer::Status(status) => {
            status.sessions = shared.sessions.len();
            status.running = Some(running(shared).await);
        }
        Answer::Sessions(views) => views.iter_mut().for_each(|view| add_live(shared, view)),
        Answer::Session(view) => add_live(shared, view),
        Answer::User(detail) => detail.sessions.iter_mut().for_each(|view| add_live(shared, view)),
        Answer::Done(_)
        | Answer::Users(_)
        | Answer::Devices(_)
        | Answer::Device(_)
        | Answer::Invited(_)
        | Answer::Invitation(_)
        | Answer::Invitations(_)
        | Answer::Services(_)
        | Answer::Service(_)
        | Answer::Audit(_) => {}
    }
}

fn add_live(shared: &Shared, view: &mut SessionView) {
    let Some(session) = shared.sessions.get(&view.id) else { return };
    let live = session.view(Instant::now());
    view.live = Some(LiveSession { remote: live.remote, idle: live.idle.as_secs(), flows: live.flows });
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
    add("gateway", &[("connections", connections)]);
    add("gateway", &shared.counters.named());
    counters
}
