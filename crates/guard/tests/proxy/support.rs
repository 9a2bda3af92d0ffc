//! A front (server and upstream joined), applications made of bytes, and clients made of bytes.

use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use vestibule_guard::{
    AppName, Caller, Handshake, HttpSettings, Limits, LogicalAddress, Upstream, UpstreamError, UpstreamSettings,
    UserName, cut_when, serve_connection,
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What a client connects to.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// What went wrong with the upstream, in order.
    pub(crate) errors: Arc<Mutex<Vec<UpstreamError>>>,
    /// Ends the session.
    pub(crate) sign_off: Arc<Notify>,
}

/// The host by which clients know the application.
pub(crate) const HOST: &str = "orders.localhost:8080";

/// A front for the upstream at these addresses, as usual.
pub(crate) async fn front(addresses: &[SocketAddr]) -> Front {
    front_with(http(addresses), Limits::default()).await
}

pub(crate) fn http(addresses: &[SocketAddr]) -> HttpSettings {
    HttpSettings::new(addresses.iter().map(|address| format!("http://{address}")).collect())
}

pub(crate) async fn front_with(settings: HttpSettings, limits: Limits) -> Front {
    front_of(UpstreamSettings::Http(settings), limits).await
}

pub(crate) async fn front_of(settings: UpstreamSettings, limits: Limits) -> Front {
    let upstream = Arc::new(Upstream::from_settings(&settings).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Front { address, errors: Arc::default(), sign_off: Arc::default() };
    let (errors, sign_off) = (Arc::clone(&front.errors), Arc::clone(&front.sign_off));
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let (upstream, errors, sign_off) = (Arc::clone(&upstream), Arc::clone(&errors), Arc::clone(&sign_off));
            let limits = limits.clone();
            tokio::spawn(async move {
                let service = move |mut request: hyper::Request<vestibule_guard::Body>| {
                    let (upstream, errors, sign_off) =
                        (Arc::clone(&upstream), Arc::clone(&errors), Arc::clone(&sign_off));
                    async move {
                        let handshake = Handshake::take(&mut request);
                        let (user, app) = (UserName::new("alice").unwrap(), AppName::new("orders").unwrap());
                        let caller = Caller {
                            address: LogicalAddress("fd00::7".parse().unwrap()),
                            user: &user,
                            app: &app,
                            outer_host: HOST,
                            outer_scheme: "http",
                        };
                        let ended = async move { sign_off.notified().await };
                        match upstream.send(request, &caller, false).await {
                            Ok(mut answer) => match handshake {
                                Some(handshake) => {
                                    handshake.pass(&mut answer, ended);
                                    answer
                                }
                                None => answer.map(|body| cut_when(body, ended)),
                            },
                            Err(error) => {
                                errors.lock().unwrap().push(error);
                                let body = Full::from(error.to_string()).map_err(|never| match never {}).boxed_unsync();
                                let mut answer = Response::new(body);
                                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                                answer
                            }
                        }
                    }
                };
                serve_connection(io, &limits, service, std::future::pending()).await;
            });
        }
    });
    front
}

/// An application that handles each connection as told; `nth` counts them from 0.
pub(crate) async fn application<F, A>(handle: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for nth in 0.. {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(handle(nth, io));
        }
    });
    address
}

/// An application that answers every request with these bytes, and the heads and bodies it got.
pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let answer = Arc::new(answer.into());
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&got);
    let address = application(move |_, mut io| {
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        async move {
            while let Some(request) = request(&mut io).await {
                seen.lock().unwrap().push(request);
                let _ = io.write_all(&answer).await;
            }
        }
    })
    .await;
    (address, got)
}

/// Reads a request with what its length or its chunks say; nothing when the connection closed.
pub(crate) async fn request(io: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(io.read_u8().await.ok()?));
    }
    let lower = text.to_ascii_lowercase();
    if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        io.read_exact(&mut body).await.ok()?;
        text.push_str(&String::from_utf8_lossy(&body));
    } else if lower.contains("transfer-encoding: chunked") {
        while !text.ends_with("\r\n0\r\n\r\n") {
            text.push(char::from(io.read_u8().await.ok()?));
        }
    }
    Some(text)
}

/// Sends bytes on a connection of its own and gives all that comes until it is closed.
pub(crate) async fn exchange(front: &Front, bytes: impl AsRef<[u8]>) -> String {
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(bytes.as_ref()).await.unwrap();
    rest(&mut io).await
}

/// A GET that closes its connection.
pub(crate) async fn get(front: &Front, target: &str) -> String {
    exchange(front, format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await
}

/// All that comes until the connection is closed.
pub(crate) async fn rest(io: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = timeout(LONG, io.read_to_end(&mut all)).await.expect("the connection is closed in time");
    // One that is reset has been closed, too.
    let _ = read;
    String::from_utf8_lossy(&all).into_owned()
}

/// What has come when it ends with `end`.
pub(crate) async fn until(io: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !all.ends_with(end.as_bytes()) {
            let Ok(byte) = io.read_u8().await else { break };
            all.push(byte);
        }
    };
    timeout(LONG, read).await.expect("it comes in time");
    String::from_utf8_lossy(&all).into_owned()
}
