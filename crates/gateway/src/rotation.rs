//! The rotation of G_tls (PROTOCOL.md §3.5): a new key is written down, then in force; the controller takes it by the word of
//! the one that it knows, devices are told in their sessions. The one before is presented to those who expect it until its time
//! is over, or its owner ends it.
//!
//! In this order, so that a crash anywhere leaves a gateway that works: what nobody was told yet is on the disk already, and what
//! somebody may still go by is on the disk as long as it counts.

use crate::admin::{AdminError, AdminErrorKind, Answer, KeyRequest, KeyView};
use crate::audit;
use crate::directory::{AuditEntry, AuditKind};
use crate::keys::{Keys, TlsKeys, TurnError};
use crate::link::Change;
use crate::shared::{Shared, entropy, now};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_proto::gateway_key::KeyName;
use vestibule_proto::id::Stamp;

/// How often it is looked whether the time of the key before is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the owner waits to hear that the controller has the new key.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// Carries a request out on the files of a gateway that does not run: all others learn of it when it does.
///
/// # Errors
/// Nothing was changed then.
pub fn execute_on_keys(keys: &Keys, dir: &Path, request: &KeyRequest, now: Stamp) -> Result<Answer, AdminError> {
    Ok(Answer::Key(view(&turn(keys, dir, request, now)?)))
}

/// Carries a request out in the running role.
pub(crate) async fn live(shared: &Arc<Shared>, request: KeyRequest) -> Result<Answer, AdminError> {
    let taken = turn_in_force(shared, request).await?;
    // Whether the controller has it is worth knowing. Without a link to it: later.
    let _ = tokio::time::timeout(TAKEN_WITHIN, taken).await;
    Ok(Answer::Key(view(&shared.keys.tls())))
}

/// Ends the key of before when its time is over.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        if !shared.keys.tls().is_due(shared.kept.read(Instant::now())) {
            continue;
        }
        if let Err(error) = turn_in_force(&shared, KeyRequest::Finish).await {
            tracing::error!(error = error.message, "the key of before is over but can't be taken off the disk");
        }
    }
}

/// On the disk.
fn turn(keys: &Keys, dir: &Path, request: &KeyRequest, now: Stamp) -> Result<TlsKeys, AdminError> {
    let turned = keys.turn_tls(dir, |tls| match request {
        KeyRequest::Rotate { keep_for: 0 } => tls.replaced(&mut entropy()),
        KeyRequest::Rotate { keep_for } => {
            tls.rotated(now.saturating_add(Duration::from_secs(*keep_for)), &mut entropy())
        }
        KeyRequest::Finish => tls.finished(),
    });
    turned.map_err(|error| AdminError {
        kind: if matches!(error, TurnError::Keys(_)) { AdminErrorKind::Store } else { AdminErrorKind::Invalid },
        message: error.to_string(),
        next: Some(next_step(&error).to_owned()),
    })
}

fn next_step(error: &TurnError) -> &'static str {
    match error {
        TurnError::UnderWay => {
            "end it first, once every device has come in since: vestibule gateway rotate --finish; or drop every former key: --now"
        }
        TurnError::Untold => "see to the link to the controller first: vestibule gateway status",
        TurnError::NotUnderWay => "begin one: vestibule gateway rotate",
        TurnError::Unregistered => "run it until it is linked: vestibule gateway run",
        TurnError::Keys(_) => "see that the gateway's directory can be written",
    }
}

/// On the disk, then in force: for who is invited, for who knocks, for the controller, for who is connected. The receiver gets
/// true when the controller has taken the key.
async fn turn_in_force(
    shared: &Arc<Shared>,
    request: KeyRequest,
) -> Result<tokio::sync::oneshot::Receiver<bool>, AdminError> {
    let _one_at_a_time = shared.changing.lock().await;
    let (worker, dir) = (shared.clone(), shared.settings().dir.clone());
    let said = request.as_str();
    // The later of the two: no clock that is behind makes the time of the key before shorter.
    let time = shared.kept.read(Instant::now()).max(now().wall);
    let turned = tokio::task::spawn_blocking(move || turn(&worker.keys, &dir, &request, time));
    let turned = turned.await.map_err(|error| AdminError::invalid(error.to_string(), "try again"))??;
    shared.introduce();
    shared.admission.set_gateway_keys(turned.names()).await;
    tracing::info!(present = %name(&turned), two = turned.former_until().is_some(), "gateway keys in force");
    audit::write(shared, AuditEntry::of(AuditKind::KeyRotated, now().wall).detail(said));
    let taken = shared.link.put(Change::Key);
    for session in shared.sessions.all() {
        let spki = turned.present().spki();
        shared.tasks.spawn(async move { session.tell_key(spki).await });
    }
    Ok(taken)
}

fn name(keys: &TlsKeys) -> KeyName {
    KeyName::of(&keys.present().spki())
}

fn view(keys: &TlsKeys) -> KeyView {
    let controller_has_it = keys.at_controller().spki() == keys.present().spki();
    KeyView { key: name(keys).to_string(), former_until: keys.former_until(), controller_has_it }
}
