//! QUIC over TCP: who comes in by a tag datagram and a preface, and everybody else, to whom nothing is said.
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint};
use socket2::{Domain, Socket, Type};
use support::{AT_LAST, Both, Gateway, HERE, client_key, long_header, received_at, server_key, stranger, ticket};
use vestibule_dark::tls::ALPN_SESSION;
use vestibule_dark::{DialError, DialledOverTcp, Role, TransportKind, Way, dial_over_tcp, transport};
use vestibule_door::{Admission, Command, Door};
use vestibule_proto::id::TicketId;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::NatPolicy;

/// A window that ends while the test looks.
const WINDOW: Duration = Duration::from_secs(2);

impl Gateway {
    /// Admits a device for so long; what it has for TCP.
    fn admit_tcp(&self, window: Duration) -> (TicketId, TcpTags) {
        let (ticket, now) = (ticket(), Instant::now());
        let tcp = TcpTags::of(&ticket);
        let admission = Admission {
            ticket: ticket.id,
            tags: ticket.quic_tags(),
            tcp: Some(Box::new(tcp.clone())),
            announced: HERE.ip(),
            policy: NatPolicy::Follow,
            deadline: now + window,
        };
        self.door.apply(&Command::Admit(admission), now).unwrap();
        (ticket.id, tcp)
    }

