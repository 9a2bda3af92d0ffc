//! HTTP/2 on both sides and TLS to upstreams, over sockets.

use crate::certificates::Authority;
use crate::support::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::ServerName;
use vestibule_guard::{HttpSettings, Limits, UpstreamError, UpstreamErrorKind};

/// An application that echoes bodies, and what it saw: version, authority or host, who asks.
struct Echo {
    port: u16,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(Version, String, String)>>>,
}

impl Echo {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let echo =
            Self { port: listener.local_addr().unwrap().port(), connections: Arc::default(), seen: Arc::default() };
        let (connections, seen) = (echo.connections.clone(), echo.seen.clone());
        tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, seen) = (tls.clone(), seen.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(seen.clone(), request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(builder.serve_connection(TokioIo::new(io), service).await),
                        Some(tls) => {
                            let Ok(io) = tls.accept(io).await else { return };
                            drop(builder.serve_connection(TokioIo::new(io), service).await);
                        }
                    }
                });
            }
        });
        echo
    }

    fn settings(&self, address: &str) -> HttpSettings {
        HttpSettings { h2: true, ..HttpSettings::new(vec![format!("{address}:{}", self.port)]) }
    }
}

async fn answer(
    seen: Arc<Mutex<Vec<(Version, String, String)>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let said = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let host = request.uri().authority().map(ToString::to_string).or(said("host")).unwrap_or_default();
    let told = (request.version(), host, said("vestibule-user").unwrap_or_default());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    seen.lock().unwrap().push(told);
    Ok(Response::new(Full::new(body)))
}

/// The front behind TLS, with HTTP/2 alone: it passes bytes on to the front.
async fn behind_tls(front: &Front, acceptor: TlsAcceptor) -> SocketAddr {
    let (listener, inner) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), front.address);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outer = acceptor.accept(io).await.unwrap();
                let mut inner = TcpStream::connect(inner).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    address
}

async fn client(authority: &Authority, address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let io = TcpStream::connect(address).await.unwrap();
    let io = authority.connector().connect(ServerName::try_from("localhost").unwrap(), io).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(format!("https://{HOST}{path}")).body(Full::new(body)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_on_both_sides_over_tls() {
    let authority = Authority::new();
    let echo = Echo::start(Some(authority.acceptor(&["h2"]))).await;
    let settings = HttpSettings { ca: Some(authority.file()), ..echo.settings("https://localhost") };
    let front = front_with(settings, Limits::default()).await;
    let mut sender = client(&authority, behind_tls(&front, authority.acceptor(&["h2"])).await).await;
    // Where no connection stands yet, each of many at once opens one.
    let first = sender.send_request(post("/first", Bytes::new())).await.unwrap();
    assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "");
    let asked = (0..40_usize).map(|nth| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let body = Bytes::from(vec![u8::try_from(nth).unwrap(); nth * 10_000]);
            let answer = sender.send_request(post(&format!("/{nth}"), body.clone())).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body, "{nth}");
        })
    });
    for one in asked.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let seen = echo.seen.lock().unwrap();
    assert_eq!(seen.len(), 41);
    assert!(seen.iter().all(|seen| *seen == (Version::HTTP_2, HOST.to_owned(), "alice".to_owned())), "{seen:?}");
    assert!(echo.connections.load(Ordering::SeqCst) < 40, "many on one connection");
    assert!(front.errors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_upstream_must_prove_its_name_to_the_right_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let echo = Echo::start(Some(authority.acceptor(&["h2", "http/1.1"]))).await;
    let ca = |authority: &Authority| Some(authority.file());
    for (address, ca, why) in [
        ("https://127.0.0.1", ca(&authority), "another name"),
        ("https://localhost", ca(&other), "another authority"),
        ("https://localhost", None, "the system's authorities"),
    ] {
        let front = front_with(HttpSettings { ca, ..echo.settings(address) }, Limits::default()).await;
        assert!(get(&front, "/").await.starts_with("HTTP/1.1 502"), "{why}");
        let away = UpstreamError { kind: UpstreamErrorKind::Away, sent: false };
        assert_eq!(*front.errors.lock().unwrap(), [away], "{why}");
    }
    assert!(echo.seen.lock().unwrap().is_empty(), "it never got a request");
    let settings = HttpSettings { ca: ca(&authority), ..echo.settings("https://localhost") };
    assert!(get(&front_with(settings, Limits::default()).await, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_is_agreed_on_over_tls_and_assumed_without() {
    let authority = Authority::new();
    let old = Echo::start(Some(authority.acceptor(&["http/1.1"]))).await;
    let settings = HttpSettings { ca: Some(authority.file()), ..old.settings("https://localhost") };
    assert!(get(&front_with(settings, Limits::default()).await, "/").await.starts_with("HTTP/1.1 200"));
    assert_eq!(old.seen.lock().unwrap()[0].0, Version::HTTP_11);
    let plain = Echo::start(None).await;
    let front = front_with(plain.settings("http://127.0.0.1"), Limits::default()).await;
    let answer =
        exchange(&front, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert_eq!(plain.seen.lock().unwrap()[0], (Version::HTTP_2, HOST.to_owned(), "alice".to_owned()));
}

#[tokio::test]
async fn what_http2_forbids_reaches_no_application() {
    let authority = Authority::new();
    let (application, got) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let front = front(&[application]).await;
    let address = behind_tls(&front, authority.acceptor(&["h2"])).await;
    let with = |name: &'static str, value: &'static str| {
        let mut request = post("/outer", Bytes::from_static(b"hi"));
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    // A length that is not the body's, two hosts, and a path that is none.
    let mut star = post("/outer", Bytes::new());
    *star.uri_mut() = "https://orders.localhost:8080".parse().unwrap();
    for wrong in [with("content-length", "1"), with("content-length", "9"), with("host", "elsewhere.example")] {
        let shown = format!("{:?}", wrong.headers());
        // Whether this library sends it, the guard breaks the stream, or answers: it goes no further.
        if let Ok(answer) = client(&authority, address).await.send_request(wrong).await {
            assert!(answer.status().is_client_error() || answer.status().is_server_error(), "{shown}: {answer:?}");
        }
    }
    assert!(got.lock().unwrap().is_empty(), "{:?}", got.lock().unwrap());
    let answer = client(&authority, address).await.send_request(star).await.unwrap();
    assert_eq!(answer.status(), 200, "an empty path is the root");
    assert!(got.lock().unwrap()[0].starts_with("POST / HTTP/1.1\r\n"));
}
