//! How an application is told for whom it works: by the PROXY protocol, under the name that it has for itself.

use crate::support::*;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use vestibule_guard::{
    AppName, Body, Caller, HostHeader, HttpSettings, Limits, LogicalAddress, Upstream, UpstreamSettings, UserName,
    accept_proxy_protocol,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks on behalf of the session at this address.
async fn ask(upstream: &Upstream, from: &str) -> u16 {
    let (user, app) = (UserName::new("alice").unwrap(), AppName::new("orders").unwrap());
    let caller = Caller {
        address: LogicalAddress(from.parse().unwrap()),
        user: &user,
        app: &app,
        outer_host: HOST,
        outer_scheme: "http",
    };
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let answer =
        upstream.send(Request::get("/").header("host", HOST).body(body).unwrap(), &caller, false).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn connections_begin_with_a_proxy_protocol_header_and_serve_one_session() {
    type Told = Arc<Mutex<Vec<(SocketAddr, usize)>>>;
    let told: Told = Arc::default();
    let listed = told.clone();
    let application = application(move |nth, mut io| {
        let told = listed.clone();
        async move {
            let named = accept_proxy_protocol(&mut io, LONG).await.unwrap().unwrap();
            while request(&mut io).await.is_some() {
                told.lock().unwrap().push((named, nth));
                let _ = io.write_all(OK).await;
            }
        }
    })
    .await;
    let mut settings = http(&[application]);
    settings.proxy_protocol = true;
    let upstream = Upstream::from_settings(&UpstreamSettings::Http(settings)).unwrap();
    for session in ["fd00::7", "fd00::8", "fd00::7"] {
        assert_eq!(ask(&upstream, session).await, 200);
    }
    let told = told.lock().unwrap();
    let expected: [(SocketAddr, usize); 3] =
        [("[fd00::7]:0", 0), ("[fd00::8]:0", 1), ("[fd00::7]:0", 0)].map(|(from, nth)| (from.parse().unwrap(), nth));
    assert_eq!(*told, expected, "each connection is one session's, and is used again for it");
}

#[tokio::test]
async fn an_application_under_its_own_name_sees_itself() {
    let moved = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://HOST/next\r\nSet-Cookie: a=b; Domain=127.0.0.1\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    drop(listener);
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, listener) = (got.clone(), TcpListener::bind(own).await.unwrap());
    let moved = moved.replace("HOST", &own.to_string());
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        while let Some(request) = request(&mut io).await {
            seen.lock().unwrap().push(request);
            io.write_all(moved.as_bytes()).await.unwrap();
        }
    });
    let settings = HttpSettings { host: HostHeader::Upstream, ..http(&[own]) };
    let front = front_with(settings, Limits::default()).await;
    let fields = format!("Origin: http://{HOST}\r\nReferer: http://{HOST}/page?x=1\r\n");
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
    let answer = exchange(&front, head).await;
    assert!(answer.contains(&format!("location: http://{HOST}/next\r\n")), "{answer}");
    assert!(answer.contains("set-cookie: a=b\r\n"), "{answer}");
    let got = got.lock().unwrap().concat();
    for line in [
        format!("Host: {own}"),
        format!("Origin: http://{own}"),
        format!("Referer: http://{own}/page?x=1"),
        format!("X-Forwarded-Host: {HOST}"),
    ] {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line}: {got}");
    }
}
