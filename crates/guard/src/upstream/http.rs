//! A web server as upstream: connections, several addresses, and what may be sent again.

use super::address::Base;
use super::dial::{Dialled, Dialler};
use super::held::Held;
use super::pool::{Connection, Key, Pool};
use super::progress::Progress;
use super::{HostHeader, HttpSettings, UpstreamError, UpstreamErrorKind as Kind, UpstreamSettingsError};
use crate::headers::origin::Mapping;
use crate::headers::{self, Caller};
use crate::limits::nothing;
use crate::{Body, websocket};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use vestibule_policy::web::NormalPath;

/// The most bytes of an answer's head, which may have 100 fields. An answer under way holds three buffers of that size at most, as
/// what is read at once is no more.
const ANSWER_HEAD: usize = 48 * 1024;
/// How long an address that could not be reached is passed over: after the first failure, and at most.
const DOWN_FIRST: Duration = Duration::from_secs(1);
const DOWN_LONGEST: Duration = Duration::from_secs(30);
/// How often HTTP/2 makes sure that the upstream is still there.
const H2_PING: Duration = Duration::from_secs(20);

pub(super) struct Http {
    bases: Vec<Base>,
    health: Vec<Health>,
    host_is_outer: bool,
    h2: bool,
    connect_timeout: Duration,
    first_byte_timeout: Duration,
    dialler: Dialler,
    pool: Pool,
}

