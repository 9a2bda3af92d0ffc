//! What the door in the driver costs: an admission beside one update of a bare map, and a stranger's packet beside a program
//! that reads the headers and looks once at a map. Prints lines of a name and a number; `cargo xtask bench door` reads them.
//!
//! Run it as root in a network namespace of its own: `unshare -n -m -- cost_xdp`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement speaks by printing, and ends where it can't go on"
)]

use std::net::SocketAddr;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use aya::maps::HashMap;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use rustix::net::netdevice::name_to_index;
use rustix::thread::{CpuSet, sched_setaffinity};
use vestibule_door::{Admission, Command, Door, Limits, XdpDoor, suite};
use vestibule_proto::id::TicketId;
use vestibule_proto::key::Secret;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::Ticket;

/// Admissions between two looks at the processor's clock.
const BLOCK: u64 = 100;
const BLOCKS: u64 = 20;
const ROUNDS: usize = 9;
/// So many that the whole takes a hundred ticks of the kernel's clock, by which it lets the sender and the receiver take turns.
const PACKETS: u32 = 2_000_000;
const WINDOW: Duration = Duration::from_secs(600);
const LISTEN: &str = "10.88.0.1:4434";

fn main() {
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).unwrap();
    ip("link set lo up");
    ip("link add front type veth peer name wire");
    ip("address add 10.88.0.1/24 dev front");
    ip("link set front up");
    ip("link set wire up");
    let mut bare = load(aya::include_bytes_aligned!("bare.bpf.o"), &["bare_send", "bare_drop", "bare_look"]);
    for live in [1, 1_000, 100_000] {
        let (bare, _) = updates(&mut bare, live);
        let (ours, cpu) = admissions(live);
        println!("xdp_bare_us_{live} {bare}\nxdp_admission_us_{live} {ours}\nxdp_admission_cpu_us_{live} {cpu}");
    }
    alone(&mut bare);
    strangers(&mut bare);
}

/// One update of a bare map.
fn updates(bare: &mut Ebpf, live: u64) -> (f64, f64) {
    let map = HashMap::<_, u64, u64>::try_from(bare.map_mut("allowed").unwrap()).unwrap();
    let map = std::cell::RefCell::new(map);
    (0..live).for_each(|number| map.borrow_mut().insert(number, 0, 0).unwrap());
    let done = measure(
        |n| map.borrow_mut().insert(live + n, 0, 0).unwrap(),
        |n| map.borrow_mut().remove(&(live + n)).unwrap(),
    );
    (0..live).for_each(|number| map.borrow_mut().remove(&number).unwrap());
    done
}

/// One admission, for QUIC and TCP.
fn admissions(live: u64) -> (f64, f64) {
    let door = door();
    (0..live).for_each(|number| door.apply(&Command::Admit(admission(number)), Instant::now()).unwrap());
    let withdraw = |n| door.apply(&Command::Withdraw(ticket(live + n)), Instant::now()).unwrap();
    let admissions: Vec<_> = (0..BLOCK * BLOCKS).map(|n| Command::Admit(admission(live + n))).collect();
    measure(|n| door.apply(&admissions[n as usize], Instant::now()).unwrap(), withdraw)
}

/// The programs by themselves, with one packet again and again.
fn alone(bare: &mut Ebpf) {
    let object = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/xdp/door.bpf.o"));
    let mut ours = load(object, &["vestibule_door"]);
    {
        let mut ports = aya::maps::Array::<_, u64>::try_from(ours.map_mut("ports").unwrap()).unwrap();
        ports.set(4434 / 64, 1 << (4434 % 64), 0).unwrap();
        let mut guarded = HashMap::<_, [u8; 20], u32>::try_from(ours.map_mut("guarded").unwrap()).unwrap();
        let mut place = [0; 20];
        place[10..16].copy_from_slice(&[0xff, 0xff, 10, 88, 0, 1]);
        place[16..18].copy_from_slice(&4434u16.to_be_bytes());
        guarded.insert(place, 0, 0).unwrap();
        aya::maps::Array::<_, [u8; 20]>::try_from(ours.map_mut("first").unwrap()).unwrap().set(0, place, 0).unwrap();
    }
    let (mut by_bare, mut by_ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        by_bare.push(run(program(bare, "bare_look"), PACKETS));
        by_ours.push(run(program(&mut ours, "vestibule_door"), PACKETS));
    }
    println!("xdp_bare_program_ns {}\nxdp_program_ns {}", median(by_bare) * 1e3, median(by_ours) * 1e3);
}

