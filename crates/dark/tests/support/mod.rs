//! What the tests of the endpoint share: keys, admissions, a gateway that echoes, junk, and a relay that records.
#![allow(unreachable_pub, reason = "a module of tests")]
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint};
use vestibule_dark::tls::{self, ALPN_SESSION, ClientPins};
use vestibule_dark::{
    ContactError, CountersSnapshot, Dark, DialError, FirstContact, KnockQueue, Options, Role, TransportKind,
};
use vestibule_dark::{dial, transport};
use vestibule_door::{Admission, Command, Door, SocketDoor};
use vestibule_proto::entropy::{self, SeededEntropy, SystemEntropy};
use vestibule_proto::id::TicketId;
use vestibule_proto::key::{Secret, SigningKey};
use vestibule_proto::ticket::{NatPolicy, Tag, Ticket};

pub const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Long enough for anything that happens at all, on any machine.
pub const AT_LAST: Duration = Duration::from_secs(20);

pub fn key(number: u64) -> SigningKey {
    SigningKey::random(&mut SeededEntropy::new(number))
}

pub fn server_key() -> SigningKey {
    key(1)
}

pub fn client_key() -> SigningKey {
    key(2)
}

/// An endpoint, its door, and what the controller would read.
pub struct Gateway {
    pub dark: Dark,
    pub door: Arc<SocketDoor>,
    pub knocks: KnockQueue,
    pub address: SocketAddr,
}

impl Gateway {
    pub fn bind() -> Self {
        Self::bind_at(HERE, Role::Gateway, true)
    }

    /// Port 0 becomes one that no connection of anybody's gets by itself: TCP must be free there, too, whenever it opens.
    pub fn bind_at(mut address: SocketAddr, role: Role, kernel_filter: bool) -> Self {
        if address.port() == 0 {
            address.set_port(lasting_port(address.ip()));
        }
        let door = Arc::new(SocketDoor::default());
        let mut options = Options::default();
        options.kernel_filter = kernel_filter;
        let (dark, knocks) = Dark::bind_with(address, role, door.clone(), options).unwrap();
        let address = dark.local_addr().unwrap();
        Self { dark, door, knocks, address }
    }

    /// Admits a device; the tags of its ticket.
    pub fn admit(&self) -> [Tag; 4] {
        let ticket = ticket();
        let tags = ticket.quic_tags();
        let now = Instant::now();
        let admission = Admission {
            ticket: ticket.id,
            tags,
            tcp: None,
            announced: HERE.ip(),
            policy: NatPolicy::Follow,
            deadline: now + Duration::from_secs(600),
        };
        self.door.apply(&Command::Admit(admission), now).unwrap();
        tags
    }

    pub fn counters(&self) -> CountersSnapshot {
        self.dark.counters()
    }

    /// Waits until the counters are as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&CountersSnapshot) -> bool) {
        until(what, || wanted(&self.counters())).await;
    }

    pub async fn contact(&self) -> FirstContact {
        tokio::time::timeout(AT_LAST, self.dark.accept()).await.expect("a first contact").expect("an open endpoint")
    }

    /// Accepts one connection of a client with this key.
    pub async fn accept_one(&self, client: &SigningKey) -> Result<Connection, quinn::ConnectionError> {
        let contact = self.contact().await;
        match contact.accept(server_tls(client), transport(TransportKind::Session)) {
            Ok(connecting) => connecting.await,
            Err(ContactError::Refused(error)) => Err(error),
            Err(error @ ContactError::Tls(_)) => panic!("{error}"),
        }
    }

    /// A client that dials, and its connection at this end.
    pub async fn connected(&self, tag: Tag) -> Both {
        let key = client_key();
        let (dialled, accepted) = tokio::join!(dial_with(tag, self.address), self.accept_one(&key));
        let (endpoint, client) = dialled.unwrap();
        Both { endpoint, client, server: accepted.unwrap() }
    }
}

/// A port below those that the kernel gives to connections (32768 and up, `net.ipv4.ip_local_port_range`), free for UDP and TCP.
fn lasting_port(at: IpAddr) -> u16 {
    let mut entropy = SystemEntropy;
    (0..100)
        .map(|_| 10_000 + u16::from_be_bytes(entropy::bytes(&mut entropy)) % 20_000)
        .find(|port| UdpSocket::bind((at, *port)).is_ok() && TcpListener::bind((at, *port)).is_ok())
        .expect("a free port")
}

/// The two ends of a connection.
pub struct Both {
    pub endpoint: Endpoint,
    pub client: Connection,
    pub server: Connection,
}

