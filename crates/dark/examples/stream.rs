//! What a connection carries: `cargo run --release -p vestibule-dark --example stream [SECONDS]`.
//!
//! Binds a gateway's endpoint on loopback and dials it from a runtime of its own, by QUIC's datagrams and then over TCP; prints the round trip of 64 bytes over one
//! stream (median and 99th percentile), the throughput of one stream, and the processor time per gigabyte of both ends
//! together. The transport parameters in `transport.rs` were chosen by it.
#![allow(clippy::print_stdout, reason = "an example that measures prints its measurements")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use vestibule_dark::tls::{self, ALPN_SESSION, ClientPins};
use vestibule_dark::{Dark, DialError, DialledOverTcp, Role, TransportKind, Way, dial, dial_over_tcp, transport};
use vestibule_door::{Admission, Command, Door, SocketDoor};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::TicketId;
use vestibule_proto::key::{Secret, SigningKey, Spki};
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::{NatPolicy, Ticket};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const ROUND_TRIPS: usize = 20_000;

fn main() -> Outcome<()> {
    let seconds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(3.0);
    let mut entropy = SystemEntropy;
    let (gateway, client) = (SigningKey::random(&mut entropy), SigningKey::random(&mut entropy));
    let (at_gateway, at_client) = (runtime()?, runtime()?);
    let (address, ticket) = at_gateway.block_on(serve(gateway.clone(), client.spki()))?;
    for way in [Way::Quic, Way::Tcp] {
        println!("{way:?}");
        let connection = dialled(way, address, &ticket, &client, gateway.spki());
        at_client.block_on(measure(connection, Duration::from_secs_f64(seconds)))?;
    }
    Ok(())
}

/// As the program has it: as many workers as processors.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn serve(key: SigningKey, client: Spki) -> Outcome<(SocketAddr, Ticket)> {
    let door = Arc::new(SocketDoor::default());
    let (dark, _knocks) = Dark::bind(HERE, Role::Gateway, door.clone())?;
    let id = TicketId::random(&mut SystemEntropy);
    let ticket = Ticket::derive([0; 32], &Secret::random(&mut SystemEntropy), id);
    let now = Instant::now();
    let deadline = now + Duration::from_secs(60);
    let admission = Admission {
        ticket: id,
        tags: ticket.quic_tags(),
        tcp: Some(Box::new(TcpTags::of(&ticket))),
        announced: HERE.ip(),
        policy: NatPolicy::Strict,
        deadline,
    };
    door.apply(&Command::Admit(admission), now)?;
    let address = dark.local_addr()?;
    tokio::spawn(async move {
        while let Some(contact) = dark.accept().await {
            let config = tls::server_config(&key, ClientPins::Exact(client), ALPN_SESSION)?;
            let connection = contact.accept(config, transport(TransportKind::Session))?.await?;
            tokio::spawn(answer(connection));
        }
        Outcome::Ok(())
    });
    Ok((address, ticket))
}

/// Echoes small pieces; of a stream that begins with a zero it counts the bytes.
async fn answer(connection: Connection) -> Outcome<()> {
    loop {
        let (mut send, mut recv) = connection.accept_bi().await?;
        tokio::spawn(async move {
            let mut piece = [0; 64];
            recv.read_exact(&mut piece).await?;
            if piece[0] == 0 {
                return sink(recv, send).await;
            }
            loop {
                send.write_all(&piece).await?;
                recv.read_exact(&mut piece).await?;
            }
        });
    }
}

async fn sink(mut recv: RecvStream, mut send: SendStream) -> Outcome<()> {
    let mut bytes = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        bytes += chunk.bytes.len() as u64;
    }
    send.write_all(&bytes.to_be_bytes()).await?;
    Ok(send.finish()?)
}

async fn dialled(
    way: Way,
    to: SocketAddr,
    ticket: &Ticket,
    own: &SigningKey,
    server: Spki,
) -> Result<(Endpoint, Connection), DialError> {
    let (pins, transport) = ([server], transport(TransportKind::Session));
    match way {
        Way::Quic => dial(HERE, to, ticket.quic_tags()[0], own, &pins, ALPN_SESSION, transport).await,
        Way::Tcp => {
            let over = DialledOverTcp { to, tags: TcpTags::of(ticket), nth: 0, own: Some(to.ip()) };
            dial_over_tcp(over, own, &pins, ALPN_SESSION, transport).await
        }
    }
}

async fn measure(
    dialled: impl Future<Output = Result<(Endpoint, Connection), DialError>>,
    time: Duration,
) -> Outcome<()> {
    let begun = Instant::now();
    let (_endpoint, connection) = dialled.await?;
    println!("connected after {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    round_trips(&connection).await?;
    throughput(&connection, time).await?;
    let stats = connection.stats();
    println!(
        "path: {} bytes per datagram, {} lost of {}, {} congestion events, rtt {:?}",
        stats.path.current_mtu,
        stats.path.lost_packets,
        stats.path.sent_packets,
        stats.path.congestion_events,
        connection.rtt()
    );
    Ok(())
}

async fn round_trips(connection: &Connection) -> Outcome<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let mut piece = [1; 64];
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        send.write_all(&piece).await?;
        recv.read_exact(&mut piece).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[ROUND_TRIPS * share / 100].as_secs_f64() * 1e6;
    println!("round trip of 64 bytes: {:.1} µs median, {:.1} µs p99", at(50), at(99));
    Ok(())
}

async fn throughput(connection: &Connection, time: Duration) -> Outcome<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let piece = bytes::Bytes::from(vec![0; 64 * 1024]);
    let (cpu, begun) = (cpu_seconds()?, Instant::now());
    while begun.elapsed() < time {
        send.write_chunk(piece.clone()).await?;
    }
    send.finish()?;
    let mut counted = [0; 8];
    recv.read_exact(&mut counted).await?;
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let gigabytes = u64::from_be_bytes(counted) as f64 / 1e9;
    println!("one stream: {:.2} Gbit/s, {:.2} s of processor time per GB", gigabytes * 8.0 / elapsed, cpu / gigabytes);
    Ok(())
}

/// As in `junk.rs`: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Ok(ticks.sum::<u64>() as f64 / 100.0)
}
