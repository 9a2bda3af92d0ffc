//! Where browsers come in: TCP, TLS where there is a certificate, and the word of a balancer about whom it speaks for.

use crate::config::TlsConfig;
use crate::fault::Fault;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vestibule_guard::{Guard, Peer, accept_proxy_protocol};

/// Connections served at a time; further ones wait in the kernel.
const CONNECTIONS: usize = 16_384;
/// How long a balancer's header and a TLS handshake may take, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(12);
/// Without file descriptors, trying again at once would only burn the processor.
const REST: Duration = Duration::from_millis(200);

/// What connections are served with.
pub(super) struct Terms {
    /// HTTPS, where there is a certificate.
    pub(super) tls: Option<TlsAcceptor>,
    /// Whether browsers come through a proxy that speaks HTTPS with them.
    pub(super) https_outside: bool,
    /// Balancers whose connections begin with a PROXY protocol header.
    pub(super) balancers: Vec<IpAddr>,
}

/// The guard's open door.
pub(super) struct Front {
    terms: Arc<RwLock<Arc<Terms>>>,
    stopping: CancellationToken,
    connections: TaskTracker,
}

impl Front {
    /// Serves what comes to `listeners`.
    pub(super) fn open(guard: &Guard, listeners: Vec<TcpListener>, terms: Terms) -> Self {
        let front = Self {
            terms: Arc::new(RwLock::new(Arc::new(terms))),
            stopping: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        for listener in listeners {
            tokio::spawn(front.accept(guard.clone(), listener, places.clone()));
        }
        front
    }

    /// Serves new connections on other terms.
    pub(super) fn set_terms(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }

    /// Takes no more connections and lets those that run end; the guard tells them to.
    pub(super) async fn stop(self, guard: &Guard) {
        self.stopping.cancel();
        self.connections.close();
        guard.stop().await;
        if timeout(END_WITHIN, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections are cut that did not end in time");
        }
        // What the last of them did is counted, too.
        guard.stop().await;
    }

    fn accept(
        &self,
        guard: Guard,
        listener: TcpListener,
        places: Arc<Semaphore>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (terms, stopping, connections) = (self.terms.clone(), self.stopping.clone(), self.connections.clone());
        async move {
            while let Ok(place) = places.clone().acquire_owned().await {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, from)) => {
                        let terms = terms.read().unwrap_or_else(PoisonError::into_inner).clone();
                        let guard = guard.clone();
                        connections.spawn(async move {
                            terms.serve(&guard, stream, from).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }
    }
}

impl Terms {
    async fn serve(&self, guard: &Guard, mut stream: TcpStream, from: SocketAddr) {
        let from = from.ip().to_canonical();
        // Answers leave when they are ready; a socket that can't promise that serves all the same.
        let _ = stream.set_nodelay(true);
        let client = match self.client(&mut stream, from).await {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%from, %error, "a balancer's connection is closed"),
        };
        match &self.tls {
            None => serve(guard, stream, client, self.https_outside).await,
            Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => serve(guard, stream, client, true).await,
                Ok(Err(error)) => tracing::debug!(%from, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
            },
        }
    }

    /// Whom a connection is for: who made it, or whom the balancer names that made it.
    async fn client(
        &self,
        stream: &mut TcpStream,
        from: IpAddr,
    ) -> Result<IpAddr, vestibule_guard::ProxyProtocolError> {
        if !self.balancers.iter().any(|balancer| balancer.to_canonical() == from) {
            return Ok(from);
        }
        let named = accept_proxy_protocol(stream, PATIENCE).await?;
        Ok(named.map_or(from, |address| address.ip().to_canonical()))
    }
}

async fn serve<I>(guard: &Guard, io: I, client: IpAddr, tls: bool)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    guard.serve(io, Peer { client: Some(client), tls, tunnel: None }).await;
}

/// Binds the addresses.
///
/// # Errors
/// Exit code 40, naming the address.
pub(super) async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Fault> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(TcpListener::bind(address).await.map_err(|error| cannot_listen(*address, &error))?);
    }
    Ok(listeners)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Fault {
    let fault = Fault::configuration(format!("nothing can listen on {address}: {error}"));
    if error.kind() == io::ErrorKind::PermissionDenied {
        return fault
            .next("ports below 1024 need CAP_NET_BIND_SERVICE (the unit in packaging/ has it), or choose another");
    }
    fault.next("choose another address: --listen ADDR:PORT")
}

/// HTTPS with a certificate and its key, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// Exit code 41 when a file can't be read, 40 when what it holds is no certificate or key, or the two don't belong together.
pub(super) fn acceptor(config: &TlsConfig, base: &Path) -> Result<TlsAcceptor, Fault> {
    let (cert, key) = (base.join(&config.cert), base.join(&config.key));
    let wrong = |file: &Path, error: &dyn std::fmt::Display| {
        Fault::configuration(format!("{} can't be used for TLS: {error}", file.display()))
            .next("both files are PEM: the certificate with its chain, and its private key")
    };
    let pem = read(&cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| wrong(&cert, &error))?;
    if chain.is_empty() {
        return Err(wrong(&cert, &"there is no certificate in it"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&zeroize::Zeroizing::new(read(&key)?));
    let secret = secret.map_err(|error| wrong(&key, &error))?;
    let made = server(chain, secret).map_err(|error| wrong(&cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(made)))
}

fn server(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(file).map_err(|error| Fault::files(format!("{} can't be read: {error}", file.display())))
}
