//! The gateway's own knock, and the connection that it opens.

use crate::shared::{Shared, entropy, now};
use crate::stamp::LastStamp;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UdpSocket, lookup_host};
use vestibule_dark::{DialError, STREAMS_LIMIT, TransportKind, dial, tls, transport, unspecified};
use vestibule_proto::invitation::KnockKeys;
use vestibule_proto::key::SigningKey;
use vestibule_proto::knocker::{Admitted, KnockEvent, KnockFailure, Knocker, LinkDevice};

/// The largest datagram that is read; answers have 1200 bytes.
const DATAGRAM_LIMIT: usize = 2_048;

/// A link is quiet for so long at most, so that its loss shows soon on both sides.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Without a word for so long, the other side is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7);

/// A clock that is less wrong, in milliseconds, disturbs nobody.
const WORTH_TELLING_MS: u64 = 1_000;

/// A connection to the controller, before the first frame.
pub(super) struct Opened {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) connection: quinn::Connection,
    /// This end of it.
    pub(super) local: SocketAddr,
}

/// Why the controller did not let the gateway in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnockError {
    /// No address of the controller can be looked up.
    #[error("no address of the controller is known: {0}")]
    Lookup(String),
    /// No socket, or no way to send.
    #[error("the controller can't be reached: {0}")]
    Socket(#[from] io::Error),
    /// It does not answer, or says no.
    #[error("{}", failure(.0))]
    Failed(KnockFailure),
    /// It let the knock pass, and then there was no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl KnockError {
    /// What the owner can do about it.
    pub(super) fn next_step(&self) -> &'static str {
        match self {
            Self::Lookup(_) => "see that the controller's name resolves here",
            Self::Socket(_) => "see that this machine has a way to the controller, and may send UDP",
            Self::Failed(KnockFailure::NoAnswer) => {
                "see that the controller runs, that UDP reaches it, and that `vestibule controller gateways` lists this gateway there; if it was removed, or away while the realm key was rotated, give it another link: vestibule controller invite NAME --gateway ID (`vestibule gateway status` tells both), then vestibule gateway relink LINK"
            }
            Self::Failed(KnockFailure::ClockFarOff { .. }) => "set this machine's clock",
            Self::Failed(KnockFailure::Refused(_) | KnockFailure::RefusedUnreadable) => {
                "give it another link: vestibule controller invite NAME --gateway ID (`vestibule gateway status` tells both), then vestibule gateway relink LINK"
            }
            Self::Failed(KnockFailure::GatewayAway | KnockFailure::Busy) => "wait; see what the controller logs",
            Self::Dial(_) => "see that UDP passes both ways between here and the controller",
        }
    }
}

fn failure(failure: &KnockFailure) -> String {
    match failure {
        KnockFailure::NoAnswer => {
            "the controller does not answer: it is away, or does not know this gateway".to_owned()
        }
        KnockFailure::ClockFarOff { offset_ms } => {
            format!("this machine's clock is {} s off; set it right", offset_ms / 1_000)
        }
        KnockFailure::Refused(_) | KnockFailure::RefusedUnreadable => "the controller refuses this gateway".to_owned(),
        KnockFailure::GatewayAway | KnockFailure::Busy => "the controller is busy".to_owned(),
    }
}

/// Knocks at the controller, with the keys of an invitation or with the lasting ones, and connects under `own`.
pub(super) async fn open(
    shared: &Arc<Shared>,
    first: Option<&KnockKeys>,
    own: &SigningKey,
) -> Result<Opened, KnockError> {
    let keys = &shared.keys;
    let knock = first.unwrap_or(&keys.link);
    let device = LinkDevice {
        controller: keys.controller(),
        d_out: knock.d_out.clone(),
        psk_c: knock.psk_c.clone(),
        digest: knock.digest,
    };
    let controllers = controllers(&keys.controllers).await?;
    let stamps = LastStamp::new(&shared.settings().dir);
    let mut knocker = Knocker::for_link(Arc::new(device), &controllers, stamps.read().await, now());
    let (admitted, controller) = knock_at(&mut knocker, &controllers).await?;
    stamps.write(admitted.stamp).await;

    let mut behaviour = transport(TransportKind::Link);
    behaviour.keep_alive_interval(Some(KEEP_ALIVE));
    behaviour.max_idle_timeout(IDLE_TIMEOUT.try_into().ok());
    // The controller asks for each admission in a stream of its own, and many may come at once.
    behaviour.max_concurrent_bidi_streams(STREAMS_LIMIT.into());
    let tag = admitted.ticket.tag(0);
    let pins = [keys.controller_pin];
    let (endpoint, connection) =
        dial(unspecified(controller), controller, tag, own, &pins, tls::ALPN_LINK, behaviour).await?;
    let local = endpoint.local_addr()?;
    Ok(Opened { endpoint, connection, local })
}

