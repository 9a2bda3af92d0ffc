//! T2, T3, T5, T6: who sits on the path between a client and both servers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vestibule_dark::tls::{self, ClientPins};
use vestibule_dark::{Dark, Role, TransportKind, transport};
use vestibule_door::{Admission, Command, Door, SocketDoor};
use vestibule_gateway::directory::AuditKind;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey};
use vestibule_proto::knocker::{self, Ask};
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::ticket::NatPolicy;

use super::path::Path;
use super::{SILENCE, Stranger, copy, sessions};
use crate::common::client::{Device, Failure, knock};
use crate::common::upstream::Upstream;
use crate::common::{ANY, SOON, World, eventually};

const PASSWORD: &str = "a lantern at high tide";
/// Letters in a row that give a name away. Five happen by chance once in a million datagrams, six never.
const IN_A_ROW: usize = 6;

/// A world whose clients reach both servers through a host that sees everything.
struct Tapped {
    world: World,
    to_controller: Path,
    to_gateway: Path,
}

impl Tapped {
    async fn new() -> Self {
        let (to_controller, to_gateway) = (Path::new().await, Path::new().await);
        let public = vec![to_gateway.at];
        let world = World::with(|settings| settings.public = public).await;
        to_controller.lead_to(world.controller_at);
        to_gateway.lead_to(world.gateway().local_addrs()[0]);
        Self { world, to_controller, to_gateway }
    }

    async fn enrol(&self, user: &str) -> Device {
        let mut device = self.world.enrol(user, PASSWORD).await;
        device.controllers = vec![self.to_controller.at];
        device
    }

    fn datagrams(&self) -> Vec<Vec<u8>> {
        self.to_controller.seen().into_iter().chain(self.to_gateway.seen()).map(|seen| seen.bytes).collect()
    }
}

