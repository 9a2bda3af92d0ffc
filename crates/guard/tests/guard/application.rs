//! A small application behind the guard that remembers all that reaches it.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Answered = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A page with two forms, whose second is another application's.
pub(crate) const PAGE: &str = concat!(
    "<!doctype html><html><head><title>Orders</title></head><body>",
    "<form method=post action=/orders><input name=article value=Desk><button>Order</button></form>",
    "<form method=post action=https://elsewhere.example/pay><button>Pay</button></form>",
    "<a href=/reports>Reports</a></body></html>"
);
/// The same as XML, where one insertion in a wrong place would be an error page.
pub(crate) const XHTML: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><!DOCTYPE html><html xmlns=\"http://www.w3.org/1999/xhtml\">",
    "<head><title/><script src=\"/a.js\"/></head><body>",
    "<form method=\"post\" action=\"/orders\"><p><button>Order</button></p></form><form method=\"post\"/></body></html>"
);
/// What a script fetches to put into a page.
pub(crate) const FRAGMENT: &str = "<li><form method=post action=/orders><button>Again</button></form></li>";
/// Data that looks like a page.
pub(crate) const DATA: &str = r#"{"html":"<form method=post action=/orders></form>"}"#;

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether it came to its end.
    pub(crate) whole: bool,
}

/// The application.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let this = application.clone();
        tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let this = this.clone();
                let service = service_fn(move |request| this.clone().answer(request));
                let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
                tokio::spawn(async move { serving.with_upgrades().await });
            }
        });
        application
    }

    /// All that has arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Whole requests to this path.
    pub(crate) fn at(&self, path: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.whole && seen.target.split('?').next() == Some(path));
        seen
    }

    /// How many commands have been carried out.
    pub(crate) fn commands(&self) -> usize {
        self.seen().iter().filter(|seen| seen.whole && seen.method == Method::POST).count()
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Answered, io::Error> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, mut body) = request.into_parts();
        let (mut bytes, mut whole) = (Vec::new(), true);
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(_)) => {}
                Err(_) => whole = false,
            }
        }
        let seen = Seen {
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            body: bytes.into(),
            whole,
        };
        self.seen.lock().unwrap().push(seen.clone());
        if !whole {
            return Err(io::Error::other("the request broke off"));
        }
        let path = head.uri.path();
        match (seen.method.as_str(), path) {
            ("GET", "/ws") => {
                tokio::spawn(echo(upgrade));
                let answer = Response::builder().status(101).header("connection", "upgrade");
                Ok(answer.header("upgrade", "websocket").body(whole_body("")).unwrap())
            }
            ("GET" | "HEAD", "/delete") | ("POST", _) => self.command(path).await,
            _ => Ok(read(path, &seen.headers).await),
        }
    }

    async fn command(&self, path: &str) -> Result<Answered, io::Error> {
        let nth = self.seen().iter().filter(|seen| seen.whole && seen.target.starts_with(path)).count();
        match path {
            "/hang" => std::future::pending().await,
            "/break" => return Err(io::Error::other("broken on purpose")),
            "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        Ok(match path {
            "/cut" => {
                let frames = futures_util::stream::iter([
                    Ok(Frame::data(Bytes::from_static(b"half of "))),
                    Err(io::Error::other("cut on purpose")),
                ]);
                let frames = frames.then(async |frame| {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    frame
                });
                answer("text/plain").header("content-length", "100").body(boxed(StreamBody::new(frames))).unwrap()
            }
            "/put" => {
                Response::builder().status(303).header("location", "/page?put#there").body(whole_body("")).unwrap()
            }
            "/much" => answer("text/plain").body(whole_body(vec![b'x'; 400 << 10])).unwrap(),
            path if path.starts_with("/api/") => {
                answer("application/json").body(whole_body(format!("{{\"done\":{nth}}}"))).unwrap()
            }
            _ => answer("text/html; charset=utf-8").body(whole_body(format!("<p>done {nth}</p>{PAGE}"))).unwrap(),
        })
    }
}

async fn read(path: &str, headers: &HeaderMap) -> Answered {
    match path {
        "/data.json" if headers.contains_key("if-none-match") => {
            Response::builder().status(StatusCode::NOT_MODIFIED).header("etag", "\"v1\"").body(whole_body("")).unwrap()
        }
        "/data.json" => answer("application/json").header("etag", "\"v1\"").body(whole_body(DATA)).unwrap(),
        "/file" if headers.contains_key("range") => answer("text/html")
            .status(StatusCode::PARTIAL_CONTENT)
            .header("content-range", "bytes 0-9/100")
            .body(whole_body("<form meth"))
            .unwrap(),
        "/file" => answer("application/octet-stream").body(whole_body(PAGE)).unwrap(),
        "/style.css" => answer("text/css").body(whole_body("a{color:red}")).unwrap(),
        "/led" => answer("text/html").status(302).header("location", "/page?led=1").body(whole_body(PAGE)).unwrap(),
        "/missing" => answer("text/html").status(404).body(whole_body(PAGE)).unwrap(),
        "/nothing" => Response::builder().status(StatusCode::NO_CONTENT).body(whole_body("")).unwrap(),
        "/events" => answer("text/event-stream").body(endless("data: tick\n\n")).unwrap(),
        "/download" => answer("application/octet-stream").body(endless("0123456789")).unwrap(),
        "/fragment" => answer("text/html").body(whole_body(FRAGMENT)).unwrap(),
        "/xhtml" => answer("application/xhtml+xml").body(whole_body(XHTML)).unwrap(),
        "/gzip" => answer("text/html").header("content-encoding", "gzip").body(whole_body(gzip(PAGE).await)).unwrap(),
        "/spoof" => answer("text/html").header("vestibule-refused", "no-page").body(endless("<p>")).unwrap(),
        _ => answer("text/html; charset=utf-8")
            .header("etag", "\"page\"")
            .header("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT")
            .header("cache-control", "public, max-age=600")
            .header("set-cookie", "app=1; Path=/")
            .body(whole_body(PAGE))
            .unwrap(),
    }
}

fn answer(content_type: &str) -> hyper::http::response::Builder {
    Response::builder().header("content-type", content_type)
}

fn whole_body(bytes: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, io::Error>
where
    B: hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    body.boxed_unsync()
}

/// The same again and again, until nobody listens.
fn endless(piece: &'static str) -> UnsyncBoxBody<Bytes, io::Error> {
    let pieces = futures_util::stream::repeat(piece).then(async |piece| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Frame::data(Bytes::from_static(piece.as_bytes())))
    });
    boxed(StreamBody::new(pieces))
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let mut io = TokioIo::new(upgrade.await.unwrap());
    let mut buffer = [0; 1_024];
    while let Ok(len @ 1..) = io.read(&mut buffer).await {
        if io.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

async fn gzip(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut coder = async_compression::tokio::bufread::GzipEncoder::new(text.as_bytes());
    coder.read_to_end(&mut out).await.unwrap();
    out
}

/// The text of a gzip body.
pub(crate) async fn gunzip(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut coder = async_compression::tokio::bufread::GzipDecoder::new(bytes);
    coder.read_to_string(&mut out).await.unwrap();
    out
}
