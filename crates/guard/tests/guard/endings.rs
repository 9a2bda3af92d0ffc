//! The end of a session cuts what runs, within a second.

use crate::world::{Browser, LONG, Stand, World, config, settings};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vestibule_guard::{Selector, TunnelSession, UpstreamSettings, UserName};

/// Something that runs until it is cut.
struct Running {
    what: &'static str,
    ended: tokio::task::JoinHandle<Instant>,
}

/// A WebSocket that works, and the task that serves its connection.
async fn agreed(browser: &Browser) -> (TokioIo<Upgraded>, JoinHandle<()>) {
    let token = browser.token("/page").await;
    let request = browser.bare(hyper::Method::GET, &format!("/ws?.vestibule={token}"));
    let request = request.header("connection", "upgrade").header("upgrade", "websocket");
    let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-version", "13");
    let (answer, serving) = browser.open_served(request.header("origin", browser.origin()), "").await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    io.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    (io, serving)
}

async fn websocket(browser: &Browser) -> Running {
    let (mut io, _) = agreed(browser).await;
    let ended = tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = io.read_to_end(&mut rest).await;
        Instant::now()
    });
    Running { what: "websocket", ended }
}

async fn stream(browser: &Browser, what: &'static str) -> Running {
    let answer: Response<Incoming> = browser.open(browser.read(what, "same-origin", "cors", "empty"), "").await;
    assert_eq!(answer.status(), 200, "{what}");
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    let ended = tokio::spawn(async move {
        while let Some(Ok(_)) = body.frame().await {}
        Instant::now()
    });
    Running { what, ended }
}

async fn running(browser: &Browser) -> [Running; 3] {
    [websocket(browser).await, stream(browser, "/events").await, stream(browser, "/download").await]
}

async fn cut(running: [Running; 3], since: Instant) {
    for Running { what, ended } in running {
        let at = tokio::time::timeout(LONG, ended).await.unwrap_or_else(|_| panic!("{what} goes on")).unwrap();
        assert!(at.duration_since(since) < Duration::from_secs(1), "{what} went on for {:?}", at.duration_since(since));
    }
}

#[tokio::test]
async fn sign_off_cuts_what_runs() {
    let world = World::new().await;
    for browser in [world.tunnel("alice", 1), world.signed_in("bob").await] {
        let (token, things) = (browser.token("/page").await, running(&browser).await);
        let other = world.tunnel("carol", 2);
        let goes_on = stream(&other, "/events").await;
        let since = Instant::now();
        let answer = browser.sign_off().await;
        assert_eq!(answer.said(), (200, "signed-off"));
        assert!(answer.header("clear-site-data").contains("cache"));
        cut(things, since).await;
        assert_eq!(browser.page("/").await.said(), (401, "signed-off"));
        assert_eq!(browser.order("/orders", &token, "a=1").await.said(), (401, "signed-off"));
        assert!(!goes_on.ended.is_finished(), "another session's stream");
        goes_on.ended.abort();
    }
    assert_eq!(world.app.commands(), 0);
}

#[tokio::test]
async fn the_owner_ends_sessions() {
    let world = World::new().await;
    let browsers = [world.tunnel("alice", 1), world.signed_in("alice").await];
    let mut all = Vec::new();
    for browser in &browsers {
        all.push((browser.token("/page").await, running(browser).await));
    }
    let since = Instant::now();
    let selector = Selector::User(UserName::new("alice").unwrap());
    assert_eq!(world.guard.revoke(&selector).await.unwrap(), 2);
    for (browser, (token, things)) in browsers.iter().zip(all) {
        cut(things, since).await;
        assert_eq!(browser.order("/orders", &token, "a=1").await.said(), (401, "signed-off"));
        assert_eq!(browser.page("/").await.said(), (401, "signed-off"));
    }
    assert_eq!(world.app.commands(), 0);
}

#[tokio::test]
async fn the_end_of_a_tunnel_ends_what_lives_here() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let things = running(&browser).await;
    let since = Instant::now();
    world.guard.end_tunnel(TunnelSession::new(&[1; 16])).await;
    cut(things, since).await;
    assert!(world.guard.sessions().is_empty());
}

#[tokio::test]
async fn a_user_who_is_removed_is_out_within_seconds() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    let things = running(&browser).await;
    world.guard.users().remove(&UserName::new("alice").unwrap()).await.unwrap();
    // Users are changed beside the running guard, which looks twice a second.
    cut(things, Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(browser.page("/").await.said(), (401, "signed-off"));
}

