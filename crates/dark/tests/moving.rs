//! A connection goes on from another address: by one datagram with a one-time tag, and in no other way (R2).

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use quinn::Connection;
use support::{AT_LAST, Both, Gateway, HERE, client_key, dial_with, received_at, server_tls, stranger, until};
use vestibule_dark::{Flow, GRACE, Relocation, Terms, TransportKind, exporter, peer_address, transport};
use vestibule_door::Door;
use vestibule_proto::key::Secret;
use vestibule_proto::moving::{MoveKey, Mover, moved};
use vestibule_proto::ticket::{NatPolicy, Tag};

/// A connection that may move, and what its client takes for that.
struct Scene {
    gateway: Gateway,
    both: Both,
    flow: Flow,
    mover: Mover,
}

impl Scene {
    async fn new(policy: NatPolicy) -> Self {
        let gateway = Gateway::bind();
        let [tag, ..] = gateway.admit();
        let (dialled, accepted) = tokio::join!(dial_with(tag, gateway.address), accept(&gateway));
        let ((endpoint, client), (server, flow)) = (dialled.unwrap(), accepted);
        let key = |connection| MoveKey::derive(&Secret::new([9; 32]), &exporter(connection).unwrap());
        let terms = Terms { announced: HERE.ip(), policy, until: Instant::now() + Duration::from_secs(600) };
        flow.follow(key(&server), terms).unwrap();
        let mover = Mover::new(key(&client));
        let scene = Self { gateway, both: Both { endpoint, client, server }, flow, mover };
        scene.both.echoes(b"before").await;
        scene
    }

    fn tag(&mut self) -> Tag {
        self.mover.next_tag().expect("a tag is left")
    }

    fn moves(&mut self) -> Relocation {
        let tag = self.tag();
        self.moves_by(&tag, HERE)
    }

    fn moves_by(&self, tag: &Tag, from: SocketAddr) -> Relocation {
        let there = Relocation::begin(from, self.gateway.address, tag).unwrap();
        there.go(&self.both.endpoint).unwrap();
        there
    }

    /// Where the gateway has the connection.
    fn at(&self) -> SocketAddr {
        peer_address(&self.both.server)
    }

    fn is_live(&self, source: SocketAddr) -> bool {
        self.gateway.door.is_live(source, Instant::now())
    }
}

async fn accept(gateway: &Gateway) -> (Connection, Flow) {
    let contact = gateway.contact().await;
    let (connecting, flow) =
        contact.accept_moving(server_tls(&client_key()), transport(TransportKind::Session)).unwrap();
    (connecting.await.unwrap(), flow)
}

/// Sends from a socket of nobody's; nothing comes back.
async fn says(socket: &UdpSocket, gateway: &Gateway, datagram: &[u8]) {
    let before = gateway.counters().received;
    socket.send_to(datagram, gateway.address).unwrap();
    gateway.until("it has arrived", |counters| counters.received > before).await;
}

#[tokio::test]
async fn a_connection_goes_on_from_another_address() {
    let mut scene = Scene::new(NatPolicy::Follow).await;
    let (mut send, mut recv) = scene.both.client.open_bi().await.unwrap();
    send.write_all(b"one stream, ").await.unwrap();
    let (mut answer, mut question) = scene.both.server.accept_bi().await.unwrap();
    for turn in 0..3 {
        let before = scene.at();
        let there = scene.moves();
        send.write_all(b"go on, ").await.unwrap();
        tokio::time::timeout(AT_LAST, scene.flow.moved()).await.expect("the door has moved it");
        until("the gateway answers there", || there.is_heard()).await;
        scene.mover.handle_answer();
        let after = scene.at();
        assert_ne!(after, before, "{turn}");
        assert!(scene.is_live(before) && scene.is_live(after), "both, until it has settled");
        scene.flow.settle(after, Instant::now());
        assert!(scene.is_live(before), "not yet");
        scene.flow.settle(after, Instant::now() + GRACE);
        assert!(!scene.is_live(before) && scene.is_live(after));
        assert_eq!((scene.gateway.door.live(), scene.gateway.counters().moves), (1, turn + 1));
    }
    send.finish().unwrap();
    let said = question.read_to_end(100).await.unwrap();
    assert_eq!(said, b"one stream, go on, go on, go on, ");
    answer.write_all(b"and back").await.unwrap();
    answer.finish().unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"and back");
    assert_eq!(scene.gateway.counters().moves_refused, 0);
}

#[tokio::test]
async fn without_a_word_packets_from_another_address_stay_out() {
    let scene = Scene::new(NatPolicy::Follow).await;
    let before = scene.at();
    scene.both.endpoint.rebind(UdpSocket::bind(HERE).unwrap()).unwrap();
    let mut stream = scene.both.client.open_uni().await.unwrap();
    stream.write_all(b"from elsewhere").await.unwrap();
    scene.gateway.until("they are refused", |counters| counters.quic_refused > 0).await;
    assert_eq!((scene.at(), scene.gateway.door.live()), (before, 1));
}