async fn logins(world: &World) -> usize {
    world.audit().await.iter().filter(|entry| entry.kind == AuditKind::Login).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_nothing_that_names_anybody_crosses_the_wire() {
    let tapped = Tapped::new().await;
    let gateway = tapped.world.gateway().local_addrs()[0];
    let std::net::SocketAddr::V4(v4) = gateway else { panic!("loopback is IPv4") };
    let mut names: Vec<Vec<u8>> = vec![[v4.ip().octets().as_slice(), &v4.port().to_be_bytes()].concat()];
    names.extend([gateway.to_string().into_bytes(), tapped.to_gateway.at.to_string().into_bytes()]);
    for number in 0..10 {
        let user = format!("alice-of-hill-{number}");
        let device = tapped.enrol(&user).await;
        names.extend([user.into_bytes(), PASSWORD.as_bytes().to_vec(), device.gateway.as_bytes().to_vec()]);
        names.push(device.keys.digest.as_bytes().to_vec());
        names.push(device.keys.d_out.public().as_bytes().to_vec());
        names.push(device.keys.d_in.public().as_bytes().to_vec());
        // As many knocks at once as a row may.
        for _ in 0..5 {
            device.login(PASSWORD).await.unwrap().leave().await;
        }
    }
    assert_eq!(logins(&tapped.world).await, 50);
    let mut seen = tapped.datagrams();
    assert!(seen.len() > 50 * 6, "everything passed here: {}", seen.len());
    let knocks = tapped.to_controller.sent();
    assert!(knocks.iter().all(|knock| knock.len() == 1_200), "all of one size");
    assert!(tapped.to_controller.seen().iter().all(|seen| seen.bytes.len() == 1_200), "and all answers");
    let pieces: std::collections::HashSet<&[u8]> = names.iter().flat_map(|name| name.windows(IN_A_ROW)).collect();
    let telling = |bytes: &[u8]| bytes.windows(IN_A_ROW).any(|piece| pieces.contains(piece));
    assert_eq!(seen.iter().filter(|bytes| telling(bytes)).count(), 0);
    seen.push([b"..".as_slice(), names[3].as_slice(), b".."].concat());
    assert_eq!(seen.iter().filter(|bytes| telling(bytes)).count(), 1, "the search finds what is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t03_a_recorded_session_played_again_logs_nobody_in() {
    let tapped = Tapped::new().await;
    let mut upstream = Upstream::new().await;
    tapped.world.add_service("count", upstream.at, &["everyone"]).await;
    let device = tapped.enrol("alice").await;
    let session = device.login(PASSWORD).await.unwrap();
    let (mut send, _recv) = session.open("count").await.unwrap();
    send.write_all(b"a command").await.unwrap();
    let _accepted = upstream.accept().await;
    session.leave().await;
    eventually("it has left", async || tapped.world.counter("gateway.connections").await == 0).await;

    let world = &tapped.world;
    let (knocks, packets) = (tapped.to_controller.sent(), tapped.to_gateway.sent());
    assert!(packets.len() > 5, "a login was recorded: {}", packets.len());
    let ready = world.counter("admissions.ready").await;
    let stranger = Stranger::new();
    for bytes in &knocks {
        stranger.send(world.controller_at, bytes);
        tapped.to_controller.inject(bytes).await;
    }
    for bytes in &packets {
        stranger.send(world.gateway().local_addrs()[0], bytes);
        tapped.to_gateway.inject(bytes).await;
    }
    tokio::time::sleep(SILENCE).await;
    assert_eq!(stranger.heard(), Vec::<Vec<u8>>::new());
    assert_eq!((logins(world).await, upstream.waiting()), (1, 0));
    assert_eq!(world.counter("admissions.ready").await, ready, "the controller's copy of its answer admits nobody");
    assert_eq!(world.counter("gateway.connections").await, 0);
    device.login(PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_who_races_with_a_copied_tag_gets_no_session() {
    let tapped = Tapped::new().await;
    let device = tapped.enrol("alice").await;
    tapped.to_gateway.hold();
    // What is not through by then has failed closed.
    let victim = tokio::time::timeout(Duration::from_secs(4), device.login(PASSWORD));
    let (ended, ()) = tokio::join!(victim, race(&tapped, &device));
    match &ended {
        Ok(Ok(_) | Err(Failure::Dial(_) | Failure::Channel(_))) | Err(_) => {}
        Ok(Err(other)) => panic!("{other:?}"),
    }
    let victims = usize::from(matches!(ended, Ok(Ok(_))));
    assert_eq!(sessions(&tapped.world).await, victims, "nobody but the victim has a session");
    drop(ended);
    device.login(PASSWORD).await.unwrap();
}

/// Sends copies of the victim's first packets before they arrive themselves.
async fn race(tapped: &Tapped, device: &Device) {
    eventually("the first packet is caught", async || !tapped.to_gateway.held().is_empty()).await;
    let racer = Stranger::new();
    let copied = tapped.to_gateway.held();
    copied.iter().for_each(|packet| racer.send(tapped.world.gateway().local_addrs()[0], packet));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let flight = racer.heard();
    let (sent, heard): (usize, usize) = (copied.iter().map(Vec::len).sum(), flight.iter().map(Vec::len).sum());
    assert!(heard <= 3 * sent, "one flight at most: {heard} bytes for {sent}");
    for pin in &device.pins {
        let der: &[u8] = pin.as_bytes();
        let readable = |bytes: &Vec<u8>| bytes.windows(8).any(|piece| der.windows(8).any(|part| part == piece));
        assert!(!flight.iter().any(readable), "no certificate can be read");
    }
    tapped.to_gateway.release().await;
}

/// Whoever stands in for the controller or for the gateway lacks a key; each is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_each_pin_that_is_wrong_alone_ends_the_connect() {
    let world = World::new().await;
    let device = world.enrol("alice", PASSWORD).await;
    let entropy = &mut SystemEntropy;
    let (pin, other) = (device.keys.controller.clone(), PrivateKey::random(entropy).public());
    let realm = ControllerPin { realm: Secret::random(entropy), ..pin.clone() };
    let wrong = [
        ("C", knocker::Device { controller: ControllerPin { key: other, ..pin }, ..copy(&device.keys) }),
        ("K_realm", knocker::Device { controller: realm, ..copy(&device.keys) }),
        ("psk_c", knocker::Device { psk_c: Psk::random(entropy), ..copy(&device.keys) }),
        ("G", knocker::Device { gateway_key: other, ..copy(&device.keys) }),
        ("psk_g", knocker::Device { psk_g: Psk::random(entropy), ..copy(&device.keys) }),
    ];
    let (last, granted) = (Mutex::default(), world.counter("admissions.granted").await);
    for (which, keys) in wrong {
        let ask = Ask { purpose: Purpose::Login, session: None };
        let ended = knock(&Arc::new(keys), &device.controllers, ask, &last).await;
        assert!(ended.is_err(), "{which} is another, and it was admitted");
    }
    assert_eq!(world.counter("admissions.granted").await, granted);

    let mut misled = world.enrol("bob", PASSWORD).await;
    misled.pins = vec![SigningKey::random(entropy).spki()];
    let ended = misled.login(PASSWORD).await.err().unwrap();
    assert!(matches!(ended, Failure::Dial(_)), "G_tls is another: {ended:?}");
    assert_eq!(sessions(&world).await, 0);
}

/// The host on the path answers in the gateway's place, with a key of its own and every tag that it copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_a_gateway_in_the_middle_gets_neither_password_nor_session() {
    let door = Arc::new(SocketDoor::default());
    let (dark, _queue) = Dark::bind(ANY, Role::Gateway, door.clone()).unwrap();
    let world = World::new().await;
    let own = SigningKey::random(&mut SystemEntropy);
    let device = world.enrol("alice", PASSWORD).await;
    let mut admitted = device.knock(Purpose::Login, None).await.unwrap();
    admitted.gateways = vec![dark.local_addr().unwrap()];
    let now = std::time::Instant::now();
    let admission = Admission {
        ticket: admitted.ticket.id,
        tags: admitted.ticket.quic_tags(),
        tcp: None,
        announced: ANY.ip(),
        policy: NatPolicy::Follow,
        deadline: now + SOON,
    };
    door.apply(&Command::Admit(admission), now).unwrap();
    let middle = async {
        let contact = dark.accept().await.unwrap();
        let config = tls::server_config(&own, ClientPins::AnyPresented, tls::ALPN_SESSION).unwrap();
        let connection = contact.accept(config, transport(TransportKind::Session)).unwrap().await;
        // The client has gone before it said a word.
        match connection {
            Ok(connection) => connection.accept_bi().await.is_ok(),
            Err(_) => false,
        }
    };
    let (heard, ended) = tokio::join!(middle, device.login_with(&admitted, "alice", PASSWORD));
    assert!(!heard, "the client began to log in");
    let ended = ended.err().unwrap();
    assert!(matches!(ended, Failure::Dial(_)), "{ended:?}");
    assert_eq!(sessions(&world).await, 0);
}
