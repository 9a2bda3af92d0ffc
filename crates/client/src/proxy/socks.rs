//! SOCKS5 (RFC 1928): CONNECT only, no authentication, names and addresses of services only.

use crate::error::ClientError;
use crate::listen;
use crate::names;
use crate::neighbours::Neighbours;
use crate::tunnel::Tunnel;
use bytes::Bytes;
use fast_socks5::ReplyError;
use fast_socks5::Socks5Command;
use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long a program may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bound SOCKS5 port.
pub struct SocksProxy<T> {
    listener: TcpListener,
    local: SocketAddr,
    tunnel: T,
    neighbours: Neighbours,
}

impl<T: Tunnel> SocksProxy<T> {
    /// Binds a loopback address; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// [`ClientError::NotLoopback`], [`ClientError::Listen`].
    pub async fn bind(address: SocketAddr, tunnel: T, neighbours: Neighbours) -> Result<Self, ClientError> {
        let listener = listen::bind(address).await?;
        let local = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, local, tunnel, neighbours })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until the future is dropped; open connections end with it.
    pub async fn serve(self) {
        let Self { listener, tunnel, neighbours, .. } = self;
        listen::serve(listener, neighbours, move |local| {
            let tunnel = tunnel.clone();
            async move {
                if let Err(error) = one(local, tunnel).await {
                    tracing::debug!(%error, "a SOCKS5 connection failed");
                }
            }
        })
        .await;
    }
}

async fn one<T: Tunnel>(local: TcpStream, tunnel: T) -> Result<(), SocksServerError> {
    let asked = tokio::time::timeout(PATIENCE, async {
        let negotiated = Socks5ServerProtocol::accept_no_auth(local).await?;
        negotiated.read_command().await
    });
    let Ok(asked) = asked.await else { return Ok(()) };
    let (request, command, address) = asked?;
    match command {
        Socks5Command::TCPConnect => {}
        Socks5Command::TCPBind | Socks5Command::UDPAssociate => {
            return request.reply_error(&ReplyError::CommandNotSupported).await;
        }
    }
    match open(&tunnel, &address).await {
        Ok(stream) => {
            // The address at which the upstream sees the connection is the gateway's business: none is told.
            let local = request.reply_success(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
            tunnel.carry(local, Bytes::new(), stream).await;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(asked = %address, %error, "a SOCKS5 connection was not opened");
            request.reply_error(&reply(&error)).await
        }
    }
}

async fn open<T: Tunnel>(tunnel: &T, address: &TargetAddr) -> Result<T::Stream, ClientError> {
    // Addresses of IPv6 come with their brackets.
    let target = names::find(&tunnel.services(), &address.to_string())?;
    tunnel.open(target).await
}

fn reply(error: &ClientError) -> ReplyError {
    match error {
        ClientError::NoService { .. } | ClientError::OtherKind { .. } => ReplyError::ConnectionNotAllowed,
        ClientError::UpstreamAway { .. } => ReplyError::ConnectionRefused,
        ClientError::UpstreamHangs { .. } => ReplyError::HostUnreachable,
        ClientError::GatewayAway(_) | ClientError::ControllerAway { .. } | ClientError::AwaitsApproval { .. } => {
            ReplyError::NetworkUnreachable
        }
        ClientError::Credential { .. }
        | ClientError::Ambiguous { .. }
        | ClientError::WeakPassword { .. }
        | ClientError::Invitation(_)
        | ClientError::Refused { .. }
        | ClientError::ClockFarOff { .. }
        | ClientError::LoginFailed { .. }
        | ClientError::Busy
        | ClientError::Cut { .. }
        | ClientError::SessionEnded(_)
        | ClientError::NotLoopback { .. }
        | ClientError::Listen { .. }
        | ClientError::Forward { .. }
        | ClientError::Files { .. }
        | ClientError::AlreadyRunning
        | ClientError::NotRunning
        | ClientError::Unexpected { .. } => ReplyError::GeneralFailure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Behaviour, FakeTunnel};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn proxy(tunnel: &FakeTunnel) -> TcpStream {
        let proxy =
            SocksProxy::bind("127.0.0.1:0".parse().unwrap(), tunnel.clone(), Neighbours::refused()).await.unwrap();
        let address = proxy.local_addr();
        tokio::spawn(proxy.serve());
        TcpStream::connect(address).await.unwrap()
    }

    fn by_name(command: u8, host: &str, port: u16) -> Vec<u8> {
        let mut request = vec![5, command, 0, 3, host.len() as u8];
        request.extend_from_slice(host.as_bytes());
        request.extend_from_slice(&port.to_be_bytes());
        request
    }

    /// The reply code to `request`, after the negotiation.
    async fn ask(stream: &mut TcpStream, request: &[u8]) -> u8 {
        stream.write_all(&[5, 1, 0]).await.unwrap();
        let mut method = [0; 2];
        stream.read_exact(&mut method).await.unwrap();
        assert_eq!(method, [5, 0]);
        stream.write_all(request).await.unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!((reply[0], reply[2], reply[3]), (5, 0, 1));
        reply[1]
    }

    #[tokio::test]
    async fn services_are_reached_by_name_local_name_and_upstream() {
        let tunnel = FakeTunnel::new();
        let v4 = [5, 1, 0, 1, 10, 0, 0, 1, 0, 7];
        for request in [by_name(1, "echo", 7), by_name(1, "ECHO.localhost", 80), by_name(1, "10.0.0.1", 7), v4.to_vec()]
        {
            let mut stream = proxy(&tunnel).await;
            assert_eq!(ask(&mut stream, &request).await, 0);
            stream.write_all(b"there and back").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"there and back");
        }
        assert_eq!(tunnel.opened(), 4);
    }

    #[tokio::test]
    async fn what_is_no_service_is_refused_by_the_rules() {
        let tunnel = FakeTunnel::new();
        let mut v6 = vec![5, 1, 0, 4];
        v6.extend_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
        v6.extend_from_slice(&22u16.to_be_bytes());
        for request in [by_name(1, "example.org", 443), vec![5, 1, 0, 1, 127, 0, 0, 1, 0, 22], v6] {
            assert_eq!(ask(&mut proxy(&tunnel).await, &request).await, 2);
        }
        assert_eq!(tunnel.opened(), 0);
    }

    #[tokio::test]
    async fn other_commands_are_not_supported() {
        let tunnel = FakeTunnel::new();
        for command in [2, 3] {
            assert_eq!(ask(&mut proxy(&tunnel).await, &by_name(command, "echo", 7)).await, 7);
        }
    }

    #[tokio::test]
    async fn why_a_service_can_not_be_opened_is_told() {
        let tunnel = FakeTunnel::new();
        let service = || "db".to_owned();
        for (error, code) in [
            (ClientError::UpstreamAway { service: service() }, 5),
            (ClientError::UpstreamHangs { service: service() }, 4),
            (ClientError::GatewayAway(crate::error::GatewayAway::Reconnecting), 3),
            (ClientError::Busy, 1),
        ] {
            tunnel.set("db", Behaviour::Fails(error));
            assert_eq!(ask(&mut proxy(&tunnel).await, &by_name(1, "db", 5432)).await, code);
        }
    }

    #[tokio::test]
    async fn other_protocols_and_methods_get_nothing_served() {
        let tunnel = FakeTunnel::new();
        let mut stream = proxy(&tunnel).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
        let mut stream = proxy(&tunnel).await;
        stream.write_all(&[5, 1, 2]).await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [5, 0xff]);
    }
}
