//! The client's side: says D0 until TCP opens, connects, says the preface.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, TokioRuntime, TransportConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use vestibule_proto::key::{SigningKey, Spki};
use vestibule_proto::tcp::TcpTags;

use super::frames::From;
use super::lossless::Life;
use super::pipe::Pipe;
use crate::dial::{DIAL_LIMIT, DialError, NO_NAME, client_config, unspecified};
use crate::quiet;
use crate::tls;

/// The pauses between two of D0: datagrams get lost, and the gateway does not say that one has come.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
    Duration::from_millis(3_200),
];

/// How far D0 should be ahead of the first packet of TCP.
const LEAD: Duration = Duration::from_millis(20);

/// A connect that gets no answer is begun anew after so long, and twice as long: where D0 came too late, the kernel would ask again only
/// after a second.
const CONNECT_WITHIN: Duration = Duration::from_millis(700);

/// Between two connects of which the first was refused at once: the gateway's listener is not there yet.
const REFUSED_PAUSE: Duration = Duration::from_millis(60);

/// Which way in a dial over TCP takes.
#[derive(Debug, Clone)]
pub struct DialledOverTcp {
    /// The gateway.
    pub to: SocketAddr,
    /// The admission's tags.
    pub tags: TcpTags,
    /// Which of the four datagrams and prefaces; another one for each dial.
    pub nth: usize,
    /// The address that this machine has for the gateway, if nothing on the way changes it.
    pub own: Option<IpAddr>,
}

/// As [`dial`](crate::dial()), over TCP.
///
/// # Errors
/// As there.
pub async fn dial_over_tcp(
    way: DialledOverTcp,
    own: &SigningKey,
    server_pins: &[Spki],
    alpn: &[u8],
    mut transport: TransportConfig,
) -> Result<(Endpoint, Connection), DialError> {
    let (Some(datagram), Some(preface)) = (way.tags.datagrams.get(way.nth), way.tags.prefaces.get(way.nth)) else {
        return Err(DialError::NoAnswer);
    };
    let dialled = async {
        let udp = udp_towards(way.to)?;
        let local = udp.local_addr()?;
        let named = way.own.filter(|own| *own == local.ip().to_canonical());
        let datagram = way.tags.datagram(datagram, named.map(|ip| SocketAddr::new(ip, local.port())));
        let mut stream = tokio::select! {
            stream = connect(way.to) => stream,
            () = say(&udp, &datagram) => return Err(DialError::NoAnswer),
        };
        stream.write_all(preface.as_bytes()).await.map_err(|_| DialError::NoAnswer)?;
        let (life, over) = Life::begin();
        life.fit(&mut transport);
        let config = client_config(tls::client_config(own, server_pins, alpn)?, *preface, transport)?;
        let pipe = Arc::new(Pipe::new(stream, way.to, From::Gateway)?);
        let nobody = quiet::nobody()?;
        let (ours, runtime) = (quiet::stream_endpoint_config(), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(ours, Some(nobody), pipe.clone(), runtime)?;
        tokio::spawn(pipe.attend(endpoint.clone(), (over, CancellationToken::new()), CancellationToken::new()));
        drop(pipe);
        let connection = endpoint.connect_with(config, way.to, NO_NAME)?.await?;
        Ok((endpoint, connection))
    };
    tokio::time::timeout(DIAL_LIMIT, dialled).await.unwrap_or(Err(DialError::NoAnswer))
}

/// Says D0 again and again. A datagram that the kernel refuses is as one that is lost.
async fn say(udp: &UdpSocket, datagram: &[u8]) {
    for pause in PAUSES {
        // Past the reactor: it has not learnt yet that a fresh socket is writable.
        let _ = socket2::SockRef::from(udp).send(datagram);
        tokio::time::sleep(pause).await;
    }
    std::future::pending().await
}

async fn connect(to: SocketAddr) -> TcpStream {
    tokio::time::sleep(LEAD).await;
    let mut within = CONNECT_WITHIN;
    loop {
        match tokio::time::timeout(within, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return stream,
            Ok(Err(_)) => tokio::time::sleep(REFUSED_PAUSE).await,
            Err(_) => within *= 2,
        }
    }
}

fn udp_towards(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(unspecified(to))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
