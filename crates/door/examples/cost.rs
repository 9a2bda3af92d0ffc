//! What the door in the kernel costs: an admission beside one element over a bare socket and by running `nft`, and a stranger's
//! packet beside a bare rule that drops it. Prints lines of a name and a number; `cargo xtask bench door` reads them.
//!
//! Run it in a network namespace of its own: `unshare -n -m -- cost`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement speaks by printing, and ends where it can't go on"
)]

#[allow(dead_code, unreachable_pub)]
#[path = "../src/nftables/message.rs"]
mod message;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/nftables/netlink.rs"]
mod netlink;
#[allow(dead_code)]
#[path = "../tests/nftables/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use message::{CREATE, Verb};
use netlink::Netlink;
use vestibule_door::{Admission, Command, Door, Limits, NftablesDoor, suite};
use vestibule_proto::id::TicketId;
use vestibule_proto::key::Secret;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::{Tag, Ticket};
use wire::{PORT, Wire, ip_of, nft};

/// Admissions between two looks at the processor's clock.
const BLOCK: u64 = 100;
const BLOCKS: u64 = 20;
/// Short ones and many: what else the machine does comes in bursts, and the quietest round is what counts.
const ROUNDS: usize = 150;
const PACKETS: u32 = 2_000;
const WARM_UP: u32 = 500;
const SETTLE: Duration = Duration::from_millis(50);
/// Sources that are in while strangers come.
const IN: u64 = 1_000;
const WINDOW: Duration = Duration::from_secs(600);
/// A bare rule at the hook and priority of the door's chain.
const BARE: &str =
    "add table inet bare { chain c { type filter hook prerouting priority -310; udp dport 4434 drop; }; }";

fn main() {
    nft(
        "add table inet sets { set s { type ipv4_addr . inet_service; flags timeout; }; chain c { type filter hook input priority 0; ip saddr . udp sport @s accept; }; }",
    );
    for live in [1, 1_000, 100_000] {
        let (bare, _) = bare(live);
        let (took, cpu) = ours(live);
        println!("bare_us_{live} {bare}\nadmission_us_{live} {took}\nadmission_cpu_us_{live} {cpu}");
    }
    println!("exec_us {}", exec());
    println!("anew_per_s {}", anew(100_000));
    strangers();
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

/// One element of a set over a bare netlink socket.
fn bare(live: u64) -> (f64, f64) {
    nft("flush set inet sets s");
    let netlink = std::cell::RefCell::new(Netlink::open().unwrap());
    let write = |verb, flags, number: u64| {
        let mut netlink = netlink.borrow_mut();
        let mut batch = netlink.batch();
        batch.add(verb, flags, |message| {
            message.text(1, "sets");
            message.text(2, "s");
            message.nested(3, |list| {
                list.nested(1, |element| {
                    element.nested(1, |data| data.bytes(1, &number.to_be_bytes()));
                    element.long(4, WINDOW.as_millis() as u64);
                });
            });
        });
        netlink.commit(batch).unwrap();
    };
    // A port stands in the upper half of its four bytes.
    let key = |number: u64| (number << 16) + (1 << 40);
    (0..live).for_each(|number| write(Verb::NewElements, CREATE, key(number)));
    measure(|n| write(Verb::NewElements, CREATE, key(live + n)), |n| write(Verb::DeleteElements, 0, key(live + n)))
}

/// One admission, for QUIC and TCP.
fn ours(live: u64) -> (f64, f64) {
    let door = door();
    (0..live).for_each(|number| admit(&door, number));
    let withdraw = |n| door.apply(&Command::Withdraw(ticket(live + n)), Instant::now()).unwrap();
    let admissions: Vec<_> = (0..BLOCK * BLOCKS).map(|n| Command::Admit(admission(live + n))).collect();
    measure(|n| door.apply(&admissions[n as usize], Instant::now()).unwrap(), withdraw)
}

/// One element by running `nft`.
fn exec() -> f64 {
    let once = |n| {
        let start = Instant::now();
        nft(&format!("add element inet sets s {{ 192.0.2.{n} . 7 timeout 600s }}"));
        start.elapsed()
    };
    median((1..=40).map(once).collect())
}

/// Admissions per second when a deleted table is made anew with all that it held.
fn anew(live: u64) -> f64 {
    let door = door();
    (0..live).for_each(|number| admit(&door, number));
    nft("delete table inet vestibule");
    let start = Instant::now();
    admit(&door, live);
    live as f64 / start.elapsed().as_secs_f64()
}

/// Packets of 60 bytes that nobody admitted, over a pair of virtual interfaces: sent only, dropped by a bare rule, by the door,
/// by one that others are in by; and such as look like a first packet.
fn strangers() {
    let mut wire = Wire::lay();
    // What goes to a bridge without ports has been sent, and nothing more.
    ip_of(
        &wire.clients(),
        "link add nowhere type bridge\naddress add 10.88.0.1/24 dev nowhere\nlink set nowhere up\n\
         neigh add 10.88.0.2 lladdr 02:00:00:00:00:01 dev nowhere\n",
    );
    let socket = wire.socket("198.51.100.7:40000".parse().unwrap()).try_clone().unwrap();
    let door_at =
        |address: &str| NftablesDoor::open(&[SocketAddr::new(address.parse().unwrap(), PORT)], limits()).unwrap();
    let (junk, mut like_a_tag) = ([0x5a; 60], [0x5a; 60]);
    like_a_tag[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, Tag::SIZE as u8]);
    let mut took = [const { Vec::new() }; 7];
    for _ in 0..ROUNDS {
        took[0].push(flood(&socket, "10.88.0.2", &junk));
        nft(BARE);
        took[1].push(flood(&socket, "10.99.0.1", &junk));
        nft("delete table inet bare");
        let exact = door_at("10.99.0.1");
        took[2].push(flood(&socket, "10.99.0.1", &junk));
        took[3].push(flood(&socket, "10.99.0.1", &like_a_tag));
        (0..IN).for_each(|number| enter(&exact, number));
        // The kernel tidies up behind so many changes for a while.
        std::thread::sleep(SETTLE);
        took[4].push(flood(&socket, "10.99.0.1", &junk));
        drop(exact);
        let any = door_at("0.0.0.0");
        took[5].push(flood(&socket, "10.99.0.1", &junk));
        drop(any);
        took[6].push(flood(&socket, "10.99.0.1", &junk));
    }
    let names = [
        "sent_ns",
        "bare_drop_ns",
        "door_drop_ns",
        "door_tag_drop_ns",
        "door_in_drop_ns",
        "door_any_drop_ns",
        "socket_full_ns",
    ];
    for (name, took) in names.iter().zip(took) {
        println!("{name} {}", quiet(took) * 1e3 / f64::from(PACKETS));
    }
}

