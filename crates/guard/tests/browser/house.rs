//! A whole guard for browsers, alone or at the end of Alice's tunnel.

use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vestibule_guard::{
    AppName, AppSettings, Guard, GuardSettings, Peer, Stamp, Standing, Tunnel, TunnelSession, UserName, UsersSettings,
};

/// Of every user.
pub(crate) const PASSWORD: &str = "seven lanterns";

/// A clerk.
struct Alice;

impl Standing for Alice {
    fn groups(&self) -> Vec<String> {
        vec!["clerks".to_owned()]
    }

    fn may_open(&self) -> Vec<AppName> {
        ["orders", "wiki"].map(app).into()
    }
}

/// The name of an application.
pub(crate) fn app(name: &str) -> AppName {
    AppName::new(name).unwrap()
}

/// A guard before these applications. Its users are clerks, whose passwords cost no time.
pub(crate) async fn guard(dir: &TempDir, apps: Vec<AppSettings>, users: &[&str]) -> Guard {
    let mut settings = GuardSettings::at(dir.path().join("guard"));
    settings.users = UsersSettings { memory_kib: 64, passes: 1, at_once: 2 };
    let guard = Guard::open(settings).await.unwrap();
    guard.set_apps(apps).unwrap();
    for user in users {
        let user = UserName::new(user).unwrap();
        guard.users().add(&user, &["clerks".to_owned()], PASSWORD, Stamp(1)).await.unwrap();
    }
    guard
}

/// Serves browsers on a port of its own; through a tunnel they are Alice's.
pub(crate) async fn serve(guard: &Guard, tunnel: bool, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, guard) = (listener.local_addr().unwrap().port(), guard.clone());
    let tunnel = tunnel.then(|| {
        Arc::new(Tunnel {
            app: app("orders"),
            user: UserName::new("alice").unwrap(),
            device: "laptop".to_owned(),
            session: TunnelSession::new(b"one"),
            standing: Arc::new(Alice),
        })
    });
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let peer = Peer { client: Some(from.ip()), tls: tls.is_some(), tunnel: tunnel.clone() };
            let (guard, tls) = (guard.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => guard.serve(stream, peer).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        guard.serve(stream, peer).await;
                    }
                }
            });
        }
    });
    port
}
