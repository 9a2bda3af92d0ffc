//! A thousand devices knock at once, through both roles: real datagrams to a real controller, its real link, a real gateway.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::Barrier;
use vestibule_gateway::keys::Keys;
use vestibule_gateway::settings;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{SessionId, Stamp, TicketId};
use vestibule_proto::inner::Purpose;
use vestibule_proto::knocker::{Admitted, Ask, KnockEvent, KnockFailure, Knocker};
use vestibule_proto::session::{Reason, Wanted};

use crate::common::client::{Channel, Failure, now};
use crate::common::many::{Enrolled, enrol_many};
use crate::common::{ANY, World, eventually};

const DEVICES: usize = 1_000;
/// Devices behind one socket, as behind one address: an answer finds its own among so many.
const PER_SOCKET: usize = 25;
/// From the first datagram to the last answer; two cores that nobody else uses take a small part of it.
const WITHIN: Duration = Duration::from_secs(30);
/// Before somebody who was told that the gateway is away knocks again.
const PAUSE: Duration = Duration::from_secs(1);
/// The whole process, the thousand clients included, may need so much more than before, in KiB.
const MEMORY_KIB: u64 = 96 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_thousand_devices_are_admitted_at_once_through_both_roles() {
    let (world, devices) = world().await;
    reset_peak();
    let before = memory_kib("VmRSS");
    let barrier = Arc::new(Barrier::new(DEVICES / PER_SOCKET));
    let mut hosts = tokio::task::JoinSet::new();
    for (number, devices) in devices.chunks(PER_SOCKET).map(<[_]>::to_vec).enumerate() {
        let (controller, barrier) = (world.controller_at, barrier.clone());
        hosts.spawn(async move { (number, knock_all(devices, controller, &barrier).await) });
    }
    let mut hosts = hosts.join_all().await;
    let grown = memory_kib("VmHWM").saturating_sub(before);
    hosts.sort_by_key(|(number, _)| *number);
    let (first, last) =
        (hosts.iter().map(|(_, host)| host.began).min(), hosts.iter().map(|(_, host)| host.ended).max());
    let took = last.unwrap() - first.unwrap();
    let again: usize = hosts.iter().map(|(_, host)| host.again).sum();
    println!("1,000 admissions at once through both roles took {took:?}, {again} of them twice, {grown} KiB at most");

    assert_none_is_wrong(&world, &hosts).await;
    let admitted = hosts.into_iter().flat_map(|(_, host)| host.admitted).zip(devices);
    assert_none_is_mixed(&world, admitted.collect()).await;
    assert!(took < WITHIN, "{took:?}");
    assert!(grown < MEMORY_KIB, "{grown} KiB");
}

/// A linked pair whose gateway has a thousand devices, all published.
async fn world() -> (World, Vec<Arc<Enrolled>>) {
    let mut world = World::new().await;
    world.gateway.take().unwrap().stop().await;
    let dir = world.gateway_dir();
    let devices = enrol_many(&Keys::read(&dir).unwrap(), &settings::database(&dir), DEVICES).await;
    world.start_gateway().await;
    world.linked().await;
    world.published().await;
    (world, devices.into_iter().map(Arc::new).collect())
}

/// What a host with some devices has got.
struct Host {
    at: SocketAddr,
    began: Instant,
    ended: Instant,
    /// Knocks that the gateway did not answer within the controller's two seconds: on a machine that has no time for it.
    again: usize,
    /// In the order of its devices, and when each was.
    admitted: Vec<(Instant, Admitted)>,
}

/// Makes every device's first knock, waits for the other hosts, sends them, and goes on until each is ready. Who is told that the
/// gateway is away knocks again, as a person would.
async fn knock_all(devices: Vec<Arc<Enrolled>>, controller: SocketAddr, barrier: &Barrier) -> Host {
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let begin = |device: &Enrolled, last_stamp| {
        let ask = Ask { purpose: Purpose::Login, session: None };
        let mut knocker = Knocker::new(device.keys.clone(), ask, &[controller], Vec::new(), last_stamp, now());
        knocker.handle_timeout(now(), &mut SystemEntropy);
        knocker
    };
    let mut knockers: Vec<_> = devices.iter().map(|device| begin(device, Stamp::default())).collect();
    barrier.wait().await;
    let began = Instant::now();
    let (mut admitted, mut sent, mut again) = (HashMap::new(), HashMap::new(), 0);
    let mut buffer = [0; 2_048];
    while admitted.len() < knockers.len() {
        let before = again;
        for (number, knocker) in knockers.iter_mut().enumerate() {
            while let Some(transmit) = knocker.poll_transmit() {
                sent.insert(message_id(&transmit.payload), number);
                socket.send_to(&transmit.payload, transmit.to).await.unwrap();
            }
            match knocker.poll_event() {
                Some(KnockEvent::Admitted(ready)) => {
                    assert!(admitted.insert(number, (Instant::now(), ready)).is_none());
                }
                Some(KnockEvent::Failed(KnockFailure::GatewayAway)) => {
                    assert!(began.elapsed() < WITHIN, "device {number} of {:?} is not ready", socket.local_addr());
                    *knocker = begin(&devices[number], knocker.last_stamp());
                    again += 1;
                }
                Some(KnockEvent::Failed(failure)) => {
                    panic!("device {number} of {:?}: {failure:?}", socket.local_addr())
                }
                Some(KnockEvent::ClockCorrected { .. }) => panic!("one clock, told as two"),
                None => {}
            }
        }
        if again > before {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let next = knockers.iter().filter_map(Knocker::poll_timeout).min().unwrap_or_else(Instant::now);
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = received.unwrap();
                let number = sent[&message_id(&buffer[..length])];
                knockers[number].handle_input(from, &buffer[..length], now(), &mut SystemEntropy);
            }
            () = tokio::time::sleep_until(next.into()) => {
                knockers.iter_mut().for_each(|knocker| knocker.handle_timeout(now(), &mut SystemEntropy));
            }
        }
    }
    let at = socket.local_addr().unwrap();
    let admitted = (0..devices.len()).map(|number| admitted.remove(&number).unwrap()).collect();
    Host { at, began, ended: Instant::now(), again, admitted }
}

