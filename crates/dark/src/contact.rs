//! A client's first contact: its first packet has spent a tag, and nothing was answered yet.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::crypto::{Keys, ServerConfig as QuicCrypto, Session, UnsupportedVersion};
use quinn::{Connecting, ConnectionError, ConnectionId, Incoming, TransportConfig};
use quinn_proto::transport_parameters::TransportParameters;
use serde::{Deserialize, Serialize};
use tokio_util::sync::DropGuard;
use vestibule_door::Hold;
use vestibule_proto::id::TicketId;

use crate::counters::CountersSnapshot;
use crate::flow::{Flow, Held};
use crate::gate::Gate;
use crate::guarded::Guarded;
use crate::quiet;
use crate::tcp::Life;
use crate::transport::fit_to_path;

/// A first contact, to be accepted or ignored. Dropping it ignores it.
#[derive(Debug)]
pub struct FirstContact {
    /// Where it comes from. Nobody else can send anything to this connection.
    pub source: SocketAddr,
    /// The ticket whose tag it bore.
    pub ticket: TicketId,
    /// Never `None` before the contact was accepted or dropped. A dropped [`Incoming`] answers.
    incoming: Option<Incoming>,
    came: Came,
    socket: Arc<Guarded<Gate>>,
}

/// Which way a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// QUIC's own datagrams.
    Quic,
    /// The same packets over TCP.
    Tcp,
}

impl Way {
    /// Its name, in configuration and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// What keeps a first contact's way open.
#[derive(Debug)]
enum Came {
    Quic(Arc<Held>),
    /// Never `None` before the contact was accepted. The guard ends the TCP connection when the role has no use for it.
    Tcp(Option<(Life, DropGuard)>),
}

/// Why a first contact became no connection. The first answer has not been sent, or it was an error.
#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    /// The TLS configuration lacks what QUIC needs.
    #[error(transparent)]
    Tls(#[from] NoInitialCipherSuite),
    /// The first packets are no beginning of a connection that we accept.
    #[error("the first packets begin no connection: {0}")]
    Refused(#[from] ConnectionError),
}

impl FirstContact {
    pub(crate) fn new(incoming: Incoming, hold: Hold, socket: Arc<Guarded<Gate>>) -> Self {
        let (source, ticket) = (incoming.remote_address(), hold.ticket());
        let held = Held::new(socket.guard.door.clone(), socket.guard.flows.clone(), source, hold);
        Self { source, ticket, incoming: Some(incoming), came: Came::Quic(held), socket }
    }

    pub(crate) fn over_tcp(
        incoming: Incoming,
        ticket: TicketId,
        life: (Life, DropGuard),
        socket: Arc<Guarded<Gate>>,
    ) -> Self {
        let address = incoming.remote_address();
        // quinn writes what it compares.
        let source = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { source, ticket, incoming: Some(incoming), came: Came::Tcp(Some(life)), socket }
    }

    /// Which way it came.
    #[must_use]
    pub fn way(&self) -> Way {
        match self.came {
            Came::Quic(_) => Way::Quic,
            Came::Tcp(_) => Way::Tcp,
        }
    }

    /// Answers it: the handshake goes on, as this TLS configuration and these transport parameters say.
    ///
    /// The source stays live until the connection has ended and been forgotten: closed by either side, its last packets
    /// sent (three probe time-outs of QUIC, well below a second on most paths), and all handles of it dropped.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub fn accept(
        self,
        tls: impl Into<Arc<rustls::ServerConfig>>,
        transport: TransportConfig,
    ) -> Result<Connecting, ContactError> {
        let (connecting, stays) = self.answer(tls.into(), transport, false)?;
        // Nobody says when it is of no use: it ends when QUIC has forgotten it.
        stays.map(DropGuard::disarm);
        Ok(connecting)
    }

    /// [`FirstContact::accept`] for a connection that may [move](Flow::follow). One over TCP never does.
    ///
    /// # Errors
    /// As there.
    pub fn accept_moving(
        self,
        tls: impl Into<Arc<rustls::ServerConfig>>,
        transport: TransportConfig,
    ) -> Result<(Connecting, Flow), ContactError> {
        let held = match &self.came {
            Came::Quic(held) => Some(held.clone()),
            Came::Tcp(_) => None,
        };
        let (connecting, stays) = self.answer(tls.into(), transport, true)?;
        Ok((connecting, held.map_or_else(|| Flow::fixed(stays), Flow::new)))
    }

    fn answer(
        mut self,
        tls: Arc<rustls::ServerConfig>,
        mut transport: TransportConfig,
        may_move: bool,
    ) -> Result<(Connecting, Option<DropGuard>), ContactError> {
        let mut stays = None;
        let tls = Arc::new(QuicServerConfig::try_from(tls)?);
        let config = match &mut self.came {
            Came::Quic(held) => {
                fit_to_path(&mut transport, self.source.ip());
                let crypto = HeldCrypto { tls, _held: held.clone() };
                let mut config = quiet::server_config(Arc::new(crypto), transport);
                config.migration(may_move);
                config
            }
            Came::Tcp(life) => {
                if let Some((life, guard)) = life.take() {
                    life.fit(&mut transport);
                    stays = Some(guard);
                }
                quiet::server_config(tls, transport)
            }
        };
        match self.incoming.take() {
            Some(incoming) => Ok((incoming.accept_with(Arc::new(config))?, stays)),
            None => Err(ConnectionError::LocallyClosed.into()),
        }
    }

    /// Drops it without a word; its source is a stranger's again. The tag stays spent.
    pub fn ignore(self) {}
}

impl Drop for FirstContact {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            incoming.ignore();
            self.socket.counters.add(&CountersSnapshot { contacts_ignored: 1, ..Default::default() });
        }
    }
}

/// TLS for one connection, which takes its hold along: quinn keeps a server connection's configuration exactly as long as
/// the connection itself.
struct HeldCrypto {
    tls: Arc<QuicServerConfig>,
    _held: Arc<Held>,
}

impl QuicCrypto for HeldCrypto {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.tls.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.tls.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        self.tls.clone().start_session(version, params)
    }
}
