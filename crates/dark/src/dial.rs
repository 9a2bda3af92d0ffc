//! The other end: who bears a tag and connects with it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use quinn::udp::RecvMeta;
use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, ConnectionId, Endpoint, TokioRuntime, TransportConfig,
};
use quinn_proto::NoneTokenStore;
use vestibule_proto::key::{SigningKey, Spki};
use vestibule_proto::ticket::Tag;

use crate::counters::CountersSnapshot;
use crate::flow::is_same;
use crate::guarded::{Guard, Guarded};
use crate::quiet;
use crate::shape::{Shape, shape};
use crate::tls;
use crate::transport::fit_to_path;
use crate::wire::{KernelFilter, Wire};

/// How long a dial may take: as long as the admission window, after which its tag opens nothing.
pub const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// TLS wants a name for every server. It goes nowhere: no server name is sent, and keys are compared, not names.
pub(crate) const NO_NAME: &str = "vestibule.invalid";

/// Why a dial brought no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// This host has no such address, or no route.
    #[error("no socket for this connection: {0}")]
    Socket(#[from] io::Error),
    /// Our own configuration is unusable.
    #[error("no TLS for this connection: {0}")]
    Tls(#[from] rustls::Error),
    /// The address can't be dialled.
    #[error("this address can't be dialled: {0}")]
    Address(#[from] ConnectError),
    /// Nobody answered: away, or dark to us because the tag is spent, expired or unknown, or the policy wants another
    /// address.
    #[error("no answer")]
    NoAnswer,
    /// Who answered is not whom we know: another key, another protocol. Nothing was said to it.
    #[error("who answered is not the one expected: {0}")]
    WrongServer(ConnectionError),
    /// The peer ended the handshake.
    #[error("the peer refused: {0}")]
    Refused(ConnectionError),
}

impl From<NoInitialCipherSuite> for DialError {
    fn from(error: NoInitialCipherSuite) -> Self {
        Self::Tls(rustls::Error::General(error.to_string()))
    }
}

impl From<ConnectionError> for DialError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut | ConnectionError::LocallyClosed => Self::NoAnswer,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted
            | ConnectionError::Reset => Self::WrongServer(error),
            ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => Self::Refused(error),
        }
    }
}

/// Connects from `bind` to `to`: every first packet bears `tag`, the server must prove one of `server_pins`, we prove `own`.
///
/// The server looks at our key after we have looked at its: if it refuses ours, the connection that this returns is closed a
/// moment later ([`ConnectionError::ConnectionClosed`]).
///
/// The endpoint is silent to everybody else and takes nothing from anybody but `to`. It must be kept as long as the
/// connection's last words matter ([`Endpoint::wait_idle`]).
///
/// # Errors
/// See [`DialError`]; [`DialError::NoAnswer`] after [`DIAL_LIMIT`].
pub async fn dial(
    bind: SocketAddr,
    to: SocketAddr,
    tag: Tag,
    own: &SigningKey,
    server_pins: &[Spki],
    alpn: &[u8],
    mut transport: TransportConfig,
) -> Result<(Endpoint, Connection), DialError> {
    fit_to_path(&mut transport, to.ip());
    let config = client_config(tls::client_config(own, server_pins, alpn)?, tag, transport)?;
    let endpoint = endpoint(bind, to)?;
    let connecting = endpoint.connect_with(config, to, NO_NAME)?;
    let connection = tokio::time::timeout(DIAL_LIMIT, connecting).await.map_err(|_| DialError::NoAnswer)??;
    Ok((endpoint, connection))
}

pub(crate) fn client_config(
    tls: rustls::ClientConfig,
    tag: Tag,
    transport: TransportConfig,
) -> Result<ClientConfig, DialError> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport))
        .token_store(Arc::new(NoneTokenStore))
        .initial_dst_cid_provider(Arc::new(move || ConnectionId::new(tag.as_bytes())));
    Ok(config)
}

fn endpoint(bind: SocketAddr, peer: SocketAddr) -> Result<Endpoint, DialError> {
    let socket = socket(bind, peer)?;
    let nobody = quiet::nobody()?;
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new_with_abstract_socket(quiet::endpoint_config(), Some(nobody), socket, runtime)?)
}

/// The socket of a dialling endpoint.
pub(crate) fn socket(bind: SocketAddr, peer: SocketAddr) -> io::Result<Arc<Guarded<OnlyPeer>>> {
    // The kernel's filter is the connected peer.
    let wire = Wire::bind(bind, KernelFilter::Off)?;
    wire.connect(peer)?;
    Ok(Arc::new(Guarded::new(wire, OnlyPeer(peer))))
}

/// The guard of a dialling endpoint.
#[derive(Debug)]
pub(crate) struct OnlyPeer(SocketAddr);

impl Guard for OnlyPeer {
    fn admits(&self, meta: &RecvMeta, datagram: &[u8], _: Instant, counted: &mut CountersSnapshot) -> bool {
        let passes = is_same(meta.addr, self.0) && shape(datagram) == Shape::Later;
        counted.quic_passed += u64::from(passes);
        counted.quic_refused += u64::from(!passes);
        passes
    }

    fn may_reach(&self, to: SocketAddr, _: Instant) -> bool {
        is_same(to, self.0)
    }
}

/// Any address of `to`'s family, any port.
#[must_use]
pub fn unspecified(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}
