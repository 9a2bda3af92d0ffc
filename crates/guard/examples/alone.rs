//! A guard on one thread in front of one application, for whoever comes: one user's session over a tunnel that there is not, with two
//! rules to its grants. What `cargo xtask bench guard` measures from outside.
//!
//! `cargo run -p vestibule-guard --example alone http://127.0.0.1:8000`: prints where it listens.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: a panic is its report")]

use std::sync::Arc;
use tokio::net::TcpListener;
use vestibule_guard::{
    AppName, Backend, Guard, GuardConfig, GuardSettings, Peer, Standing, Tunnel, TunnelSession, UserName,
};
use vestibule_policy::Grant;
use vestibule_policy::web::{Methods, PathPattern, WebRule};

struct Clerk;

impl Standing for Clerk {
    fn groups(&self) -> Vec<String> {
        vec!["clerks".to_owned()]
    }

    fn may_open(&self) -> Vec<AppName> {
        vec![app()]
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let upstream = std::env::args().nth(1).unwrap();
    let root = tempfile::tempdir().unwrap();
    let guard = Guard::open(GuardSettings::at(root.path().join("guard"))).await.unwrap();
    let config =
        GuardConfig { rules: vec![rule("reads", "/**"), rule("POST", "/orders/**")], ..GuardConfig::default() };
    guard.set_apps(vec![config.meant(app(), &Backend::Http(vec![upstream])).unwrap()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let tunnel = Arc::new(Tunnel {
        app: app(),
        user: UserName::new("alice").unwrap(),
        device: "laptop".to_owned(),
        session: TunnelSession::new(b"measured"),
        standing: Arc::new(Clerk),
    });
    loop {
        let (stream, from) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let peer = Peer { client: Some(from.ip()), tls: false, tunnel: Some(tunnel.clone()) };
        let guard = guard.clone();
        tokio::spawn(async move { guard.serve(stream, peer).await });
    }
}

fn app() -> AppName {
    AppName::new("orders").unwrap()
}

fn rule(methods: &str, path: &str) -> WebRule {
    WebRule {
        who: "group:clerks".parse::<Grant>().unwrap(),
        methods: Methods::parse(methods).unwrap(),
        paths: vec![PathPattern::parse(path).unwrap()],
        files: vec![],
    }
}
