//! A guard before an application.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::net::TcpListener;
use vestibule_guard::{
    AppName, Backend, Guard, GuardConfig, GuardSettings, ModeConfig, Peer, Stamp, Standing, Tunnel, TunnelSession,
    UserName,
};

/// Who comes to the guard, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// Through a tunnel: device and user are proven.
    Tunnel,
    /// With a browser alone, and a password.
    Password,
}

/// A guard that listens.
pub(crate) struct Front {
    pub(crate) guard: Guard,
    pub(crate) origin: String,
    _dir: TempDir,
}

/// Whoever stands here may open the one application.
struct Clerk(AppName);

impl Standing for Clerk {
    fn groups(&self) -> Vec<String> {
        vec!["clerks".to_owned()]
    }

    fn may_open(&self) -> Vec<AppName> {
        vec![self.0.clone()]
    }
}

impl Front {
    /// Starts it before the application `name` at `upstream`.
    pub(crate) async fn start(name: &str, upstream: &str, mode: ModeConfig, by: By) -> Self {
        let dir = TempDir::new().unwrap();
        let guard = Guard::open(GuardSettings::at(dir.path().join("guard"))).await.unwrap();
        let (app, alice) = (AppName::new(name).unwrap(), UserName::new("alice").unwrap());
        let config = GuardConfig { mode, ..GuardConfig::default() };
        let backend = Backend::Http(vec![upstream.to_owned()]);
        guard.set_apps(vec![config.meant(app.clone(), &backend).unwrap()]).unwrap();
        let tunnel = match by {
            By::Password => {
                guard.users().add(&alice, &[], crate::app::PASSWORD, now()).await.unwrap();
                None
            }
            By::Tunnel => Some(Arc::new(Tunnel {
                standing: Arc::new(Clerk(app.clone())),
                session: TunnelSession::new(name.as_bytes()),
                device: "laptop".to_owned(),
                user: alice,
                app,
            })),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{name}.localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(serve(guard.clone(), listener, tunnel));
        Self { guard, origin, _dir: dir }
    }
}

async fn serve(guard: Guard, listener: TcpListener, tunnel: Option<Arc<Tunnel>>) {
    while let Ok((stream, client)) = listener.accept().await {
        let (guard, peer) = (guard.clone(), Peer { client: Some(client.ip()), tls: false, tunnel: tunnel.clone() });
        tokio::spawn(async move { guard.serve(stream, peer).await });
    }
}

fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Stamp(u64::try_from(since.as_millis()).unwrap())
}
