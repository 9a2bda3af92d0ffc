//! Carries the directory's changes into what runs: cuts first, then what is published (P7).

use crate::directory::{Effect, EndReason};
use crate::link::Change;
use crate::sessions::Session;
use crate::shared::Shared;
use crate::{direct, web};
use std::sync::Arc;
use tokio::sync::oneshot;
use vestibule_proto::id::{DeviceId, LoginDigest};

/// Carries out `effects` in their order. What is cut is cut when this returns; good-byes and the controller may take longer.
///
/// The receiver is that of the last row to be published, if one is: it gets true when the controller has it.
pub(crate) async fn carry_out(shared: &Arc<Shared>, effects: Vec<Effect>) -> Option<oneshot::Receiver<bool>> {
    let mut published = None;
    for effect in effects {
        tracing::debug!(?effect, "the directory has changed");
        match effect {
            Effect::CutSession(id, reason) => {
                if let Some(session) = shared.sessions.remove(&id) {
                    cut(shared, &session, reason);
                }
            }
            Effect::CutDevice(device) => cut_device(shared, device).await,
            Effect::CutUser(user) => {
                for session in shared.sessions.remove_user(&user) {
                    cut(shared, &session, EndReason::Revoked);
                }
            }
            Effect::CutService(service) => {
                for session in shared.sessions.all() {
                    session.cut_flows(|name| *name != service);
                }
            }
            Effect::WithdrawRow(digest) => drop(shared.link.put(Change::Withdraw(digest))),
            Effect::PublishRow(row) => published = Some(shared.link.put(Change::Publish(row))),
            Effect::ReloadServices => reload_services(shared).await,
            Effect::DeviceChanged { device, digest } => know_device(shared, device, digest).await,
        }
    }
    published
}

/// Ends a session whose end stands in the directory already.
fn cut(shared: &Arc<Shared>, session: &Arc<Session>, reason: EndReason) {
    tracing::info!(session = %session.id, user = %session.user, %reason, "session cut");
    let (farewell, shared_too, id) = (session.cut(reason.reason()), shared.clone(), session.id);
    shared.tasks.spawn(async move {
        tokio::join!(farewell, shared_too.guard.end_tunnel(web::name(&id)));
    });
}

async fn cut_device(shared: &Arc<Shared>, device: DeviceId) {
    for session in shared.sessions.remove_device(&device) {
        cut(shared, &session, EndReason::Revoked);
    }
    shared.contacts.close(&device);
    shared.admission.revoke(shared, device).await;
}

async fn reload_services(shared: &Arc<Shared>) {
    let former = shared.renew_catalogue().await;
    let catalogue = shared.catalogue();
    web::publish(&shared.guard, &catalogue, &shared.settings());
    direct::guard(shared, &catalogue);
    for session in shared.sessions.all() {
        let cut = session.cut_flows(|service| catalogue.may_use(&session.user, service));
        if cut > 0 {
            tracing::info!(session = %session.id, user = %session.user, cut, "flows cut: no longer granted");
        }
        let services = catalogue.services_of(&session.user);
        if services != former.services_of(&session.user) {
            let session = session.clone();
            shared.tasks.spawn(async move { session.notify_services(services).await });
        }
        let direct = catalogue.direct_services_of(&session.user);
        if direct != former.direct_services_of(&session.user) {
            shared.tasks.spawn(async move { session.notify_direct(direct).await });
        }
    }
}

/// The admission machine must know what the directory says now; if that can't be read, the device is unknown.
async fn know_device(shared: &Arc<Shared>, id: DeviceId, digest: LoginDigest) {
    let device = shared.directory.admissible_device(&id).unwrap_or_else(|error| {
        shared.fault(&error);
        None
    });
    shared.admission.know(shared, &digest, device).await;
}
