//! T, datagrams: one flow of a session to a UDP service, over a socket of its own.
//!
//! The socket is connected, so that the kernel takes datagrams from the upstream alone. An upstream that is not there ends no flow: it may
//! come back, and its client asks again, as UDP's clients do.

use crate::upstream;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use vestibule_dark::datagrams::{DatagramCounters, LONGEST, LocalSide};
use vestibule_dark::unspecified;
use vestibule_proto::session::Reason;

/// How long the name of an upstream may take to be looked up.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

thread_local! {
    /// One for all sockets of a thread: a flow that is silent keeps no memory for what it may hear.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST]);
}

/// A socket that is connected to an upstream.
pub(crate) struct Upstream {
    socket: UdpSocket,
    counters: Arc<DatagramCounters>,
}

impl Upstream {
    /// Connects a socket to `host:port`, by the first address of the name that this machine has a route to. Nothing is sent.
    ///
    /// # Errors
    /// [`Reason::UpstreamAway`] without such an address; [`Reason::UpstreamHangs`] when the name is not looked up in time;
    /// [`Reason::Busy`] when this gateway has no descriptor left.
    pub(crate) async fn connect(upstream: &str, counters: Arc<DatagramCounters>) -> Result<Self, Reason> {
        let addresses = tokio::time::timeout(RESOLVE_WITHIN, upstream::addresses(upstream)).await;
        let mut reason = Reason::UpstreamAway;
        for address in addresses.map_err(|_| Reason::UpstreamHangs)?? {
            match connected(address).await {
                Ok(socket) => return Ok(Self { socket, counters }),
                Err(error) => reason = upstream::reason_of(&error),
            }
        }
        Err(reason)
    }

    /// Whether a flow goes on after this error: what ICMP and the routes say of an upstream may change.
    fn passes(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let unreachable = matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable);
        if unreachable {
            self.counters.unreachable();
            tracing::debug!(%error, upstream = ?self.socket.peer_addr().ok(), "a UDP upstream can't be reached");
        }
        unreachable
    }

    fn try_recv(&self) -> io::Result<Vec<u8>> {
        SCRATCH.with_borrow_mut(|scratch| self.socket.try_recv(scratch).map(|length| scratch[..length].to_vec()))
    }
}

async fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(unspecified(to)).await?;
    socket.connect(to).await?;
    // The runtime takes a new socket for busy until it has heard of it.
    socket.writable().await?;
    Ok(socket)
}

impl LocalSide for Upstream {
    async fn recv(&self) -> io::Result<Vec<u8>> {
        loop {
            self.socket.readable().await?;
            match self.try_recv() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || self.passes(&error) => {}
                outcome => return outcome,
            }
        }
    }

    fn send(&self, payload: &[u8]) -> bool {
        match self.socket.try_send(payload) {
            Ok(_) => true,
            // An earlier datagram was answered by ICMP, which is told now: this one has not gone yet.
            Err(error) if self.passes(&error) => self.socket.try_send(payload).is_ok(),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn upstream(at: &str) -> Upstream {
        Upstream::connect(at, Arc::default()).await.unwrap()
    }

    fn count(upstream: &Upstream, name: &str) -> u64 {
        upstream.counters.named().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[tokio::test]
    async fn datagrams_of_every_size_go_and_come_and_nobody_elses() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(any).await.unwrap();
            let at = server.local_addr().unwrap();
            let upstream = upstream(&at.to_string()).await;
            let mut buffer = vec![0; LONGEST];
            for length in [0, 1, 1_200, 60_000, 65_507] {
                assert!(upstream.send(&vec![7; length]));
                let (heard, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!((heard, &buffer[..heard]), (length, vec![7; length].as_slice()));
                let stranger = UdpSocket::bind(any).await.unwrap();
                stranger.send_to(b"stranger", from).await.unwrap();
                server.send_to(&buffer[..heard], from).await.unwrap();
                assert_eq!(upstream.recv().await.unwrap().len(), length);
            }
            assert!(!upstream.send(&vec![0; LONGEST]), "longer than any datagram");
        }
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_counted_and_may_come_back() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        drop(server);
        let upstream = upstream(&at.to_string()).await;
        assert!(upstream.send(b"one"));
        let heard = tokio::time::timeout(Duration::from_millis(200), upstream.recv()).await;
        assert!(heard.is_err(), "it goes on waiting: {heard:?}");
        let server = UdpSocket::bind(at).await.unwrap();
        // The kernel tells with the next one, which goes all the same.
        assert!(upstream.send(b"two"));
        assert_eq!(count(&upstream, "unreachable"), 1);
        let (_, from) = server.recv_from(&mut [0; 8]).await.unwrap();
        server.send_to(b"answer", from).await.unwrap();
        assert_eq!(upstream.recv().await.unwrap(), b"answer");
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_is_away() {
        for at in ["no-such-host.invalid:53", "no port"] {
            assert_eq!(Upstream::connect(at, Arc::default()).await.err(), Some(Reason::UpstreamAway), "{at}");
        }
    }
}
