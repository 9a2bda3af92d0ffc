//! T, datagrams: what a UDP service says and hears, its bounds, its end, and clients that break the rules.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::{Connection, ReadError, RecvStream, SendStream};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use vestibule_dark::datagrams::FLOWS_LIMIT;
use vestibule_gateway::admin::{DeviceRequest, Request, ServiceRequest, SessionRequest, UserRequest};
use vestibule_proto::datagram::{self, FlowId};
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{Notice, Reason, ServiceKind, Target, code};

use crate::common::client::{Device, Session};
use crate::common::{ANY, SOON, World, eventually, upstream};

/// Sends every datagram back.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    at
}

async fn add(world: &World, name: &str, upstream: SocketAddr, allow: &str) {
    let (name, upstream, allow) = (name.to_owned(), upstream.to_string(), vec![allow.to_owned()]);
    world
        .ask(Request::Service(ServiceRequest::Add { name, kind: ServiceKind::Udp, upstream, allow, direct: None }))
        .await;
}

/// A session of alice, who may use `dns`.
async fn session_with(world: &World, upstream: SocketAddr) -> (Device, Session) {
    let device = world.enrol("alice", "right").await;
    add(world, "dns", upstream, "user:alice").await;
    let session = device.login("right").await.unwrap();
    (device, session)
}

/// A flow of the client's.
struct Flow {
    connection: Connection,
    id: FlowId,
    send: SendStream,
    recv: RecvStream,
}

impl Flow {
    async fn open(session: &Session, service: &str) -> Result<Self, Reason> {
        let (send, recv) = session.open_target(Target::Udp(ServiceName::parse(service).unwrap())).await?;
        let id = FlowId::new(send.id().index()).unwrap();
        Ok(Self { connection: session.channel.connection.clone(), id, send, recv })
    }

    fn say(&self, payload: &[u8]) {
        self.connection.send_datagram(datagram::encode(self.id, payload).unwrap().into()).unwrap();
    }

    /// The next datagram of this flow. What comes for others meanwhile is lost.
    async fn hear(&self) -> Vec<u8> {
        let heard = async {
            loop {
                let frame = self.connection.read_datagram().await.unwrap();
                let (id, payload) = datagram::decode(&frame).unwrap();
                if id == self.id {
                    return payload.to_vec();
                }
            }
        };
        timeout(SOON, heard).await.expect("a datagram")
    }

    async fn say_on_stream(&mut self, payload: &[u8]) {
        self.send.write_all(&datagram::record_head(payload.len()).unwrap()).await.unwrap();
        self.send.write_all(payload).await.unwrap();
    }

    async fn hear_on_stream(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        timeout(SOON, self.recv.read_exact(&mut head)).await.expect("a record").unwrap();
        let mut payload = vec![0; datagram::record_length(head).unwrap()];
        timeout(SOON, self.recv.read_exact(&mut payload)).await.expect("its payload").unwrap();
        payload
    }

