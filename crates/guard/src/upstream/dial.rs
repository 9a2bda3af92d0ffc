//! Connecting to one address of an upstream.

use super::address::Base;
use super::{HttpSettings, Source, UpstreamErrorKind, UpstreamSettingsError};
use crate::LogicalAddress;
use crate::proxy_protocol;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// Where systems keep the authorities they trust.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection, encrypted or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// How the connections of one upstream are made.
pub(super) struct Dialler {
    timeout: Duration,
    source: Source,
    proxy_protocol: bool,
    tls: Option<Tls>,
}

struct Tls {
    either: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

/// A connection that was made.
pub(super) struct Dialled {
    pub(super) wire: Box<dyn Wire>,
    /// Whether HTTP/2 is spoken on it.
    pub(super) h2: bool,
}

impl Dialler {
    pub(super) fn new(settings: &HttpSettings, bases: &[Base]) -> Result<Self, UpstreamSettingsError> {
        let tls = bases.iter().any(|base| base.secure).then(|| Tls::new(settings)).transpose()?;
        let HttpSettings { connect_timeout: timeout, source, proxy_protocol, .. } = *settings;
        Ok(Self { timeout, source, proxy_protocol, tls })
    }

    /// Whether a connection serves one logical address only.
    pub(super) fn is_bound(&self) -> bool {
        self.proxy_protocol || self.source == Source::Logical
    }

    /// Connects on behalf of `caller`; with `h2` where the upstream agrees.
    pub(super) async fn dial(
        &self,
        base: &Base,
        caller: LogicalAddress,
        h2: bool,
    ) -> Result<Dialled, UpstreamErrorKind> {
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, self.connect(base, caller, h2, deadline)).await {
            Ok(dialled) => dialled.map_err(|error| reason(&error)),
            Err(_) => Err(UpstreamErrorKind::Hangs),
        }
    }

    async fn connect(&self, base: &Base, caller: LogicalAddress, h2: bool, deadline: Instant) -> io::Result<Dialled> {
        let mut stream = self.tcp(base, caller, deadline).await?;
        // Fails only on a socket that is gone already, which the first read tells.
        let _ = stream.set_nodelay(true);
        if self.proxy_protocol {
            let header = proxy_protocol::header(SocketAddr::new(caller.0, 0), stream.peer_addr()?);
            stream.write_all(&header).await?;
        }
        let Some(tls) = self.tls.as_ref().filter(|_| base.secure) else {
            return Ok(Dialled { wire: Box::new(stream), h2 });
        };
        let name = ServerName::try_from(base.host.clone()).map_err(io::Error::other)?;
        let config = if h2 { &tls.either } else { &tls.http1 };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Dialled { wire: Box::new(stream), h2 })
    }

    /// Tries each address of the name; one that hangs leaves its fair share of the time to those behind it.
    async fn tcp(&self, base: &Base, caller: LogicalAddress, deadline: Instant) -> io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = match base.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, base.port)],
            Err(_) => lookup_host((base.host.as_str(), base.port)).await?.collect(),
        };
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for (nth, address) in addresses.iter().enumerate() {
            let behind = u32::try_from(addresses.len() - nth).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / behind;
            match timeout_at(Instant::now() + share, self.tcp_to(*address, caller)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(failure)
    }

    async fn tcp_to(&self, address: SocketAddr, caller: LogicalAddress) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if self.source == Source::Logical {
            bind_logical(&socket, caller)?;
        }
        socket.set_keepalive(true)?;
        socket.connect(address).await
    }
}

/// Binds a socket to a logical address, which need not be one of an interface: that the host routes the pool to itself is enough.
fn bind_logical(socket: &TcpSocket, caller: LogicalAddress) -> io::Result<()> {
    let reference = socket2::SockRef::from(socket);
    match caller.0 {
        IpAddr::V4(_) => reference.set_freebind_v4(true)?,
        IpAddr::V6(_) => reference.set_freebind_v6(true)?,
    }
    socket.bind(SocketAddr::new(caller.0, 0))
}

fn reason(error: &io::Error) -> UpstreamErrorKind {
    if error.kind() == io::ErrorKind::TimedOut { UpstreamErrorKind::Hangs } else { UpstreamErrorKind::Away }
}

impl Tls {
    fn new(settings: &HttpSettings) -> Result<Self, UpstreamSettingsError> {
        let mut http1 = config(settings.ca.as_deref())?;
        let mut either = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        either.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { either: Arc::new(either), http1: Arc::new(http1) })
    }
}

fn config(ca: Option<&Path>) -> Result<ClientConfig, UpstreamSettingsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(authorities(ca)?).with_no_client_auth())
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore, UpstreamSettingsError> {
    let systems = || SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let Some(path) = ca.or_else(systems) else {
        return Err(UpstreamSettingsError::Authorities(PathBuf::from(SYSTEM_AUTHORITIES[0]), missing()));
    };
    let failed = |error: io::Error| UpstreamSettingsError::Authorities(path.to_owned(), error);
    let pem = std::fs::read(path).map_err(failed)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.map_err(|e| failed(io::Error::other(e)))?);
    if added == 0 { Err(failed(missing())) } else { Ok(roots) }
}
