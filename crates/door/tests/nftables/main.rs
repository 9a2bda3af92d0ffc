//! The back end `nftables` under the suite of all back ends, and what is its own: all with real packets between two network
//! namespaces that the test makes, `nft` being a witness.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what the tests are made of may fail them, and speaks")]

mod direct;
mod drift;
mod faults;
#[path = "../day/model.rs"]
mod model;
mod wire;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vestibule_door::suite::{self, Rig};
use vestibule_door::{Admission, Command, Door, FirstPacket, Hold, Limits, NftablesDoor};
use vestibule_proto::id::TicketId;
use vestibule_proto::moving::moved;
use vestibule_proto::tcp::{TAG_DATAGRAM_LEN, TagDatagram};
use vestibule_proto::ticket::Tag;
use wire::{PORT, Wire, in_own_network, nft};

const SECOND: Duration = Duration::from_secs(1);

/// A door in the kernel and, behind it, what the gateway's socket does.
struct KernelRig {
    door: NftablesDoor,
    wire: Rc<RefCell<Wire>>,
    holds: Vec<(SocketAddr, Hold)>,
}

impl KernelRig {
    fn new(wire: &Rc<RefCell<Wire>>, limits: Limits) -> Self {
        Self { door: open(limits), wire: wire.clone(), holds: Vec::new() }
    }
}

