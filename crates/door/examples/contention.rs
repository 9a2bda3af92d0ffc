//! What the socket door costs a datagram: `cargo run --release -p vestibule-door --example contention`.
//!
//! Prints nanoseconds per question for strangers' first packets and for datagrams of live sources, asked by one thread and
//! by two, with the tables full and while admissions come in.
#![allow(clippy::print_stdout, reason = "an example that measures prints its measurements")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vestibule_door::{Admission, Command, Door, SocketDoor, suite};
use vestibule_proto::id::TicketId;

const STANDING: u32 = 60_000;
const QUESTIONS: u32 = 2_000_000;

fn main() {
    let door = SocketDoor::default();
    let now = Instant::now();
    for number in 0..STANDING {
        let admission = admission(number, now);
        door.apply(&Command::Admit(admission.clone()), now).expect("there is room");
        if number < STANDING / 2 {
            let (source, dcid) = (source(number), admission.tags[0]);
            door.first_packet(source, dcid.as_bytes(), now);
            door.hold(source, dcid.as_bytes(), now).expect("it just came in");
        }
    }
    println!("{} admissions, {} live sources", door.admitted(), door.live());
    for threads in [1, 2] {
        for busy in [false, true] {
            let stranger = per_question(&door, threads, busy, |door, n| {
                let tag = admission(n.wrapping_mul(0x9e37_79b9) | 1 << 31, now).tags[3];
                black_box(door.first_packet(source(n), tag.as_bytes(), now));
            });
            let live = per_question(&door, threads, busy, |door, n| {
                black_box(door.is_live(source(n.wrapping_mul(0x9e37_79b9) % STANDING), now));
            });
            let note = if busy { ", 20,000 admissions/s beside" } else { "" };
            println!("{threads} asking{note}: stranger's first packet {stranger:.0} ns, is it live? {live:.0} ns");
        }
    }
}

fn per_question(door: &SocketDoor, threads: u32, busy: bool, ask: impl Fn(&SocketDoor, u32) + Sync) -> f64 {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        if busy {
            scope.spawn(|| admit_and_withdraw(door, &over));
        }
        let asking: Vec<_> = (0..threads).map(|_| scope.spawn(|| time(door, &ask))).collect();
        let total: f64 = asking.into_iter().map(|thread| thread.join().expect("it only asks")).sum();
        over.store(true, Ordering::Relaxed);
        total / f64::from(threads)
    })
}

fn time(door: &SocketDoor, ask: &(impl Fn(&SocketDoor, u32) + Sync)) -> f64 {
    let start = Instant::now();
    (0..QUESTIONS).for_each(|n| ask(door, n));
    start.elapsed().as_nanos() as f64 / f64::from(QUESTIONS)
}

fn admit_and_withdraw(door: &SocketDoor, over: &AtomicBool) {
    let mut number = STANDING;
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        for _ in 0..20 {
            number += 1;
            let admission = admission(number, now);
            let ticket = admission.ticket;
            door.apply(&Command::Admit(admission), now).expect("there is room for one more");
            door.apply(&Command::Withdraw(ticket), now).expect("it stands");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn admission(number: u32, now: Instant) -> Admission {
    let mut id = [0; 8];
    id[..4].copy_from_slice(&number.to_be_bytes());
    suite::admission(TicketId::new(id), source(number).ip(), now + Duration::from_secs(600))
}

fn source(number: u32) -> SocketAddr {
    let [a, b, c, d] = number.to_be_bytes();
    SocketAddr::from(([10, a ^ b, c, d], 40_000))
}
