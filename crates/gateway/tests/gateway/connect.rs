//! Knock and login: what leads to a session, and what does not.

use std::time::{Duration, Instant};

use quinn::ConnectionError;
use vestibule_gateway::admin::{Answer, DeviceRequest, Request, SessionRequest, UserRequest};
use vestibule_gateway::directory::{AuditKind, Directory};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::inner::{Purpose, RefusalCode};
use vestibule_proto::key::SigningKey;
use vestibule_proto::knocker::KnockFailure;
use vestibule_proto::session::{GatewayHello, Reason, Wanted, code};

use crate::common::client::{Channel, Device, Failure, come_in, come_in_by, now};
use crate::common::{ANY, World, eventually, upstream};

fn refusal(failure: Failure) -> (RefusalCode, u8) {
    match failure {
        Failure::Knock(KnockFailure::Refused(refusal)) => (refusal.code, refusal.tries),
        other => panic!("{other:?}"),
    }
}

async fn tries(world: &World, device: &Device) -> u8 {
    let request = Request::Device(DeviceRequest::Show { device: device.id.to_string() });
    let Answer::Device(view) = world.ask(request).await else { panic!("no device") };
    view.tries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_device_logs_in_and_reaches_its_service() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("hello ").await, &["user:alice"]).await;
    let session = device.login("right").await.unwrap();
    let names: Vec<_> = session.welcome.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["echo"]);
    session.echoes("echo", "hello ").await;
    assert_eq!(tries(&world, &device).await, 0);
    let audit = world.audit().await;
    let login = audit.iter().find(|entry| entry.kind == AuditKind::Login).unwrap();
    assert_eq!((login.device, login.session), (Some(device.id), Some(session.welcome.session)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_counted_before_it_is_answered_and_forgiven_by_the_right_one() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    for expected in 1..=3 {
        match device.login("wrong").await {
            Err(Failure::Refused(Reason::LoginFailed { tries, limit: 20 })) => assert_eq!(tries, expected),
            other => panic!("{:?}", other.err()),
        }
    }
    assert_eq!(tries(&world, &device).await, 3);
    let audit = world.audit().await;
    assert_eq!(audit.iter().filter(|entry| entry.kind == AuditKind::WrongPassword).count(), 3);
    device.login("right").await.unwrap();
    assert_eq!(tries(&world, &device).await, 0);
}

/// A login of alice's that has got its challenge, and has not answered.
async fn challenged(device: &Device, user: &str) -> Channel {
    let admitted = device.knock(Purpose::Login, None).await.unwrap();
    let wanted = guess(device, user);
    let mut channel = Channel::open(&admitted, &device.d_tls, &device.pins, |_| wanted).await.unwrap();
    channel.hear().await.unwrap();
    channel
}

/// The first word of a login with some password.
fn guess(device: &Device, user: &str) -> Wanted {
    let start = vestibule_proto::login::password_input(&device.pepper, b"guess");
    let (_, ke1) = vestibule_proto::login::LoginStart::begin(start, &mut SystemEntropy).unwrap();
    Wanted::Login { user: user.to_owned(), ke1 }
}

/// P7: whoever is in the middle of a login is cut like whoever has a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_under_way_ends_with_the_revocation_of_its_user_or_device() {
    let world = World::new().await;
    let suspend = |name: &str| Request::User(UserRequest::Suspend { name: name.to_owned() });
    let remove = |name: &str| Request::User(UserRequest::Remove { name: name.to_owned() });
    for (user, what) in [("alice", 0), ("bob", 1), ("carol", 2)] {
        let device = world.enrol(user, "right").await;
        let channel = challenged(&device, user).await;
        let request = match what {
            0 => suspend(user),
            1 => remove(user),
            _ => Request::Device(DeviceRequest::Revoke { device: device.id.to_string() }),
        };
        world.ask(request).await;
        let closed = tokio::time::timeout(Duration::from_secs(1), channel.connection.closed()).await;
        assert!(closed.is_ok(), "{user}: still open a second later");
        let request = Request::Session(SessionRequest::List { all: true });
        let Answer::Sessions(sessions) = world.ask(request).await else { panic!("no list") };
        assert!(sessions.is_empty(), "{sessions:?}");
    }
    eventually("no connection is left", async || world.counter("gateway.connections").await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_after_the_challenge_has_used_a_try() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let channel = challenged(&device, "alice").await;
    assert_eq!(tries(&world, &device).await, 1, "counted before KE2 was sent");
    channel.connection.close(0u32.into(), b"");
    eventually("the audit log says so", async || {
        world.audit().await.iter().any(|entry| entry.kind == AuditKind::WrongPassword)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_on_this_device_looks_like_a_wrong_password() {
    let world = World::new().await;
    let (alice, _bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    for name in ["bob", "nobody"] {
        match alice.login_as(name, "right").await {
            Err(Failure::Refused(Reason::LoginFailed { .. })) => {}
            other => panic!("{name}: {:?}", other.err()),
        }
    }
    assert_eq!(tries(&world, &alice).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_wrong_second_layers_and_wrong_logins_share_one_counter() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    for expected in 1..=2 {
        let (code, tries) = refusal(device.with_wrong_layer().login("right").await.err().unwrap());
        assert_eq!((code, tries), (RefusalCode::WrongPassword, expected));
    }
    for expected in 3..=5 {
        let failed = device.login("wrong").await.err().unwrap();
        assert!(
            matches!(failed, Failure::Refused(Reason::LoginFailed { tries, .. }) if tries == expected),
            "{failed:?}"
        );
    }
    // The free ones are used up: even the right password has to wait, and is not evaluated.
    let (code, tries_used) = refusal(device.login("right").await.err().unwrap());
    assert_eq!((code, tries_used), (RefusalCode::Wait, 5));
    assert_eq!(tries(&world, &device).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_device_is_refused_until_its_owner_resumes_it() {
    let mut world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.gateway.take().unwrap().stop().await;
    let keys = vestibule_gateway::keys::Keys::read(&world.gateway_dir()).unwrap();
    let directory = Directory::open(&world.gateway_dir().join("gateway.db"), keys.identity()).unwrap();
    for _ in 0..20 {
        directory.count_guess(device.id, ANY, now().wall).await.unwrap();
    }
    drop(directory);
    world.start_gateway().await;
    world.linked().await;
    assert_eq!(refusal(device.login("right").await.err().unwrap()).0, RefusalCode::Suspended);
    assert!(world.audit().await.iter().any(|entry| entry.kind == AuditKind::DeviceSuspended));
    world.ask(Request::Device(DeviceRequest::Resume { device: device.id.to_string() })).await;
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_user_is_refused_with_a_sealed_reason() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let request = |suspend| match suspend {
        true => Request::User(UserRequest::Suspend { name: "alice".to_owned() }),
        false => Request::User(UserRequest::Resume { name: "alice".to_owned() }),
    };
    world.ask(request(true)).await;
    assert_eq!(refusal(device.login("right").await.err().unwrap()).0, RefusalCode::Revoked);
    world.ask(request(false)).await;
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_knocked_purpose_is_served() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let session = device.login("right").await.unwrap().leave().await;
    let admitted = device.knock(Purpose::Login, None).await.unwrap();
    let wanted = Wanted::Resume { session: session.session, proof: [0; 32] };
    let mut channel = Channel::open(&admitted, &device.d_tls, &device.pins, |_| wanted).await.unwrap();
    assert!(matches!(channel.hear().await, Err(Failure::Refused(Reason::Malformed))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_an_admission_serves_no_other_device() {
    let world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    for wrong_key in [&bob.d_tls, &SigningKey::random(&mut SystemEntropy)] {
        let admitted = alice.knock(Purpose::Login, None).await.unwrap();
        if let Ok((_endpoint, connection)) = come_in(&admitted, wrong_key, &alice.pins).await {
            // TLS 1.3 tells a client that its key was refused only after its own handshake.
            assert!(connection.accept_bi().await.is_err());
        }
    }
    eventually("both are counted", async || world.counter("gateway.contacts_failed").await == 2).await;
    let Answer::Sessions(sessions) = world.ask(Request::Session(SessionRequest::List { all: true })).await else {
        panic!("no list")
    };
    assert!(sessions.is_empty());
    alice.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_a_tag_opens_once() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let admitted = device.knock(Purpose::Login, None).await.unwrap();
    device.login_with(&admitted, "alice", "right").await.unwrap();
    let start = Instant::now();
    let again = tokio::time::timeout(Duration::from_secs(2), device.login_with(&admitted, "alice", "right")).await;
    assert!(again.is_err(), "silence, not {:?} after {:?}", again.map(|result| result.err()), start.elapsed());
}

/// A device that comes by several ways at once has several tags of one admission; one word is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_contacts_of_one_admission_the_first_word_is_heard_alone() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let admitted = device.knock(Purpose::Login, None).await.unwrap();
    let first = come_in_by(&admitted, 0, &device.d_tls, &device.pins).await.unwrap();
    let second = come_in_by(&admitted, 1, &device.d_tls, &device.pins).await.unwrap();

    let mut heard = Channel::over(second, |_| guess(&device, "alice")).await.unwrap();
    assert!(matches!(heard.hear().await.unwrap(), GatewayHello::Challenge { .. }));
    let mut late = Channel::over(first, |_| guess(&device, "alice")).await.unwrap();
    let ended = late.hear().await.err().unwrap();
    let closed = late.connection.closed().await;
    assert!(
        matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == code::DONE.into()),
        "{ended:?}, {closed:?}"
    );
    assert_eq!(tries(&world, &device).await, 1, "one guess was made");
    assert!(heard.connection.close_reason().is_none());
}