async fn controllers(names: &[String]) -> Result<Vec<SocketAddr>, KnockError> {
    let mut addresses = Vec::new();
    let mut trouble = String::from("none is configured");
    for name in names {
        match lookup_host(name).await {
            Ok(found) => addresses.extend(found),
            Err(error) => trouble = format!("{name}: {error}"),
        }
    }
    if addresses.is_empty() { Err(KnockError::Lookup(trouble)) } else { Ok(addresses) }
}

/// Tells a clock that somebody should set. A controller that has just started asks every gateway for its time: by itself, that is
/// no sign of a wrong clock.
fn tell_clock(offset_ms: i64) {
    if offset_ms.unsigned_abs() < WORTH_TELLING_MS {
        tracing::debug!(offset_ms, "the controller asked for the time");
    } else {
        tracing::warn!(offset_ms, "this machine's clock differs from the controller's: set it");
    }
}

/// Drives the machine until it is done. Also returns which address of the controller has answered.
async fn knock_at(knocker: &mut Knocker, controllers: &[SocketAddr]) -> Result<(Admitted, SocketAddr), KnockError> {
    let sockets = Sockets::bind(controllers).await?;
    let mut buffer = vec![0; DATAGRAM_LIMIT];
    let mut answered = None;
    knocker.handle_timeout(now(), &mut entropy());
    loop {
        while let Some(transmit) = knocker.poll_transmit() {
            sockets.send(&transmit.payload, transmit.to).await;
        }
        match knocker.poll_event() {
            Some(KnockEvent::Admitted(admitted)) => {
                return Ok((admitted, answered.ok_or(KnockError::Failed(KnockFailure::NoAnswer))?));
            }
            Some(KnockEvent::ClockCorrected { offset_ms }) => {
                tell_clock(offset_ms);
                continue;
            }
            Some(KnockEvent::Failed(failure)) => return Err(KnockError::Failed(failure)),
            None => {}
        }
        let next = knocker.poll_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            (length, from) = sockets.receive(&mut buffer) => {
                answered = Some(from);
                knocker.handle_input(from, &buffer[..length], now(), &mut entropy());
            }
            () = tokio::time::sleep_until(next.into()) => knocker.handle_timeout(now(), &mut entropy()),
        }
    }
}

/// One socket for each address family that is knocked at.
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    async fn bind(controllers: &[SocketAddr]) -> io::Result<Self> {
        let mut failed = None;
        let mut sockets = Self { v4: None, v6: None };
        for controller in controllers {
            let socket = if controller.is_ipv4() { &mut sockets.v4 } else { &mut sockets.v6 };
            if socket.is_none() {
                match UdpSocket::bind(unspecified(*controller)).await {
                    Ok(bound) => *socket = Some(bound),
                    // A host without one of the families knocks at the other.
                    Err(error) => failed = Some(error),
                }
            }
        }
        match (sockets.v4.is_some() || sockets.v6.is_some(), failed) {
            (false, Some(error)) => Err(error),
            (true, _) | (false, None) => Ok(sockets),
        }
    }

    /// What can't be sent is lost, as it may be on the way: it is sent again.
    async fn send(&self, payload: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket
            && let Err(error) = socket.send_to(payload, to).await
        {
            tracing::debug!(%to, %error, "a knock could not be sent");
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            let received = match (&self.v4, &self.v6) {
                (Some(v4), Some(v6)) => tokio::select! {
                    ready = v4.readable() => ready.and_then(|()| v4.try_recv_from(buffer)),
                    ready = v6.readable() => ready.and_then(|()| v6.try_recv_from(buffer)),
                },
                (Some(only), None) | (None, Some(only)) => only.recv_from(buffer).await,
                (None, None) => std::future::pending().await,
            };
            // An error tells of a datagram sent earlier, which may be lost like any other.
            if let Ok(received) = received {
                return received;
            }
        }
    }
}