#[tokio::test]
async fn t24_a_recorded_move_is_worth_nothing_to_anybody_else() {
    let mut scene = Scene::new(NatPolicy::Follow).await;
    let tag = scene.tag();
    let there = scene.moves_by(&tag, HERE);
    until("the gateway answers there", || there.is_heard()).await;
    let (at, live) = (scene.at(), scene.gateway.door.live());
    let thief = stranger();
    for _ in 0..3 {
        says(&thief, &scene.gateway, &moved(&tag)).await;
    }
    assert_eq!((scene.at(), scene.gateway.door.live()), (at, live));
    assert!(!scene.is_live(thief.local_addr().unwrap()));
    let counters = scene.gateway.counters();
    assert_eq!((counters.moves, counters.moves_refused, counters.blocked_out), (1, 3, 0));
    assert_eq!(received_at(&thief), Vec::<Vec<u8>>::new());
    scene.both.echoes(b"after").await;
}

/// Somebody on the path holds "I moved" back and says it first, from elsewhere.
#[tokio::test]
async fn t05_who_races_a_move_gets_nothing_and_cuts_nobody_off() {
    let mut scene = Scene::new(NatPolicy::Follow).await;
    let (home, tag, racer) = (scene.at(), scene.tag(), stranger());
    says(&racer, &scene.gateway, &moved(&tag)).await;
    scene.gateway.until("it counts", |counters| counters.moves == 1).await;
    assert_eq!(scene.at(), home, "where QUIC has it");
    scene.both.echoes(b"still at home").await;
    // What it says there is no packet of the connection's, and no beginning of another.
    says(&racer, &scene.gateway, &[0x40; 60]).await;
    assert_eq!(received_at(&racer), Vec::<Vec<u8>>::new());

    let there = scene.moves_by(&tag, HERE);
    let next = scene.tag();
    there.say(&next).unwrap();
    until("the gateway answers there", || there.is_heard()).await;
    scene.both.echoes(b"moved").await;
    scene.flow.settle(scene.at(), Instant::now() + GRACE);
    assert!(!scene.is_live(racer.local_addr().unwrap()));
    assert_eq!((scene.gateway.door.live(), received_at(&racer).len()), (1, 0));
}

#[tokio::test]
async fn tags_of_moves_begin_no_connection_and_tags_of_admissions_move_none() {
    let mut scene = Scene::new(NatPolicy::Follow).await;
    let dialling = tokio::spawn(dial_with(scene.mover.next_tag().unwrap(), scene.gateway.address));
    tokio::select! {
        contact = scene.gateway.contact() => panic!("{contact:?} came in by the tag of a move"),
        () = scene.gateway.until("it is refused", |counters| counters.quic_refused > 0) => {}
    }
    dialling.abort();
    let [admitted, ..] = scene.gateway.admit();
    says(&stranger(), &scene.gateway, &moved(&admitted)).await;
    assert_eq!((scene.gateway.counters().moves, scene.gateway.counters().moves_refused), (0, 1));
    let sent_before = scene.tag();
    scene.moves_by(&sent_before, HERE);
    scene.both.echoes(b"and it moves all the same").await;
}

#[tokio::test]
async fn nobody_moves_what_has_ended() {
    for closed in [false, true] {
        let mut scene = Scene::new(NatPolicy::Follow).await;
        let tag = scene.tag();
        if closed {
            let Scene { gateway, both, flow, .. } = scene;
            both.server.close(0u32.into(), b"");
            drop((both, flow));
            until("the door is shut", || gateway.door.live() == 0).await;
            assert_eq!(gateway.door.admitted(), 1, "the admission itself, until its window ends");
            says(&stranger(), &gateway, &moved(&tag)).await;
            assert_eq!((gateway.counters().moves, gateway.counters().moves_refused), (0, 1));
        } else {
            // The role has no more say in it.
            let Scene { gateway, both, flow, .. } = scene;
            drop(flow);
            says(&stranger(), &gateway, &moved(&tag)).await;
            assert_eq!((gateway.counters().moves, gateway.counters().moves_refused), (0, 1));
            both.echoes(b"where it is").await;
        }
    }
}

#[tokio::test]
async fn a_policy_that_wants_the_address_is_kept() {
    let mut scene = Scene::new(NatPolicy::Strict).await;
    let elsewhere = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 0);
    let tag = scene.tag();
    let there = scene.moves_by(&tag, elsewhere);
    scene.gateway.until("it is refused", |counters| counters.moves_refused == 1).await;
    assert!(!there.is_heard());
    // Another port of the same address is what a NAT gives that has forgotten.
    let there = scene.moves_by(&tag, HERE);
    until("the gateway answers there", || there.is_heard()).await;
    scene.both.echoes(b"at the same address").await;
}

#[tokio::test]
async fn a_peer_that_moves_all_the_time_has_so_many_places_and_no_more() {
    let mut scene = Scene::new(NatPolicy::Follow).await;
    let sockets: Vec<UdpSocket> = (0..24).map(|_| stranger()).collect();
    for socket in &sockets {
        let tag = scene.tag();
        says(socket, &scene.gateway, &moved(&tag)).await;
        scene.mover.handle_answer();
    }
    assert!(scene.gateway.door.live() <= 16, "{}", scene.gateway.door.live());
    scene.both.echoes(b"where it was all the time").await;
    scene.flow.settle(scene.at(), Instant::now() + GRACE);
    assert_eq!(scene.gateway.door.live(), 1);
}
