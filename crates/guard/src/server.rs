//! One connection from a client: HTTP/1.1 or HTTP/2, read more strictly than the library does (PAGEGUARD section 6).

mod activity;
mod check;
mod framing;
mod strict;
mod upgrades;

pub(crate) use upgrades::Upgrades;

use crate::limits::LIBRARY_FIELDS;
use crate::{Body, Limits, limits, websocket};
use activity::Activity;
pub(crate) use framing::fuzz as fuzz_framing;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use strict::Strict;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

/// Serves a connection until the client closes it, breaks a limit, or `end` completes; then requests that run are given
/// [`Limits::end_wait`] to finish.
///
/// What `service` gets is sound: one host (always in `Host`), a target in origin form, a body whose length nobody can doubt,
/// held to `limits`. What isn't, is answered here. What the connection is upgraded to ([`crate::Handshake`]) is served by the same
/// call: it is cut when `end` completes or the call is dropped, and the call returns only after it.
pub async fn serve_connection<I, S, F, E>(io: I, limits: &Limits, service: S, end: E)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
    E: Future<Output = ()>,
{
    let limits = Arc::new(limits.clone());
    let (activity, upgrades) = (Activity::new(), Upgrades::default());
    let _cutter = upgrades.cutter();
    let (limits_of, upgrades_of) = (Arc::clone(&limits), upgrades.clone());
    let handler = Handler { limits: limits_of, activity: activity.clone(), upgrades: upgrades_of, service };
    let handler = Arc::new(handler);
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let builder = builder(&limits);
    let io = TokioIo::new(Strict::new(io, &limits));
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut end = pin!(end);
    tokio::select! {
        biased;
        // How a client's connection ended concerns nobody; it may have become another one.
        _ = connection.as_mut() => {
            tokio::select! {
                () = upgrades.ended() => {}
                () = end => {}
            }
            return;
        }
        () = end.as_mut() => {}
        () = activity.idle(limits.header_wait, limits.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = sleep(limits.end_wait) => {}
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Both spans are watched here, each by its own clock.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    if limits.headers != LIBRARY_FIELDS {
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder
}

struct Handler<S> {
    limits: Arc<Limits>,
    activity: Activity,
    upgrades: Upgrades,
    service: S,
}

impl<S, F> Handler<S>
where
    S: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    async fn handle(&self, mut request: Request<Incoming>) -> Response<Body> {
        let running = self.activity.begin();
        let upgrade = websocket::names_upgrade(request.headers());
        let version = request.version();
        if upgrade {
            request.extensions_mut().insert(self.upgrades.clone());
        }
        let mut answer = match check::sound(&mut request, &self.limits) {
            Ok(()) => (self.service)(request.map(|body| limits::bounded(body, &self.limits))).await,
            Err(refused) => refused.answer(),
        };
        // What follows such a request has not been looked at: it may be of the other protocol.
        if upgrade && version < Version::HTTP_2 && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer.map(|body| running.until_end_of(body))
    }
}
