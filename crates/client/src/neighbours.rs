//! Who else on this machine may use the local ports: nobody, unless the person says so.
//!
//! A loopback port is open to every user of the machine. The kernel knows whose socket is at the other end of a connection:
//! only those of this process's own user, and root's, are served. Others are closed without a word, and counted.

mod diag;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;

const ROOT: u32 = 0;

/// Whose connections local listeners serve. Clones count together.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// `None`: anybody's.
    own: Option<u32>,
    refused: Arc<AtomicU64>,
}

/// The socket at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    /// The user that made it.
    uid: u32,
    /// Its inode; 0 when no process holds it any more. The kernel then says nothing of its user that can be relied on.
    inode: u64,
}

impl Neighbours {
    /// Connections of this process's user, and of root, are served.
    #[must_use]
    pub fn refused() -> Self {
        Self { own: Some(rustix::process::geteuid().as_raw()), refused: Arc::default() }
    }

    /// Those of every user of this machine are: for a port that is shared on purpose, or with a container.
    #[must_use]
    pub fn welcome() -> Self {
        Self { own: None, refused: Arc::default() }
    }

    /// How many connections were turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether datagrams from `theirs` to `ours` are to be carried: whoever gets what is sent to that address there must be one of those.
    pub(crate) fn admit_sender(&self, theirs: SocketAddr, ours: SocketAddr) -> bool {
        let Some(own) = self.own else { return true };
        self.judge(own, find(Protocol::Udp, canonical(theirs), canonical(ours)))
    }

    /// Whether this connection, just accepted, is to be served. A peer that can't be found is none of ours: it has gone
    /// already, or does not live on this machine.
    pub(crate) fn admit(&self, local: &TcpStream) -> bool {
        let Some(own) = self.own else { return true };
        let peer = match (local.peer_addr(), local.local_addr()) {
            (Ok(theirs), Ok(ours)) => find(Protocol::Tcp, canonical(theirs), canonical(ours)),
            (Err(_), _) | (_, Err(_)) => None,
        };
        self.judge(own, peer)
    }

    fn judge(&self, own: u32, peer: Option<Peer>) -> bool {
        let admitted = peer.is_some_and(|peer| peer.is_of(own));
        if !admitted {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(uid = peer.map(|peer| peer.uid), "what another local user sent was turned away");
        }
        admitted
    }
}

impl Peer {
    fn is_of(self, own: u32) -> bool {
        self.inode != 0 && (self.uid == own || self.uid == ROOT)
    }
}

/// Of which kind a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Whether a socket with these two ends is the one at `theirs` that hears `ours`. A UDP socket may be bound to all addresses, and
    /// mostly has no other end.
    fn fits(self, ends: (SocketAddr, SocketAddr), theirs: SocketAddr, ours: SocketAddr) -> bool {
        let open = |end: SocketAddr, address: SocketAddr| {
            end == address || end.ip().is_unspecified() && (end.port() == address.port() || end.port() == 0)
        };
        match self {
            Self::Tcp => ends == (theirs, ours),
            Self::Udp => ends.0.port() == theirs.port() && open(ends.0, theirs) && open(ends.1, ours),
        }
    }
}

