//! Applications that are away, hang, or break off.

use crate::world::{World, now, orders, settings};
use hyper::Method;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vestibule_guard::{Backend, GuardConfig};

/// An application made of bytes: it answers with a page and keeps its connections, but goes away without an answer once it has
/// read the head of a request to `/delete`. All heads that arrived, and how many connections.
async fn abrupt() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, connections): (Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>) = Default::default();
    let (seen, count) = (heads.clone(), connections.clone());
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve_abruptly(io, seen.clone()));
        }
    });
    (address, heads, connections)
}

async fn serve_abruptly(mut io: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let page = "<p>A page</p><form method=post action=/orders></form>";
    let mut head = String::new();
    while let Ok(byte) = io.read_u8().await {
        head.push(char::from(byte));
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        seen.lock().unwrap().push(head.clone());
        if std::mem::take(&mut head).starts_with("GET /delete") {
            return;
        }
        let length = page.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}");
        io.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_application_that_is_away() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = GuardConfig::default().meant(orders(), &Backend::Http(vec![format!("http://{nowhere}")])).unwrap();
    world.guard.set_apps(vec![away]).unwrap();
    assert_eq!(browser.page("/page").await.said(), (502, "upstream-down"));
    for _ in 0..2 {
        let answer = browser.order("/orders", &token, "a=1").await;
        assert_eq!(answer.said(), (502, "upstream-down"));
        assert!(answer.text().contains("does not answer"));
    }
    let script = browser.send(browser.call(Method::POST, "/api/x", Some(&token)), "{}").await;
    assert_eq!((script.said(), script.header("content-type")), ((502, "upstream-down"), "application/problem+json"));
    assert_eq!(world.audit(), ["not-sent POST /orders", "not-sent POST /orders", "not-sent POST /api/x"]);
    // It comes back: the command that had no effect is the first of its name.
    world.guard.set_apps(vec![settings(&GuardConfig::default(), &world.app)]).unwrap();
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200);
    assert_eq!(world.app.commands(), 1);
}

#[tokio::test]
async fn an_application_that_breaks_off_has_perhaps_acted() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    for _ in 0..2 {
        let answer = browser.order("/break", &token, "a=1").await;
        assert_eq!(answer.said(), (409, "unknown-outcome"));
        assert!(answer.text().contains("Check in the application"));
    }
    assert_eq!(world.app.commands(), 1, "it is never sent again by itself");
    assert_eq!(world.audit(), ["unknown POST /break", "repeated POST /break"]);
    let large = vec![b'x'; 600_000];
    let sent = || browser.post(&format!("/break?.vestibule={token}"));
    assert_eq!(browser.send(sent(), large.clone()).await.said(), (409, "unknown-outcome"));
    assert_eq!(browser.send(sent(), large).await.said(), (409, "unknown-outcome"));
    assert_eq!(world.app.commands(), 2);
}

#[tokio::test]
async fn a_get_that_is_a_command_is_not_sent_again_by_itself() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let (address, heads, connections) = abrupt().await;
    let backend = Backend::Http(vec![format!("http://{address}")]);
    let commands = crate::world::config(json!({ "commands": ["/delete"] })).meant(orders(), &backend).unwrap();
    world.guard.set_apps(vec![commands]).unwrap();
    // The page leaves a connection behind, which the command is given on.
    let token = browser.token("/page").await;
    let clicked = browser.read(&format!("/delete?id=1&.vestibule={token}"), "same-origin", "navigate", "document");
    let answer = browser.send(clicked.header("accept", "text/html"), "").await;
    assert_eq!(answer.said(), (409, "unknown-outcome"));
    let arrived = heads.lock().unwrap().iter().filter(|head| head.starts_with("GET /delete")).count();
    assert_eq!((arrived, connections.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(world.audit(), ["unknown GET /delete"]);
    // A read that meets the same is asked again.
    assert_eq!(browser.page("/page").await.status, 200);
}

#[tokio::test]
async fn an_application_that_hangs() {
    let world = World::with(json!({ "answer_within": 1 })).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let (one, other) = tokio::join!(browser.order("/hang", &token, "a=1"), browser.order("/hang", &token, "a=1"));
    assert_eq!([one.said(), other.said()], [(409, "unknown-outcome"); 2]);
    assert_eq!(browser.order("/hang", &token, "a=1").await.said(), (409, "unknown-outcome"));
    assert_eq!(world.app.commands(), 1);
    let mut audit = world.audit();
    audit.sort();
    assert_eq!(audit, ["repeated POST /hang", "repeated POST /hang", "unknown POST /hang"]);
}

#[tokio::test]
async fn an_answer_that_is_cut_in_the_middle() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let first = browser.order("/cut", &token, "a=1").await;
    assert_eq!(first.status, 200);
    assert!(first.body.len() < 100);
    let receipt = browser.order("/cut", &token, "a=1").await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert!(receipt.forms().iter().all(|form| form.button != "See the result"), "half a result is none");
    assert_eq!(world.app.commands(), 1);
    assert_eq!(world.audit(), ["done POST /cut 200", "repeated POST /cut"]);
}

#[tokio::test]
async fn every_command_stands_in_the_audit_log() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let since = now();
    let token = browser.token("/page").await;
    browser.order("/orders?pin=1234", &token, "a=1").await;
    let lines = std::fs::read_to_string(world.dir.path().join("guard/audit.jsonl")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    let session = world.session_of("alice");
    assert_eq!(entry["user"], "alice");
    assert_eq!(entry["app"], "orders");
    assert_eq!(entry["address"], session.session().address.to_string());
    assert_eq!((&entry["method"], &entry["path"]), (&json!("POST"), &json!("/orders")));
    assert_eq!((&entry["outcome"], &entry["status"]), (&json!("done"), &json!(200)));
    assert_eq!(entry["serial"], 1);
    assert!(entry["at"].as_u64().unwrap() >= since.0 && entry["milliseconds"].is_u64());
    assert!(!lines.contains("1234") && !lines.contains(&token), "never queries or secrets");
}

#[tokio::test]
async fn nothing_leads_out_of_the_part_of_a_server_that_is_named() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let backend = Backend::Http(vec![format!("http://{}/app", world.app.address)]);
    world.guard.set_apps(vec![GuardConfig::default().meant(orders(), &backend).unwrap()]).unwrap();
    let token = browser.token("/page").await;
    let before = world.app.seen().len();
    for path in [
        "/../x",
        "/%2e%2e/x",
        "/.%2E/x",
        "/..%2fx",
        "/..\\x",
        "/..%5cx",
        "/a/../../x",
        "//../x",
        "/..;/x",
        "/..;a=b/x",
        "/;../x",
        "/%252e%252e/x",
        "/..",
    ] {
        assert_eq!(browser.page(path).await.said(), (400, "malformed"), "{path}");
        assert_eq!(browser.order(path, &token, "a=1").await.said(), (400, "malformed"), "{path}");
    }
    assert_eq!(world.app.seen().len(), before);
    for path in ["/", "/a//b", "/a;jsessionid=1", "/a/.well-known/x..y", "/a?x=/../y", "/caf%C3%A9"] {
        assert_eq!(browser.page(path).await.status, 200, "{path}");
        assert_eq!(world.app.seen().last().unwrap().target, format!("/app{path}"));
    }
}
