//! T, direct: a TCP connection to a service at the gateway's machine, without the tunnel. A stream of the session is its lease.
//!
//! What doesn't come about within two seconds goes through the tunnel, and the next openings with it for a while: a network
//! that lets UDP through may well drop TCP.

use crate::address::unspecified;
use crate::channel::{framed, lost};
use crate::error::ClientError;
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt};
use serde::{Deserialize, Serialize};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use vestibule_dark::framed::{read_frame_within, write_frame};
use vestibule_dark::peer_address;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{DIRECT_CONNECTED, DIRECT_USED, OPENED_LIMIT, Open, Opened, Target, code};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the tunnel is taken without trying, after a connection that failed.
const REST: Duration = Duration::from_secs(60);
/// How often the gateway is told that bytes have passed.
const MARK_EVERY: Duration = Duration::from_secs(30);
/// How long the last bytes may take to be acknowledged.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// How long nothing passes before it is looked whether the other end is still there, and how often then: nobody says so when a
/// NAT on the way has forgotten the connection.
const SILENCE: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(10);
/// What became of direct connections in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectStatus {
    /// Services that are direct.
    pub services: Vec<ServiceName>,
    /// Connections without the tunnel.
    pub opened: u64,
    /// Connections through the tunnel instead.
    pub fell_back: u64,
    /// Connections without the tunnel that ended because this device went to another address.
    pub moved: u64,
    /// Why the last one of them did not come about.
    pub trouble: Option<DirectTrouble>,
}

/// Why a connection went through the tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectTrouble {
    /// To which service.
    pub service: ServiceName,
    /// Where it was to be reached; `None`: the gateway did not open its door.
    pub at: Option<SocketAddr>,
    /// What happened.
    pub what: String,
}

impl fmt::Display for DirectTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at TCP {at}: {}", self.service, self.what),
            None => write!(f, "{}: {}", self.service, self.what),
        }
    }
}

/// Which services are direct, and how it went. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct DirectUse(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    status: DirectStatus,
    rests_until: Option<Instant>,
}

impl DirectUse {
    pub(crate) fn set_services(&self, services: Vec<ServiceName>) {
        let mut state = self.state();
        // What another connection met says nothing of this one.
        state.rests_until = None;
        state.status.services = services;
    }

    pub(crate) fn status(&self) -> DirectStatus {
        self.state().status.clone()
    }

    /// The service, if it is to be tried.
    pub(crate) fn wanted(&self, target: &Target, now: Instant) -> Option<ServiceName> {
        let Target::Service(name) = target else { return None };
        let state = self.state();
        let rests = state.rests_until.is_some_and(|until| now < until);
        (!rests && state.status.services.contains(name)).then(|| name.clone())
    }

    /// The session goes on from another network, where other things may get through.
    pub(crate) fn elsewhere(&self) {
        self.state().rests_until = None;
    }

    fn moved(&self, service: &ServiceName) {
        tracing::warn!(%service, "this device has another address now, and a direct connection can't follow: connect again");
        self.state().status.moved += 1;
    }

    fn opened(&self) {
        let mut state = self.state();
        state.status.opened += 1;
        state.status.trouble = None;
    }

    fn fell_back(&self, trouble: DirectTrouble, now: Instant) {
        tracing::info!(%trouble, "a direct service is reached through the tunnel");
        let mut state = self.state();
        state.status.fell_back += 1;
        state.rests_until = trouble.at.map(|_| now + REST);
        state.status.trouble = Some(trouble);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of an opening.
pub(crate) enum Attempt {
    /// A connection without the tunnel.
    Direct(DirectStream),
    /// The gateway carries it through the tunnel, in this very stream.
    Tunnel(SendStream, RecvStream),
    /// Nothing: the tunnel is to be asked.
    Failed,
}

/// Opens a direct service.
///
/// # Errors
/// As for the tunnel: there is no such service, or no connection to the gateway.
pub(crate) async fn open(
    direct: &DirectUse,
    connection: &Connection,
    service: &ServiceName,
) -> Result<Attempt, ClientError> {
    let gateway = peer_address(connection);
    let trouble = |at, error: &io::Error| {
        let what = error.to_string();
        direct.fell_back(DirectTrouble { service: service.clone(), at, what }, Instant::now());
        Ok(Attempt::Failed)
    };
    let socket = match socket(gateway.ip()) {
        Ok(socket) => socket,
        Err(error) => return trouble(None, &error),
    };
    let from = match socket.local_addr() {
        Ok(from) => from,
        Err(error) => return trouble(None, &error),
    };
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let open = Open { target: Target::Direct { service: service.clone(), from } };
    write_frame(&mut send, &open).await.map_err(|error| framed(&error))?;
    let port = match read_frame_within(&mut recv, OPENED_LIMIT).await.map_err(|error| framed(&error))? {
        Opened::Direct { port } => port,
        Opened::Connected => {
            let _ = trouble(None, &io::Error::other("the gateway's door did not open for it"));
            return Ok(Attempt::Tunnel(send, recv));
        }
        Opened::Refused(reason) => return Err(ClientError::from_open_reason(reason, service.as_str())),
    };
    let at = SocketAddr::new(gateway.ip(), port);
    match connect(socket, at).await {
        Ok(tcp) => {
            // A lease that is gone shows at the first read.
            let _ = send.write_all(&[DIRECT_CONNECTED]).await;
            direct.opened();
            let lease = Lease { send, recv, over: false, service: service.clone(), direct: direct.clone() };
            Ok(Attempt::Direct(DirectStream { tcp, lease, marked: Instant::now() }))
        }
        Err(error) => {
            let _ = send.reset(VarInt::from_u32(code::DONE));
            trouble(Some(at), &error)
        }
    }
}

async fn connect(socket: TcpSocket, at: SocketAddr) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(CONNECT_WITHIN, socket.connect(at));
    let tcp = connected.await.map_err(|_| io::Error::other("nothing answers within two seconds"))??;
    tcp.set_nodelay(true)?;
    let asking = TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_EVERY);
    SockRef::from(&tcp).set_tcp_keepalive(&asking)?;
    Ok(tcp)
}