    /// Opens TCP for this host, and waits until the listener is there.
    async fn opened(&self, tcp: &TcpTags) -> TcpStream {
        let said = self.counters().tag_datagrams;
        stranger().send_to(&tcp.datagram(&tcp.datagrams[0], None), self.address).unwrap();
        self.until("D0 came in", |counters| counters.tag_datagrams > said).await;
        let begun = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return stream,
                Err(_) => assert!(begun.elapsed() < AT_LAST, "no listener"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn connected_over_tcp(&self, tcp: &TcpTags, nth: usize) -> Both {
        let key = client_key();
        let (dialled, accepted) = tokio::join!(dial_tcp(self.address, tcp, nth), self.accept_one(&key));
        let (endpoint, client) = dialled.unwrap();
        Both { endpoint, client, server: accepted.unwrap() }
    }
}

async fn dial_tcp(to: SocketAddr, tcp: &TcpTags, nth: usize) -> Result<(Endpoint, Connection), DialError> {
    let way = DialledOverTcp { to, tags: tcp.clone(), nth, own: Some(to.ip()) };
    let transport = transport(TransportKind::Session);
    dial_over_tcp(way, &client_key(), &[server_key().spki()], ALPN_SESSION, transport).await
}

/// Waits until the other end has closed; what it said before.
fn heard(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(AT_LAST)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    bytes
}

async fn closes_silently(stream: TcpStream) {
    assert_eq!(tokio::task::spawn_blocking(move || heard(stream)).await.unwrap(), Vec::<u8>::new());
}

fn is_shut(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

async fn shut_at_last(address: SocketAddr) {
    support::until("the listener is gone", || is_shut(address)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_in_over_tcp_and_streams_carry_what_they_are_given() {
    let gateway = Gateway::bind();
    assert!(is_shut(gateway.address));
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    assert!(is_shut(gateway.address), "an admission alone opens nothing");
    let both = gateway.connected_over_tcp(&tcp, 0).await;
    for bytes in [&b"one"[..], &vec![7; 1 << 20]] {
        both.echoes(bytes).await;
    }
    assert_eq!(vestibule_dark::peer_address(&both.server).ip(), HERE.ip());
    // The window ends; who is in stays in.
    tokio::time::sleep(WINDOW).await;
    shut_at_last(gateway.address).await;
    both.echoes(b"still").await;
    gateway.dark.close().await;
    tokio::time::timeout(AT_LAST, both.client.closed()).await.expect("a good-bye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_both_families_knows_clients_of_ipv4_by_their_own_address() {
    let gateway = Gateway::bind_at((IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0).into(), Role::Gateway, true);
    let at = SocketAddr::new(HERE.ip(), gateway.address.port());
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    let dialling = tokio::spawn(async move { dial_tcp(at, &tcp, 0).await });
    let contact = gateway.contact().await;
    assert_eq!((contact.source.ip(), contact.way()), (HERE.ip(), Way::Tcp));
    contact.ignore();
    assert!(matches!(dialling.await.unwrap(), Err(DialError::NoAnswer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_have_a_connection_each_and_the_end_of_one_leaves_the_other() {
    let gateway = Gateway::bind();
    let (_, first) = gateway.admit_tcp(WINDOW);
    let (_, second) = gateway.admit_tcp(WINDOW);
    let one = gateway.connected_over_tcp(&first, 0).await;
    let other = gateway.connected_over_tcp(&second, 0).await;
    one.server.close(7u32.into(), b"");
    let reason = tokio::time::timeout(Duration::from_secs(1), one.client.closed()).await.expect("within a second");
    assert!(matches!(reason, quinn::ConnectionError::ApplicationClosed(_)), "{reason}");
    other.echoes(b"goes on").await;
    // A client that vanishes without a word is noticed at once.
    drop((other.client, other.endpoint));
    tokio::time::timeout(AT_LAST, other.server.closed()).await.expect("the end of TCP is the end of QUIC");
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_a_neighbour_behind_the_same_address_hears_no_byte_over_tcp() {
    let gateway = Gateway::bind();
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    let mut neighbours = vec![gateway.opened(&tcp).await];
    for _ in 0..9 {
        neighbours.push(TcpStream::connect(gateway.address).unwrap());
    }
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 600]].concat();
    let mut nearly = *tcp.prefaces[0].as_bytes();
    nearly[19] ^= 1;
    let initial = long_header(0xc3, 1, tcp.prefaces[0].as_bytes(), 1200);
    let words: [&[u8]; 5] = [&hello, b"GET / HTTP/1.1\r\n\r\n", &nearly, tcp.datagrams[0].as_bytes(), &initial];
    for (neighbour, word) in neighbours.iter_mut().zip(words) {
        neighbour.write_all(word).unwrap();
    }
    // The others say nothing at all, or too little.
    neighbours[5].write_all(&[tcp.prefaces[0].as_bytes()[0]]).unwrap();
    let begun = Instant::now();
    for neighbour in neighbours {
        closes_silently(neighbour).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "three seconds, and some");
    let counters = gateway.counters();
    assert_eq!((counters.contacts, counters.sent), (0, 0), "no TLS was begun: {counters:?}");
    assert!(counters.tcp_accepted >= 10 && counters.tcp_refused == counters.tcp_accepted, "{counters:?}");
    shut_at_last(gateway.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_is_good_for_one_connection() {
    let gateway = Gateway::bind();
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    let mut first = gateway.opened(&tcp).await;
    let mut copy = TcpStream::connect(gateway.address).unwrap();
    first.write_all(tcp.prefaces[1].as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    copy.write_all(tcp.prefaces[1].as_bytes()).unwrap();
    closes_silently(copy).await;
    assert_eq!(gateway.counters().tcp_refused, 1);
    // The first one says nothing more, and is given up.
    closes_silently(first).await;
    assert_eq!(gateway.counters().contacts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_preface_only_packets_of_ours_are_taken() {
    let gateway = Gateway::bind();
    let framed = |packet: &[u8]| [&(packet.len() as u16).to_be_bytes()[..], packet].concat();
    for (what, bytes) in [
        ("an oversized length", vec![0xff, 0xff, 1, 2, 3]),
        ("no length", vec![0, 0]),
        ("another tag than the preface's", framed(&long_header(0xc3, 1, &[1; 20], 1200))),
        ("a version to negotiate", framed(&long_header(0xc0, 0x1a2a_3a4a, &[1; 20], 1200))),
        ("a packet of a connection that isn't", framed(&[0x40; 60])),
        ("a record of TLS", vec![0x16, 3, 1, 2, 0]),
    ] {
        let (_, tcp) = gateway.admit_tcp(WINDOW);
        let mut stream = gateway.opened(&tcp).await;
        stream.write_all(tcp.prefaces[0].as_bytes()).unwrap();
        stream.write_all(&bytes).unwrap();
        let begun = Instant::now();
        closes_silently(stream).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
    }
    assert_eq!(gateway.counters().contacts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_without_a_datagram_of_its_own_admission_no_address_gets_in() {
    let gateway = Gateway::bind();
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    let foreign = TcpTags::of(&ticket());
    let stranger = stranger();
    let mut altered = tcp.datagram(&tcp.datagrams[0], None);
    altered[45] ^= 1;
    // A copy that claims to come from where the device says it is.
    let named = tcp.datagram(&tcp.datagrams[1], Some("192.0.2.9:7".parse().unwrap()));
    for datagram in [foreign.datagram(&foreign.datagrams[0], None), altered, named] {
        stranger.send_to(&datagram, gateway.address).unwrap();
    }
    gateway.until("all came in", |counters| counters.tag_datagrams_refused == 3).await;
    assert!(is_shut(gateway.address), "nobody is awaited");
    assert_eq!((gateway.counters().tag_datagrams, gateway.counters().sent), (0, 0));
    assert_eq!(received_at(&stranger), Vec::<Vec<u8>>::new());
    // With one, the listener is there for as long as the window lasts, and for that address.
    drop(gateway.opened(&tcp).await);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&elsewhere.into()).unwrap();
    let answered = socket.connect_timeout(&gateway.address.into(), Duration::from_millis(800));
    assert!(answered.is_err_and(|error| error.kind() == ErrorKind::TimedOut), "another address hears nothing");
    shut_at_last(gateway.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_admission_opens_no_tcp() {
    let gateway = Gateway::bind();
    let (ticket, tcp) = gateway.admit_tcp(Duration::from_secs(60));
    let mut stream = gateway.opened(&tcp).await;
    gateway.door.apply(&Command::Withdraw(ticket), Instant::now()).unwrap();
    stream.write_all(tcp.prefaces[0].as_bytes()).unwrap();
    closes_silently(stream).await;
    assert_eq!(gateway.counters().contacts, 0);
    assert!(gateway.door.tcp().awaits(Instant::now()).is_none());
}

/// Stands between a client and the gateway, and can stop taking what the gateway sends.
struct Dam {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
    /// What came after it was opened again, and how that ended.
    rest: JoinHandle<(usize, io::Result<()>)>,
}

impl Dam {
    /// What the kernel takes for it at most, as long as it does not read.
    const BUFFER: usize = 64 * 1024;

    fn before(gateway: SocketAddr) -> Self {
        let (listener, small) = (TcpListener::bind(HERE).unwrap(), UdpSocket::bind(HERE).unwrap());
        let udp = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
        let (address, shut) = (udp.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        std::thread::spawn(move || {
            let mut datagram = [0; 2_048];
            while let Ok((len, _)) = udp.recv_from(&mut datagram) {
                small.send_to(&datagram[..len], gateway).unwrap();
            }
        });
        let is_shut = shut.clone();
        let rest = std::thread::spawn(move || {
            let (mut inside, _) = listener.accept().unwrap();
            let outside = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            outside.set_recv_buffer_size(Self::BUFFER).unwrap();
            outside.connect(&gateway.into()).unwrap();
            let mut outside = TcpStream::from(outside);
            let (mut from_client, mut to_gateway) = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
            std::thread::spawn(move || io::copy(&mut from_client, &mut to_gateway));
            let (mut rest, mut was_shut, mut bytes) = (0, false, vec![0; 1 << 16]);
            loop {
                while is_shut.load(Ordering::Relaxed) {
                    was_shut = true;
                    std::thread::sleep(Duration::from_millis(5));
                }
                match outside.read(&mut bytes) {
                    Ok(0) => return (rest, Ok(())),
                    Ok(count) => {
                        rest += if was_shut { count } else { 0 };
                        let _ = inside.write_all(&bytes[..count]);
                    }
                    Err(error) => return (rest, Err(error)),
                }
            }
        });
        Self { address, shut, rest }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t14_what_a_client_had_not_taken_when_its_connection_was_ended_it_never_gets() {
    let gateway = Gateway::bind();
    let (_, tcp) = gateway.admit_tcp(WINDOW);
    let dam = Dam::before(gateway.address);
    let way = DialledOverTcp { to: dam.address, tags: tcp, nth: 0, own: None };
    let (client, server) = (client_key(), server_key().spki());
    let pins = [server];
    let dialling = dial_over_tcp(way, &client, &pins, ALPN_SESSION, transport(TransportKind::Session));
    let (dialled, accepted) = tokio::join!(dialling, gateway.accept_one(&client));
    let ((_endpoint, _client), server) = (dialled.unwrap(), accepted.unwrap());

    dam.shut.store(true, Ordering::Relaxed);
    let mut send = server.open_uni().await.unwrap();
    let secrets = tokio::spawn(async move { while send.write_all(&[7; 1 << 16]).await.is_ok() {} });
    let mut sent = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = server.stats().udp_tx.bytes;
        if std::mem::replace(&mut sent, now) == now && now > 0 {
            break;
        }
    }
    assert!(sent > 8 * Dam::BUFFER as u64, "the kernels hold {sent} bytes");
    server.close(7u32.into(), b"");
    secrets.await.unwrap();
    drop(server);
    tokio::time::sleep(Duration::from_millis(800)).await;
    dam.shut.store(false, Ordering::Relaxed);
    let (rest, end) = tokio::task::spawn_blocking(move || dam.rest.join().unwrap()).await.unwrap();
    assert!(end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "it ends by a reset");
    assert!(rest <= 4 * Dam::BUFFER, "{rest} bytes after the end, of {sent}");
}
