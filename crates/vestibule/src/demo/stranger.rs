//! The stranger of the demo: probes every port in use and counts what comes back.

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use vestibule_stranger::baits;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// UDP datagrams sent.
    pub(crate) probes: usize,
    /// UDP datagrams that came back.
    pub(crate) replies: usize,
    /// TCP connections that were accepted.
    pub(crate) accepted: usize,
    /// TCP ports that behaved otherwise than an unused one.
    pub(crate) conspicuous: usize,
}

impl Scan {
    /// Whether there was nothing at all to be seen.
    pub(crate) fn saw_nothing(&self) -> bool {
        self.probes > 0 && self.replies == 0 && self.accepted == 0 && self.conspicuous == 0
    }
}

/// Scans `targets` from `source`: UDP with everything that might provoke an answer, TCP by connecting.
pub(crate) fn scan(source: IpAddr, targets: &[SocketAddr]) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for target in targets {
        let socket = UdpSocket::bind((source, 0))?;
        let baits = baits();
        for bait in &baits {
            socket.send_to(bait, target)?;
        }
        scan.probes += baits.len();
        scan.replies += count_replies(&socket)?;

        let unused = SocketAddr::new(target.ip(), unused_port(target.ip())?);
        let (found, expected) = (tcp_outcome(source, *target)?, tcp_outcome(source, unused)?);
        scan.accepted += usize::from(found == Ok(()));
        scan.conspicuous += usize::from(found != expected);
    }
    Ok(scan)
}

fn count_replies(socket: &UdpSocket) -> io::Result<usize> {
    let until = Instant::now() + PATIENCE;
    let mut replies = 0;
    let mut bytes = [0; 2048];
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        socket.set_read_timeout(Some(rest))?;
        match socket.recv_from(&mut bytes) {
            Ok(_) => replies += 1,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(replies)
}

/// What a connection from `source` meets.
fn tcp_outcome(source: IpAddr, target: SocketAddr) -> io::Result<Result<(), io::ErrorKind>> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(socket.connect_timeout(&target.into(), PATIENCE).map_err(|error| error.kind()))
}

/// A TCP port at which nobody listens: one that the kernel has just given and taken back.
fn unused_port(address: IpAddr) -> io::Result<u16> {
    Ok(std::net::TcpListener::bind((address, 0))?.local_addr()?.port())
}