struct Health {
    state: Mutex<Down>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Down {
    failures: u32,
    until: Option<Instant>,
}

/// One try at one address, and what is left of the request when it did not get out.
enum Tried {
    Answered(Response<Body>),
    Unsent(Request<Body>, Kind),
    Failed(UpstreamError),
}

impl Http {
    pub(super) fn new(settings: &HttpSettings) -> Result<Self, UpstreamSettingsError> {
        let bases = settings.addresses.iter().map(|text| Base::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() {
            return Err(UpstreamSettingsError::NoAddress);
        }
        Ok(Self {
            health: bases.iter().map(|_| Health::new(settings.connections)).collect(),
            host_is_outer: settings.host == HostHeader::Outer,
            h2: settings.h2,
            connect_timeout: settings.connect_timeout,
            first_byte_timeout: settings.first_byte_timeout,
            dialler: Dialler::new(settings, &bases)?,
            bases,
            pool: Pool::default(),
        })
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        caller: &Caller<'_>,
        once: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        if self.bases.iter().any(|base| !base.prefix.is_empty()) && !stays_below(request.uri().path()) {
            return Err(UpstreamError::unsent(Kind::Path));
        }
        let mut kind = Kind::Away;
        for nth in self.order(caller) {
            match self.try_address(nth, request, caller, once).await {
                Tried::Answered(answer) => return Ok(answer),
                Tried::Failed(error) => return Err(error),
                Tried::Unsent(back, why) => (request, kind) = (back, why),
            }
        }
        Err(UpstreamError::unsent(kind))
    }

    /// The addresses in the order to be tried: a session's own first, those that are down last.
    fn order(&self, caller: &Caller<'_>) -> Vec<usize> {
        let count = self.bases.len();
        if count == 1 {
            return vec![0];
        }
        let mut hasher = DefaultHasher::new();
        caller.address.hash(&mut hasher);
        let first = usize::try_from(hasher.finish() % count as u64).unwrap_or(0);
        let mut order: Vec<usize> = (0..count).map(|nth| (first + nth) % count).collect();
        order.sort_by_key(|&nth| self.health[nth].is_down());
        order
    }

    async fn try_address(&self, nth: usize, request: Request<Body>, caller: &Caller<'_>, once: bool) -> Tried {
        let (parts, body) = request.into_parts();
        let upgrade = websocket::is_asked(&parts);
        let mapping = Mapping { outer: caller.outer(), bases: &self.bases, nth, host_is_outer: self.host_is_outer };
        let may_repeat = !once && parts.method.is_safe() && body.is_end_stream() && !upgrade;
        let mut outgoing = Outgoing { original: parts, body, upgrade, may_repeat };
        let key = Key { nth, caller: self.dialler.is_bound().then_some(caller.address) };
        loop {
            let taken = self.pool.take(key, !outgoing.may_repeat, self.h2 && !upgrade);
            let pooled = taken.is_some();
            let connection = match taken {
                Some(connection) => connection,
                None => match self.connect(key, caller, upgrade).await {
                    Ok(connection) => connection,
                    Err(kind) => return Tried::Unsent(outgoing.back(), kind),
                },
            };
            match self.exchange(key, connection, outgoing, caller, &mapping).await {
                // The connection was being closed: another will do.
                Err(Refused { outgoing: back, sent, .. }) if pooled && (!sent || back.may_repeat) => outgoing = back,
                Err(Refused { outgoing: back, sent: false, kind }) => return Tried::Unsent(back.back(), kind),
                Err(Refused { kind, .. }) => return Tried::Failed(UpstreamError::sent(kind)),
                Ok(tried) => return tried,
            }
        }
    }

    async fn connect(&self, key: Key, caller: &Caller<'_>, upgrade: bool) -> Result<Connection, Kind> {
        let health = &self.health[key.nth];
        if health.room.available_permits() == 0 {
            self.pool.give_way(key.nth);
        }
        let room = timeout(self.connect_timeout, Arc::clone(&health.room).acquire_owned()).await;
        let Ok(Ok(room)) = room else {
            return Err(Kind::TooMany);
        };
        let dialled = self.dialler.dial(&self.bases[key.nth], caller.address, self.h2 && !upgrade).await;
        health.note(dialled.is_ok());
        handshake(dialled?, room, &self.pool, key).await
    }

    async fn exchange(
        &self,
        key: Key,
        mut connection: Connection,
        outgoing: Outgoing,
        caller: &Caller<'_>,
        mapping: &Mapping<'_>,
    ) -> Result<Tried, Refused> {
        let Outgoing { original, body, upgrade, may_repeat } = outgoing;
        let h2 = matches!(connection, Connection::Many(_));
        let Ok(head) = rewritten(&original, h2, upgrade, caller, mapping) else {
            return Ok(Tried::Failed(UpstreamError::unsent(Kind::Away)));
        };
        let (body, progress) = Progress::watch(body);
        let request = Request::from_parts(head, body);
        let answer = tokio::select! {
            biased;
            answer = connection.send(request) => answer,
            () = progress.stalled(self.first_byte_timeout) => return Ok(Tried::Failed(UpstreamError::sent(Kind::Hangs))),
        };
        match answer {
            Ok(answer) => Ok(self.answered(key, connection, answer, upgrade, mapping)),
            Err(TrySendError { .. }) if progress.failure().is_some() => {
                let failure = progress.failure().map_or(Kind::Broken, Kind::Request);
                Ok(Tried::Failed(UpstreamError::sent(failure)))
            }
            Err(mut error) => {
                let unsent = error.take_message();
                let sent = unsent.is_none();
                let body = unsent.map_or_else(nothing, Request::into_body);
                let kind = kind_of(error.error());
                let may_repeat = may_repeat && kind == Kind::Broken;
                Err(Refused { outgoing: Outgoing { original, body, upgrade, may_repeat }, sent, kind })
            }
        }
    }

    fn answered(
        &self,
        key: Key,
        connection: Connection,
        answer: Response<Incoming>,
        upgrade: bool,
        mapping: &Mapping<'_>,
    ) -> Tried {
        let (mut parts, body) = answer.into_parts();
        let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if switches && !(upgrade && websocket::is_agreed(&parts.headers))
            || parts.status.is_informational() && !switches
        {
            return Tried::Failed(UpstreamError::sent(Kind::BadAnswer));
        }
        headers::to_client(&mut parts.headers, mapping);
        if switches {
            websocket::say(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        let body = if switches { nothing() } else { self.pool.body(key, connection, body) };
        Tried::Answered(Response::from_parts(parts, body))
    }
}

/// A request on its way, with its head as it came, so that it can be sent elsewhere.
struct Outgoing {
    original: Parts,
    body: Body,
    upgrade: bool,
    may_repeat: bool,
}

impl Outgoing {
    fn back(self) -> Request<Body> {
        Request::from_parts(self.original, self.body)
    }
}

/// A connection that did not answer.
struct Refused {
    outgoing: Outgoing,
    sent: bool,
    kind: Kind,
}

/// Whether a path that is put behind another leads on from there for every reader: those who cut segments off at a semicolon, who
/// skip empty ones, and who decode twice.
fn stays_below(path: &str) -> bool {
    let segments: Vec<_> = path.split(['/', ';']).filter(|segment| !segment.is_empty()).collect();
    path.starts_with('/') && NormalPath::from_request(&format!("/{}", segments.join("/"))).is_ok()
}

/// The head as the upstream gets it.
fn rewritten(
    original: &Parts,
    h2: bool,
    upgrade: bool,
    caller: &Caller<'_>,
    mapping: &Mapping<'_>,
) -> Result<Parts, hyper::http::Error> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = original.method.clone();
    parts.headers = original.headers.clone();
    headers::to_upstream(&mut parts.headers, &original.method, upgrade, caller, mapping);
    let base = mapping.base();
    let target = original.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let target = if base.prefix.is_empty() { target } else { format!("{}{target}", base.prefix).try_into()? };
    let uri = Uri::builder().path_and_query(target);
    parts.uri = if h2 {
        parts.version = Version::HTTP_2;
        parts.headers.remove(header::CONNECTION);
        let host = parts.headers.remove(header::HOST);
        let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&base.authority);
        uri.scheme(if base.secure { "https" } else { "http" }).authority(authority).build()?
    } else {
        uri.build()?
    };
    Ok(parts)
}

async fn handshake(dialled: Dialled, room: OwnedSemaphorePermit, pool: &Pool, key: Key) -> Result<Connection, Kind> {
    let io = TokioIo::new(Held::new(dialled.wire, room));
    if dialled.h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(H2_PING).max_header_list_size(ANSWER_HEAD as u32);
        let (sender, connection) = builder.handshake(io).await.map_err(|_| Kind::Broken)?;
        pool.share(key, sender.clone());
        tokio::spawn(async move {
            // How it ended is told to the requests on it.
            let _ = connection.await;
        });
        return Ok(Connection::Many(sender));
    }
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true).max_header_size(ANSWER_HEAD).max_buf_size(ANSWER_HEAD);
    let (sender, connection) = builder.handshake(io).await.map_err(|_| Kind::Broken)?;
    tokio::spawn(async move {
        // How it ended is told to the request on it.
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection::One(sender))
}

fn kind_of(error: &hyper::Error) -> Kind {
    if error.is_parse() || error.is_parse_too_large() { Kind::BadAnswer } else { Kind::Broken }
}

impl Health {
    fn new(connections: usize) -> Self {
        Self { state: Mutex::default(), room: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    fn is_down(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.until.is_some_and(|until| Instant::now() < until)
    }

    fn note(&self, reached: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if reached {
            *state = Down::default();
        } else {
            let pause = DOWN_FIRST.saturating_mul(1 << state.failures.min(10)).min(DOWN_LONGEST);
            *state = Down { failures: state.failures.saturating_add(1), until: Some(Instant::now() + pause) };
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("bases", &self.bases).finish_non_exhaustive()
    }
}
