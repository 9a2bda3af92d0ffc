//! The local web port: CONNECT, absolute-form requests, and browsers at `NAME.localhost`.
//!
//! Messages are passed on as they come, streaming both ways; a change of protocol (WebSocket) becomes bytes both ways.

use super::headers;
use super::page::Page;
use super::route::{Pass, Route, route};
use crate::error::ClientError;
use crate::listen;
use crate::neighbours::Neighbours;
use crate::tunnel::Tunnel;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use vestibule_proto::session::Target;

/// Most header fields of a message.
const HEADERS: usize = 128;
/// Most bytes of a message's head.
const HEAD_LEN: usize = 64 * 1024;
/// How long a browser may take to send the head of its request, once it has begun.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an upstream connection may take to be ready for the next request before a new one is made.
const READY: Duration = Duration::from_millis(20);

/// What is sent back: a page of ours, or the upstream's own body.
type Body = Either<Incoming, Full<Bytes>>;
/// What goes on after the HTTP of a connection has ended.
type Afterwards = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A bound local web port.
pub struct HttpProxy<T> {
    listener: TcpListener,
    local: SocketAddr,
    tunnel: T,
    neighbours: Neighbours,
}

impl<T: Tunnel> HttpProxy<T> {
    /// Binds a loopback address; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// [`ClientError::NotLoopback`], [`ClientError::Listen`].
    pub async fn bind(address: SocketAddr, tunnel: T, neighbours: Neighbours) -> Result<Self, ClientError> {
        let listener = listen::bind(address).await?;
        let local = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, local, tunnel, neighbours })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until the future is dropped; open connections end with it.
    pub async fn serve(self) {
        let Self { listener, tunnel, neighbours, .. } = self;
        listen::serve(listener, neighbours, move |local| one(local, tunnel.clone())).await;
    }
}

async fn one<T: Tunnel>(local: TcpStream, tunnel: T) {
    let browser = Arc::new(Browser { tunnel, upstream: Mutex::new(None), afterwards: Mutex::new(None) });
    let service = {
        let browser = Arc::clone(&browser);
        service_fn(move |request| {
            let browser = Arc::clone(&browser);
            async move { Ok::<_, Infallible>(browser.answer(request).await) }
        })
    };
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(HEADERS)
        .max_header_size(HEAD_LEN)
        .half_close(true)
        .serve_connection(TokioIo::new(local), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a local web connection ended");
    }
    let afterwards = browser.afterwards.lock().await.take();
    if let Some(afterwards) = afterwards {
        afterwards.await;
    }
}

/// One connection from a browser or a program that uses the proxy. Its requests come one after the other.
struct Browser<T> {
    tunnel: T,
    /// The upstream connection of the last request, for the next one to the same service.
    upstream: Mutex<Option<Upstream>>,
    afterwards: Mutex<Option<Afterwards>>,
}

/// A connection to a web service.
struct Upstream {
    target: Target,
    sender: SendRequest<Incoming>,
    /// Ends the connection when it is no longer wanted.
    _driver: AbortOnDropHandle<()>,
}

impl<T: Tunnel> Browser<T> {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let answered = match route(&head, &self.tunnel.services()) {
            Route::Connect(target) => self.connect(upgrade, target).await,
            Route::Pass(pass) => self.pass(Request::from_parts(head, body), upgrade, pass).await,
            Route::Refuse(page) => Err(page),
        };
        answered.unwrap_or_else(|page| {
            tracing::debug!(status = page.status.as_u16(), "{}", page.headline);
            page.response().map(Either::Right)
        })
    }

    /// CONNECT: opens first, so that what can't be opened is told by a status and not by a broken connection.
    async fn connect(&self, upgrade: OnUpgrade, target: Target) -> Result<Response<Body>, Page> {
        let stream = self.tunnel.open(target).await.map_err(|error| Page::of(&error))?;
        let tunnel = self.tunnel.clone();
        let carry = async move {
            if let Some((local, head)) = plain(upgrade).await {
                tunnel.carry(local, head, stream).await;
            }
        };
        *self.afterwards.lock().await = Some(Box::pin(carry));
        Ok(Response::new(Either::Right(Full::default())))
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        upgrade: OnUpgrade,
        pass: Pass,
    ) -> Result<Response<Body>, Page> {
        let Pass { target, host, path } = pass;
        let protocol = headers::strip_hop(request.headers_mut());
        headers::strip_expectation(request.headers_mut());
        request.headers_mut().insert(HOST, host);
        if let Some(protocol) = protocol.clone() {
            headers::ask_upgrade(request.headers_mut(), protocol);
        }
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        let mut response = self.send(&target, request).await.map_err(|error| Page::of(&error))?;
        let accepted = headers::strip_hop(response.headers_mut());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(Either::Left));
        }
        let (Some(_), Some(protocol)) = (protocol, accepted) else {
            return Err(Page::of(&ClientError::unexpected("the service changed to a protocol that nobody asked for")));
        };
        headers::ask_upgrade(response.headers_mut(), protocol);
        let upstream = hyper::upgrade::on(&mut response);
        *self.afterwards.lock().await = Some(Box::pin(switched(self.tunnel.clone(), upgrade, upstream)));
        Ok(response.map(|_| Either::Right(Full::default())))
    }

    /// Over the connection of the last request if it still stands, else over a new one. A request of which anything was
    /// sent is never sent again.
    async fn send(&self, target: &Target, request: Request<Incoming>) -> Result<Response<Incoming>, ClientError> {
        let mut kept = self.upstream.lock().await;
        let mut request = request;
        if let Some(upstream) = kept.take_if(|upstream| upstream.target == *target)
            && let Some(mut upstream) = upstream.ready().await
        {
            match upstream.sender.try_send_request(request).await {
                Ok(response) => {
                    *kept = Some(upstream);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(target, &error.into_error())),
                },
            }
        }
        let mut upstream = self.dial(target).await?;
        let response = upstream.sender.send_request(request).await.map_err(|error| broken(target, &error))?;
        *kept = Some(upstream);
        Ok(response)
    }

    async fn dial(&self, target: &Target) -> Result<Upstream, ClientError> {
        let stream = self.tunnel.open(target.clone()).await?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(target, &error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a web service ended");
            }
        });
        Ok(Upstream { target: target.clone(), sender, _driver: AbortOnDropHandle::new(driver) })
    }
}

impl Upstream {
    /// The connection, if it takes another request.
    async fn ready(mut self) -> Option<Self> {
        let ready = tokio::time::timeout(READY, self.sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(self)
    }
}

fn broken(target: &Target, error: &hyper::Error) -> ClientError {
    tracing::debug!(%error, "a web service broke off");
    let service = match target {
        Target::Service(name) | Target::Direct { service: name, .. } | Target::Udp(name) => name.to_string(),
        Target::Upstream(upstream) => upstream.clone(),
    };
    ClientError::Cut { service }
}

/// The connection below an upgraded one, and what was read from it already.
async fn plain(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// After `101 Switching Protocols`: bytes both ways, beginning with what either side was too quick to say.
async fn switched<T: Tunnel>(tunnel: T, local: OnUpgrade, upstream: OnUpgrade) {
    let (Some((mut local, head)), Ok(upstream)) = tokio::join!(plain(local), upstream) else { return };
    let Ok(parts) = upstream.downcast::<TokioIo<T::Stream>>() else { return };
    if local.write_all(&parts.read_buf).await.is_ok() {
        tunnel.carry(local, head, parts.io.into_inner()).await;
    }
}

#[cfg(test)]
mod tests;