#[tokio::test]
async fn the_portal_calls_a_device_by_its_name() {
    let world = World::new().await;
    let (first, second) = (world.tunnel("alice", 1), world.tunnel("alice", 2));
    second.page("/").await;
    let portal = first.page("/.vestibule/").await.text();
    assert!(portal.contains("Alice&#39;s &#60;laptop&#62;") && portal.contains("laptop-2"), "{portal}");
    assert!(!portal.contains("laptop-1"));
}

#[tokio::test]
async fn another_session_is_signed_off_from_the_portal() {
    let world = World::new().await;
    let (here, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
    let stranger = world.signed_in("bob").await;
    let things = running(&there).await;
    let portal = here.page("/.vestibule/").await;
    let mut form = portal.forms().remove(0);
    assert_eq!(form.fields[1].0, "address");
    // Only one's own.
    let own = form.fields[1].1.clone();
    form.fields[1].1 = world.session_of("bob").session().address.to_string();
    assert_eq!(here.press(&form).await.status, 303);
    assert_eq!(stranger.page("/").await.status, 200);
    form.fields[1].1 = own;
    let since = Instant::now();
    assert_eq!(here.press(&form).await.status, 303);
    cut(things, since).await;
    assert_eq!(there.page("/").await.said(), (401, "signed-off"));
    assert_eq!(here.page("/").await.status, 200);
}

#[tokio::test]
async fn a_tunnel_signed_off_signs_on_again_by_the_button_alone() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.sign_off().await;
    for _ in 0..3 {
        let page = browser.page("/page").await;
        assert_eq!(page.said(), (401, "signed-off"));
        assert_eq!(page.form("Sign in again").action, "/.vestibule/login");
    }
    let script = browser.send(browser.read("/data.json", "same-origin", "cors", "empty"), "").await;
    assert_eq!((script.said(), script.header("content-type")), ((401, "signed-off"), "application/problem+json"));
    let alive = browser.send(browser.read("/.vestibule/alive", "same-origin", "cors", "empty"), "").await;
    assert_eq!(alive.said(), (401, "signed-off"));
    assert!(world.app.seen().is_empty());
    let form = browser.page("/page?x=1").await.form("Sign in again");
    let back = browser.press(&form).await;
    assert_eq!((back.status, back.header("location")), (303, "/page?x=1"));
    assert_eq!(browser.page("/page?x=1").await.status, 200);
}

#[tokio::test]
async fn a_websocket_needs_origin_session_and_page() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let ask = |target: &str, origin: &str| {
        let request =
            browser.bare(hyper::Method::GET, target).header("connection", "upgrade").header("upgrade", "websocket");
        request
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("origin", origin)
    };
    let own = browser.origin();
    assert_eq!(browser.send(ask("/ws", &own), "").await.said(), (403, "no-page"));
    let target = format!("/ws?.vestibule={token}");
    assert_eq!(browser.send(ask(&target, "https://evil.example"), "").await.said(), (403, "cross-site"));
    assert_eq!(browser.send(ask(&target, "null"), "").await.said(), (403, "cross-site"));
    browser.sign_off().await;
    assert_eq!(browser.send(ask(&target, &own), "").await.said(), (401, "signed-off"));
    assert!(world.app.at("/ws").is_empty());
}

/// Where the owner says that a GET is a command, a WebSocket is one, too: it is opened once, and what repeats it is told so.
#[tokio::test]
async fn a_websocket_that_is_a_command_is_opened_once() {
    let world = World::with(serde_json::json!({ "commands": ["/ws"] })).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    let ask = |action: &str| {
        let request = browser.bare(hyper::Method::GET, &format!("/ws?.vestibule={plain}.{action}"));
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("origin", browser.origin())
    };
    for action in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"] {
        let (answer, _serving) = browser.open_served(ask(action), "").await;
        let mut answer = answer.unwrap();
        assert_eq!(answer.status(), 101, "a call of its own is a command of its own");
        let mut io = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        io.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        io.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
        assert_eq!(browser.send(ask(action), "").await.said(), (409, "already-done"));
    }
    assert_eq!(world.app.at("/ws").len(), 2);
    assert_eq!(world.audit(), ["done GET /ws 101", "repeated GET /ws", "done GET /ws 101", "repeated GET /ws"]);
    let elsewhere = ask("cccccccccccccccc").header("origin", "https://evil.example");
    assert_ne!(browser.send(elsewhere, "").await.status, 101);
}

