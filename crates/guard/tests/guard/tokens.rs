//! Tokens that aren't what they seem (T20).

use crate::world::{Browser, World, now, orders};
use hyper::Method;
use serde_json::json;
use std::time::Duration;
use vestibule_guard::{AppName, KeyringSettings, Page, PageKeys, SealedGrants, Serial, Stamp, TOKEN_LONGEST, store};
use vestibule_policy::web::GrantSet;

/// Seals a page of this user's session with the guard's own key, at any time.
async fn sealed(world: &World, user: &str, app: &AppName, issued: Stamp) -> String {
    let store = store::open(&world.dir.path().join("guard/guard.sqlite")).unwrap();
    let keys = PageKeys::open(store, KeyringSettings::default(), now()).await.unwrap();
    let live = world.session_of(user);
    let session = live.session();
    let page = Page {
        user: session.user.clone(),
        serial: Serial(900),
        issued,
        source: [0; 16],
        grants: SealedGrants::Inline(GrantSet::everything()),
    };
    keys.seal(&page, &session.context(app)).as_str().to_owned()
}

async fn refused(world: &World, browser: &Browser, token: &str, expected: (u16, &str)) {
    let answer = browser.order("/orders", token, "article=Desk").await;
    assert_eq!(answer.said(), expected, "{token}");
    let answer = browser.send(browser.call(Method::POST, "/api/orders", Some(token)), "{}").await;
    assert_eq!(answer.said(), expected, "{token}");
    assert_eq!(world.app.commands(), 0, "{token}");
}

#[tokio::test]
async fn a_page_gives_its_command() {
    let world = World::new().await;
    for browser in [world.tunnel("alice", 1), world.signed_in("bob").await] {
        let token = browser.token("/page").await;
        let answer = browser.order("/orders", &token, "article=Desk").await;
        assert_eq!(answer.said(), (200, ""));
        assert!(answer.text().contains("done"));
    }
    let seen = world.app.at("/orders");
    assert_eq!(seen.iter().map(|seen| &seen.body[..]).collect::<Vec<_>>(), [b"article=Desk"; 2]);
    assert_eq!(world.audit(), ["done POST /orders 200"; 2]);
}

#[tokio::test]
async fn a_token_that_is_none() {
    let world = World::with_settings(serde_json::json!({}), |settings| settings.audit.refusals = 30).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    assert!(plain.len() <= TOKEN_LONGEST);
    refused(&world, &browser, &"A".repeat(64), (403, "other-session")).await;
    refused(&world, &browser, &"A".repeat(TOKEN_LONGEST), (403, "other-session")).await;
    for oversized in [TOKEN_LONGEST + 1, 4_000] {
        refused(&world, &browser, &"A".repeat(oversized), (400, "malformed")).await;
    }
    for malformed in ["!", "a b", "..", "x.y.z", &format!("{plain}.{}", "a".repeat(33)), &format!("{plain}=")] {
        refused(&world, &browser, malformed, (400, "malformed")).await;
    }
    for len in [1, 20, plain.len() / 2, plain.len() - 1] {
        refused(&world, &browser, &plain[..len], (403, "other-session")).await;
    }
    refused(&world, &browser, &format!("{plain}A"), (403, "other-session")).await;
    let audit = world.audit();
    assert!(audit.iter().all(|line| line.starts_with("refused:")), "{audit:?}");
    assert_eq!(audit.len(), 30);
}

#[tokio::test]
async fn no_bit_of_a_token_can_be_flipped() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    for at in (0..plain.len()).step_by(5) {
        let mut altered = plain.to_owned().into_bytes();
        altered[at] = if altered[at] == b'Q' { b'g' } else { b'Q' };
        refused(&world, &browser, std::str::from_utf8(&altered).unwrap(), (403, "other-session")).await;
    }
}

#[tokio::test]
async fn a_token_opens_in_its_own_session_alone() {
    let world = World::new().await;
    let alice = world.tunnel("alice", 1);
    let token = alice.token("/page").await;
    for other in [world.tunnel("alice", 2), world.tunnel("bob", 3), world.signed_in("alice").await] {
        other.page("/").await;
        refused(&world, &other, &token, (403, "other-session")).await;
    }
    assert_eq!(alice.order("/orders", &token, "a=1").await.status, 200);
}