/// A socket with the address from which packets to the gateway leave, and a port of its own.
fn socket(gateway: IpAddr) -> io::Result<TcpSocket> {
    // Connecting a UDP socket sends nothing: the kernel looks for the route.
    let towards = SocketAddr::new(gateway, 1);
    let probe = UdpSocket::bind(unspecified(towards))?;
    probe.connect(towards)?;
    let socket = if gateway.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let mut from = probe.local_addr()?;
    from.set_port(0);
    socket.bind(from)?;
    Ok(socket)
}

/// A direct connection, with the stream that it lives by.
pub(crate) struct DirectStream {
    tcp: TcpStream,
    lease: Lease,
    /// When the gateway was told last that it is used.
    marked: Instant,
}

struct Lease {
    send: SendStream,
    recv: RecvStream,
    over: bool,
    service: ServiceName,
    direct: DirectUse,
}

impl Lease {
    /// Whether it is over; then the kernels on both sides don't know it.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let mut said = [0; 1];
        if !self.over
            && let Poll::Ready(told) = AsyncRead::poll_read(Pin::new(&mut self.recv), cx, &mut ReadBuf::new(&mut said))
        {
            self.over = true;
            if told.is_err_and(|error| has_moved(&error)) {
                self.direct.moved(&self.service);
            }
        }
        self.over
    }
}

/// Whether the gateway ended the stream because the session is at another address.
fn has_moved(error: &io::Error) -> bool {
    let read = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(read, Some(ReadError::Reset(with)) if *with == VarInt::from_u32(code::MOVED))
}

impl DirectStream {
    /// Ends it in order: the last bytes are acknowledged before the door shuts.
    pub(crate) async fn close(self) {
        let Self { tcp, mut lease, .. } = self;
        if let Ok(tcp) = tcp.into_std() {
            let drained = tokio::task::spawn_blocking(move || {
                // Closing waits, then, for what was sent.
                let _ = SockRef::from(&tcp).set_linger(Some(DRAIN_WITHIN));
                drop(tcp);
            });
            let _ = drained.await;
        }
        let _ = lease.send.finish();
    }

    /// The local side has broken: so does the other one.
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Fails once the lease is over.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.lease.is_over(cx) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// Tells the gateway now and then that the connection is used. One that it does not take now comes with later bytes.
    fn mark(&mut self, cx: &mut Context<'_>) {
        if self.marked.elapsed() >= MARK_EVERY {
            self.marked = Instant::now();
            let _ = AsyncWrite::poll_write(Pin::new(&mut self.lease.send), cx, &[DIRECT_USED]);
        }
    }
}

impl AsyncRead for DirectStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if read.is_ready() {
            self.mark(cx);
        }
        read
    }
}

impl AsyncWrite for DirectStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if written.is_ready() {
            self.mark(cx);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap()
    }

    #[test]
    fn after_a_connection_that_failed_the_tunnel_is_taken_for_a_while() {
        let (direct, now) = (DirectUse::default(), Instant::now());
        let ssh = Target::Service(name("ssh"));
        assert_eq!(direct.wanted(&ssh, now), None);
        direct.set_services(vec![name("ssh")]);
        assert_eq!(direct.wanted(&ssh, now), Some(name("ssh")));
        assert_eq!(direct.wanted(&Target::Service(name("db")), now), None);
        let what = "nothing answers".to_owned();
        let trouble = DirectTrouble { service: name("ssh"), at: Some(([192, 0, 2, 1], 2222).into()), what };
        assert_eq!(trouble.to_string(), "ssh at TCP 192.0.2.1:2222: nothing answers");
        direct.fell_back(trouble.clone(), now);
        assert_eq!(direct.wanted(&ssh, now + REST / 2), None);
        assert_eq!(direct.wanted(&ssh, now + REST), Some(name("ssh")));
        let status = direct.status();
        assert_eq!((status.fell_back, status.trouble), (1, Some(trouble.clone())));
        direct.opened();
        assert_eq!((direct.status().opened, direct.status().trouble), (1, None));
        direct.fell_back(trouble, now);
        direct.elsewhere();
        assert_eq!(direct.wanted(&ssh, now), Some(name("ssh")), "another network may let it through");
    }

    #[test]
    fn the_gateways_word_that_the_session_is_elsewhere_is_told_from_other_ends() {
        let with = |code| io::Error::from(ReadError::Reset(VarInt::from_u32(code)));
        assert!(has_moved(&with(code::MOVED)));
        assert!(!has_moved(&with(code::TCP_RESET)) && !has_moved(&io::ErrorKind::ConnectionReset.into()));
    }

    #[test]
    fn a_socket_has_the_address_that_packets_leave_from() {
        let socket = socket(Ipv4Addr::LOCALHOST.into()).unwrap();
        let from = socket.local_addr().unwrap();
        assert!(from.ip().is_loopback() && from.port() != 0);
    }
}