#[tokio::test]
async fn a_websocket_is_served_until_it_ends_and_cut_with_its_service() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let (io, mut serving) = agreed(&browser).await;
    assert!(timeout(Duration::from_millis(300), &mut serving).await.is_err(), "the connection is in use");
    drop(io);
    timeout(Duration::from_secs(1), serving).await.expect("it has ended with the socket").unwrap();

    let (mut io, serving) = agreed(&browser).await;
    serving.abort();
    let cut = timeout(Duration::from_secs(1), io.read_to_end(&mut Vec::new())).await;
    assert!(cut.is_ok(), "the socket goes on without its service");

    let (mut io, serving) = agreed(&browser).await;
    world.guard.stop().await;
    timeout(Duration::from_secs(1), serving).await.expect("the guard has stopped").unwrap();
    assert!(timeout(Duration::from_secs(1), io.read_to_end(&mut Vec::new())).await.is_ok());
}

#[tokio::test]
async fn a_websocket_takes_up_one_of_the_upstreams_connections() {
    let world = World::new().await;
    let mut settings = settings(&config(serde_json::json!({})), &world.app);
    let UpstreamSettings::Http(http) = &mut settings.upstream else { panic!("a web server") };
    (http.connections, http.connect_timeout) = (1, Duration::from_millis(500));
    world.guard.set_apps(vec![settings]).unwrap();
    let browser = world.tunnel("alice", 1);
    let (io, serving) = agreed(&browser).await;
    assert_eq!(browser.page("/page").await.word(), "upstream-down", "there is no room beside it");
    drop(io);
    serving.await.unwrap();
    assert_eq!(browser.page("/page").await.status, 200);
}

/// A command whose body's end has not been sent yet, and that end.
async fn begun(world: &World, browser: &Browser, target: &str, length: Option<usize>) -> (DuplexStream, String) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (guard, peer) = (world.guard.clone(), browser.peer.clone());
    tokio::spawn(async move { guard.serve(server, peer).await });
    let (framing, start, end) = match length {
        Some(length) => (format!("Content-Length: {length}"), "x".repeat(length - 4), "last".to_owned()),
        None => ("Transfer-Encoding: chunked".to_owned(), "4\r\nfour\r\n".to_owned(), "0\r\n\r\n".to_owned()),
    };
    let (host, origin, cookie) = (&browser.host, browser.origin(), browser.cookie.as_deref().unwrap_or("none"));
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nCookie: vestibule={cookie}\r\n\
         Content-Type: application/octet-stream\r\nConnection: close\r\n{framing}\r\n\r\n{start}"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    (client, end)
}

/// Sends the end, and gives the status and all that came.
async fn ended((mut client, end): (DuplexStream, String)) -> String {
    // It may have been told to go away already.
    let _ = client.write_all(end.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, client.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_command_that_is_half_sent_ends_with_its_session() {
    let world = World::new().await;
    for (browser, user) in [(world.tunnel("alice", 1), "alice"), (world.signed_in("bob").await, "bob")] {
        let token = browser.token("/page").await;
        let target = format!("/orders?.vestibule={token}");
        let sent = [
            begun(&world, &browser, &target, Some(300 << 10)).await,
            begun(&world, &browser, &target, Some(100)).await,
            begun(&world, &browser, &target, None).await,
        ];
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.guard.revoke(&Selector::User(UserName::new(user).unwrap())).await.unwrap();
        for sent in sent {
            let answer = ended(sent).await;
            assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("signed-off"), "{answer}");
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.app.commands(), 0);
    assert!(!world.audit().iter().any(|line| line.starts_with("done")), "{:?}", world.audit());
}

#[tokio::test]
async fn a_command_is_given_with_the_grants_of_its_end() {
    let rules = serde_json::json!({ "rules": [
        { "who": "everyone", "paths": ["/page"] },
        { "who": "group:buyers", "paths": ["/orders"] },
    ]});
    let world = World::with(rules).await;
    let standing = Arc::new(Stand(Mutex::new(vec!["buyers".to_owned()])));
    let browser = world.tunnel_with("alice", 1, standing.clone());
    let target = format!("/orders?.vestibule={}", browser.token("/page").await);
    let goes = begun(&world, &browser, &target, Some(200 << 10)).await;
    assert!(ended(goes).await.starts_with("HTTP/1.1 200 "));
    let sent = [
        begun(&world, &browser, &target, Some(300 << 10)).await,
        begun(&world, &browser, &target, Some(100)).await,
        begun(&world, &browser, &target, None).await,
    ];
    tokio::time::sleep(Duration::from_millis(200)).await;
    standing.0.lock().unwrap().clear();
    for sent in sent {
        let answer = ended(sent).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("not-permitted"), "{answer}");
    }
    assert_eq!(world.app.commands(), 1);
    let (done, rest) = world.audit().into_iter().partition::<Vec<_>, _>(|line| line.starts_with("done"));
    assert_eq!((done.len(), rest), (1, vec!["refused:not-permitted POST /orders".to_owned(); 3]));
}