impl Both {
    /// Sends bytes from the client and back.
    pub async fn echoes(&self, bytes: &[u8]) {
        let (mut send, mut recv) = self.client.open_bi().await.unwrap();
        let client = async {
            send.write_all(bytes).await.unwrap();
            send.finish().unwrap();
            recv.read_to_end(1 << 20).await.unwrap()
        };
        let server = async {
            let (mut send, mut recv) = self.server.accept_bi().await.unwrap();
            let received = recv.read_to_end(1 << 20).await.unwrap();
            send.write_all(&received).await.unwrap();
            send.finish().unwrap();
        };
        let both = async { tokio::join!(client, server).0 };
        assert_eq!(tokio::time::timeout(AT_LAST, both).await.expect("an echo"), bytes);
    }
}

pub fn server_tls(client: &SigningKey) -> rustls::ServerConfig {
    tls::server_config(&server_key(), ClientPins::Exact(client.spki()), ALPN_SESSION).unwrap()
}

pub async fn dial_with(tag: Tag, to: SocketAddr) -> Result<(Endpoint, Connection), DialError> {
    let transport = transport(TransportKind::Session);
    dial(HERE, to, tag, &client_key(), &[server_key().spki()], ALPN_SESSION, transport).await
}

pub fn ticket() -> Ticket {
    let mut entropy = SystemEntropy;
    let id = TicketId::random(&mut entropy);
    Ticket::derive([7; 32], &Secret::random(&mut entropy), id)
}

/// Waits until something is so.
pub async fn until(what: &str, wanted: impl Fn() -> bool) {
    let start = Instant::now();
    while !wanted() {
        assert!(start.elapsed() < AT_LAST, "{what}: not within {AT_LAST:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A socket that nobody admitted.
pub fn stranger() -> UdpSocket {
    let socket = UdpSocket::bind(HERE).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Datagrams waiting at a socket.
pub fn received_at(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())).collect()
}

/// A long header with these ids, and bytes after it up to this length.
pub fn long_header(first: u8, version: u32, dcid: &[u8], len: usize) -> Vec<u8> {
    let mut datagram = vec![first];
    datagram.extend(version.to_be_bytes());
    datagram.push(dcid.len() as u8);
    datagram.extend(dcid);
    datagram.extend([8, 1, 2, 3, 4, 5, 6, 7, 8]);
    // No token; a length of two bytes that fits.
    datagram.push(0);
    datagram.extend((0x4000 | len.saturating_sub(datagram.len() + 2) as u16).to_be_bytes());
    datagram.resize(len, 0x5a);
    datagram
}

/// One direction of what went through a relay, in order.
pub type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

/// Stands between a client and the gateway, passes everything on and records it. To the gateway all of it comes from
/// [`Relay::source`].
pub struct Relay {
    pub address: SocketAddr,
    pub source: SocketAddr,
    pub to_gateway: Recording,
    pub to_client: Recording,
    outside: Arc<tokio::net::UdpSocket>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Relay {
    pub async fn to(gateway: SocketAddr) -> Self {
        let inside = Arc::new(tokio::net::UdpSocket::bind(HERE).await.unwrap());
        let outside = Arc::new(tokio::net::UdpSocket::bind(HERE).await.unwrap());
        outside.connect(gateway).await.unwrap();
        let (to_gateway, to_client) = (Recording::default(), Recording::default());
        let client = Arc::new(Mutex::new(None));
        let inward = {
            let (inside, outside, recording, client) =
                (inside.clone(), outside.clone(), to_gateway.clone(), client.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok((len, from)) = inside.recv_from(&mut buffer).await {
                    *client.lock().unwrap() = Some(from);
                    recording.lock().unwrap().push(buffer[..len].to_vec());
                    let _ = outside.send(&buffer[..len]).await;
                }
            })
        };
        let outward = {
            let (inside, outside, recording) = (inside.clone(), outside.clone(), to_client.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(len) = outside.recv(&mut buffer).await {
                    recording.lock().unwrap().push(buffer[..len].to_vec());
                    let to = *client.lock().unwrap();
                    if let Some(to) = to {
                        let _ = inside.send_to(&buffer[..len], to).await;
                    }
                }
            })
        };
        let (address, source) = (inside.local_addr().unwrap(), outside.local_addr().unwrap());
        Self { address, source, to_gateway, to_client, outside, tasks: vec![inward, outward] }
    }

    /// Sends to the gateway from the source that the client had.
    pub async fn replay(&self, datagram: &[u8]) {
        self.outside.send(datagram).await.unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
