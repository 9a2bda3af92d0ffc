//! Web services: what comes through a tunnel to one is handed to the page guard, with what the tunnel has proven.

use crate::directory::{Catalogue, Service};
use crate::sessions::Session;
use crate::settings::Settings;
use crate::shared::Shared;
use quinn::{RecvStream, SendStream};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use vestibule_guard::{
    AppName, AppSettings, Backend, Guard, GuardConfig, GuardError, GuardSettings, Peer, Standing, Tunnel,
    TunnelSession, UserName,
};
use vestibule_proto::id::{ServiceName, SessionId};
use vestibule_proto::session::ServiceKind;

/// Opens the guard of a gateway, in a directory of its own within the gateway's.
///
/// # Errors
/// Its files can't be used.
pub(crate) async fn open(settings: &Settings) -> Result<Guard, GuardError> {
    let mut guard = GuardSettings::at(directory(&settings.dir));
    guard.sessions.expires = settings.session.expires;
    guard.sessions.idle = settings.session.idle;
    Guard::open(guard).await
}

/// Makes the web services of `catalogue` the guard's applications. One that can't be guarded isn't served.
pub(crate) fn publish(guard: &Guard, catalogue: &Catalogue, settings: &Settings) {
    let apps = catalogue.services().filter(|service| service.kind == ServiceKind::Web);
    let made: Vec<AppSettings> = apps.filter_map(|service| app(service, &settings.guard)).collect();
    for name in settings.guard.keys().filter(|name| !made.iter().any(|app| app.name.as_str() == name.as_str())) {
        tracing::warn!(
            guard = %name,
            "the configuration guards a web service that there is not: its rules protect nothing; is the name written as in `vestibule service list`?"
        );
    }
    if let Err(error) = guard.set_apps(made) {
        tracing::error!(%error, "web services stay as they were");
    }
}

fn app(service: &Service, configured: &BTreeMap<ServiceName, GuardConfig>) -> Option<AppSettings> {
    let name = AppName::new(service.name.as_str()).ok()?;
    let backend = Backend::Http(vec![format!("http://{}", service.upstream)]);
    let config = configured.get(&service.name).cloned().unwrap_or_default();
    config
        .meant(name, &backend)
        .inspect_err(|error| tracing::error!(service = %service.name, %error, "this web service is not served"))
        .ok()
}

/// Serves one stream of a session to a web service until it ends.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    service: &Service,
    (recv, send): (RecvStream, SendStream),
) {
    let Some(peer) = peer(shared, session, service) else { return };
    shared.guard.serve(tokio::io::join(recv, send), peer).await;
}

fn peer(shared: &Arc<Shared>, session: &Arc<Session>, service: &Service) -> Option<Peer> {
    let tunnel = Tunnel {
        app: AppName::new(service.name.as_str()).ok()?,
        user: UserName::new(session.user.as_str()).ok()?,
        device: session.device.to_string(),
        session: name(&session.id),
        standing: Arc::new(User { shared: Arc::downgrade(shared), name: session.user.clone() }),
    };
    let client = session.live().map(|live| live.connection.remote_address().ip());
    Some(Peer { client, tls: false, tunnel: Some(Arc::new(tunnel)) })
}

/// A user, as the directory in force knows them.
struct User {
    shared: Weak<Shared>,
    name: vestibule_proto::id::UserName,
}

impl User {
    fn ask<T: Default>(&self, what: impl FnOnce(&Catalogue) -> T) -> T {
        self.shared.upgrade().map_or_else(T::default, |shared| what(&shared.catalogue()))
    }
}

impl Standing for User {
    fn groups(&self) -> Vec<String> {
        self.ask(|catalogue| catalogue.groups_of(&self.name))
    }

    fn may_open(&self) -> Vec<AppName> {
        let services = self.ask(|catalogue| catalogue.services_of(&self.name));
        let web = services.into_iter().filter(|service| service.kind == ServiceKind::Web);
        web.filter_map(|service| AppName::new(service.name.as_str()).ok()).collect()
    }

    fn device_name(&self, device: &str) -> Option<String> {
        let found = self.shared.upgrade()?.directory.device(&device.parse().ok()?).ok()??;
        (found.user == self.name && !found.name.is_empty()).then_some(found.name)
    }
}

/// The session as the guard knows it.
pub(crate) fn name(session: &SessionId) -> TunnelSession {
    TunnelSession::new(session.as_bytes())
}

/// Where a gateway's guard keeps its files.
#[must_use]
pub fn directory(gateway: &Path) -> std::path::PathBuf {
    gateway.join("guard")
}
