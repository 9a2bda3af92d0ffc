//! `LOCAL=SERVICE`: a local port that leads to one service, each accepted connection by a stream of its own; or each sender of datagrams by
//! a flow of its own ([`udp`]).

use crate::error::ClientError;
use crate::listen;
use crate::names;
use crate::neighbours::Neighbours;
use crate::tunnel::{self, Tunnel};
use crate::udp;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What a person asked for: `127.0.0.1:5432=db`, `5432=db`, `[::1]:2222=host1:22`, `5353/udp=dns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where to listen: a loopback address; port 0 lets the kernel choose.
    pub local: SocketAddr,
    /// What is listened for there.
    pub carries: Carries,
    /// The service, as [`names::find`] understands it.
    pub service: String,
}

/// What a local port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl FromStr for Forward {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Forward { asked: text.to_owned() };
        let (local, service) = text.split_once('=').ok_or_else(wrong)?;
        let local = local.trim();
        let (local, carries) = match local.strip_suffix("/udp") {
            Some(local) => (local, Carries::Udp),
            None => (local.strip_suffix("/tcp").unwrap_or(local), Carries::Tcp),
        };
        let local = local_address(local).ok_or_else(wrong)?;
        let service = service.trim();
        if service.is_empty() {
            return Err(wrong());
        }
        if !local.ip().is_loopback() {
            return Err(ClientError::NotLoopback { address: local });
        }
        Ok(Self { local, carries, service: service.to_owned() })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.carries {
            Carries::Tcp => "",
            Carries::Udp => "/udp",
        };
        write!(formatter, "{}{suffix}={}", self.local, self.service)
    }
}

fn local_address(text: &str) -> Option<SocketAddr> {
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Ok(port) = text.parse() {
        return Some(SocketAddr::new(LOOPBACK, port));
    }
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(LOOPBACK, port)),
        None => text.parse().ok(),
    }
}

/// A forward whose port is bound.
pub struct Forwarder<T> {
    bound: Bound,
    local: SocketAddr,
    service: String,
    tunnel: T,
    neighbours: Neighbours,
}

enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl<T: Tunnel> Forwarder<T> {
    /// Binds the local port; the service must exist now.
    ///
    /// # Errors
    /// [`ClientError::NoService`], [`ClientError::OtherKind`], [`ClientError::NotLoopback`], [`ClientError::Listen`].
    pub async fn bind(forward: &Forward, tunnel: T, neighbours: Neighbours) -> Result<Self, ClientError> {
        let (bound, local) = match forward.carries {
            Carries::Tcp => {
                names::find(&tunnel.services(), &forward.service)?;
                let listener = listen::bind(forward.local).await?;
                let local = listener.local_addr();
                (Bound::Tcp(listener), local)
            }
            Carries::Udp => {
                names::find_udp(&tunnel.services(), &forward.service)?;
                let socket = listen::bind_udp(forward.local).await?;
                let local = socket.local_addr();
                (Bound::Udp(socket), local)
            }
        };
        let local = local.unwrap_or(forward.local);
        Ok(Self { bound, local, service: forward.service.clone(), tunnel, neighbours })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until the future is dropped; open connections are then reset.
    pub async fn serve(self) {
        let Self { bound, service, tunnel, neighbours, local } = self;
        match bound {
            Bound::Tcp(listener) => {
                listen::serve(listener, neighbours, move |local| one(local, service.clone(), tunnel.clone())).await;
            }
            Bound::Udp(socket) => udp::serve((socket, local), neighbours, service, tunnel).await,
        }
    }
}

/// The service is looked up for each connection: the owner may have taken it away or given it another upstream.
async fn one<T: Tunnel>(local: TcpStream, service: String, tunnel: T) {
    let target = names::find(&tunnel.services(), &service).inspect_err(|_| tunnel::reset(&local));
    let joined = match target {
        Ok(target) => tunnel.join(local, target).await,
        Err(error) => Err(error),
    };
    if let Err(error) = joined {
        tracing::warn!(service, %error, "a forwarded connection was not opened");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Behaviour, FakeTunnel};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use vestibule_proto::session::ServiceKind;

    #[test]
    fn local_sides_are_read() {
        for (text, local, service) in [
            ("5432=db", "127.0.0.1:5432", "db"),
            ("127.0.0.1:5432=db", "127.0.0.1:5432", "db"),
            ("localhost:22=host1:22", "127.0.0.1:22", "host1:22"),
            ("[::1]:0 = db", "[::1]:0", "db"),
            ("127.9.9.9:1=a=b", "127.9.9.9:1", "a=b"),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!((forward.local, forward.service.as_str()), (local.parse().unwrap(), service), "{text}");
            assert_eq!(forward.carries, Carries::Tcp);
            assert_eq!(forward.to_string().parse(), Ok(forward));
        }
        for text in ["5353/udp=dns", "127.0.0.1:5353/udp = dns", "localhost:5353/udp=dns"] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.to_string(), "127.0.0.1:5353/udp=dns");
            assert_eq!(forward.to_string().parse(), Ok(forward));
        }
        let explicit =
            Ok(Forward { local: "127.0.0.1:22".parse().unwrap(), carries: Carries::Tcp, service: "h".to_owned() });
        assert_eq!("22/tcp=h".parse::<Forward>(), explicit);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "db",
            "=db",
            "5432=",
            "65536=db",
            "-1=db",
            "localhost=db",
            "example.org:1=db",
            "::1=db",
            "53/sctp=db",
            "/udp=db",
        ] {
            assert_eq!(text.parse::<Forward>(), Err(ClientError::Forward { asked: text.to_owned() }), "{text}");
        }
        for text in ["0.0.0.0:1=db", "[::]:1=db", "192.0.2.1:1=db"] {
            assert!(matches!(text.parse::<Forward>(), Err(ClientError::NotLoopback { .. })), "{text}");
        }
    }

    async fn forwarded(tunnel: &FakeTunnel, text: &str) -> SocketAddr {
        let forwarder = Forwarder::bind(&text.parse().unwrap(), tunnel.clone(), Neighbours::refused()).await.unwrap();
        let address = forwarder.local_addr();
        tokio::spawn(forwarder.serve());
        address
    }

    #[tokio::test]
    async fn each_connection_is_carried_with_half_close() {
        let tunnel = FakeTunnel::new();
        let address = forwarded(&tunnel, "0=echo").await;
        let mut streams = Vec::new();
        for number in 0..20u8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&[number; 1000]).await.unwrap();
            streams.push(stream);
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, [number as u8; 1000]);
        }
        assert_eq!(tunnel.opened(), 20);
    }

    #[tokio::test]
    async fn a_connection_that_can_not_be_opened_is_reset() {
        let tunnel = FakeTunnel::new();
        let address = forwarded(&tunnel, "0=db").await;
        tunnel.set("db", Behaviour::Fails(ClientError::UpstreamAway { service: "db".to_owned() }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        tunnel.remove("db");
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_service_that_does_not_exist_is_told_at_once() {
        let forward = "0=nothing".parse().unwrap();
        let refused = Forwarder::bind(&forward, FakeTunnel::new(), Neighbours::refused()).await.err();
        assert_eq!(refused, Some(ClientError::NoService { asked: "nothing".to_owned() }));
    }

    #[tokio::test]
    async fn a_service_of_the_other_kind_is_told_with_the_way_to_it() {
        for (forward, is, next) in [
            ("0=dns", ServiceKind::Udp, "vestibule forward PORT/udp=dns"),
            ("0/udp=db", ServiceKind::Tcp, "vestibule forward PORT=db"),
            ("0/udp=orders", ServiceKind::Web, "vestibule forward PORT=orders"),
        ] {
            let forward: Forward = forward.parse().unwrap();
            let refused = Forwarder::bind(&forward, FakeTunnel::new(), Neighbours::refused()).await.err().unwrap();
            assert_eq!(refused, ClientError::OtherKind { service: forward.service, is });
            assert!(refused.next_step().ends_with(next), "{refused:#}");
            assert_eq!(refused.exit_code(), 2);
        }
    }
}
