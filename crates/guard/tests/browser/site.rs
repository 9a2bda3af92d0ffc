//! A web site that rewrites its pages as the guard does, and keeps what arrives.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vestibule_guard::html::{PageRewriter, Plan};
use vestibule_guard::{csp, script};

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// What is sent at a path.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) policy: Option<&'static str>,
    pub(crate) reads: Vec<String>,
    /// Without the guard's script, as where a browser runs none.
    pub(crate) bare: bool,
}

/// The site. Its pages' tokens are `page-PATH`.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) origin: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pages: HashMap<String, Page>,
    seen: Vec<Seen>,
    signed_off: bool,
}

impl Seen {
    /// The token that it bears in a header.
    pub(crate) fn header(&self) -> Option<&str> {
        self.headers.get("vestibule-page").map(String::as_str)
    }

    /// The token in its query.
    pub(crate) fn query(&self) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(".vestibule="))
    }
}

impl Site {
    /// Starts on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let site = Self { origin, state: Arc::default() };
        let serving = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = serving.clone();
                tokio::spawn(async move { site.serve(stream).await });
            }
        });
        site
    }

    /// Puts a page at a path; returns its address.
    pub(crate) fn page(&self, path: &str, page: Page) -> String {
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
        format!("{}{path}", self.origin)
    }

    /// From now on, scripts are told that the session has ended.
    pub(crate) fn sign_off(&self) {
        self.state.lock().unwrap().signed_off = true;
    }

    /// The request to this path, as soon as it is there.
    pub(crate) async fn seen(&self, path: &str) -> Seen {
        self.all_seen(path, 1).await.remove(0)
    }

    /// The first `count` requests to this path.
    pub(crate) async fn all_seen(&self, path: &str, count: usize) -> Vec<Seen> {
        for _ in 0..500 {
            let found = self.now_seen(path);
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} did not arrive {count} times: {:?}", self.state.lock().unwrap().seen);
    }

    /// What has arrived for this path up to now.
    pub(crate) fn now_seen(&self, path: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        let at = |seen: &&Seen| seen.target.split('?').next() == Some(path);
        state.seen.iter().filter(at).cloned().collect()
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let seen = read(&mut stream).await?;
        let path = seen.target.split('?').next()?.to_owned();
        let key = seen.headers.get("sec-websocket-key").cloned();
        let (page, signed_off) = {
            let mut state = self.state.lock().unwrap();
            state.seen.push(seen.clone());
            (state.pages.get(&path).cloned(), state.signed_off)
        };
        let answer = match (path.as_str(), page, key) {
            (_, _, Some(key)) => switching(&key),
            (script::PATH, ..) => {
                answer("200 OK", &[("content-type", script::CONTENT_TYPE)], script::source().as_bytes())
            }
            (_, Some(page), _) => self.rewritten(&path, &page),
            ("/events", ..) => answer("200 OK", &[("content-type", "text/event-stream")], b"data: x\n\n"),
            _ if signed_off => answer("401 Unauthorized", &[("vestibule-refused", "signed-off")], b""),
            _ => answer("200 OK", &[("content-type", "text/html")], b"<!doctype html><title>ok</title>ok"),
        };
        stream.write_all(&answer).await.ok()?;
        if path == "/socket" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stream.shutdown().await.ok()
    }

    fn rewritten(&self, path: &str, page: &Page) -> Vec<u8> {
        let policies: Vec<&str> = page.policy.into_iter().collect();
        let admission = csp::admit(&policies, &self.origin);
        let plan = Plan {
            token: format!("page-{}", path.trim_start_matches('/')),
            script: admission.tag.filter(|_| !page.bare),
            forms: true,
            whole_page: true,
            own_origin: self.origin.clone(),
            reads: page.reads.clone(),
            xml: false,
        };
        let (mut rewriter, mut out) = (PageRewriter::new(&plan), Vec::new());
        rewriter.write(page.html.as_bytes(), &mut out);
        rewriter.end(&mut out);
        let policies = admission.policies.unwrap_or_else(|| policies.iter().map(ToString::to_string).collect());
        let mut headers = vec![("content-type", "text/html; charset=utf-8")];
        headers.extend(policies.iter().map(|policy| ("content-security-policy", policy.as_str())));
        answer("200 OK", &headers, &out)
    }
}

pub(crate) async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: HashMap<_, _> = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + 4 + length {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
    Some(Seen { method: first.next()?, target: first.next()?, headers, body })
}

pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The answer to a WebSocket's handshake (RFC 6455 section 4.2.2), and a close frame.
fn switching(key: &str) -> Vec<u8> {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    let fields = "connection: upgrade\r\nupgrade: websocket";
    let head = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nsec-websocket-accept: {accept}\r\n\r\n");
    [head.as_bytes(), &[0x88, 0]].concat()
}
