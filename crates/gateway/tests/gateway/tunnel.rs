//! T through a session: policy at every open, upstreams that are away or hang, half-close, resets, backpressure, cuts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::time::timeout;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_gateway::admin::{Request, ServiceRequest, UserRequest};
use vestibule_gateway::directory::{Service, Source};
use vestibule_policy::Grant;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{Notice, Opened, Reason, ServiceKind, Target, code};

use crate::common::client::{Session, exchange};
use crate::common::upstream::{Upstream, hanging};
use crate::common::{SOON, World, upstream};

/// A session of alice, who may use `db`.
async fn session_with(upstream: SocketAddr) -> (World, Session) {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("db", upstream, &["user:alice"]).await;
    let session = device.login("right").await.unwrap();
    (world, session)
}

fn service(name: &str, upstream: SocketAddr, grant: &str) -> Service {
    Service {
        name: ServiceName::parse(name).unwrap(),
        kind: ServiceKind::Tcp,
        upstream: upstream.to_string(),
        grants: vec![Grant::parse(grant).unwrap()],
        source: Source::File,
        direct: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_granted_services_are_reached_and_never_an_address_of_the_clients_choice() {
    let mut upstream = Upstream::new().await;
    let (world, session) = session_with(upstream.at).await;
    let other = Upstream::new().await;
    world.add_service("bobs", other.at, &["user:bob"]).await;
    for (target, found) in [
        (Target::Service(ServiceName::parse("db").unwrap()), true),
        (Target::Upstream(upstream.at.to_string()), true),
        // What isn't direct here goes through the tunnel, for those who may.
        (Target::Direct { service: ServiceName::parse("db").unwrap(), from: other.at }, true),
        (Target::Direct { service: ServiceName::parse("bobs").unwrap(), from: other.at }, false),
        (Target::Service(ServiceName::parse("bobs").unwrap()), false),
        (Target::Service(ServiceName::parse("nothing").unwrap()), false),
        (Target::Upstream(other.at.to_string()), false),
        (Target::Upstream("127.0.0.1:22".to_owned()), false),
    ] {
        match session.open_target(target.clone()).await {
            Ok(_) => {
                assert!(found, "{target:?}");
                upstream.accept().await;
            }
            Err(reason) => assert_eq!((reason, found), (Reason::NoService, false), "{target:?}"),
        }
    }
    assert_eq!(other.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_away_or_hangs_is_told_apart() {
    let refusing = Upstream::new().await.at;
    let (world, session) = session_with(refusing).await;
    assert_eq!(session.open("db").await.err(), Some(Reason::UpstreamAway));
    let hanging = hanging();
    world.add_service("stuck", hanging.at, &["everyone"]).await;
    assert_eq!(session.open("stuck").await.err(), Some(Reason::UpstreamHangs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_close_passes_both_ways() {
    let mut upstream = Upstream::new().await;
    let (_world, session) = session_with(upstream.at).await;
    let (mut send, mut recv) = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    send.write_all(b"request").await.unwrap();
    send.finish().unwrap();
    let mut request = Vec::new();
    at_upstream.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    at_upstream.write_all(b"answer").await.unwrap();
    at_upstream.shutdown().await.unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"answer");

    let (mut send, mut recv) = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    at_upstream.write_all(b"greeting").await.unwrap();
    at_upstream.shutdown().await.unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"greeting");
    send.write_all(b"still here").await.unwrap();
    send.finish().unwrap();
    let mut rest = Vec::new();
    at_upstream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_pass_both_ways() {
    let mut upstream = Upstream::new().await;
    let (_world, session) = session_with(upstream.at).await;
    let (_send, mut recv) = session.open("db").await.unwrap();
    let at_upstream = upstream.accept().await;
    at_upstream.set_zero_linger().unwrap();
    drop(at_upstream);
    let reset = timeout(SOON, recv.read(&mut [0; 1])).await.unwrap();
    assert_eq!(reset, Err(quinn::ReadError::Reset(code::TCP_RESET.into())));

    let (mut send, mut recv) = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    send.reset(code::TCP_RESET.into()).unwrap();
    recv.stop(code::TCP_RESET.into()).unwrap();
    let error = timeout(SOON, at_upstream.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_does_not_hold_up_other_flows() {
    let mut upstream = Upstream::new().await;
    let (world, session) = session_with(upstream.at).await;
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let (_send, recv) = session.open("db").await.unwrap();
    let mut flooding = upstream.accept().await;
    let flood = async {
        loop {
            flooding.write_all(&[0; 65_536]).await.unwrap();
        }
    };
    timeout(Duration::from_secs(1), flood).await.expect_err("nobody reads, so nobody can write for ever");
    for _ in 0..50 {
        timeout(SOON, session.echoes("echo", "")).await.expect("other flows go on");
    }
    drop(recv);
    timeout(SOON, flooding.ready(Interest::ERROR)).await.expect("who gives up reading resets").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_of_a_session_are_bounded() {
    let world = World::with(|settings| settings.limits.connections_per_session = 3).await;
    let device = world.enrol("alice", "right").await;
    let mut upstream = Upstream::new().await;
    world.add_service("db", upstream.at, &["everyone"]).await;
    let session = device.login("right").await.unwrap();
    let mut flows = Vec::new();
    for _ in 0..3 {
        flows.push(session.open("db").await.unwrap());
    }
    assert_eq!(session.open("db").await.err(), Some(Reason::Busy));
    let (mut send, mut recv) = flows.remove(0);
    send.finish().unwrap();
    upstream.accept().await.shutdown().await.unwrap();
    recv.read_to_end(1).await.unwrap();
    crate::common::eventually("there is room again", async || session.open("db").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_service_cuts_its_flows_and_tells_the_client() {
    let mut upstream = Upstream::new().await;
    let (world, mut session) = session_with(upstream.at).await;
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let Ok(Notice::Services(services)) = session.notice().await else { panic!("no notice") };
    assert_eq!(services.len(), 2);
    let (_send, mut recv) = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    let (mut echo_send, mut echo_recv) = session.open("echo").await.unwrap();
    world.ask(Request::Service(ServiceRequest::Remove { name: "db".to_owned() })).await;
    assert!(timeout(SOON, at_upstream.read(&mut [0; 1])).await.unwrap().is_err());
    assert!(timeout(SOON, recv.read(&mut [0; 1])).await.unwrap().is_err());
    let Ok(Notice::Services(services)) = session.notice().await else { panic!("no notice") };
    assert_eq!(services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["echo"]);
    assert_eq!(session.open("db").await.err(), Some(Reason::NoService));
    exchange(&mut echo_send, &mut echo_recv, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_a_group_cuts_what_it_granted() {
    let world = World::new().await;
    world.add_user("alice", &["sales"]).await;
    let device = world.enrol("alice", "right").await;
    let mut upstream = Upstream::new().await;
    world.add_service("db", upstream.at, &["group:sales"]).await;
    let mut session = device.login("right").await.unwrap();
    let _flow = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    world.ask(Request::User(UserRequest::Groups { name: "alice".to_owned(), groups: Vec::new() })).await;
    assert!(timeout(SOON, at_upstream.read(&mut [0; 1])).await.unwrap().is_err());
    assert_eq!(session.notice().await, Ok(Notice::Services(Vec::new())));
    assert_eq!(session.open("db").await.err(), Some(Reason::NoService));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_cuts_only_flows_of_services_that_went_away() {
    let (mut kept, mut gone, mut moved) = (Upstream::new().await, Upstream::new().await, Upstream::new().await);
    let before = vec![
        service("kept", kept.at, "everyone"),
        service("gone", gone.at, "everyone"),
        service("moved", moved.at, "everyone"),
    ];
    let world = World::with(|settings| settings.services = before).await;
    let session = world.enrol("alice", "right").await.login("right").await.unwrap();
    let mut flows = Vec::new();
    for name in ["kept", "gone", "moved"] {
        flows.push(session.open(name).await.unwrap());
    }
    let (mut at_kept, mut at_gone, mut at_moved) = (kept.accept().await, gone.accept().await, moved.accept().await);

    let mut settings = world.settings.clone();
    settings.services = vec![service("kept", kept.at, "user:alice"), service("moved", gone.at, "everyone")];
    world.gateway().reload(settings).await.unwrap();
    for cut in [&mut at_gone, &mut at_moved] {
        assert!(timeout(SOON, cut.read(&mut [0; 1])).await.unwrap().is_err());
    }
    at_kept.write_all(b"on").await.unwrap();
    let mut on = [0; 2];
    timeout(SOON, flows[0].1.read_exact(&mut on)).await.unwrap().unwrap();
    session.open("moved").await.unwrap();
    gone.accept().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_with_nonsense_is_reset_alone() {
    let (world, session) = session_with(upstream::echo("").await).await;
    let (mut send, mut recv) = session.channel.connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let reset = timeout(SOON, read_frame::<Opened>(&mut recv)).await.unwrap();
    assert!(reset.is_err());
    let (mut send, mut recv) = session.channel.connection.open_bi().await.unwrap();
    write_frame(&mut send, &vec![0u8; 2_000]).await.unwrap();
    assert!(timeout(SOON, read_frame::<Opened>(&mut recv)).await.unwrap().is_err(), "larger than any open");
    session.echoes("db", "").await;
    assert_eq!(world.counter("gateway.flows_opened").await, 1);
}
