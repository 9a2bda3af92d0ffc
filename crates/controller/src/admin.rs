//! What the controller's owner may ask: through the running role's socket, or directly on the files when it isn't running.

use crate::controller::{Shared, entropy, now};
use crate::keys::Keys;
use crate::knocks::Executor;
use crate::links::reload_links;
use crate::rotation;
use crate::rows::{Rows, RowsError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use vestibule_proto::id::{GatewayId, Stamp};
use vestibule_proto::invitation::GatewayInvitation;
use vestibule_proto::key::Secret;
use vestibule_store::local_socket::Listener;

/// The name of a gateway is at most so long, in bytes.
const NAME_LIMIT: usize = 64;

/// What may be asked; one JSON document a line.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make a link for a gateway.
    Invite {
        /// How the gateway is called in lists.
        name: String,
        /// How long the link may be used, in seconds.
        expires_in: u64,
        /// The id of a gateway that exists already, in hexadecimal; else the link is for a new one.
        #[serde(default)]
        gateway: Option<String>,
    },
    /// List the gateways.
    Gateways,
    /// Forget a gateway, its link and its rows.
    Remove {
        /// Its name.
        name: String,
    },
    /// Make a new realm key; the present one counts beside it for a while.
    Rotate {
        /// For how long, in seconds.
        keep_for: u64,
    },
    /// End the realm key before the present one now.
    FinishRotation,
    /// The running role's counters.
    Status,
}

/// What is answered.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A link for a new gateway.
    Invited(Invited),
    /// The gateways.
    Gateways(Vec<GatewayView>),
    /// The gateway is gone.
    Removed {
        /// Its name.
        name: String,
    },
    /// The realm key is another one, or the one before it counts no more.
    Realm(RealmView),
    /// The running role's counters.
    Status(Box<Status>),
    /// It could not be done.
    Failed {
        /// What happened.
        message: String,
        /// What to do next.
        next: Option<String>,
    },
}

/// A link for a new gateway. What is shown for debugging leaves the link out.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Invited {
    /// How the gateway is called.
    pub name: String,
    /// The link: a secret until it is used.
    pub link: String,
    /// After this moment (milliseconds since the Unix epoch) it is no longer known.
    pub expires: u64,
    /// Whether an earlier link of this name, not used yet, works no longer.
    #[serde(default)]
    pub replaces: bool,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, link: _, expires, replaces } = self;
        let mut shown = f.debug_struct("Invited");
        shown.field("name", name).field("expires", expires).field("replaces", replaces).finish_non_exhaustive()
    }
}

/// How it stands with the realm key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RealmView {
    /// How often it was rotated.
    pub epoch: u64,
    /// Until when the one before it counts, in milliseconds since the Unix epoch.
    pub former_until: Option<u64>,
    /// Gateways that have the present one.
    pub told: Vec<String>,
    /// Gateways that learn it with their next link, which must come before the one before it ends.
    pub untold: Vec<String>,
}

/// A gateway, as lists show it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GatewayView {
    /// Its name.
    pub name: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// `linked`, `away`, or `invited` when it has not linked yet.
    pub state: String,
    /// Whether its link stands.
    pub linked: bool,
    /// Where its link comes from.
    pub from: Option<SocketAddr>,
    /// What clients are told.
    pub addresses: Vec<SocketAddr>,
    /// How long the link has stood, in seconds.
    pub linked_for: Option<u64>,
    /// The link's round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// How many devices and invitations it has published.
    pub rows: u64,
    /// How many more it wanted to publish with its link: they collide with another gateway's, or exceed its share.
    #[serde(default)]
    pub left_out: usize,
}

/// Counters of the running role.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Since the role started, in seconds.
    pub uptime: u64,
    /// The UDP addresses listened on.
    pub listen: Vec<SocketAddr>,
    /// Gateways whose link stands.
    pub links: usize,
    /// Rows in force, of gateways, devices and invitations.
    #[serde(default)]
    pub rows: usize,
    /// How many of them one gateway may publish.
    #[serde(default)]
    pub rows_per_gateway: usize,
    /// How often the realm key was rotated.
    #[serde(default)]
    pub realm_epoch: u64,
    /// Until when the realm key before the present one counts, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub former_realm_until: Option<u64>,
    /// Counters by name: of the socket (`datagrams.…`) and of recognition (`knocks.…`).
    pub counters: Vec<(String, u64)>,
}

