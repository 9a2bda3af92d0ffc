//! Strict and observe modes.

use crate::world::{Answer, Browser, World, orders};
use hyper::Method;
use serde_json::json;
use std::time::Duration;
use vestibule_guard::{coverage::Coverage, store};

fn strict() -> serde_json::Value {
    json!({ "mode": "strict", "commands": ["/delete"] })
}

/// Follows a link of a page, within the application.
async fn follow(browser: &Browser, target: &str) -> Answer {
    browser.send(browser.read(target, "same-origin", "navigate", "document").header("accept", "text/html"), "").await
}

fn link(page: &Answer, text: &str) -> String {
    let html = page.text();
    let rest = html.split("href=\"").find(|rest| rest.contains(&format!(">{text}<"))).expect("the link");
    rest.split('"').next().unwrap().replace("&#38;", "&")
}

#[tokio::test]
async fn reads_without_a_page_are_refused() {
    let world = World::with(strict()).await;
    for browser in [world.tunnel("alice", 1), world.signed_in("bob").await] {
        let script = |token| {
            let mut builder = browser.read("/data.json", "same-origin", "cors", "empty");
            if let Some(token) = token {
                builder = builder.header("vestibule-page", token);
            }
            builder
        };
        let before = world.app.seen().len();
        assert_eq!(browser.send(script(None), "").await.said(), (403, "no-page"));
        assert_eq!(browser.send(script(Some("A".repeat(80))), "").await.said(), (403, "other-session"));
        assert_eq!(world.app.seen().len(), before);
    }
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let good = browser.read("/data.json", "same-origin", "cors", "empty").header("vestibule-page", &token);
    assert_eq!(browser.send(good, "").await.status, 200);
    // Parts of pages are let through, but nothing else in their guise.
    let part = |target| browser.read(target, "same-origin", "no-cors", "image");
    assert_eq!(browser.send(part("/style.css"), "").await.status, 200);
    assert_eq!(browser.send(part("/data.json"), "").await.said(), (403, "no-page"));
    assert_eq!(browser.send(part("/page"), "").await.said(), (403, "no-page"));
}

#[tokio::test]
async fn over_the_tunnel_a_link_from_elsewhere_goes_through_a_page_between() {
    let world = World::with(strict()).await;
    let browser = world.tunnel("alice", 1);
    assert_eq!(browser.page("/page").await.status, 200, "typed: the device is the proof");
    let before = world.app.seen().len();
    let from = browser.read("/page?x=1", "cross-site", "navigate", "document").header("accept", "text/html");
    let between = browser.send(from, "").await;
    assert_eq!(between.status, 200);
    assert_eq!(world.app.seen().len(), before);
    let target = link(&between, "Go on");
    assert!(target.starts_with("/page?x=1&.vestibule="));
    let page = follow(&browser, &target).await;
    assert_eq!((page.status, world.app.seen().last().unwrap().target.as_str()), (200, "/page?x=1"));
    // Another's page between is no key for this session.
    let other = world.tunnel("bob", 2);
    let from = other.read(&target, "cross-site", "navigate", "document").header("accept", "text/html");
    assert_eq!(other.send(from, "").await.status, 200);
    assert_eq!(world.app.seen().len(), before + 1);
}

