//! What it costs to come in: `cargo run --release -p vestibule-dark --example handshakes [SECONDS]`.
//!
//! Binds gateways' endpoints on loopback; many clients come in at once, by QUIC's datagrams and then over TCP, each with a tag of its
//! own: mutually authenticated TLS 1.3, 64 bytes there and back, the end. Prints how many a second, and the processor time of both ends
//! of each, in microseconds.
#![allow(clippy::print_stdout, reason = "an example that measures prints its measurements")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint};
use rustix::time::{ClockId, clock_gettime};
use vestibule_dark::tls::{self, ALPN_SESSION, ClientPins};
use vestibule_dark::{Dark, DialError, DialledOverTcp, Role, TransportKind, Way, dial, dial_over_tcp, transport};
use vestibule_door::{Admission, Command, Door, SocketDoor};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::TicketId;
use vestibule_proto::key::{Secret, SigningKey, Spki};
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::{NatPolicy, Ticket};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Where the gateways listen, one behind the other: below the ports that the comers' own connections get, one of which could be a gateway's.
const FIRST_PORT: u16 = 20_433;

/// A gateway lets eight connections of one address wait for their preface, and all come from one: so there are several gateways.
const GATEWAYS: usize = 6;

/// Who come in at once at each: over TCP a comer waits a moment between its datagram and its connect, so there are more of them.
const AT_ONCE: [(Way, &str, usize); 2] = [(Way::Quic, "quic", 3), (Way::Tcp, "tcp", 8)];

fn main() -> Outcome<()> {
    let seconds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(3.0);
    let mut entropy = SystemEntropy;
    let (gateway, client) = (SigningKey::random(&mut entropy), SigningKey::random(&mut entropy));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut comers = Vec::new();
        let mut unheard = Vec::new();
        for port in (FIRST_PORT..).take(GATEWAYS) {
            let door = Arc::new(SocketDoor::default());
            let (dark, knocks) = Dark::bind((HERE, port).into(), Role::Gateway, door.clone())?;
            unheard.push(knocks);
            let comer = Comer { to: dark.local_addr()?, door, key: client.clone(), server: gateway.spki() };
            comers.push(Arc::new(comer));
            tokio::spawn(serve(dark, gateway.clone(), client.spki()));
        }
        for (way, name, at_once) in AT_ONCE {
            measure(&comers, way, name, at_once, Duration::from_secs_f64(seconds)).await?;
        }
        Ok(())
    })
}

async fn measure(comers: &[Arc<Comer>], way: Way, name: &str, at_once: usize, span: Duration) -> Outcome<()> {
    for comer in comers {
        comer.comes_in(way).await?;
    }
    let (begun, cpu) = (Instant::now(), processor_time());
    let each = comers.iter().flat_map(|comer| std::iter::repeat_n(comer, at_once));
    let tasks: Vec<_> = each
        .map(|comer| {
            let comer = comer.clone();
            tokio::spawn(async move {
                let mut times = 0;
                while begun.elapsed() < span {
                    comer.comes_in(way).await?;
                    times += 1;
                }
                Outcome::Ok(times)
            })
        })
        .collect();
    let mut times = 0;
    for task in tasks {
        times += task.await??;
    }
    let (took, cpu) = (begun.elapsed(), processor_time() - cpu);
    println!("{name}_per_s {:.1}", f64::from(times) / took.as_secs_f64());
    println!("{name}_cpu_us {:.1}", cpu.as_secs_f64() * 1e6 / f64::from(times));
    Ok(())
}

/// A device that is admitted again and again.
struct Comer {
    to: SocketAddr,
    door: Arc<SocketDoor>,
    key: SigningKey,
    server: Spki,
}

impl Comer {
    async fn comes_in(&self, way: Way) -> Outcome<()> {
        let id = TicketId::random(&mut SystemEntropy);
        let ticket = Ticket::derive([0; 32], &Secret::random(&mut SystemEntropy), id);
        let (tags, tcp, now) = (ticket.quic_tags(), TcpTags::of(&ticket), Instant::now());
        let admission = Admission {
            ticket: id,
            tags,
            tcp: Some(Box::new(tcp.clone())),
            announced: HERE.into(),
            policy: NatPolicy::Strict,
            deadline: now + Duration::from_secs(8),
        };
        self.door.apply(&Command::Admit(admission), now)?;
        let (_endpoint, connection) = self.dials(way, tags[0], tcp).await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        let mut piece = [0; 64];
        send.write_all(&piece).await?;
        recv.read_exact(&mut piece).await?;
        connection.close(0u32.into(), b"");
        Ok(())
    }

    async fn dials(
        &self,
        way: Way,
        tag: vestibule_proto::ticket::Tag,
        tags: TcpTags,
    ) -> Result<(Endpoint, Connection), DialError> {
        let transport = transport(TransportKind::Session);
        match way {
            Way::Quic => dial((HERE, 0).into(), self.to, tag, &self.key, &[self.server], ALPN_SESSION, transport).await,
            Way::Tcp => {
                let over = DialledOverTcp { to: self.to, tags, nth: 0, own: Some(self.to.ip()) };
                dial_over_tcp(over, &self.key, &[self.server], ALPN_SESSION, transport).await
            }
        }
    }
}

async fn serve(dark: Dark, key: SigningKey, client: Spki) -> Outcome<()> {
    while let Some(contact) = dark.accept().await {
        let config = tls::server_config(&key, ClientPins::Exact(client), ALPN_SESSION)?;
        let connecting = contact.accept(config, transport(TransportKind::Session))?;
        tokio::spawn(async move {
            let connection = connecting.await?;
            let (mut send, mut recv) = connection.accept_bi().await?;
            let mut piece = [0; 64];
            recv.read_exact(&mut piece).await?;
            send.write_all(&piece).await?;
            connection.closed().await;
            Outcome::Ok(())
        });
    }
    Ok(())
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