/// The socket at `theirs` that hears `ours`: by one question to the kernel, or where that can't be asked from its table.
fn find(protocol: Protocol, theirs: SocketAddr, ours: SocketAddr) -> Option<Peer> {
    match diag::ask(protocol, theirs, ours) {
        // A kernel that can't be asked for UDP (its module `udp_diag` is absent) says the same as of a socket that is not there.
        Ok(None) if protocol == Protocol::Udp => table::search(protocol, theirs, ours),
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, "the kernel can't be asked for a socket; its table is read");
            table::search(protocol, theirs, ours)
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).await.unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, there)
    }

    fn ends(accepted: &TcpStream) -> (SocketAddr, SocketAddr) {
        (canonical(accepted.peer_addr().unwrap()), canonical(accepted.local_addr().unwrap()))
    }

    #[tokio::test]
    async fn our_own_connections_are_found_both_ways_and_served() {
        for address in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let (accepted, _there) = pair(address).await;
            let (theirs, ours) = ends(&accepted);
            let asked = diag::ask(Protocol::Tcp, theirs, ours).unwrap().unwrap();
            assert_eq!(asked.uid, rustix::process::geteuid().as_raw());
            assert_ne!(asked.inode, 0);
            assert_eq!(table::search(Protocol::Tcp, theirs, ours), Some(asked), "{address}");
            let neighbours = Neighbours::refused();
            assert!(neighbours.admit(&accepted));
            assert_eq!(neighbours.turned_away(), 0);
        }
    }

    #[tokio::test]
    async fn our_own_senders_are_found_both_ways_and_served() {
        use tokio::net::UdpSocket;
        for (ours, theirs, connected) in [
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:0", "0.0.0.0:0", false),
            ("127.0.0.1:0", "[::]:0", false),
            ("[::1]:0", "[::1]:0", false),
            ("[::1]:0", "[::]:0", true),
        ] {
            let (here, there) = (UdpSocket::bind(ours).await.unwrap(), UdpSocket::bind(theirs).await.unwrap());
            let at = here.local_addr().unwrap();
            let to = match (at, there.local_addr().unwrap()) {
                (SocketAddr::V4(v4), SocketAddr::V6(_)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
                (at, _) => at,
            };
            if connected {
                there.connect(to).await.unwrap();
                there.send(b"x").await.unwrap();
            } else {
                there.send_to(b"x", to).await.unwrap();
            }
            let (_, from) = here.recv_from(&mut [0; 8]).await.unwrap();
            let (from, at) = (canonical(from), canonical(at));
            let asked = diag::ask(Protocol::Udp, from, at);
            let read = table::search(Protocol::Udp, from, at).unwrap();
            assert_eq!(read.uid, rustix::process::geteuid().as_raw(), "{ours} {theirs}");
            assert_ne!(read.inode, 0);
            // A kernel may be built without; the table is always there.
            if let Ok(Some(asked)) = asked {
                assert_eq!(asked, read, "{ours} {theirs}");
            }
            let neighbours = Neighbours::refused();
            assert!(neighbours.admit_sender(from, at));
            drop(there);
            assert!(!neighbours.admit_sender(from, at), "nobody hears an answer any more");
            assert_eq!(neighbours.turned_away(), 1);
        }
    }

    /// A listener at the place of the peer's socket, or a socket that nobody holds any more, is not the peer.
    #[tokio::test]
    async fn a_peer_that_has_gone_is_nobody() {
        let (accepted, there) = pair("127.0.0.1:0").await;
        let (theirs, ours) = ends(&accepted);
        drop(there);
        assert!(!find(Protocol::Tcp, theirs, ours).is_some_and(|peer| peer.is_of(rustix::process::geteuid().as_raw())));
        assert!(!Neighbours::refused().admit(&accepted));
        drop(accepted);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(diag::ask(Protocol::Tcp, listener, "127.0.0.1:1".parse().unwrap()).unwrap(), None);
        assert_eq!(table::search(Protocol::Tcp, listener, "127.0.0.1:1".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn strangers_are_counted_and_welcome_only_when_the_person_says_so() {
        let (accepted, _there) = pair("127.0.0.1:0").await;
        let own = rustix::process::geteuid().as_raw();
        if own != ROOT {
            let foreign = Neighbours { own: Some(own + 1), ..Neighbours::refused() };
            assert!(!foreign.clone().admit(&accepted));
            assert_eq!(foreign.turned_away(), 1);
        }
        assert!(Neighbours::welcome().admit(&accepted));
        for (uid, inode, served) in
            [(1_000, 7, true), (0, 7, true), (1_001, 7, false), (1_000, 0, false), (0, 0, false)]
        {
            assert_eq!(Peer { uid, inode }.is_of(1_000), served, "{uid} {inode}");
        }
    }
}
