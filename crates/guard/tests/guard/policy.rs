//! Grants, and changes of them.

use crate::world::{Stand, World};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vestibule_guard::UserName;

fn rules() -> serde_json::Value {
    json!({ "owner": "Olga, extension 7", "rules": [
        { "who": "everyone", "paths": ["/page", "/orders/**"] },
        { "who": "group:managers", "paths": ["/reports/**"] },
        { "who": "user:dora", "methods": "GET", "paths": ["/reports/**"] },
    ]})
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_who_can_grant_it() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let page = browser.page("/reports/q3?secret=1").await;
    assert_eq!(page.said(), (403, "not-permitted"));
    let text = page.text();
    for said in ["GET /reports/q3", "group:managers", "user:dora", "Olga, extension 7"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(!text.contains("secret"));
    let problem = browser.send(browser.read("/reports/q3", "same-origin", "cors", "empty"), "").await;
    assert_eq!((problem.said(), problem.header("content-type")), ((403, "not-permitted"), "application/problem+json"));
    assert!(problem.text().contains("Olga, extension 7"));
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn markup_in_a_path_stays_text() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let page = browser.page("/reports/\"onload=\"alert(1)").await;
    assert_ne!(page.status, 200);
    assert!(!page.text().contains("\"onload"), "{}", page.text());
}

#[tokio::test]
async fn a_change_of_policy_holds_from_the_next_request_on() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    assert_eq!(browser.order("/orders/1", &token, "a=1").await.status, 200);
    world.change(json!({ "rules": [{ "who": "everyone", "methods": "reads", "paths": ["/page", "/reports/**"] }] }));
    assert_eq!(browser.order("/orders/2", &token, "a=1").await.said(), (403, "not-permitted"));
    assert_eq!(browser.page("/reports/q3").await.status, 200);
    assert_eq!(world.app.commands(), 1);
    assert_eq!(world.audit(), ["done POST /orders/1 200", "refused:not-permitted POST /orders/2"]);
    // Everything is taken away: the application with it.
    world.guard.set_apps(Vec::new()).unwrap();
    assert_eq!(browser.page("/page").await.status, 404);
    assert_eq!(browser.order("/orders/3", &token, "a=1").await.status, 404);
}

#[tokio::test]
async fn a_change_of_groups_holds_from_the_next_request_on() {
    let world = World::with(rules()).await;
    let stand = Arc::new(Stand(Mutex::default()));
    let browser = world.tunnel_with("alice", 1, stand.clone());
    assert_eq!(browser.page("/reports/q3").await.said(), (403, "not-permitted"));
    stand.0.lock().unwrap().push("managers".to_owned());
    assert_eq!(browser.page("/reports/q3").await.status, 200);
    let token = browser.token("/page").await;
    assert_eq!(browser.order("/reports/new", &token, "a=1").await.status, 200);
    stand.0.lock().unwrap().clear();
    assert_eq!(browser.order("/reports/new", &token, "a=2").await.said(), (403, "not-permitted"));
    assert_eq!(browser.page("/reports/q3").await.said(), (403, "not-permitted"));
}

#[tokio::test]
async fn a_change_of_a_users_groups_holds_within_a_second() {
    let world = World::with(rules()).await;
    let browser = world.signed_in("alice").await;
    let alice = UserName::new("alice").unwrap();
    assert_eq!(browser.page("/reports/q3").await.said(), (403, "not-permitted"));
    for (groups, expected) in [(vec!["managers".to_owned()], 200), (vec![], 403)] {
        world.guard.users().set_groups(&alice, &groups).await.unwrap();
        let changed = async {
            while browser.page("/reports/q3").await.status != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), changed).await.expect("the change holds");
    }
}

#[tokio::test]
async fn a_name_that_nobody_has_published() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let cookie = browser.cookie.clone();
    for host in ["payroll.localhost:8080", "payroll.localhost"] {
        browser.host = host.to_owned();
        browser.cookie.clone_from(&cookie);
        assert_eq!(browser.page("/page").await.status, 404, "{host}");
    }
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn no_header_gives_a_command_another_method_than_the_granted() {
    let rules = json!({ "rules": [
        { "who": "everyone", "methods": "reads", "paths": ["/page"] },
        { "who": "everyone", "methods": "POST", "paths": ["/orders/**"] },
    ]});
    let world = World::with(rules).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let order = |name: &str, method: &str| browser.post(&format!("/orders/1?.vestibule={token}")).header(name, method);
    for name in ["X_HTTP_Method_Override", "x-http_method", "X_METHOD_OVERRIDE", "x_method-override"] {
        assert_eq!(browser.send(order(name, "delete"), "a=1").await.said(), (403, "not-permitted"), "{name}");
        let both = order("X-HTTP-Method-Override", "POST").header(name, "DELETE");
        assert_eq!(browser.send(both, "a=1").await.said(), (403, "not-permitted"), "{name}");
    }
    assert_eq!(world.app.commands(), 0);
    assert_eq!(browser.send(order("X_HTTP_Method_Override", "POST"), "a=1").await.status, 200);
}

#[tokio::test]
async fn copies_go_where_a_rule_lets_them() {
    let world = World::with(json!({ "rules": [{ "who": "everyone", "paths": ["/page", "/public/**"] }] })).await;
    let browser = world.tunnel("alice", 1);
    let copy = async |destinations: &[&str]| {
        let token = browser.token("/page").await;
        let method = hyper::Method::from_bytes(b"COPY").unwrap();
        let mut request = browser.call(method, "/public/x", Some(&token));
        for to in destinations {
            request = request.header("destination", *to);
        }
        browser.send(request, "").await.said().0
    };
    let origin = browser.origin();
    for bad in
        ["/admin/config", "/public/../admin", "http://evil.example/public/y", "//evil.example/public/y", "public/y"]
    {
        assert_ne!(copy(&[bad]).await, 200, "{bad}");
    }
    assert_ne!(copy(&[&format!("{origin}/admin/config")]).await, 200);
    assert_ne!(copy(&["/public/y", "/admin/config"]).await, 200);
    assert_eq!(world.app.commands(), 0);
    assert_eq!((copy(&["/public/y"]).await, copy(&[&format!("{origin}/public/y?z")]).await), (200, 200));
}
