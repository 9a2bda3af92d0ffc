//! What strangers' datagrams cost: `cargo run --release -p vestibule-dark --example junk [SECONDS] [--json]`.
//!
//! Binds a controller's endpoint on loopback, has a second process send junk at it as fast as it can, and prints per kind of
//! junk how many datagrams were refused per second of processor time of the endpoint's process (user and system), and by how
//! much its memory grew. What the kernel spends on a datagram before it lies at the socket is the sender's time on loopback.
//!
//! With `--json`: one object per line, `{"kind", "refused", "cpu_seconds", "refused_per_cpu_second", "rss_growth_kib"}`.
#![allow(clippy::print_stdout, reason = "an example that measures prints its measurements")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vestibule_dark::{CountersSnapshot, Dark, KnockFilter, Options, Role};
use vestibule_door::{Admission, Command as DoorCommand, Door, SocketDoor};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::TicketId;
use vestibule_proto::key::{PrivateKey, Secret};
use vestibule_proto::outer::Mac1Key;
use vestibule_proto::ticket::{NatPolicy, Ticket};

/// Admissions that stand meanwhile, so that the look-ups look something up.
const STANDING: usize = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [send, to, kind] if send == "send" => send_for_ever(to, kind),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("junk: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A kind of junk: its name, and how the first datagram of it looks.
struct Kind {
    name: &'static str,
    /// How to make it, given a number.
    datagram: fn(u64) -> Vec<u8>,
    kernel_filter: bool,
}

const KINDS: [Kind; 4] = [
    // Right type, version and length; wrong mac1.
    Kind { name: "knock", datagram: knock, kernel_filter: true },
    // A first packet of QUIC with a tag of nobody's.
    Kind { name: "first-packet", datagram: first_packet, kernel_filter: true },
    // A datagram of some connection.
    Kind { name: "short-header", datagram: short_header, kernel_filter: true },
    // What the kernel drops if it may; here it may not.
    Kind { name: "foreign", datagram: foreign, kernel_filter: false },
];

fn knock(number: u64) -> Vec<u8> {
    let mut datagram = vec![0x5a; 1200];
    datagram[..4].copy_from_slice(&[1, 1, 0, 0]);
    datagram[8..16].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn first_packet(number: u64) -> Vec<u8> {
    let mut datagram = vec![0x5a; 1200];
    datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 20]);
    datagram[6..14].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn short_header(number: u64) -> Vec<u8> {
    let mut datagram = vec![0x40; 60];
    datagram[1..9].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn foreign(_: u64) -> Vec<u8> {
    vec![0x80; 60]
}

struct CheapCheck(Mac1Key);

impl KnockFilter for CheapCheck {
    fn passes(&self, datagram: &[u8]) -> bool {
        self.0.check(datagram)
    }
}

fn measure(arguments: &[String]) -> io::Result<()> {
    let json = arguments.iter().any(|argument| argument == "--json");
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(3.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for kind in &KINDS {
        let measured = runtime.block_on(measure_one(kind, Duration::from_secs_f64(seconds)))?;
        println!("{}", if json { measured.json() } else { measured.line() });
    }
    Ok(())
}

struct Measured {
    kind: &'static str,
    refused: u64,
    cpu_seconds: f64,
    wall_seconds: f64,
    rss_growth_kib: i64,
}

impl Measured {
    fn per_cpu_second(&self) -> f64 {
        self.refused as f64 / self.cpu_seconds
    }

    fn line(&self) -> String {
        format!(
            "{:<13} {:>9.0} refused per second of processor time ({:.0} ns each); {:.0}/s came, memory grew by {} KiB",
            self.kind,
            self.per_cpu_second(),
            1e9 / self.per_cpu_second(),
            self.refused as f64 / self.wall_seconds,
            self.rss_growth_kib
        )
    }

    fn json(&self) -> String {
        format!(
            r#"{{"kind":"{}","refused":{},"cpu_seconds":{:.3},"refused_per_cpu_second":{:.0},"rss_growth_kib":{}}}"#,
            self.kind,
            self.refused,
            self.cpu_seconds,
            self.per_cpu_second(),
            self.rss_growth_kib
        )
    }
}

async fn measure_one(kind: &Kind, time: Duration) -> io::Result<Measured> {
    let dark = endpoint(kind.kernel_filter)?;
    let mut senders = Senders::start(dark.local_addr()?, kind.name)?;
    // Until the flood runs and everything has been used once.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (refused, cpu, rss, start) = (refused(&dark.counters()), cpu_seconds()?, rss_kib()?, Instant::now());
    tokio::time::sleep(time).await;
    let measured = Measured {
        kind: kind.name,
        refused: self::refused(&dark.counters()) - refused,
        cpu_seconds: cpu_seconds()? - cpu,
        wall_seconds: start.elapsed().as_secs_f64(),
        rss_growth_kib: rss_kib()? - rss,
    };
    senders.stop()?;
    Ok(measured)
}

fn endpoint(kernel_filter: bool) -> io::Result<Dark> {
    let mut entropy = SystemEntropy;
    let door = Arc::new(SocketDoor::default());
    let now = Instant::now();
    for _ in 0..STANDING {
        let id = TicketId::random(&mut entropy);
        let ticket = Ticket::derive([0; 32], &Secret::random(&mut entropy), id);
        let admission = Admission {
            ticket: id,
            tags: ticket.quic_tags(),
            tcp: None,
            announced: Ipv4Addr::LOCALHOST.into(),
            policy: NatPolicy::Follow,
            deadline: now + Duration::from_secs(3600),
        };
        door.apply(&DoorCommand::Admit(admission), now).map_err(io::Error::other)?;
    }
    let filter = CheapCheck(Mac1Key::new(&PrivateKey::random(&mut entropy).public(), &Secret::random(&mut entropy)));
    let mut options = Options::default();
    options.kernel_filter = kernel_filter;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(Dark::bind_with(address, Role::Controller(Arc::new(filter)), door, options)?.0)
}

fn refused(counters: &CountersSnapshot) -> u64 {
    counters.foreign + counters.knocks_refused + counters.quic_refused
}

/// Processes that send; their time is not ours.
struct Senders(Vec<Child>);

impl Senders {
    fn start(to: SocketAddr, kind: &str) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let start = |_| Command::new(&program).args(["send", &to.to_string(), kind]).spawn();
        (0..2).map(start).collect::<io::Result<_>>().map(Self)
    }

    fn stop(&mut self) -> io::Result<()> {
        for sender in &mut self.0 {
            sender.kill()?;
            sender.wait()?;
        }
        Ok(())
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        // After an error; otherwise they are gone already.
        let _ = self.stop();
    }
}

fn send_for_ever(to: &str, kind: &str) -> io::Result<()> {
    let kind = KINDS.iter().find(|known| known.name == kind).ok_or(io::ErrorKind::InvalidInput)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(to)?;
    let datagrams: Vec<_> =
        (0..1024u64).map(|number| (kind.datagram)(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    // Ends when nobody listens any more.
    loop {
        for datagram in &datagrams {
            socket.send(datagram)?;
        }
    }
}

/// Time that this process has had on processors, from `/proc/self/stat` (fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Ok(ticks.sum::<u64>() as f64 / 100.0)
}

fn rss_kib() -> io::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let rss =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    rss.ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}