/// What changed and must be carried into the running machine.
pub enum Effect {
    /// Rows for links were added or removed on disk.
    LinksChanged,
    /// A gateway was removed.
    Removed(GatewayId),
}

/// Carries out a request on the files. [`Request::Status`] needs the running role and fails here.
pub fn execute(rows: &Rows, keys: &Keys, public: &[String], request: Request) -> (Answer, Option<Effect>) {
    let outcome = match request {
        Request::Invite { name, expires_in, gateway } => {
            invite(rows, keys, public, (&name, gateway.as_deref()), Duration::from_secs(expires_in))
        }
        Request::Gateways => gateways(rows).map(|list| (Answer::Gateways(list), None)),
        Request::Remove { name } => remove(rows, &name),
        Request::Rotate { .. } | Request::FinishRotation => {
            Err(failed("this is about the controller's keys, not about its gateways", "vestibule controller rotate"))
        }
        Request::Status => Err(failed("the controller is not running", "start it: vestibule controller run")),
    };
    outcome.unwrap_or_else(|answer| (answer, None))
}

/// Carries out a request about the realm key on the file at `path`; `None` if it is about something else. The gateways learn
/// of it with their next links.
pub fn execute_on_keys(rows: &Rows, keys: &Keys, path: &Path, request: &Request) -> Option<Answer> {
    let untold = rows.gateways().unwrap_or_default().into_iter().map(|gateway| gateway.name).collect();
    let turned = rotation::turn(keys, path, request, now().wall)?;
    Some(turned.map_or_else(|failed| failed, |keys| Answer::Realm(rotation::view(&keys, Vec::new(), untold))))
}

/// Serves requests through the role's socket until it is dropped.
pub(crate) async fn serve(executor: Executor, listener: Listener) {
    listener
        .serve(move |line| {
            let executor = executor.clone();
            async move {
                let answer = match serde_json::from_slice(&line) {
                    Ok(request) => live(executor, request).await,
                    Err(error) => {
                        failed(&format!("the request is malformed: {error}"), "use the same version of the program")
                    }
                };
                serde_json::to_vec(&answer).unwrap_or_default()
            }
        })
        .await;
}

/// Carries out a request in the running role.
pub(crate) async fn live(executor: Executor, request: Request) -> Answer {
    if request == Request::Status {
        return Answer::Status(Box::new(status(&executor.shared)));
    }
    if matches!(request, Request::Rotate { .. } | Request::FinishRotation)
        && let Some(answer) = rotation::live(&executor, request.clone()).await
    {
        return answer;
    }
    // The database is asked on a thread that may wait.
    let worker = executor.clone();
    let done = tokio::task::spawn_blocking(move || {
        let shared = &worker.shared;
        execute(&shared.rows, &shared.keys(), &shared.settings.public, request)
    });
    let (mut answer, effect) = match done.await {
        Ok(done) => done,
        Err(error) => (failed(&format!("the request was broken off: {error}"), "try again"), None),
    };
    if let Some(effect) = effect
        && let Err(message) = carry(&executor, &effect)
    {
        answer = failed(&message, "restart the controller");
    }
    if let Answer::Gateways(list) = &mut answer {
        for view in list {
            show_link(&executor.shared, view);
        }
    }
    answer
}

fn carry(executor: &Executor, effect: &Effect) -> Result<(), String> {
    if let Effect::Removed(gateway) = effect {
        executor.shared.links.close(gateway);
        executor.step(0, |recognition| {
            recognition.replace_rows(*gateway, Vec::new());
        });
        executor.link_down(*gateway);
    }
    reload_links(executor, &executor.shared.rows)
}

fn show_link(shared: &Shared, view: &mut GatewayView) {
    let Some(link) = view.id.parse().ok().and_then(|gateway| shared.links.view(&gateway)) else { return };
    view.linked = true;
    view.state = "linked".to_owned();
    view.from = Some(link.from);
    view.addresses = link.addresses;
    view.linked_for = Some(link.age.as_secs());
    view.rtt_us = u64::try_from(link.rtt.as_micros()).ok();
    view.left_out = link.left_out;
}