impl Rig for KernelRig {
    fn door(&self) -> &dyn Door {
        &self.door
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pass_time(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn first_packet(&mut self, source: SocketAddr, dcid: &[u8]) -> bool {
        let Some((from, _)) = self.wire.borrow_mut().send(source, &initial(dcid)) else { return false };
        self.door.first_packet(from, dcid, Instant::now()) != FirstPacket::Stranger
    }

    fn later_packet(&mut self, source: SocketAddr) -> bool {
        let Some((from, _)) = self.wire.borrow_mut().send(source, &LATER) else { return false };
        self.door.is_live(from, Instant::now())
    }

    fn moved(&mut self, source: SocketAddr, tag: &Tag) -> bool {
        let Some((from, _)) = self.wire.borrow_mut().send(source, &moved(tag)) else { return false };
        self.door.first_packet(from, tag.as_bytes(), Instant::now()) != FirstPacket::Stranger
    }

    fn tag_datagram(&mut self, source: SocketAddr, datagram: &[u8; TAG_DATAGRAM_LEN]) -> bool {
        let Some((from, _)) = self.wire.borrow_mut().send(source, datagram) else { return false };
        let read = TagDatagram::read(datagram);
        read.is_some_and(|read| self.door.tcp().datagram(from, &read, Instant::now()).is_some())
    }

    fn connect(&mut self, source: SocketAddr, dcid: &[u8]) -> bool {
        let Some(hold) = self.door.hold(source, dcid, Instant::now()) else { return false };
        self.holds.push((source, hold));
        true
    }

    fn disconnect(&mut self, source: SocketAddr) {
        let oldest = self.holds.iter().position(|(of, _)| *of == source).expect("it has a connection");
        self.door.release(&self.holds.remove(oldest).1);
    }

    fn kept(&self) -> usize {
        elements()
    }
}

/// Elements of the sets of tickets and of sources, and addresses.
fn elements() -> usize {
    let listed = |set: &str| nft(&format!("list set inet vestibule {set}"));
    let ending = ["tickets", "live4", "live6"].map(|set| listed(set).matches("expires").count());
    let addresses = ["from4", "from6"].map(|set| listed(set).contains("elements")).map(usize::from);
    ending.iter().chain(&addresses).sum()
}

#[test]
fn the_nftables_back_end_passes_the_suite() {
    in_own_network("the_nftables_back_end_passes_the_suite", || {
        let wire = Rc::new(RefCell::new(Wire::lay()));
        suite::run(|admissions| Box::new(KernelRig::new(&wire, Limits { admissions, ..Limits::default() })));
    });
}

#[test]
fn alone_a_hundred_thousand_admissions_are_live_at_once() {
    in_own_network("alone_a_hundred_thousand_admissions_are_live_at_once", || {
        let wire = Rc::new(RefCell::new(Wire::lay()));
        suite::run_crowd(Box::new(KernelRig::new(&wire, Limits::default())));
    });
}

/// The kernel alone: what the suite sees is the kernel and user space together.
#[test]
fn a_stranger_s_packet_ends_in_the_kernel_and_leaves_no_trace_in_connection_tracking() {
    let name = "a_stranger_s_packet_ends_in_the_kernel_and_leaves_no_trace_in_connection_tracking";
    in_own_network(name, || {
        nft("add table inet theirs { chain input { type filter hook input priority 0; ct state new counter; }; }");
        let theirs = nft("list table inet theirs");
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        for (number, source) in
            ["198.51.100.7:53", "203.0.113.9:67", "198.51.100.7:123", "203.0.113.9:40000"].iter().enumerate()
        {
            for datagram in junk() {
                assert_eq!(wire.send(address(source), &datagram), None, "{number}");
            }
        }
        for source in ["[2001:db8::1]:53", "[2001:db8:1:bb00::1]:40000"] {
            for datagram in junk() {
                assert_eq!(wire.send(address(source), &datagram), None, "{source}");
            }
        }
        assert_eq!(door.live(), 0);
        let tracked = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap();
        assert!(tracked.contains("dport=4435"), "what nobody guards is tracked:\n{tracked}");
        assert!(!tracked.contains(&format!("dport={PORT}")), "{tracked}");
        let listed = nft("list table inet vestibule");
        assert!(listed.contains("raw - 10") && listed.contains("drop"), "{listed}");
        drop(door);
        assert_eq!(nft("list tables"), "table inet theirs\n", "a door that ends in peace takes its table away");
        assert_eq!(counterless(&nft("list table inet theirs")), counterless(&theirs));
    });
}

#[test]
fn the_kernel_lets_in_by_tag_and_source_and_shuts_at_once() {
    in_own_network("the_kernel_lets_in_by_tag_and_source_and_shuts_at_once", || {
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        let (home, neighbour, six) =
            (address("198.51.100.7:40000"), address("198.51.100.7:40001"), address("[2001:db8::1]:9"));
        let admission = admit(&door, 1, 10 * SECOND);
        let [first, second, ..] = admission.tags.map(|tag| initial(tag.as_bytes()));
        assert!(wire.send(home, &LATER).is_none(), "an admission is of tags, not of addresses");
        assert!(wire.send(neighbour, &first).is_some(), "who bears the tag is not known yet");
        let mut beside = *admission.tags[0].as_bytes();
        beside[7] ^= 1;
        let short = initial(&admission.tags[0].as_bytes()[..19]);
        for near in [initial(&beside), short] {
            assert!(wire.send(neighbour, &near).is_none(), "a bit beside the ticket; the ticket, and no tag");
        }
        spend(&door, home, &admission.tags[0]);
        let spent = wire
            .send(neighbour, &first)
            .map(|(from, _)| door.first_packet(from, admission.tags[0].as_bytes(), Instant::now()));
        assert_eq!(spent, Some(FirstPacket::Stranger), "the ticket stands, and user space knows that the tag is spent");
        assert!(wire.send(home, &first).is_some() && wire.send(home, &LATER).is_some());
        assert!(wire.send(neighbour, &LATER).is_none(), "the same address, another port");
        spend(&door, six, &admission.tags[1]);
        assert!(wire.send(six, &LATER).is_some() && wire.send(six, &second).is_some());
        let hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
        std::thread::sleep(5 * SECOND);
        assert!(wire.send(home, &LATER).is_some(), "it is held");
        assert!(wire.send(six, &LATER).is_none(), "nobody took it over");
        let cut = Instant::now();
        door.apply(&Command::Cut(home), cut).unwrap();
        let took = cut.elapsed();
        assert!(wire.send(home, &LATER).is_none(), "cut");
        assert!(took < Duration::from_millis(100), "{took:?}");
        door.release(&hold);
        door.apply(&Command::Withdraw(admission.ticket), Instant::now()).unwrap();
        for tag in [0, 3] {
            assert!(wire.send(neighbour, &initial(admission.tags[tag].as_bytes())).is_none(), "withdrawn");
        }
        assert_eq!(elements(), 0, "nothing is left");
    });
}

fn open(limits: Limits) -> NftablesDoor {
    NftablesDoor::open(&[SocketAddr::from(([0u16; 8], PORT))], limits).expect("the kernel has nf_tables")
}

fn admission(number: u8, window: Duration) -> Admission {
    suite::admission(TicketId::new([number; 8]), address("198.51.100.7:1").ip(), Instant::now() + window)
}

fn admit(door: &NftablesDoor, number: u8, window: Duration) -> Admission {
    let admission = admission(number, window);
    door.apply(&Command::Admit(admission.clone()), Instant::now()).expect("it can be admitted");
    admission
}

fn spend(door: &NftablesDoor, source: SocketAddr, tag: &Tag) {
    assert!(matches!(door.first_packet(source, tag.as_bytes(), Instant::now()), FirstPacket::Spent(_)), "{source}");
}

/// A client's first packet with this destination connection id.
fn initial(dcid: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0, 0, 0, 0, 1, dcid.len() as u8];
    packet.extend(dcid);
    packet.resize(1200, 0);
    packet
}

/// A packet of an established connection: a short header.
const LATER: [u8; 40] = [0x40; 40];

/// What strangers send: nothing, something, a first packet with a made-up tag, one that is cut off, one in fragments.
fn junk() -> Vec<Vec<u8>> {
    let cut = initial(&[7; 20])[..20].to_vec();
    let mut large = initial(&[7; 20]);
    large.resize(3000, 0);
    vec![vec![], vec![0; 60], LATER.to_vec(), initial(&[7; 20]), initial(&[7; 8]), cut, large]
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn counterless(listed: &str) -> Vec<&str> {
    listed.lines().filter(|line| !line.contains("counter")).collect()
}