#[tokio::test]
async fn a_bare_browser_signs_in_afresh_once() {
    let world = World::with(strict()).await;
    let mut browser = world.signed_in("alice").await;
    let first = browser.cookie.clone();
    let login = browser.page("/page?x=1").await;
    assert_eq!(login.said(), (401, "signed-off"));
    assert_eq!(login.forms()[0].fields[0], ("to".to_owned(), "/page?x=1".to_owned()));
    assert!(world.app.seen().is_empty(), "a stolen cookie alone reads nothing");
    let answer = browser.log_in("alice", "/page?x=1").await;
    assert_ne!(browser.cookie, first);
    let target = answer.header("location").to_owned();
    assert!(target.starts_with("/page?x=1&.vestibule="), "{target}");
    // One redirect, and there it is.
    let page = follow(&browser, &target).await;
    assert_eq!(page.status, 200);
    assert_eq!(world.app.seen().last().unwrap().target, "/page?x=1");
    // On from there by the page's own token.
    let next = follow(&browser, &format!("/reports?.vestibule={}", page.token())).await;
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn the_login_page_itself_leads_on() {
    let world = World::with(strict()).await;
    world.add_user("alice", &[]).await;
    let mut browser = world.stranger();
    assert_eq!(browser.page("/.vestibule/login").await.said(), (401, "signed-off"));
    let answer = browser.log_in("alice", "/").await;
    let page = follow(&browser, answer.header("location")).await;
    assert_eq!(page.status, 200);
    assert_eq!(browser.page("/.vestibule/login").await.header("location"), "/.vestibule/");
    // The portal is a strict page, too: the cookie alone doesn't show it.
    assert_eq!(browser.page("/.vestibule/").await.said(), (401, "signed-off"));
    let portal = follow(&browser, &format!("/.vestibule/?.vestibule={}", page.token())).await;
    assert_eq!(portal.forms().pop().unwrap().button, "Sign off");
}

#[tokio::test]
async fn nobody_is_led_into_a_command_by_a_link_and_a_login() {
    let world = World::with(strict()).await;
    world.add_user("alice", &[]).await;
    for target in ["/delete?id=1", "/delete", "/%64elete?id=1"] {
        let mut browser = world.stranger();
        let answer = browser.log_in("alice", target).await;
        let location = answer.header("location").to_owned();
        follow(&browser, &location).await;
        assert!(world.app.at("/delete").is_empty() && world.app.seen().is_empty(), "{target} → {location}");
    }
}

#[tokio::test]
async fn strict_paths_of_a_standard_application() {
    let world = World::with(json!({ "strict_paths": ["/secret/**"] })).await;
    let browser = world.signed_in("alice").await;
    let page = browser.page("/page").await;
    assert_eq!(page.status, 200);
    assert_eq!(browser.page("/secret/plans").await.said(), (401, "signed-off"));
    let call = |target| browser.read(target, "same-origin", "cors", "empty");
    assert_eq!(browser.send(call("/secret/plans"), "").await.said(), (403, "no-page"));
    assert_eq!(browser.send(call("/x/../secret/plans"), "").await.said(), (400, "malformed"));
    assert_eq!(browser.send(call("/secret%2fplans"), "").await.said(), (400, "malformed"));
    assert_eq!(follow(&browser, &format!("/secret/plans?.vestibule={}", page.token())).await.status, 200);
    assert_eq!(world.app.seen().len(), 2);
}

#[tokio::test]
async fn an_observed_command_whose_giver_leaves_stands_in_the_audit_log() {
    let world = World::with(json!({ "mode": "observe" })).await;
    let browser = world.tunnel("alice", 1);
    browser.page("/page").await;
    let sent = tokio::spawn(async move { browser.send(browser.post("/slow"), "a=1").await });
    while world.app.commands() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent.abort();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(world.audit(), ["done POST /slow 200"]);
}

#[tokio::test]
async fn grants_hold_while_an_application_is_observed() {
    let rules = json!([{ "who": "everyone", "paths": ["/page", "/orders/**"] }]);
    let world = World::with(json!({ "mode": "observe", "rules": rules })).await;
    let browser = world.tunnel("alice", 1);
    assert_eq!(browser.page("/page").await.status, 200);
    assert_eq!(browser.send(browser.post("/orders/1"), "a=1").await.status, 200, "without a page");
    assert_eq!(browser.page("/admin").await.said(), (403, "not-permitted"));
    assert_eq!(browser.send(browser.post("/admin"), "a=1").await.said(), (403, "not-permitted"));
    // Nor does a way of writing the path get by.
    assert_eq!(browser.send(browser.post("/orders/%2e%2e/admin"), "a=1").await.said(), (400, "malformed"));
    assert_eq!(world.app.commands(), 1);
    assert_eq!(world.audit()[1], "refused:not-permitted POST /admin");
}

#[tokio::test]
async fn observe_refuses_nothing_and_counts() {
    let world = World::with(json!({ "mode": "observe" })).await;
    let browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200);
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200, "twice is twice");
    assert_eq!(browser.send(browser.post("/orders"), "a=1").await.status, 200);
    let mut cross = browser.post("/orders");
    cross.headers_mut().unwrap().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(browser.send(cross, "a=1").await.status, 200);
    assert_eq!(browser.order("/orders", "AAAA", "a=1").await.status, 200);
    assert_eq!(browser.send(browser.call(Method::POST, "/api/x", Some("?")), "{}").await.status, 200);
    assert_eq!(world.app.commands(), 6);
    for seen in world.app.at("/orders") {
        assert_eq!(seen.body, "a=1", "the application never sees the token");
    }
    assert_eq!(world.audit().iter().filter(|line| line.starts_with("done POST")).count(), 6);
    // Only who has no session is stopped.
    assert_eq!(world.stranger().page("/page").await.said(), (401, "signed-off"));
    world.guard.stop().await;
    let store = store::open(&world.dir.path().join("guard/guard.sqlite")).unwrap();
    let report = Coverage::open(&store).unwrap().report(&orders());
    assert_eq!((report.token, report.refused), (2, 4), "{report:?}");
    assert_eq!(report.session, 1, "{report:?}");
}
