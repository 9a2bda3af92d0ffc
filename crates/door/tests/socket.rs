//! The socket back end under the suite of all back ends, and what is its own: limits of live sources, holds, races.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vestibule_door::suite::{self, Rig};
use vestibule_door::{Admission, Command, Door, FIRST_FLIGHT, FirstPacket, Hold, Limits, SocketDoor};
use vestibule_proto::id::TicketId;

struct SocketRig {
    door: SocketDoor,
    now: Instant,
    holds: Vec<(SocketAddr, Hold)>,
}

impl Rig for SocketRig {
    fn door(&self) -> &dyn Door {
        &self.door
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
    }

    fn first_packet(&mut self, source: SocketAddr, dcid: &[u8]) -> bool {
        self.door.first_packet(source, dcid, self.now) != FirstPacket::Stranger
    }

    fn later_packet(&mut self, source: SocketAddr) -> bool {
        self.door.is_live(source, self.now)
    }

    fn connect(&mut self, source: SocketAddr, dcid: &[u8]) -> bool {
        let Some(hold) = self.door.hold(source, dcid, self.now) else { return false };
        self.holds.push((source, hold));
        true
    }

    fn disconnect(&mut self, source: SocketAddr) {
        let oldest = self.holds.iter().position(|(of, _)| *of == source).expect("it has a connection");
        self.door.release(&self.holds.remove(oldest).1);
    }
}

#[test]
fn the_socket_back_end_passes_the_suite() {
    suite::run(|admissions| {
        let limits = Limits { admissions, ..Limits::default() };
        Box::new(SocketRig { door: SocketDoor::new(limits), now: Instant::now(), holds: Vec::new() })
    });
}

#[test]
fn a_hundred_thousand_admissions_are_live_at_once() {
    suite::run_crowd(Box::new(SocketRig { door: SocketDoor::default(), now: Instant::now(), holds: Vec::new() }));
}