/// Chosen by the client, echoed in the answer: bytes 8 to 16 of both.
fn message_id(datagram: &[u8]) -> [u8; 8] {
    datagram[8..16].try_into().unwrap()
}

/// Every answer is that of its knock, and the roles have done nothing else.
async fn assert_none_is_wrong(world: &World, hosts: &[(usize, Host)]) {
    let mut tickets: HashSet<TicketId> = HashSet::new();
    for (_, host) in hosts {
        for (_, admitted) in &host.admitted {
            assert_eq!((admitted.seen, admitted.announced), (host.at, Some(host.at)));
            assert_eq!(admitted.gateways, world.settings.listen);
            assert!(!admitted.address_mismatch);
            assert!(tickets.insert(admitted.ticket.id), "no ticket is given twice");
        }
    }
    assert_eq!(tickets.len(), DEVICES);
    let at_controller = world.controller.as_ref().unwrap().status().counters;
    let counted = |name: &str| at_controller.iter().find(|(known, _)| known == name).unwrap().1;
    let all = DEVICES as u64;
    // The link's own knocks are counted apart.
    let (accepted, ready, away) = (counted("knocks.accepted"), counted("knocks.ready"), counted("knocks.away"));
    let opened = world.counter("admissions.ready").await;
    if hosts.iter().all(|(_, host)| host.again == 0) && accepted == all {
        assert_eq!((ready, away, opened), (all, 0, all));
    } else {
        // Each device was ready once and knocked more often: no more doors were opened than there were knocks.
        assert!(
            ready >= all && opened >= all && opened <= accepted,
            "{ready} ready, {opened} doors, {accepted} knocks"
        );
    }
    for none in ["knocks.refused", "knocks.busy", "knocks.rate", "knocks.unknown", "knocks.unreadable"] {
        assert_eq!(counted(none), 0, "{none}");
    }
    for none in ["admissions.unknown", "admissions.not_vouched", "admissions.wrong", "admissions.refused"] {
        assert_eq!(world.counter(none).await, 0, "{none}");
    }
}

/// Behind the door each ticket is its own device's: it leads that device in, and no other one. Of the latest, whose doors still stand open.
async fn assert_none_is_mixed(world: &World, mut all: Vec<((Instant, Admitted), Arc<Enrolled>)>) {
    let pins = [Keys::read(&world.gateway_dir()).unwrap().tls().present().spki()];
    all.sort_by_key(|((at, _), _)| std::cmp::Reverse(*at));
    for pair in all[..20].chunks(2) {
        let (((_, own), device), ((_, others), _)) = (&pair[0], &pair[1]);
        let inside = come_in(own, device, &pins).await;
        assert!(matches!(inside, Failure::Refused(Reason::Malformed)), "in, and asked for the wrong thing: {inside:?}");
        let outside = come_in(others, device, &pins).await;
        assert!(!matches!(outside, Failure::Refused(_)), "by another's ticket: {outside:?}");
    }
    eventually("who came in is counted", async || world.counter("admissions.granted").await >= 10).await;
}

/// Shows the tag and the device's key, and asks for what nobody knocked for.
async fn come_in(admitted: &Admitted, device: &Enrolled, pins: &[vestibule_proto::key::Spki]) -> Failure {
    let wanted = |_: &_| Wanted::Resume { session: SessionId::new([1; 16]), proof: [0; 32] };
    match Channel::open(admitted, &device.d_tls, pins, wanted).await {
        Ok(mut channel) => match channel.hear().await {
            Ok(_) => panic!("nobody knocked for this"),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    }
}

/// From here on `VmHWM` counts anew (proc(5), clear_refs).
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn memory_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|other: char| !other.is_ascii_digit()).parse().unwrap()
}