/// How long one run takes.
fn run(program: &Xdp, times: u32) -> Duration {
    let packet = packet();
    let options = TestRunOptions { data_in: Some(&packet), repeat: times, ..TestRunOptions::default() };
    let done = program.test_run(options).unwrap();
    assert_eq!(done.return_value, 1, "dropped");
    done.duration
}

/// Packets of strangers over a pair of virtual interfaces, on one core all of it: made only, dropped at once, after one look,
/// by the door.
fn strangers(bare: &mut Ebpf) {
    let mut took = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        took[0].push(flood(bare, "bare_drop"));
        for (at, name) in [(1, "bare_drop"), (2, "bare_look")] {
            let link = program(bare, name).attach("front", XdpMode::Driver).unwrap();
            took[at].push(flood(bare, "bare_send"));
            program(bare, name).detach(link).unwrap();
        }
        let door = door();
        took[3].push(flood(bare, "bare_send"));
        assert_eq!(door.dropped(), Some(u64::from(PACKETS)), "all of them came so far");
    }
    for (name, took) in ["made", "bare_drop", "bare_look", "door"].iter().zip(took) {
        println!("xdp_{name}_ns {}", median(took) * 1e3 / f64::from(PACKETS));
    }
}

/// Makes packets, and does with them what this program says.
fn flood(bare: &mut Ebpf, name: &str) -> Duration {
    let packet = packet();
    let index = name_to_index(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), "wire").unwrap();
    // struct xdp_md: from where to where the data are, and by which interface they came.
    let context: Vec<u8> =
        [0, packet.len() as u32, 0, index, 0, 0].into_iter().flat_map(|number| number.to_ne_bytes()).collect();
    let attrs = TestRunAttrs::new().xdp_live_frames(64);
    let options = TestRunOptions {
        data_in: Some(&packet),
        ctx_in: Some(&context),
        repeat: PACKETS,
        attrs,
        ..TestRunOptions::default()
    };
    let start = Instant::now();
    program(bare, name).test_run(options).unwrap();
    start.elapsed()
}

/// A stranger's datagram of 60 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 88, 0, 1, 0, 0, 64, 17, 0, 0];
    packet.extend([198, 51, 100, 7, 10, 88, 0, 1]);
    packet.extend(40_000u16.to_be_bytes());
    packet.extend(4434u16.to_be_bytes());
    packet.extend([0, 68, 0, 0]);
    packet.resize(packet.len() + 60, 0x5a);
    packet
}

fn load(object: &[u8], names: &[&str]) -> Ebpf {
    let mut ebpf =
        EbpfLoader::new().map_max_entries("live", 131_072).map_max_entries("tickets", 262_144).load(object).unwrap();
    names.iter().for_each(|name| program(&mut ebpf, name).load().unwrap());
    ebpf
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

fn door() -> XdpDoor {
    let limits = Limits { admissions: 200_000, sources: 131_072 };
    XdpDoor::open(&[LISTEN.parse::<SocketAddr>().unwrap()], &[], limits).unwrap()
}

fn ticket(number: u64) -> TicketId {
    TicketId::new(number.to_be_bytes())
}

fn admission(number: u64) -> Admission {
    let alone = suite::admission(ticket(number), [192, 0, 2, 1].into(), Instant::now() + WINDOW);
    let ticket = Ticket::derive([0; 32], &Secret::new([7; 32]), ticket(number));
    Admission { tags: ticket.quic_tags(), tcp: Some(Box::new(TcpTags::of(&ticket))), ..alone }
}

/// Median and processor time of one call, in microseconds; `undo` is not measured.
fn measure(mut call: impl FnMut(u64), mut undo: impl FnMut(u64)) -> (f64, f64) {
    let (mut took, mut cpu) = (Vec::new(), 0);
    for block in 0..BLOCKS {
        let numbers = block * BLOCK..(block + 1) * BLOCK;
        let before = cpu_time();
        for number in numbers.clone() {
            let start = Instant::now();
            call(number);
            took.push(start.elapsed());
        }
        cpu += cpu_time() - before;
        numbers.for_each(&mut undo);
    }
    (median(took), cpu as f64 / 1e3 / (BLOCK * BLOCKS) as f64)
}

/// Processor time of this thread, in nanoseconds.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// In microseconds.
fn median(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64() * 1e6
}

fn ip(words: &str) {
    let done = Process::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}
