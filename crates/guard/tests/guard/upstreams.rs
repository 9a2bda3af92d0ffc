//! Applications that are away, hang, or break off.

use crate::world::{World, now, orders, settings};
use hyper::Method;
use serde_json::json;
use tokio::net::TcpListener;
use vestibule_guard::{Backend, GuardConfig};

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
