//! The connections of one upstream, kept for the next request.

use crate::{Body, BodyError, LogicalAddress};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection may have waited to be used for a request that must not be sent twice: an upstream that closes idle
/// connections would do so later.
const FRESH: Duration = Duration::from_secs(2);
/// The most connections kept for one key.
const KEPT: usize = 64;

/// Which requests a connection may serve.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    /// Which address of the upstream it leads to.
    pub(super) nth: usize,
    /// Whose it is, where it is bound to a logical address.
    pub(super) caller: Option<LogicalAddress>,
}

/// A connection ready for a request.
pub(super) enum Connection {
    /// For one request at a time.
    One(http1::SendRequest<Body>),
    /// For many at once.
    Many(http2::SendRequest<Body>),
}

/// The connections kept; cloned into the answers that give theirs back.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    one: HashMap<Key, Vec<Waiting>>,
    many: HashMap<Key, http2::SendRequest<Body>>,
    swept: Option<Instant>,
}

struct Waiting {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

impl Connection {
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::One(sender) => sender.try_send_request(request).await,
            Self::Many(sender) => sender.try_send_request(request).await,
        }
    }
}

impl Pool {
    /// A connection that waits, the latest used first. `once`: for a request that must not be sent twice. `h2`: whether one of
    /// HTTP/2 will do.
    pub(super) fn take(&self, key: Key, once: bool, h2: bool) -> Option<Connection> {
        let (mut kept, now) = (self.lock(), Instant::now());
        kept.sweep(now);
        if let Some(sender) = h2.then(|| kept.many.get(&key).cloned()).flatten() {
            return Some(Connection::Many(sender));
        }
        let waiting = kept.one.get_mut(&key)?;
        let within = if once { FRESH } else { IDLE };
        let nth = waiting.iter_mut().rposition(|waiting| now - waiting.since < within && waiting.is_ready())?;
        Some(Connection::One(waiting.remove(nth).sender))
    }

    /// Keeps a connection of HTTP/2 for those to come.
    pub(super) fn share(&self, key: Key, sender: http2::SendRequest<Body>) {
        self.lock().many.insert(key, sender);
    }

    /// Lets go of the connection to this address that has waited longest, whoever's it is.
    pub(super) fn give_way(&self, nth: usize) {
        let mut kept = self.lock();
        let oldest = |waiting: &Vec<Waiting>| waiting.first().map(|first| first.since);
        let of_address = kept.one.iter_mut().filter(|(key, waiting)| key.nth == nth && !waiting.is_empty());
        if let Some((_, waiting)) = of_address.min_by_key(|(_, waiting)| oldest(waiting)) {
            waiting.remove(0);
        }
    }

    /// The answer's body; when it has been read to its end the connection is kept for the next request.
    pub(super) fn body(&self, key: Key, connection: Connection, body: Incoming) -> Body {
        let Connection::One(sender) = connection else {
            return Body::new(Answer { body, back: None });
        };
        if body.is_end_stream() {
            self.give(key, sender);
            return Body::new(Answer { body, back: None });
        }
        Body::new(Answer { body, back: Some((self.clone(), key, sender)) })
    }

    fn give(&self, key: Key, sender: http1::SendRequest<Body>) {
        let mut kept = self.lock();
        let waiting = kept.one.entry(key).or_default();
        if !sender.is_closed() && waiting.len() < KEPT {
            waiting.push(Waiting { sender, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Once in a while: lets go of what is closed or has waited for too long.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < IDLE / 4) {
            return;
        }
        self.swept = Some(now);
        for waiting in self.one.values_mut() {
            waiting.retain(|waiting| !waiting.sender.is_closed() && now - waiting.since < IDLE);
        }
        self.one.retain(|_, waiting| !waiting.is_empty());
        self.many.retain(|_, sender| !sender.is_closed());
    }
}

impl Waiting {
    fn is_ready(&mut self) -> bool {
        !self.sender.is_closed() && matches!(self.sender.ready().now_or_never(), Some(Ok(())))
    }
}

struct Answer {
    body: Incoming,
    back: Option<(Pool, Key, http1::SendRequest<Body>)>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = next {
            self.back = None;
        }
        let ended = matches!(next, Poll::Ready(None)) || self.body.is_end_stream();
        if let Some((pool, key, sender)) = ended.then(|| self.back.take()).flatten() {
            pool.give(key, sender);
        }
        next.map(|next| next.map(|frame| frame.map_err(|_| BodyError::Sender)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