/// The running role's counters.
pub(crate) fn status(shared: &Shared) -> Status {
    let mut counters = Vec::new();
    for dark in &shared.darks {
        for (name, value) in dark.counters().named() {
            counters.push((format!("datagrams.{name}"), value));
        }
    }
    for (name, value) in shared.recognition().counters().named() {
        counters.push((format!("knocks.{name}"), value));
    }
    Status {
        uptime: shared.started.elapsed().as_secs(),
        listen: shared.darks.iter().filter_map(|dark| dark.local_addr().ok()).collect(),
        links: shared.links.count(),
        rows: shared.recognition().row_count(),
        rows_per_gateway: shared.settings.rows_per_gateway,
        realm_epoch: shared.keys().epoch,
        former_realm_until: shared.keys().former.as_ref().map(|former| former.until.as_millis()),
        counters,
    }
}

fn invite(
    rows: &Rows,
    keys: &Keys,
    public: &[String],
    (name, gateway): (&str, Option<&str>),
    expires_in: Duration,
) -> Result<(Answer, Option<Effect>), Answer> {
    let gateway = match gateway.map(str::parse) {
        None => GatewayId::random(&mut entropy()),
        Some(Ok(gateway)) => gateway,
        Some(Err(_)) => {
            return Err(failed("that is no gateway's id: it has 32 hexadecimal digits", "vestibule gateway status"));
        }
    };
    if !is_name(name) {
        let message = format!("`{name}` is no gateway's name: it has 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`");
        return Err(failed(&message, "choose another name"));
    }
    let expires = now().wall.saturating_add(expires_in);
    let invitation = GatewayInvitation {
        format: 1,
        controllers: public.to_vec(),
        controller_key: keys.knock.public(),
        controller_pin: keys.link.spki(),
        realm: keys.realm.clone(),
        name: name.to_owned(),
        gateway,
        expires,
        secret: Secret::random(&mut entropy()),
    };
    let first_knock = invitation.keys();
    let replaces = rows
        .invite_gateway(invitation.gateway, name, &first_knock, expires)
        .map_err(|error| failed(&error.to_string(), &next_name(rows, &error, name)))?;
    let invited = Invited { name: name.to_owned(), link: invitation.to_link(), expires: expires.as_millis(), replaces };
    Ok((Answer::Invited(invited), Some(Effect::LinksChanged)))
}

/// What to do when a gateway can't be invited under this name.
fn next_name(rows: &Rows, error: &RowsError, name: &str) -> String {
    match error {
        RowsError::NameTaken(_) => {
            let known = rows.gateways().unwrap_or_default().into_iter().find(|gateway| gateway.name == name);
            let id = known.map_or_else(|| "ID".to_owned(), |gateway| gateway.id.to_string());
            format!(
                "choose another name; or, if that gateway is to be linked anew: vestibule controller invite {name} --gateway {id}"
            )
        }
        RowsError::OtherName(called) => format!("vestibule controller invite {called} --gateway ID"),
        RowsError::Store(error) => error.next_step().to_owned(),
        RowsError::Conflict(_) | RowsError::UnknownGateway(_) => "try again".to_owned(),
    }
}

/// Whether a gateway may be called so: 1 to 64 letters, digits, `.`, `_`, `-`. Clients name their credentials' files by it, and
/// people type it.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    name.len() <= NAME_LIMIT && name.chars().all(plain) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn gateways(rows: &Rows) -> Result<Vec<GatewayView>, Answer> {
    let records = rows.gateways().map_err(|error| failed(&error.to_string(), error.next_step()))?;
    Ok(records
        .into_iter()
        .map(|record| GatewayView {
            name: record.name,
            id: record.id.to_string(),
            state: if record.spki.is_some() { "away" } else { invited(record.invited_until) }.to_owned(),
            linked: false,
            from: None,
            addresses: Vec::new(),
            linked_for: None,
            rtt_us: None,
            rows: record.rows,
            left_out: 0,
        })
        .collect())
}

fn invited(until: Option<Stamp>) -> &'static str {
    if until.is_some_and(|until| until > now().wall) { "invited" } else { "invitation expired" }
}

fn remove(rows: &Rows, name: &str) -> Result<(Answer, Option<Effect>), Answer> {
    let removed = rows.remove_gateway(name).map_err(|error| failed(&error.to_string(), error.next_step()))?;
    let gateway = removed.ok_or_else(|| {
        failed(&format!("there is no gateway `{name}`"), "`vestibule controller gateways` lists them")
    })?;
    Ok((Answer::Removed { name: name.to_owned() }, Some(Effect::Removed(gateway))))
}

fn failed(message: &str, next: &str) -> Answer {
    Answer::Failed { message: message.to_owned(), next: Some(next.to_owned()) }
}