#[tokio::test]
async fn a_token_opens_at_its_own_application_alone() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.page("/").await;
    let other = sealed(&world, "alice", &AppName::new("payroll").unwrap(), now()).await;
    refused(&world, &browser, &other, (403, "other-session")).await;
    let own = sealed(&world, "alice", &orders(), now()).await;
    assert_eq!(browser.order("/orders", &own, "a=1").await.status, 200);
}

#[tokio::test]
async fn a_token_of_too_long_ago_or_of_the_future() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.page("/").await;
    let lifetime = KeyringSettings::default().page_lifetime;
    let old = sealed(&world, "alice", &orders(), now().before(lifetime + Duration::from_secs(1))).await;
    refused(&world, &browser, &old, (403, "expired-page")).await;
    let future = sealed(&world, "alice", &orders(), now().after(Duration::from_secs(600))).await;
    refused(&world, &browser, &future, (403, "other-session")).await;
}

#[tokio::test]
async fn a_token_after_sign_off() {
    let world = World::new().await;
    let mut cookie = world.signed_in("bob").await;
    for browser in [world.tunnel("alice", 1), cookie.clone()] {
        let token = browser.token("/page").await;
        assert_eq!(browser.sign_off().await.said(), (200, "signed-off"));
        refused(&world, &browser, &token, (401, "signed-off")).await;
        // Nor in the session that its user begins afterwards.
        let again = browser.send(browser.post("/.vestibule/login"), "to=/").await;
        if browser.peer.tunnel.is_some() {
            assert_eq!(again.status, 303);
            refused(&world, &browser, &token, (403, "other-session")).await;
        }
    }
    let token = world.tunnel("carol", 4).token("/page").await;
    cookie.log_in("bob", "/").await;
    refused(&world, &cookie, &token, (403, "other-session")).await;
}

#[tokio::test]
async fn two_tokens_are_none() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let (one, other) = (browser.token("/page").await, browser.token("/page").await);
    assert_ne!(one, other);
    let answer = browser.order("/orders", &one, &format!("a=1&.vestibule={other}")).await;
    assert_eq!(answer.said(), (400, "malformed"));
    let target = format!("/orders?.vestibule={other}");
    let answer = browser.send(browser.call(Method::POST, &target, Some(&one)), "{}").await;
    assert_eq!(answer.said(), (400, "malformed"));
    assert_eq!(world.app.commands(), 0);
}

#[tokio::test]
async fn a_page_of_before_a_grant_cant_use_it() {
    let rules = |paths: &[&str]| json!({ "owner": "Olga", "rules": [{ "who": "everyone", "paths": paths }] });
    let world = World::with(rules(&["/page", "/orders"])).await;
    let browser = world.tunnel("alice", 1);
    let before = browser.token("/page").await;
    world.change(rules(&["/page", "/orders", "/admin/**"]));
    assert_eq!(browser.order("/admin/users", &before, "a=1").await.said(), (403, "not-permitted"));
    assert_eq!(world.app.commands(), 0);
    let after = browser.token("/page").await;
    assert_eq!(browser.order("/admin/users", &after, "a=1").await.status, 200);
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways() {
    let rules = json!({ "rules": [{ "who": "everyone", "paths": ["/page", "/orders/**"] }] });
    let world = World::with(rules).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let tricks = [
        "/orders/../admin",
        "/orders/%2e%2e/admin",
        "/orders/%2e%2e%2fadmin",
        "/orders/..%5cadmin",
        "/orders//../admin",
        "/orders/..;/admin",
        "/orders/%252e%252e/admin",
        "/orders/%c0%ae%c0%ae/admin",
        "/orders/%00/admin",
    ];
    for trick in tricks {
        let answer = browser.order(trick, &token, "a=1").await;
        assert!(matches!(answer.said(), (400, "malformed") | (403, "not-permitted")), "{trick}: {:?}", answer.said());
        let answer = browser.page(trick).await;
        assert!(matches!(answer.said(), (400, "malformed") | (403, "not-permitted")), "{trick}: {:?}", answer.said());
    }
    assert_eq!(world.app.seen().len(), 1, "only the page itself");
}