    /// The gateway ends it.
    async fn ended(&mut self) {
        assert_eq!(timeout(SOON, self.recv.read(&mut [0; 1])).await.expect("the flow ends").ok().flatten(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_every_size_go_and_come_with_their_bounds() {
    let world = World::new().await;
    let (_device, session) = session_with(&world, echo().await).await;
    let mut flow = Flow::open(&session, "dns").await.unwrap();
    for length in [0, 1, 100, 1_100] {
        let payload = vec![length as u8; length];
        flow.say(&payload);
        assert_eq!(flow.hear().await, payload, "{length}");
        // What comes back goes by itself, however it came.
        flow.say_on_stream(&payload).await;
        assert_eq!(flow.hear().await, payload, "{length}");
    }
    for length in [10_000, 60_000, datagram::PAYLOAD_LIMIT] {
        let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        flow.say_on_stream(&payload).await;
        assert_eq!(flow.hear_on_stream().await, payload, "{length}");
    }
    flow.send.finish().unwrap();
    flow.ended().await;
    assert_eq!((world.counter("udp.received").await, world.counter("udp.sent").await), (11, 11));
    assert_eq!(world.counter("gateway.flows_opened").await, 1);
    eventually("the flow is not counted any more", async || world.gateway().status().await.flows == 0).await;
}

/// Nobody's datagrams come to another flow, whoever asks for what at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_kept_apart() {
    let world = World::new().await;
    let (_device, session) = session_with(&world, echo().await).await;
    let mut flows = Vec::new();
    for _ in 0..50 {
        flows.push(Flow::open(&session, "dns").await.unwrap());
    }
    for round in 0..5u8 {
        for (number, flow) in flows.iter().enumerate() {
            flow.say(&[number as u8, round]);
        }
        for _ in &flows {
            let frame = timeout(SOON, session.channel.connection.read_datagram()).await.unwrap().unwrap();
            let (id, payload) = datagram::decode(&frame).unwrap();
            let number = flows.iter().position(|flow| flow.id == id).unwrap();
            assert_eq!(payload, [number as u8, round]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_carries_bytes_is_no_udp_service_and_nobody_elses_is_reached() {
    let world = World::new().await;
    let (_device, session) = session_with(&world, echo().await).await;
    let tcp = upstream::echo("").await;
    world.add_service("db", tcp, &["everyone"]).await;
    add(&world, "bobs", echo().await, "user:bob").await;
    for service in ["db", "bobs", "nothing"] {
        assert_eq!(Flow::open(&session, service).await.err(), Some(Reason::NoService), "{service}");
    }
    assert_eq!(session.open("dns").await.err(), Some(Reason::NoService));
}

/// A client of an earlier version would take what it can't read for a broken gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_an_earlier_version_is_not_told_of_udp_services() {
    let world = World::new().await;
    let (_device, mut session) = session_with(&world, echo().await).await;
    assert_eq!(session.welcome.services, []);
    world.add_service("db", upstream::echo("").await, &["everyone"]).await;
    let Ok(Notice::Services(services)) = session.notice().await else { panic!("no notice") };
    assert_eq!(services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["db"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_flow_ends_and_a_used_one_goes_on() {
    let idle = Duration::from_millis(600);
    let world = World::with(|settings| settings.limits.udp_idle = idle).await;
    let (_device, session) = session_with(&world, echo().await).await;
    let (mut silent, mut used) =
        (Flow::open(&session, "dns").await.unwrap(), Flow::open(&session, "dns").await.unwrap());
    let begun = Instant::now();
    while begun.elapsed() < 3 * idle {
        used.say(b"word");
        assert_eq!(used.hear().await, b"word");
        tokio::time::sleep(idle / 6).await;
    }
    assert_eq!(world.counter("udp.idle").await, 1);
    silent.ended().await;
    used.ended().await;
    assert_eq!(world.counter("udp.idle").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_bounded_and_the_one_that_was_silent_longest_makes_room() {
    let world = World::with(|settings| settings.limits.connections_per_session = 2 * FLOWS_LIMIT).await;
    let (_device, session) = session_with(&world, echo().await).await;
    let mut flows = Vec::new();
    for _ in 0..FLOWS_LIMIT {
        flows.push(Flow::open(&session, "dns").await.unwrap());
    }
    // Times are told apart by the millisecond.
    tokio::time::sleep(Duration::from_millis(5)).await;
    flows[0].say(b"word");
    assert_eq!(flows[0].hear().await, b"word");
    let last = Flow::open(&session, "dns").await.unwrap();
    flows[1].ended().await;
    assert_eq!(world.counter("udp.crowded_out").await, 1);
    for flow in [&flows[0], &flows[2], &last] {
        flow.say(b"word");
        assert_eq!(flow.hear().await, b"word");
    }
    eventually("the others are there", async || world.gateway().status().await.flows == FLOWS_LIMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_connections_counts_flows_of_datagrams() {
    let world = World::with(|settings| settings.limits.connections_per_session = 2).await;
    let (_device, session) = session_with(&world, echo().await).await;
    let _flows = [Flow::open(&session, "dns").await.unwrap(), Flow::open(&session, "dns").await.unwrap()];
    assert_eq!(Flow::open(&session, "dns").await.err(), Some(Reason::Busy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_away_ends_no_flow_and_may_come_back() {
    let world = World::new().await;
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let at = upstream.local_addr().unwrap();
    drop(upstream);
    let (_device, session) = session_with(&world, at).await;
    let flow = Flow::open(&session, "dns").await.unwrap();
    eventually("the gateway is told that nobody is there", async || {
        flow.say(b"is anybody there");
        world.counter("udp.unreachable").await > 0
    })
    .await;
    let upstream = UdpSocket::bind(at).await.unwrap();
    flow.say(b"and now");
    let (_, from) = timeout(SOON, upstream.recv_from(&mut [0; 64])).await.unwrap().unwrap();
    upstream.send_to(b"yes", from).await.unwrap();
    assert_eq!(flow.hear().await, b"yes");
}

/// What no flow is named by, or no flow of this connection, is dropped and counted; nothing else comes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_rules_harms_nobody() {
    let world = World::new().await;
    let (_device, session) = session_with(&world, echo().await).await;
    let (flow, mut other) = (Flow::open(&session, "dns").await.unwrap(), Flow::open(&session, "dns").await.unwrap());
    let connection = &session.channel.connection;
    let malformed: [&'static [u8]; 4] = [b"", b"\x40", b"\x40\x01word", b"\xff\xff\xff\xff\xff\xff\xff\xffword"];
    for frame in malformed {
        connection.send_datagram(frame.to_vec().into()).unwrap();
    }
    // The control stream, which is no flow, and streams that nobody has opened.
    for index in [0, 77, (1 << 60) - 1] {
        let frame = datagram::encode(FlowId::new(index).unwrap(), b"word").unwrap();
        connection.send_datagram(frame.into()).unwrap();
    }
    eventually("they are counted", async || {
        (world.counter("udp.malformed").await, world.counter("udp.unknown").await) == (4, 3)
    })
    .await;
    // A record that says it is longer than any datagram.
    other.send.write_all(&[0xff, 0xff]).await.unwrap();
    let reset = timeout(SOON, other.recv.read(&mut [0; 1])).await.unwrap();
    assert_eq!(reset, Err(ReadError::Reset(code::PROTOCOL.into())));
    assert_eq!(world.counter("udp.malformed").await, 5);
    // A flow that has ended is none.
    other.say(b"late");
    eventually("it is counted", async || world.counter("udp.unknown").await == 4).await;
    flow.say(b"word");
    assert_eq!(flow.hear().await, b"word");
}

/// A record that never ends holds its own flow up, and no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_never_finished_holds_nobody_up() {
    let world = World::new().await;
    let (_device, session) = session_with(&world, echo().await).await;
    let (mut stuck, flow) = (Flow::open(&session, "dns").await.unwrap(), Flow::open(&session, "dns").await.unwrap());
    stuck.send.write_all(&[0x10, 0x00, 1, 2, 3]).await.unwrap();
    for flow in [&flow, &stuck] {
        flow.say(b"word");
        assert_eq!(flow.hear().await, b"word");
    }
}

/// An upstream that says more than anybody takes: what has no room is dropped, and other flows go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_one_flow_is_dropped_and_others_go_on() {
    let world = World::new().await;
    let flooding = Arc::new(UdpSocket::bind(ANY).await.unwrap());
    let (_device, session) = session_with(&world, flooding.local_addr().unwrap()).await;
    add(&world, "echo", echo().await, "everyone").await;
    let (flooded, other) = (Flow::open(&session, "dns").await.unwrap(), Flow::open(&session, "echo").await.unwrap());
    flooded.say(b"begin");
    let (_, from) = timeout(SOON, flooding.recv_from(&mut [0; 64])).await.unwrap().unwrap();
    let flood = tokio::spawn(async move {
        // On the stream, which nobody reads, and beside it.
        for size in [60_000, 1_000].into_iter().cycle() {
            let _ = flooding.send_to(&vec![0; size], from).await;
        }
    });
    eventually("what has no room is dropped", async || world.counter("udp.dropped").await > 100).await;
    for number in 0..20u8 {
        let answered = async {
            loop {
                other.say(&[number]);
                // Either way may lose it, as long as the flood lasts.
                if let Ok(heard) = timeout(Duration::from_millis(100), other.hear()).await
                    && heard == [number]
                {
                    return;
                }
            }
        };
        timeout(SOON, answered).await.expect("the other flow goes on");
    }
    flood.abort();
}

/// P7, at every level: from the owner's command on, nothing more comes through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_silences_flows_within_a_second() {
    let world = World::new().await;
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let at = upstream.local_addr().unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let count = heard.clone();
    tokio::spawn(async move {
        while upstream.recv_from(&mut [0; 64]).await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for level in ["session", "user", "service", "device"] {
        let (device, session) = session_with(&world, at).await;
        let mut flow = Flow::open(&session, "dns").await.unwrap();
        let (connection, id) = (flow.connection.clone(), flow.id);
        let talking = tokio::spawn(async move {
            let frame = datagram::encode(id, b"word").unwrap();
            while connection.send_datagram(frame.clone().into()).is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let before = heard.load(Ordering::Relaxed);
        eventually("datagrams flow", async || heard.load(Ordering::Relaxed) > before + 50).await;
        let given = Instant::now();
        let service = || Request::Service(ServiceRequest::Remove { name: "dns".to_owned() });
        world
            .ask(match level {
                "session" => Request::Session(SessionRequest::Revoke { session: session.welcome.session.to_string() }),
                "user" => Request::User(UserRequest::Suspend { name: "alice".to_owned() }),
                "service" => service(),
                _ => Request::Device(DeviceRequest::Revoke { device: device.id.to_string() }),
            })
            .await;
        let took = given.elapsed();
        // What the kernel had taken already is heard by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let at_the_end = heard.load(Ordering::Relaxed);
        assert!(took < Duration::from_secs(1), "{level}: {took:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(heard.load(Ordering::Relaxed), at_the_end, "{level}: nothing more");
        flow.ended().await;
        if level == "service" {
            assert_eq!(Flow::open(&session, "dns").await.err(), Some(Reason::NoService));
        } else {
            world.ask(service()).await;
        }
        talking.abort();
        world.ask(Request::User(UserRequest::Resume { name: "alice".to_owned() })).await;
    }
}

/// The next session has nothing of the former connection's flows, and begins new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_end_with_their_connection_and_with_a_sign_off() {
    let world = World::new().await;
    let (device, former) = session_with(&world, echo().await).await;
    let flow = Flow::open(&former, "dns").await.unwrap();
    flow.say(b"word");
    assert_eq!(flow.hear().await, b"word");
    let mut session = device.resume(&former.welcome).await.unwrap();
    assert_eq!(former.close_code().await, code::DONE);
    eventually("its flows are gone", async || world.gateway().status().await.flows == 0).await;
    let flow = Flow::open(&session, "dns").await.unwrap();
    flow.say(b"again");
    assert_eq!(flow.hear().await, b"again");
    session.sign_off().await;
    assert_eq!(session.notice().await, Ok(Notice::Ended(Reason::SignedOff)));
    eventually("its flows are gone", async || world.gateway().status().await.flows == 0).await;
}
