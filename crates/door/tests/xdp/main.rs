//! The back end `xdp` under the suite of all back ends, and what is its own: the program alone, with packets made for it; and
//! all of it with real packets between two network namespaces that the test makes.
//!
//! Programs for drivers are loaded by root alone, in whatever namespace. For an ordinary user these tests prove that the back
//! end is absent, with its reason.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what the tests are made of may fail them, and speaks")]

mod faults;
mod object;
mod packets;
mod program;
#[path = "../nftables/wire.rs"]
#[allow(dead_code)]
mod wire;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vestibule_door::suite::{self, Rig};
use vestibule_door::{Admission, Command, Door, FirstPacket, Hold, Limits, XdpDoor, XdpError};
use vestibule_proto::id::TicketId;
use vestibule_proto::moving::moved;
use vestibule_proto::tcp::{TAG_DATAGRAM_LEN, TagDatagram};
use vestibule_proto::ticket::{NatPolicy, Tag};
use wire::{PORT, Wire, in_own_network, run};

const SECOND: Duration = Duration::from_secs(1);

/// Runs `body` in a network namespace of its own, if this process may load programs.
fn with_programs(test: &str, body: impl FnOnce()) {
    if may_load() {
        in_own_network(test, body);
    }
}

/// Whether this process may load programs: root may. For others it shows that the back end says what it lacks.
fn may_load() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let lack = XdpDoor::probe(&[address("127.0.0.1:9")], &["lo".to_owned()]);
    assert_eq!(lack, Err(XdpError::NoPrivilege));
    println!("NOT RUN: root alone may load programs for drivers");
    false
}

/// A door in the driver and, behind it, what the gateway's socket does.
struct KernelRig {
    door: XdpDoor,
    wire: Rc<RefCell<Wire>>,
    holds: Vec<(SocketAddr, Hold)>,
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
}

#[test]
fn the_xdp_back_end_passes_the_suite() {
    with_programs("the_xdp_back_end_passes_the_suite", || {
        let wire = Rc::new(RefCell::new(Wire::lay()));
        suite::run(|admissions| {
            let door = open(Limits { admissions, ..Limits::default() });
            Box::new(KernelRig { door, wire: wire.clone(), holds: Vec::new() })
        });
    });
}

#[test]
fn alone_a_hundred_thousand_admissions_are_live_at_once() {
    with_programs("alone_a_hundred_thousand_admissions_are_live_at_once", || {
        let wire = Rc::new(RefCell::new(Wire::lay()));
        suite::run_crowd(Box::new(KernelRig { door: open(Limits::default()), wire, holds: Vec::new() }));
    });
}

/// The kernel alone: what the suite sees is the kernel and user space together.
#[test]
fn a_stranger_s_packet_ends_in_the_driver_and_is_counted() {
    with_programs("a_stranger_s_packet_ends_in_the_driver_and_is_counted", || {
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        assert!(
            run(&["ip", "link", "show", "dev", "gate"]).contains(" xdp "),
            "virtual interfaces take it in the driver"
        );
        assert_eq!(door.dropped(), Some(0));
        let sources =
            ["198.51.100.7:53", "203.0.113.9:67", "198.51.100.7:123", "[2001:db8::1]:53", "[2001:db8:1:bb00::1]:40000"];
        for source in sources {
            for datagram in junk() {
                assert_eq!(wire.send(address(source), &datagram), None, "{source}");
            }
        }
        assert_eq!((door.live(), door.dropped()), (0, Some((sources.len() * junk().len()) as u64)));
        drop(door);
        assert!(!has_program("gate"), "a door that ends in peace takes its program away");
        assert!(wire.send(address(sources[0]), &LATER).is_some());
    });
}

#[test]
fn the_driver_lets_in_by_tag_and_source_and_shuts_at_once() {
    with_programs("the_driver_lets_in_by_tag_and_source_and_shuts_at_once", || {
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        let (home, neighbour, six) =
            (address("198.51.100.7:40000"), address("198.51.100.7:40001"), address("[2001:db8::1]:9"));
        let admission = admit(&door, 1, 10 * SECOND);
        let [first, second, ..] = admission.tags.map(|tag| initial(tag.as_bytes()));
        assert!(wire.send(home, &LATER).is_none(), "an admission is of tags, not of addresses");
        assert!(wire.send(neighbour, &first).is_some(), "who bears the tag is not known yet");
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
    });
}

/// What user space would refuse anyway does not come so far.
#[test]
fn the_driver_checks_the_address_that_the_admission_wants() {
    with_programs("the_driver_checks_the_address_that_the_admission_wants", || {
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        let (home, same_net, away) = (address("198.51.100.7:4"), address("198.51.100.200:4"), address("203.0.113.9:4"));
        let (six, six_net, six_away) =
            (address("[2001:db8:1:aaff::1]:4"), address("[2001:db8:1:aaff::1]:5"), address("[2001:db8:1:bb00::1]:4"));
        let cases = [
            (NatPolicy::Strict, home, vec![home], vec![same_net, away, six]),
            (NatPolicy::Net, home, vec![home, same_net], vec![away, six]),
            (NatPolicy::Follow, home, vec![home, same_net, away, six], vec![]),
            (NatPolicy::Strict, six, vec![six, six_net], vec![six_away, home]),
            (NatPolicy::Net, address("[2001:db8:1:aa00::9]:1"), vec![six, six_net], vec![six_away, home]),
        ];
        for (number, (policy, announced, inside, outside)) in (1..).zip(cases) {
            let admission = Admission { policy, announced: announced.ip(), ..admission(number, 10 * SECOND) };
            door.apply(&Command::Admit(admission.clone()), Instant::now()).unwrap();
            let first = initial(admission.tags[0].as_bytes());
            for source in inside {
                assert!(wire.send(source, &first).is_some(), "{policy:?} {announced}: {source}");
            }
            for source in outside {
                assert!(wire.send(source, &first).is_none(), "{policy:?} {announced}: {source}");
            }
        }
    });
}

#[test]
fn a_window_ends_in_the_driver_by_itself() {
    with_programs("a_window_ends_in_the_driver_by_itself", || {
        let mut wire = Wire::lay();
        let door = open(Limits::default());
        let window = Duration::from_millis(200);
        // Sooner than anybody looks.
        let admission = admit(&door, 1, window);
        let (home, first) = (address("198.51.100.7:4"), initial(admission.tags[0].as_bytes()));
        assert!(wire.send(home, &first).is_some());
        std::thread::sleep(window);
        assert!(wire.send(home, &first).is_none());
    });
}

fn open(limits: Limits) -> XdpDoor {
    XdpDoor::open(&[SocketAddr::from(([0u16; 8], PORT))], &[], limits).expect("the kernel takes the program")
}

fn admission(number: u8, window: Duration) -> Admission {
    suite::admission(TicketId::new([number; 8]), address("198.51.100.7:1").ip(), Instant::now() + window)
}

fn admit(door: &dyn Door, number: u8, window: Duration) -> Admission {
    let admission = admission(number, window);
    door.apply(&Command::Admit(admission.clone()), Instant::now()).expect("it can be admitted");
    admission
}

fn spend(door: &dyn Door, source: SocketAddr, tag: &Tag) {
    assert!(matches!(door.first_packet(source, tag.as_bytes(), Instant::now()), FirstPacket::Spent(_)), "{source}");
}

fn has_program(interface: &str) -> bool {
    run(&["ip", "link", "show", "dev", interface]).contains("xdp")
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
