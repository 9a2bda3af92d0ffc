//! Connections to an application come from the session's own address, where the host routes the pool to itself.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use vestibule_guard::{
    AppName, Body, Caller, HttpSettings, LogicalAddress, Source, Upstream, UpstreamSettings, UserName,
};
use vestibule_lab::Host;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks on behalf of the session at this address.
async fn ask(upstream: &Upstream, from: &str) -> u16 {
    let (user, app) = (UserName::new("alice").unwrap(), AppName::new("orders").unwrap());
    let caller = Caller {
        address: LogicalAddress(from.parse().unwrap()),
        user: &user,
        app: &app,
        outer_host: "orders.localhost",
        outer_scheme: "http",
    };
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let answer = upstream
        .send(Request::get("/").header("host", "orders.localhost").body(body).unwrap(), &caller, false)
        .await
        .unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

#[test]
fn connections_come_from_the_sessions_own_address_where_the_pool_is_routed() {
    let host = Host::solitary("guard").unwrap();
    for route in ["-6 route add local fd00:77::/64 dev lo", "-4 route add local 10.99.0.0/16 dev lo"] {
        host.command("ip").args(route.split(' ')).run().unwrap().ok().unwrap();
    }
    let child = ["--exact", "child_in_a_network_of_its_own", "--ignored", "--nocapture"];
    let ran = host.command(std::env::current_exe().unwrap()).args(child).run().unwrap();
    ran.ok().unwrap();
}

#[tokio::test]
#[ignore = "runs in the network of the test above"]
async fn child_in_a_network_of_its_own() {
    for (listens, sessions) in [("[::1]:0", ["fd00:77::7", "fd00:77::8"]), ("127.0.0.1:0", ["10.99.0.7", "10.99.3.8"])]
    {
        let listener = TcpListener::bind(listens).await.unwrap();
        let address = listener.local_addr().unwrap();
        let peers: Arc<Mutex<Vec<IpAddr>>> = Arc::default();
        let seen = peers.clone();
        tokio::spawn(async move {
            loop {
                let (io, from) = listener.accept().await.unwrap();
                let (mut io, seen) = (BufReader::new(io), seen.clone());
                tokio::spawn(async move {
                    let mut line = String::new();
                    while io.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                        if std::mem::take(&mut line) == "\r\n" {
                            seen.lock().unwrap().push(from.ip());
                            io.write_all(OK).await.unwrap();
                        }
                    }
                });
            }
        });
        let settings = HttpSettings { source: Source::Logical, ..HttpSettings::new(vec![format!("http://{address}")]) };
        let upstream = Upstream::from_settings(&UpstreamSettings::Http(settings)).unwrap();
        let order = [sessions[0], sessions[1], sessions[0]];
        for session in order {
            assert_eq!(ask(&upstream, session).await, 200);
        }
        let expected: Vec<IpAddr> = order.iter().map(|session| session.parse().unwrap()).collect();
        assert_eq!(*peers.lock().unwrap(), expected);
    }
}
