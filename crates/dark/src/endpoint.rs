//! The endpoint of a role: one UDP socket, dark.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::Notify;
use vestibule_door::Door;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::SigningKey;

use crate::contact::FirstContact;
use crate::counters::CountersSnapshot;
use crate::gate::{Gate, Role};
use crate::guarded::Guarded;
use crate::knocks::{self, KnockQueue};
use crate::quiet;
use crate::tcp::Streams;
use crate::tls::{self, ClientPins};
use crate::wire::{KernelFilter, Wire};

/// How long connections may take to say good-bye when the endpoint closes.
const CLOSING: Duration = Duration::from_secs(1);

/// How an endpoint is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether the kernel is asked to drop what can't be ours. On, unless the cost of user space is to be measured.
    pub kernel_filter: bool,
    /// Whether clients may come over TCP, at a gateway: to a listener that exists only while one is awaited. On.
    pub tcp: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel_filter: true, tcp: true }
    }
}

/// One UDP socket that carries QUIC and, at the controller, knocks, and that to everybody else is a port that nobody uses:
/// it answers nothing but the bearer of an unspent tag and who came in by one.
///
/// Clones are the same endpoint.
#[derive(Debug, Clone)]
pub struct Dark {
    endpoint: Endpoint,
    socket: Arc<Guarded<Gate>>,
    streams: Option<Arc<Streams>>,
}

impl Dark {
    /// Binds the endpoint to exactly this address; the unspecified address of IPv6 takes IPv4 as well. What `door` admits
    /// comes in. The queue brings the knocks; a gateway's stays empty.
    ///
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// What the operating system says to the address.
    pub fn bind(address: SocketAddr, role: Role, door: Arc<dyn Door>) -> io::Result<(Self, KnockQueue)> {
        Self::bind_with(address, role, door, Options::default())
    }

    /// [`Dark::bind`], in another way than usual.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(
        address: SocketAddr,
        role: Role,
        door: Arc<dyn Door>,
        options: Options,
    ) -> io::Result<(Self, KnockQueue)> {
        let filter = match options.kernel_filter {
            true => KernelFilter::On { knocks: role.takes_knocks() },
            false => KernelFilter::Off,
        };
        let wire = Wire::bind(address, filter)?;
        let many_addresses = wire.has_many_addresses();
        let (knocks, queue) = knocks::queue();
        let flows = Arc::default();
        let awaited = (options.tcp && !role.takes_knocks()).then(Arc::<Notify>::default);
        let closing = AtomicBool::new(false);
        let gate = Gate { role, door, knocks, flows, awaited: awaited.clone(), many_addresses, closing };
        let socket = Arc::new(Guarded::new(wire, gate));
        let before_accept = before_accept()?;
        let endpoint = Endpoint::new_with_abstract_socket(
            quiet::endpoint_config(),
            Some(before_accept.clone()),
            socket.clone(),
            Arc::new(TokioRuntime),
        )?;
        let listen = endpoint.local_addr()?;
        let streams = awaited.map(|awaited| {
            let mut before_accept = before_accept;
            before_accept.max_incoming(1);
            Arc::new(Streams::start(listen, socket.clone(), before_accept, awaited))
        });
        Ok((Self { endpoint, socket, streams }, queue))
    }

    /// The next client that comes in by a tag; waits for one. `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<FirstContact> {
        let over_tcp = async {
            match &self.streams {
                Some(streams) => streams.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            contact = self.accept_quic() => contact,
            contact = over_tcp => Some(contact),
        }
    }

    async fn accept_quic(&self) -> Option<FirstContact> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let (source, dcid) = (incoming.remote_address(), incoming.orig_dst_cid());
            let door = &self.socket.guard.door;
            let Some(hold) = door.hold(source, &dcid, Instant::now()) else {
                // Somebody who is in sends Initials that bear no tag, or a recording of his own beginning.
                incoming.ignore();
                self.count(CountersSnapshot { contacts_ignored: 1, ..Default::default() });
                continue;
            };
            self.count(CountersSnapshot { contacts: 1, ..Default::default() });
            return Some(FirstContact::new(incoming, hold, self.socket.clone()));
        }
    }

    /// Sends one datagram of our own: guidance or a cookie, to somebody whose knock was authentic. It leaves from the
    /// address that the knock came to. Never waits.
    ///
    /// # Errors
    /// What the kernel says. A datagram may get lost anyway: the client knocks again.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let from = self.socket.guard.knocks.return_path(to);
        let sent = self.socket.wire.send(to, from, datagram);
        self.count(match sent {
            Ok(()) => CountersSnapshot { sent: 1, ..Default::default() },
            Err(_) => CountersSnapshot { send_failed: 1, ..Default::default() },
        });
        sent
    }

    /// What the endpoint has counted so far.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.socket.counters.snapshot()
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Lets nobody in any more, closes all connections and gives them a second to say so. [`Dark::accept`] and, once it is
    /// empty, the queue of knocks then return `None`. The socket goes with the last clone and the last connection.
    pub async fn close(&self) {
        self.socket.guard.closing.store(true, Ordering::Relaxed);
        self.socket.guard.knocks.close();
        self.endpoint.close(VarInt::from_u32(0), b"");
        let over_tcp = async {
            if let Some(streams) = &self.streams {
                streams.close().await;
            }
        };
        // Who does not get there in time finds out by his own time-out.
        let ended = async { tokio::join!(self.endpoint.wait_idle(), over_tcp) };
        let _ = tokio::time::timeout(CLOSING, ended).await;
    }

    fn count(&self, counted: CountersSnapshot) {
        self.socket.counters.add(&counted);
    }
}

/// What quinn looks into until a first contact is accepted with a configuration of its own. Nobody holds the one key that it
/// would accept.
fn before_accept() -> io::Result<quinn::ServerConfig> {
    let nobody = SigningKey::random(&mut SystemEntropy);
    let tls = tls::server_config(&nobody, ClientPins::Exact(nobody.spki()), b"").map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    Ok(quiet::server_config(Arc::new(crypto), TransportConfig::default()))
}
