//! Whole connects with the real controller and gateway: login, traffic, loss, and every end of a session.

use crate::world::{PASSWORD, SOON, World, echoed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use vestibule_client::agent::{Agent, Apparatus, RunningUp, SessionState};
use vestibule_client::error::{ClientError, CredentialTrouble, GatewayAway, Refused};
use vestibule_client::forward::{Forward, Forwarder};
use vestibule_client::keeper::Event;
use vestibule_client::proxy::{HttpProxy, SocksProxy};
use vestibule_client::{Client, Neighbours, Tunnel};
use vestibule_gateway::admin::{Answer, DeviceRequest, Request, ServiceRequest, SessionRequest};
use vestibule_local_credential::{Fingerprint, Locked};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::Secret;
use vestibule_proto::session::{Reason, ServiceKind};

async fn event(events: &mut Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(SOON, found).await.expect("the event")
}

pub(crate) async fn over(events: &mut Receiver<Event>) -> ClientError {
    match event(events, |event| matches!(event, Event::Over(_))).await {
        Event::Over(error) => error,
        Event::Reconnecting { .. } | Event::Resumed => panic!("not over"),
    }
}

pub(crate) async fn resumed(events: &mut Receiver<Event>) {
    event(events, |event| *event == Event::Resumed).await;
}

async fn forwarded(client: &Client, service: &str) -> std::net::SocketAddr {
    let forward: Forward = format!("0={service}").parse().unwrap();
    let forwarder = Forwarder::bind(&forward, client.clone(), Neighbours::refused()).await.unwrap();
    let address = forwarder.local_addr();
    tokio::spawn(forwarder.serve());
    address
}

#[tokio::test]
async fn a_login_opens_a_session_that_carries_traffic() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let client = machine.connect().await.unwrap();
    assert_eq!(client.services().len(), 1);
    assert_eq!(echoed(&client, "echo", b"hello").await.unwrap(), b"hello");
    let large: Vec<u8> = (0..2_000_000u32).map(|byte| byte as u8).collect();
    let mut stream = client.open(vestibule_client::names::find(&client.services(), "echo").unwrap()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut back = Vec::new();
    let (sent, received) = tokio::join!(
        async {
            write.write_all(&large).await.unwrap();
            write.shutdown().await
        },
        read.read_to_end(&mut back)
    );
    assert!(sent.is_ok() && received.is_ok() && back == large);
    let timings = client.timings();
    for part in [timings.local.argon2id, timings.knock, timings.dial, timings.login, timings.ksf] {
        assert!(part > Duration::ZERO && part < SOON, "{timings:?}");
    }
    let status = client.status();
    assert_eq!(
        (status.user.as_str(), status.gateway.as_str(), status.state),
        ("alice", "home", SessionState::Connected)
    );
    assert!(status.sent > 2_000_000 && status.received > 2_000_000, "{status:?}");
    // The stamp that was acknowledged is kept.
    let kept = vestibule_local_credential::state::State::load(&machine.file().path).unwrap();
    assert!(kept.last_stamp.as_millis() > 0);
}

#[tokio::test]
async fn forwards_carry_early_words_half_close_and_resets() {
    let world = World::new().await;
    world.echo().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.service("raw", listener.local_addr().unwrap()).await;
    let client = world.alice().await.connect().await.unwrap();
    let echo = forwarded(&client, "echo").await;
    let mut streams = Vec::new();
    for number in 0..50u8 {
        let mut stream = TcpStream::connect(echo).await.unwrap();
        // Said before the upstream is connected; more of it than travels ahead.
        stream.write_all(&[number; 100_000]).await.unwrap();
        streams.push(stream);
    }
    assert!(client.status().streams > 0);
    for (number, mut stream) in streams.into_iter().enumerate() {
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert!(back == [number as u8; 100_000], "{number}");
    }
    let raw = forwarded(&client, "raw").await;
    // A reset of the upstream's becomes one here, and the other way round.
    let mut near = TcpStream::connect(raw).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    far.set_zero_linger().unwrap();
    drop(far);
    let read = tokio::time::timeout(SOON, near.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let near = TcpStream::connect(raw).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    near.set_zero_linger().unwrap();
    drop(near);
    let read = tokio::time::timeout(SOON, far.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// An upstream that answers one request with `101` and then echoes, or with a body that names what it saw.
async fn web(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    let (name, allow) = ("orders".to_owned(), vec!["everyone".to_owned()]);
    world
        .ask(Request::Service(ServiceRequest::Add { name, kind: ServiceKind::Web, upstream, allow, direct: None }))
        .await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                if head.contains("upgrade: websocket") {
                    let answer = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                } else {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn proxies_lead_through_the_session() {
    // The gateway's guard lets a WebSocket begin at a page of the service only, unless told otherwise.
    let without_a_page = |settings: &mut vestibule_gateway::Settings| {
        settings.guard.entry("orders".parse().unwrap()).or_default().entry.push("GET /ws".to_owned());
    };
    let world = World::with(without_a_page).await;
    world.echo().await;
    web(&world).await;
    let client = world.alice().await.connect().await.unwrap();
    let http = HttpProxy::bind("127.0.0.1:0".parse().unwrap(), client.clone(), Neighbours::refused()).await.unwrap();
    let socks = SocksProxy::bind("127.0.0.1:0".parse().unwrap(), client.clone(), Neighbours::refused()).await.unwrap();
    let (at_http, at_socks) = (http.local_addr(), socks.local_addr());
    tokio::spawn(http.serve());
    tokio::spawn(socks.serve());
    let mut browser = TcpStream::connect(at_http).await.unwrap();
    browser.write_all(b"GET /x HTTP/1.1\r\nHost: orders.localhost:1\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("get /x http/1.1\r\nhost: orders.localhost:1"), "{page}");
    let from = "Host: orders.localhost\r\nOrigin: http://orders.localhost\r\n";
    let upgrade = format!("{from}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    for (proxy, request, skipped) in [
        (at_http, format!("GET /ws HTTP/1.1\r\n{upgrade}").into_bytes(), "\r\n\r\n"),
        (at_http, b"CONNECT echo:7 HTTP/1.1\r\n\r\n".to_vec(), "\r\n\r\n"),
        (at_socks, [&[5, 1, 0, 5, 1, 0, 3, 4][..], b"echo", &[0, 7]].concat(), "\0\0\0\0\0\0"),
    ] {
        let mut program = TcpStream::connect(proxy).await.unwrap();
        program.write_all(&request).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(skipped.as_bytes()) {
            head.push(program.read_u8().await.unwrap());
        }
        program.write_all(b"there and back").await.unwrap();
        program.shutdown().await.unwrap();
        let mut back = Vec::new();
        program.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"there and back", "{}", String::from_utf8_lossy(&head));
    }
}

#[tokio::test]
async fn services_that_can_not_be_opened_are_told_apart() {
    let world = World::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.service("away", nobody.local_addr().unwrap()).await;
    drop(nobody);
    world.echo().await;
    let client = world.alice().await.connect().await.unwrap();
    assert_eq!(echoed(&client, "away", b"").await, Err(ClientError::UpstreamAway { service: "away".to_owned() }));
    assert_eq!(echoed(&client, "nothing", b"").await, Err(ClientError::NoService { asked: "nothing".to_owned() }));
    // Taken away behind the client's back, and then by notice.
    let target = vestibule_client::names::find(&client.services(), "echo").unwrap();
    world.ask(Request::Service(ServiceRequest::Remove { name: "echo".to_owned() })).await;
    let gone = client.open(target).await.err();
    assert_eq!(gone, Some(ClientError::NoService { asked: "echo".to_owned() }));
    let noticed = async {
        while client.services().len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, noticed).await.expect("the notice");
}

#[tokio::test]
async fn wrong_passwords_are_told_where_they_are_found() {
    // Without typo bits every wrong password passes the local check, and knocks.
    let world = World::with(|settings| settings.typo_bits = 0).await;
    let machine = world.alice().await;
    let unlocked = machine.unlock("another-lantern-95").unwrap();
    let refused = Client::connect(unlocked, vestibule_client::Options::default()).await.err().unwrap();
    assert!(
        matches!(&refused, ClientError::Refused { why: Refused::WrongPassword, tries: 1, limit: 20, .. }),
        "{refused:#}"
    );
    // The right keys with a wrong login: the gateway counts on.
    let locked = Locked::load(&machine.file().path).unwrap();
    let fingerprint = Fingerprint::gather(&machine.sources()).unwrap();
    let device = locked.unlock_device(&machine.file().user, &fingerprint).unwrap();
    let mut sealed = device.sealed().clone();
    let pepper = std::mem::replace(&mut sealed.pepper, Secret::random(&mut SystemEntropy));
    device.reseal(sealed.clone(), &mut SystemEntropy).unwrap().save(&machine.file().path).unwrap();
    let failed = machine.connect().await.err().unwrap();
    assert_eq!(failed, ClientError::LoginFailed { tries: 2, limit: 20 });
    assert_eq!(failed.exit_code(), 24);
    sealed.pepper = pepper;
    device.reseal(sealed, &mut SystemEntropy).unwrap().save(&machine.file().path).unwrap();
    machine.connect().await.unwrap();
    let Answer::Devices(devices) = world.ask(Request::Device(DeviceRequest::List { user: None })).await else {
        panic!("no devices")
    };
    assert_eq!(devices[0].tries, 0, "a login clears the count");
}

#[tokio::test]
async fn what_is_found_here_sends_nothing() {
    // With so many typo bits no wrong password passes by chance.
    let world = World::with(|settings| settings.typo_bits = 32).await;
    let machine = world.alice().await;
    let before = world.knocks();
    let trouble = |error: ClientError| {
        let ClientError::Credential { trouble, .. } = error else { panic!("{error:#}") };
        trouble
    };
    let wrong = machine.unlock("another-lantern-95").err().unwrap();
    assert_eq!(trouble(wrong), CredentialTrouble::WrongPassword);
    let stolen = world.machine("thief");
    stolen.home.prepare().unwrap();
    std::fs::copy(machine.file().path, stolen.home.file(&machine.file().user, "home").path).unwrap();
    let elsewhere = stolen.connect().await.err().unwrap();
    assert_eq!(trouble(elsewhere), CredentialTrouble::OtherMachineOrUser);
    assert_eq!(world.knocks(), before);
    machine.connect().await.unwrap();
    assert!(world.knocks() > before, "what is counted is what is meant");
}

/// A session with a connection open in it, the gateway gone and back, and the session going on.
async fn restarted(graceful: bool) {
    let mut world = World::new().await;
    world.echo().await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    let echo = forwarded(&client, "echo").await;
    let mut open = TcpStream::connect(echo).await.unwrap();
    open.write_all(b"x").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'x');
    let session = client.status().session;
    if graceful {
        world.stop_gateway().await;
    } else {
        world.kill_gateway();
    }
    world.start_gateway().await;
    resumed(&mut events).await;
    // What was open is reset, not ended.
    let read = tokio::time::timeout(SOON, open.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(echoed(&client, "echo", b"again").await.unwrap(), b"again");
    assert_eq!((client.status().session, client.status().resumptions), (session, 1));
}

#[tokio::test]
async fn a_gateway_that_restarts_is_found_again_without_a_password() {
    restarted(true).await;
}

#[tokio::test]
async fn a_gateway_that_was_killed_is_found_again_before_quic_gives_up() {
    // It says nothing at all, so this is told by its silence: at the latest after a keep-alive (10 s) and 5 s more.
    restarted(false).await;
}

#[tokio::test]
async fn openings_wait_for_the_connection_that_is_made_anew() {
    let mut world = World::new().await;
    world.echo().await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    world.stop_gateway().await;
    event(&mut events, |event| matches!(event, Event::Reconnecting { .. })).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { echoed(&client, "echo", b"patient").await }
    });
    world.start_gateway().await;
    assert_eq!(waiting.await.unwrap().unwrap(), b"patient");
}

#[tokio::test]
async fn without_a_controller_the_session_goes_on_and_comes_back_later() {
    let mut world = World::new().await;
    world.echo().await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    world.stop_controller().await;
    assert_eq!(echoed(&client, "echo", b"still").await.unwrap(), b"still", "running sessions go on");
    world.stop_gateway().await;
    event(&mut events, |event| matches!(event, Event::Reconnecting { last: Some(_), .. })).await;
    world.start_controller().await;
    world.start_gateway().await;
    resumed(&mut events).await;
    assert_eq!(echoed(&client, "echo", b"back").await.unwrap(), b"back");
}

#[tokio::test]
async fn t14_a_revoked_session_is_over_at_once() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let client = machine.connect().await.unwrap();
    let mut events = client.events();
    let echo = forwarded(&client, "echo").await;
    let mut open = TcpStream::connect(echo).await.unwrap();
    open.write_all(b"x").await.unwrap();
    open.read_u8().await.unwrap();
    let session = client.status().session.to_string();
    let begun = Instant::now();
    world.ask(Request::Session(SessionRequest::Revoke { session })).await;
    assert!(tokio::time::timeout(SOON, open.read(&mut [0])).await.unwrap().is_err(), "the flow is cut");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(over(&mut events).await, ClientError::SessionEnded(Reason::Revoked));
    let refused = echoed(&client, "echo", b"").await.unwrap_err();
    assert_eq!((refused.clone(), refused.exit_code()), (ClientError::SessionEnded(Reason::Revoked), 33));
    assert_eq!(client.status().state, SessionState::Over);
    // The device itself is not revoked: with the password the same client goes on, and so does what holds it.
    client.log_in_again(machine.unlock(PASSWORD).unwrap()).await.unwrap();
    let mut again = TcpStream::connect(echo).await.unwrap();
    again.write_all(b"y").await.unwrap();
    assert_eq!(again.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_revoked_device_does_not_come_in_again() {
    let world = World::new().await;
    let machine = world.alice().await;
    let client = machine.connect().await.unwrap();
    let mut events = client.events();
    world.ask(Request::Device(DeviceRequest::Revoke { device: "laptop".to_owned() })).await;
    assert_eq!(over(&mut events).await, ClientError::SessionEnded(Reason::Revoked));
    // Sealed by the gateway as long as the controller still has the row, then silence.
    let refused = machine.connect().await.err().unwrap();
    assert!([20, 22].contains(&refused.exit_code()), "{refused:#}");
}

#[tokio::test]
async fn signing_off_ends_the_session_at_the_gateway() {
    let mut world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let standing = async |world: &World| {
        let answer = world.ask(Request::Session(SessionRequest::List { all: false })).await;
        let Answer::Sessions(sessions) = answer else { panic!("{answer:?}") };
        sessions.len()
    };
    let client = machine.connect().await.unwrap();
    assert_eq!(standing(&world).await, 1);
    client.sign_off().await.unwrap();
    let ended = async {
        while standing(&world).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("the session ends");
    assert_eq!(echoed(&client, "echo", b"").await, Err(ClientError::SessionEnded(Reason::SignedOff)));
    client.sign_off().await.unwrap();
    // Without a connection: one is made for that purpose, as soon as there can be one.
    let client = machine.connect().await.unwrap();
    let mut events = client.events();
    world.stop_gateway().await;
    event(&mut events, |event| matches!(event, Event::Reconnecting { .. })).await;
    assert!(client.sign_off().await.is_err(), "nobody could be told");
    world.start_gateway().await;
    assert_eq!(standing(&world).await, 1, "the session ends by its limits");
}

#[tokio::test]
async fn a_session_expires() {
    let world = World::with(|settings| settings.session.expires = Duration::from_secs(2)).await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    assert_eq!(over(&mut events).await, ClientError::SessionEnded(Reason::Expired));
}

#[tokio::test]
async fn a_gateway_without_link_is_away() {
    let mut world = World::new().await;
    let machine = world.alice().await;
    world.stop_gateway().await;
    let away = machine.connect().await.err().unwrap();
    assert_eq!(away, ClientError::GatewayAway(GatewayAway::Controller));
    assert_eq!(away.exit_code(), 21);
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_away() {
    let mut world = World::new().await;
    let machine = world.alice().await;
    world.stop_controller().await;
    let begun = Instant::now();
    let away = machine.connect().await.err().unwrap();
    assert!(matches!(&away, ClientError::ControllerAway { trouble: None, .. }), "{away:#}");
    assert_eq!(away.exit_code(), 20);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn other_processes_use_a_running_up() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let agent = Agent::bind(&machine.file()).unwrap();
    let client = machine.connect().await.unwrap();
    let serving = tokio::spawn(agent.serve(client.clone(), Vec::new(), Neighbours::refused()));
    let up = RunningUp::find(&machine.file()).await.unwrap();
    assert_eq!(up.status().await.unwrap().session, client.status().session);
    assert_eq!(up.services().await.unwrap().len(), 1);
    assert_eq!(up.device().await.unwrap().device_name, "laptop");
    let mut back = Vec::new();
    let piped = up.pipe("echo", &b"through the socket"[..], &mut back).await.unwrap();
    assert_eq!((back.as_slice(), piped.sent), (&b"through the socket"[..], 18));
    let mut events = client.events();
    up.sign_off().await.unwrap();
    assert_eq!(over(&mut events).await, ClientError::SessionEnded(Reason::SignedOff));
    serving.abort();
}

#[tokio::test]
async fn fifty_devices_connect_at_once() {
    let world = World::new().await;
    world.echo().await;
    let mut machines = Vec::new();
    for number in 0..50 {
        let machine = world.machine(&format!("m{number}"));
        let link = world.invite(&format!("u{number}"), Duration::from_secs(3600)).await;
        machine.enrol(&link).await.unwrap();
        machines.push(machine);
    }
    let mut connecting = tokio::task::JoinSet::new();
    for machine in machines {
        connecting.spawn(async move {
            let client = machine.connect().await.unwrap();
            echoed(&client, "echo", machine.file().name().as_bytes()).await.unwrap() == machine.file().name().as_bytes()
        });
    }
    assert_eq!(connecting.join_all().await, [true; 50]);
}