fn source(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn admission(number: u16, now: Instant) -> Admission {
    let mut id = [0; 8];
    id[..2].copy_from_slice(&number.to_be_bytes());
    suite::admission(TicketId::new(id), source(1).ip(), now + Duration::from_secs(10))
}

fn admitted(door: &SocketDoor, number: u16, now: Instant) -> Admission {
    let admission = admission(number, now);
    door.apply(&Command::Admit(admission.clone()), now).expect("it can be admitted");
    admission
}

/// T7, in the pure door: whoever shares the address knows the ticket, too, every other time, and still has no tag.
#[test]
fn t07_a_million_random_tags_open_nothing() {
    let (door, now) = (SocketDoor::default(), Instant::now());
    let admissions = [1, 2, 3].map(|number| admitted(&door, number, now));
    let neighbour = SocketAddr::new(admissions[0].announced, 4_711);
    // Splitmix: any tags will do, as long as they differ.
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let mut dcid = [0; 20];
    for number in 0..1_000_000 {
        dcid[..8].copy_from_slice(&next().to_be_bytes());
        dcid[8..16].copy_from_slice(&next().to_be_bytes());
        dcid[16..].copy_from_slice(&next().to_be_bytes()[..4]);
        if number % 2 == 0 {
            dcid[..8].copy_from_slice(admissions[number % 3].ticket.as_bytes());
        }
        assert_eq!(door.first_packet(neighbour, &dcid, now), FirstPacket::Stranger, "{dcid:?}");
    }
    for admission in &admissions {
        let tag = admission.tags[0].as_bytes();
        assert_ne!(door.first_packet(source(1), tag, now), FirstPacket::Stranger, "it is the bearer's as before");
        assert_eq!(door.first_packet(neighbour, tag, now), FirstPacket::Stranger, "a used tag");
    }
}

#[test]
fn one_connection_takes_over_a_tag() {
    let (door, now) = (SocketDoor::default(), Instant::now());
    let admission = admitted(&door, 1, now);
    let dcid = admission.tags[0].as_bytes();
    assert!(door.hold(source(1), dcid, now).is_none(), "an unspent tag");
    assert_eq!(door.first_packet(source(1), dcid, now), FirstPacket::Spent(admission.ticket));
    assert!(door.hold(source(2), dcid, now).is_none(), "another source");
    let hold = door.hold(source(1), dcid, now).unwrap();
    assert_eq!(hold.ticket(), admission.ticket);
    assert!(door.hold(source(1), dcid, now).is_none(), "a second connection by the same tag");
    assert_eq!(door.first_packet(source(1), dcid, now), FirstPacket::Again(admission.ticket));
    let late = now + 10 * FIRST_FLIGHT;
    assert!(door.is_live(source(1), late));
    door.release(&hold);
    assert!(!door.is_live(source(1), now));
    assert_eq!(door.first_packet(source(1), dcid, now), FirstPacket::Stranger, "the connection has ended");
}

#[test]
fn a_source_is_live_while_any_connection_holds_it() {
    let (door, now) = (SocketDoor::default(), Instant::now());
    let admission = admitted(&door, 1, now);
    let [first, second] = [0, 1].map(|n| {
        let dcid = admission.tags[n].as_bytes();
        assert_eq!(door.first_packet(source(1), dcid, now), FirstPacket::Spent(admission.ticket));
        door.hold(source(1), dcid, now).unwrap()
    });
    door.release(&first);
    assert!(door.is_live(source(1), now));
    door.release(&second);
    assert!(!door.is_live(source(1), now));
}

#[test]
fn a_late_release_does_not_shut_out_who_came_in_after_a_cut() {
    let (door, now) = (SocketDoor::default(), Instant::now());
    let admission = admitted(&door, 1, now);
    let [before, after] = [0, 1].map(|n| admission.tags[n].as_bytes());
    door.first_packet(source(1), before, now);
    let old = door.hold(source(1), before, now).unwrap();
    door.apply(&Command::Cut(source(1)), now).unwrap();
    door.first_packet(source(1), after, now);
    let _new = door.hold(source(1), after, now).unwrap();
    door.release(&old);
    assert!(door.is_live(source(1), now));
}

#[test]
fn an_unclaimed_newcomer_goes_and_its_place_with_it() {
    let now = Instant::now();
    let door = SocketDoor::new(Limits { sources: 2, ..Limits::default() });
    let admission = admitted(&door, 1, now);
    let [a, b, c, _] = admission.tags;
    assert_eq!(door.first_packet(source(1), a.as_bytes(), now), FirstPacket::Spent(admission.ticket));
    let held = door.hold(source(1), a.as_bytes(), now).unwrap();
    assert_eq!(door.first_packet(source(2), b.as_bytes(), now), FirstPacket::Spent(admission.ticket));
    assert_eq!(door.first_packet(source(3), c.as_bytes(), now), FirstPacket::Stranger, "no room");
    assert_eq!(door.live(), 2);
    let later = now + FIRST_FLIGHT;
    assert!(!door.is_live(source(2), later));
    assert!(door.hold(source(2), b.as_bytes(), later).is_none());
    assert_eq!(door.first_packet(source(3), c.as_bytes(), later), FirstPacket::Spent(admission.ticket));
    assert_eq!(door.live(), 2, "the held one and the new one");
    assert!(door.is_live(source(1), later));
    door.release(&held);
}

/// Many sources race for each of many tags: each tag lets exactly one of them in.
#[test]
fn racing_sources_share_no_tag() {
    const TICKETS: u16 = 200;
    let (door, now) = (SocketDoor::default(), Instant::now());
    let admissions: Vec<_> = (0..TICKETS).map(|number| admitted(&door, number, now)).collect();
    let spent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for racer in 0..4 {
            let (door, admissions, spent) = (&door, &admissions, &spent);
            scope.spawn(move || {
                for tag in admissions.iter().flat_map(|admission| admission.tags) {
                    if matches!(door.first_packet(source(racer), tag.as_bytes(), now), FirstPacket::Spent(_)) {
                        assert!(door.hold(source(racer), tag.as_bytes(), now).is_some());
                        spent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(spent.load(Ordering::Relaxed), usize::from(TICKETS) * 4);
}

/// What a sequence of steps may do to a door.
#[derive(Debug, Clone)]
enum Step {
    Admit(u8),
    Withdraw(u8),
    Cut(u8),
    FirstPacket(u8, u8, u8),
    Hold(u8, u8, u8),
    ReleaseOldest,
    PassMillis(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8).prop_map(Step::Admit),
        (0..4u8).prop_map(Step::Withdraw),
        (0..3u8).prop_map(Step::Cut),
        (0..3u8, 0..4u8, 0..4u8).prop_map(|(from, ticket, n)| Step::FirstPacket(from, ticket, n)),
        (0..3u8, 0..4u8, 0..4u8).prop_map(|(from, ticket, n)| Step::Hold(from, ticket, n)),
        Just(Step::ReleaseOldest),
        (0..4000u16).prop_map(Step::PassMillis),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a source is live only if it spent a tag of a standing admission itself and was
    /// not cut since; one tag never serves two sources; nothing outgrows its limit.
    #[test]
    fn nobody_is_in_without_a_tag_of_his_own(steps in prop::collection::vec(step(), 1..60)) {
        let limits = Limits { admissions: 3, sources: 2 };
        let door = SocketDoor::new(limits);
        let mut now = Instant::now();
        let mut open_until = [None; 4];
        let mut spent_by = std::collections::HashMap::new();
        let mut entitled = [false; 3];
        let mut holds = std::collections::VecDeque::new();
        for step in steps {
            match step {
                Step::Admit(ticket) => {
                    let admission = admission(ticket.into(), now);
                    let deadline = admission.deadline;
                    if door.apply(&Command::Admit(admission), now).is_ok() {
                        open_until[usize::from(ticket)] = Some(deadline);
                        spent_by.retain(|&(of, _), _| of != ticket);
                    }
                }
                Step::Withdraw(ticket) => {
                    door.apply(&Command::Withdraw(admission(ticket.into(), now).ticket), now).unwrap();
                    open_until[usize::from(ticket)] = None;
                }
                Step::Cut(from) => {
                    door.apply(&Command::Cut(source(from.into())), now).unwrap();
                    entitled[usize::from(from)] = false;
                }
                Step::FirstPacket(from, ticket, n) => {
                    let tag = admission(ticket.into(), now).tags[usize::from(n)];
                    match door.first_packet(source(from.into()), tag.as_bytes(), now) {
                        FirstPacket::Spent(_) => {
                            prop_assert!(open_until[usize::from(ticket)].is_some_and(|until| now < until));
                            prop_assert_eq!(spent_by.insert((ticket, n), (from, now)), None);
                            entitled[usize::from(from)] = true;
                        }
                        FirstPacket::Again(_) => {
                            let (by, since) = spent_by[&(ticket, n)];
                            prop_assert!(by == from && now < since + FIRST_FLIGHT);
                        }
                        FirstPacket::Stranger => {}
                    }
                }
                Step::Hold(from, ticket, n) => {
                    let tag = admission(ticket.into(), now).tags[usize::from(n)];
                    if let Some(hold) = door.hold(source(from.into()), tag.as_bytes(), now) {
                        prop_assert_eq!(spent_by[&(ticket, n)].0, from);
                        holds.push_back(hold);
                    }
                }
                Step::ReleaseOldest => {
                    if let Some(hold) = holds.pop_front() {
                        door.release(&hold);
                    }
                }
                Step::PassMillis(millis) => now += Duration::from_millis(millis.into()),
            }
            for from in 0..3u8 {
                prop_assert!(!door.is_live(source(from.into()), now) || entitled[usize::from(from)]);
            }
            prop_assert!(door.admitted() <= limits.admissions);
            prop_assert!(door.live() <= limits.sources);
        }
        // All connections end, all flights are over: everybody is out.
        holds.iter().for_each(|hold| door.release(hold));
        now += FIRST_FLIGHT;
        prop_assert!((0..3u8).all(|from| !door.is_live(source(from.into()), now)));
    }
}
