//! Sessions: resumed, replaced, expired, idle, revoked, signed off, and never mixed.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use vestibule_dark::framed::FramedError;
use vestibule_gateway::SessionLimits;
use vestibule_gateway::admin::{Answer, DeviceRequest, Request, SessionRequest, SessionView, UserRequest};
use vestibule_gateway::directory::{AuditKind, EndReason};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::Secret;
use vestibule_proto::session::{Notice, Reason, code};

use crate::common::client::{Device, Failure, Session, exchange};
use crate::common::upstream::Upstream;
use crate::common::{SOON, World, eventually, upstream};

async fn listed(world: &World) -> Vec<SessionView> {
    let Answer::Sessions(views) = world.ask(Request::Session(SessionRequest::List { all: true })).await else {
        panic!("no list")
    };
    views
}

fn reason(result: Result<Session, Failure>) -> Reason {
    match result.err().expect("a refusal") {
        Failure::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn resumes(device: &Device, session: &Session) -> bool {
    device.resume(&session.welcome).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_resumed_after_a_restart_without_the_password() {
    let mut world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("hello ").await, &["everyone"]).await;
    let mut session = device.login("right").await.unwrap();
    world.restart_gateway().await;
    assert_eq!(session.notice().await, Ok(Notice::Ended(Reason::ShuttingDown)));
    assert_eq!(session.close_code().await, code::SHUTDOWN);

    let resumed = device.resume(&session.welcome).await.unwrap();
    assert_eq!(resumed.welcome.session, session.welcome.session);
    assert!(resumed.welcome.expires_in < session.welcome.expires_in, "the time goes on");
    resumed.echoes("echo", "hello ").await;
    assert!(world.audit().await.iter().any(|entry| entry.kind == AuditKind::SessionResumed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_a_gateway_that_was_dropped() {
    let mut world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let session = device.login("right").await.unwrap();
    drop(world.gateway.take());
    session.close_code().await;
    world.start_gateway().await;
    world.linked().await;
    assert!(resumes(&device, &session).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_own_device_with_its_own_secret_resumes_a_session() {
    let world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    let session = alice.login("right").await.unwrap().leave().await;
    let stolen = bob.resume(&session).await;
    assert_eq!(reason(stolen), Reason::NoSession);
    let guessed = alice.resume_by(Purpose::Resume, session.session, &Secret::random(&mut SystemEntropy)).await;
    assert_eq!(reason(guessed), Reason::NoSession);
    alice.resume(&session).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumption_takes_the_place_of_the_former_connection() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let mut upstream = Upstream::new().await;
    world.add_service("db", upstream.at, &["everyone"]).await;
    let former = device.login("right").await.unwrap();
    let _flow = former.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    let resumed = device.resume(&former.welcome).await.unwrap();
    assert_eq!(former.close_code().await, code::DONE);
    assert!(at_upstream.read(&mut [0; 1]).await.is_err(), "its flows are reset");
    let _flow = resumed.open("db").await.unwrap();
    upstream.accept().await;
    assert_eq!(listed(&world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_expires_used_or_not() {
    let world = World::with(|settings| {
        settings.session = SessionLimits { expires: Duration::from_millis(1_500), idle: Duration::from_secs(60) };
    })
    .await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let mut session = device.login("right").await.unwrap();
    let (mut send, mut recv) = session.open("echo").await.unwrap();
    exchange(&mut send, &mut recv, "").await;
    assert_eq!(session.notice().await, Ok(Notice::Ended(Reason::Expired)));
    assert!(recv.read(&mut [0; 1]).await.is_err(), "its flows are cut");
    assert_eq!(session.close_code().await, code::ENDED);
    assert_eq!(reason(device.resume(&session.welcome).await), Reason::NoSession);
    assert_eq!(listed(&world).await[0].reason, Some(EndReason::Expired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_ends_and_a_used_one_goes_on() {
    let idle = Duration::from_millis(1_500);
    let world = World::with(|settings| settings.session = SessionLimits { idle, ..SessionLimits::default() }).await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let mut quiet = alice.login("right").await.unwrap();
    let busy = bob.login("bobs").await.unwrap();
    let (mut send, mut recv) = busy.open("echo").await.unwrap();
    let start = Instant::now();
    while start.elapsed() < 2 * idle {
        exchange(&mut send, &mut recv, "").await;
        tokio::time::sleep(idle / 10).await;
    }
    assert_eq!(quiet.notice().await, Ok(Notice::Ended(Reason::Idle)));
    assert_eq!(reason(alice.resume(&quiet.welcome).await), Reason::NoSession);
    exchange(&mut send, &mut recv, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_session_that_stays_idle_can_not_be_resumed() {
    let idle = Duration::from_millis(800);
    let world = World::with(|settings| settings.session = SessionLimits { idle, ..SessionLimits::default() }).await;
    let device = world.enrol("alice", "right").await;
    let welcome = device.login("right").await.unwrap().leave().await;
    tokio::time::sleep(2 * idle).await;
    assert_eq!(reason(device.resume(&welcome).await), Reason::NoSession);
}

/// What a revocation is of, and what of it still works afterwards.
async fn revokes(what: impl AsyncFn(&World, &Device, &Session) -> Request) -> (World, Device, Session) {
    let world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    let mut upstream = Upstream::new().await;
    world.add_service("db", upstream.at, &["everyone"]).await;
    let mut session = alice.login("right").await.unwrap();
    let (_send, mut recv) = session.open("db").await.unwrap();
    let mut at_upstream = upstream.accept().await;
    let other = bob.login("bobs").await.unwrap();
    let (_other_send, _other_recv) = other.open("db").await.unwrap();
    let _other_upstream = upstream.accept().await;

    let request = what(&world, &alice, &session).await;
    let start = Instant::now();
    world.ask(request).await;
    let mut byte = [0; 1];
    let cut_upstream = tokio::time::timeout(SOON, at_upstream.read(&mut byte)).await.unwrap();
    assert!(cut_upstream.is_err(), "the upstream is reset, not ended");
    assert_eq!(session.notice().await, Ok(Notice::Ended(Reason::Revoked)));
    assert!(recv.read(&mut byte).await.is_err());
    assert_eq!(session.close_code().await, code::ENDED);
    assert!(start.elapsed() < Duration::from_secs(1), "cut within a second: {:?}", start.elapsed());

    assert!(device_gets_nothing(&alice, &session).await);
    assert!(other.channel.connection.close_reason().is_none(), "another's session goes on");
    assert_eq!(listed(&world).await.iter().filter(|view| view.reason == Some(EndReason::Revoked)).count(), 1);
    assert!(world.audit().await.iter().any(|entry| entry.kind == AuditKind::SessionEnded));
    (world, alice, session)
}

async fn device_gets_nothing(device: &Device, session: &Session) -> bool {
    !resumes(device, session).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_session_cuts_it_and_nothing_else() {
    let (_world, device, _) = revokes(async |_, _, session| {
        Request::Session(SessionRequest::Revoke { session: session.welcome.session.to_string() })
    })
    .await;
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_revoking_a_device_cuts_its_sessions_and_shuts_it_out() {
    let (_world, device, _) =
        revokes(async |_, device, _| Request::Device(DeviceRequest::Revoke { device: device.id.to_string() })).await;
    assert!(matches!(device.login("right").await, Err(Failure::Knock(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_user_cuts_the_sessions_and_shuts_the_devices_out() {
    let (_world, device, _) =
        revokes(async |_, _, _| Request::User(UserRequest::Remove { name: "alice".to_owned() })).await;
    assert!(matches!(device.login("right").await, Err(Failure::Knock(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspending_a_user_cuts_the_sessions() {
    let (world, device, _) =
        revokes(async |_, _, _| Request::User(UserRequest::Suspend { name: "alice".to_owned() })).await;
    world.ask(Request::User(UserRequest::Resume { name: "alice".to_owned() })).await;
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_revoking_a_device_shuts_a_door_that_stands_open() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let admitted = device.knock(Purpose::Login, None).await.unwrap();
    world.ask(Request::Device(DeviceRequest::Revoke { device: device.id.to_string() })).await;
    let login = tokio::time::timeout(Duration::from_secs(2), device.login_with(&admitted, "alice", "right")).await;
    assert!(login.is_err(), "silence");
    assert_eq!(world.counter("admissions.granted").await, 1, "the enrolment's alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_off_can_not_resume() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let mut session = device.login("right").await.unwrap();
    session.sign_off().await;
    assert_eq!(session.notice().await, Ok(Notice::Ended(Reason::SignedOff)));
    assert_eq!(reason(device.resume(&session.welcome).await), Reason::NoSession);

    let away = device.login("right").await.unwrap().leave().await;
    let signed_off = device.resume_by(Purpose::Leave, away.session, &away.resume_secret).await;
    assert_eq!(reason(signed_off), Reason::SignedOff);
    assert_eq!(reason(device.resume(&away).await), Reason::NoSession);
    let ended = listed(&world).await;
    assert!(ended.iter().all(|view| view.reason == Some(EndReason::SignedOff)) && ended.len() == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_users_never_mix() {
    let world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    world.add_service("hers", upstream::echo("alice ").await, &["user:alice"]).await;
    world.add_service("his", upstream::echo("bob ").await, &["user:bob"]).await;
    let (hers, his) = tokio::join!(alice.login("right"), bob.login("bobs"));
    let (hers, his) = (hers.unwrap(), his.unwrap());
    assert_ne!(hers.welcome.session, his.welcome.session);
    let names =
        |session: &Session| session.welcome.services.iter().map(|service| service.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names(&hers), names(&his)), (vec!["hers".to_owned()], vec!["his".to_owned()]));
    for _ in 0..20 {
        tokio::join!(hers.echoes("hers", "alice "), his.echoes("his", "bob "));
        assert_eq!(hers.open("his").await.err(), Some(Reason::NoService));
        assert_eq!(his.open("hers").await.err(), Some(Reason::NoService));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nonsense_is_cut_and_may_resume() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let mut session = device.login("right").await.unwrap();
    session.channel.send.write_all(&[0, 0, 0, 1, 99]).await.unwrap();
    assert_eq!(session.close_code().await, code::PROTOCOL);
    assert!(matches!(session.notice().await, Err(FramedError::Lost(_))));
    assert!(resumes(&device, &session).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_tell_what_is_live() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let session = device.login("right").await.unwrap();
    let _flows = (session.open("echo").await.unwrap(), session.open("echo").await.unwrap());
    let live = listed(&world).await.remove(0).live.expect("the running role adds it");
    assert!(live.remote.is_some());
    assert_eq!(live.flows.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(), [("echo", 2)]);
    let running = world.gateway().status().await;
    assert_eq!((running.connected, running.flows), (1, 2));
    session.leave().await;
    eventually("the flows end with the connection", async || world.gateway().status().await.flows == 0).await;
    assert_eq!(listed(&world).await.remove(0).live.expect("it stands").remote, None);
}
