//! The rotation of the realm key (PROTOCOL.md §3.5): a new K_realm is written down, knocks are taken under it and under the one
//! before it, and every gateway is told, over its link, which tells its devices in their sessions. The one before ends by time
//! or by the owner's word; who never came meanwhile gets silence, as any stranger.
//!
//! In this order, so that whoever is enrolled gets in wherever this is cut off: what nobody was told yet is on the disk
//! already, and what somebody may still have counts until it is off the disk.

use crate::admin::{Answer, RealmView, Request};
use crate::controller::{Shared, entropy, now};
use crate::keys::Keys;
use crate::knocks::Executor;
use crate::settings;
use quinn::Connection;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinSet;
use vestibule_dark::KnockFilter;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_proto::id::{GatewayId, Stamp};
use vestibule_proto::link::{Answer as GatewayAnswer, LINK_NEWEST, ToGateway};
use vestibule_proto::outer::Mac1Key;
use vestibule_proto::realm::Realm;

/// How long a gateway may take to write a realm key down.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the time of the one before is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Refuses junk in the receive path: length, type, version, mac1 under a realm key that counts.
pub(crate) struct CheapCheck(RwLock<(Mac1Key, Option<Mac1Key>)>);

impl CheapCheck {
    pub(crate) fn new(keys: &Keys) -> Self {
        Self(RwLock::new(of(keys)))
    }

    fn set(&self, keys: &Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = of(keys);
    }
}

fn of(keys: &Keys) -> (Mac1Key, Option<Mac1Key>) {
    let controller = keys.knock.public();
    let former = keys.former.as_ref().map(|former| Mac1Key::new(&controller, &former.realm));
    (Mac1Key::new(&controller, &keys.realm), former)
}

impl KnockFilter for CheapCheck {
    fn passes(&self, datagram: &[u8]) -> bool {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.0.check(datagram) || keys.1.as_ref().is_some_and(|former| former.check(datagram))
    }
}

/// What a request comes to that is about the realm key: on the disk already where it changes anything. `None`: it is about
/// something else.
pub(crate) fn turn(keys: &Keys, path: &Path, request: &Request, now: Stamp) -> Option<Result<Keys, Answer>> {
    let turned = match request {
        Request::Rotate { keep_for } => {
            let until = now.saturating_add(Duration::from_secs(*keep_for));
            keys.rotated(until, &mut entropy()).ok_or_else(under_way)
        }
        Request::FinishRotation => keys.former.is_some().then(|| keys.finished()).ok_or_else(nothing_to_finish),
        Request::Invite { .. } | Request::Gateways | Request::Remove { .. } | Request::Status => return None,
    };
    Some(turned.and_then(|turned| match turned.replace(path) {
        Ok(()) => Ok(turned),
        Err(error) => Err(failed(&error.to_string(), "see that the controller's directory can be written")),
    }))
}

fn under_way() -> Answer {
    failed(
        "a rotation is under way: the realm key before the present one still counts",
        "end it first, once every device has come in since: vestibule controller rotate --finish",
    )
}

fn nothing_to_finish() -> Answer {
    failed("no rotation is under way: there is one realm key", "begin one: vestibule controller rotate")
}

fn failed(message: &str, next: &str) -> Answer {
    Answer::Failed { message: message.to_owned(), next: Some(next.to_owned()) }
}

/// The answer to a turn.
pub(crate) fn view(keys: &Keys, told: Vec<String>, untold: Vec<String>) -> RealmView {
    let former_until = keys.former.as_ref().map(|former| former.until.as_millis());
    RealmView { epoch: keys.epoch, former_until, told, untold }
}

/// Carries a turn out in the running role, and tells the gateways.
pub(crate) async fn live(executor: &Executor, request: Request) -> Option<Answer> {
    let worker = executor.clone();
    let turned = tokio::task::spawn_blocking(move || {
        let turned = turn_in_force(&worker.shared, &request)?;
        Some(turned.map(|keys| (keys, worker.shared.rows.gateways().unwrap_or_default())))
    });
    let (keys, known) = match turned.await {
        Ok(turned) => match turned? {
            Ok(turned) => turned,
            Err(answer) => return Some(answer),
        },
        Err(error) => return Some(failed(&format!("the request was broken off: {error}"), "try again")),
    };
    let name = |id: GatewayId| {
        let found = known.iter().find(|known| known.id == id);
        found.map_or_else(|| id.to_string(), |known| known.name.clone())
    };
    let mut telling = JoinSet::new();
    for (gateway, connection) in executor.shared.links.speaking(LINK_NEWEST) {
        let realm = keys.present_realm();
        telling.spawn(async move { tell(&connection, realm).await.then_some(gateway) });
    }
    let told: Vec<String> = telling.join_all().await.into_iter().flatten().map(name).collect();
    let untold = known.iter().map(|known| known.name.clone()).filter(|name| !told.contains(name)).collect();
    Some(Answer::Realm(view(&keys, told, untold)))
}

/// One turn at a time: on the disk, then in force.
fn turn_in_force(shared: &Shared, request: &Request) -> Option<Result<Keys, Answer>> {
    let _one_at_a_time = shared.turning.lock().unwrap_or_else(PoisonError::into_inner);
    let path = settings::key_file(&shared.settings.dir);
    let turned = turn(&shared.keys(), &path, request, now().wall)?;
    Some(turned.inspect(|keys| put_in_force(shared, keys)))
}

fn put_in_force(shared: &Shared, keys: &Keys) {
    shared.set_keys(keys.clone());
    shared.filter.set(keys);
    shared.recognition().set_realm(keys.realm.clone(), keys.former.clone());
    tracing::info!(epoch = keys.epoch, two = keys.former.is_some(), "realm keys in force");
}

/// Ends the realm key of before when its time is over.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        if !shared.keys().former_is_due(now().wall) {
            continue;
        }
        let worker = shared.clone();
        let ended = tokio::task::spawn_blocking(move || turn_in_force(&worker, &Request::FinishRotation)).await;
        if let Ok(Some(Err(Answer::Failed { message, .. }))) = ended {
            tracing::error!(message, "the realm key of before is over but can't be taken off the disk");
        }
    }
}

/// Tells a gateway; true when it has it on its disk.
pub(crate) async fn tell(connection: &Connection, realm: Realm) -> bool {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        write_frame(&mut send, &ToGateway::Realm(realm)).await.ok()?;
        send.finish().ok()?;
        read_frame::<GatewayAnswer>(&mut recv).await.ok()
    };
    let told = tokio::time::timeout(TOLD_WITHIN, exchange).await.ok().flatten() == Some(GatewayAnswer::Seen);
    if !told {
        tracing::warn!(from = %connection.remote_address(), "a gateway did not take the realm key; its next link tells it again");
    }
    told
}