/// Somebody comes in, and stays.
fn enter(door: &NftablesDoor, number: u64) {
    let admission = admission(number);
    let source = SocketAddr::from(([192, 0, 2 + (number / 250) as u8, (number % 250) as u8], 40_000));
    admit(door, number);
    door.first_packet(source, admission.tags[0].as_bytes(), Instant::now());
}

fn flood(socket: &std::net::UdpSocket, to: &str, packet: &[u8]) -> Duration {
    let to: SocketAddr = format!("{to}:{PORT}").parse().unwrap();
    let send = |count: u32| (0..count).for_each(|_| drop(socket.send_to(packet, to)));
    send(WARM_UP);
    let start = Instant::now();
    send(PACKETS);
    start.elapsed()
}

fn limits() -> Limits {
    Limits { admissions: 200_000, sources: 131_072 }
}

fn door() -> NftablesDoor {
    NftablesDoor::open(&[SocketAddr::from(([0u16; 8], PORT))], limits()).unwrap()
}

fn admit(door: &NftablesDoor, number: u64) {
    door.apply(&Command::Admit(admission(number)), Instant::now()).unwrap();
}

fn ticket(number: u64) -> TicketId {
    TicketId::new(number.to_be_bytes())
}

fn admission(number: u64) -> Admission {
    let alone = suite::admission(ticket(number), [192, 0, 2, 1].into(), Instant::now() + WINDOW);
    let ticket = Ticket::derive([0; 32], &Secret::new([7; 32]), ticket(number));
    Admission { tags: ticket.quic_tags(), tcp: Some(Box::new(TcpTags::of(&ticket))), ..alone }
}

/// Processor time of this thread, in nanoseconds.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// The quietest round, in microseconds.
fn quiet(took: Vec<Duration>) -> f64 {
    took.into_iter().min().unwrap().as_secs_f64() * 1e6
}

/// In microseconds.
fn median(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64() * 1e6
}
