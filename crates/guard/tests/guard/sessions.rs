//! Cookies and sessions (T22), and who may ask for what from where.

use crate::world::{Browser, LONG, World, encoded};
use hyper::Method;
use hyper::http::request::Builder;
use std::time::Duration;

#[tokio::test]
async fn a_cookie_without_a_page_gives_no_command() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    assert_eq!(browser.send(browser.post("/orders"), "article=Desk").await.said(), (403, "no-page"));
    assert_eq!(browser.send(browser.call(Method::POST, "/api/x", None), "{}").await.said(), (403, "no-page"));
    assert_eq!(browser.send(browser.call(Method::DELETE, "/api/x", None), "").await.said(), (403, "no-page"));
    assert!(world.app.seen().is_empty());
    assert_eq!(
        world.audit(),
        ["refused:no-page POST /orders", "refused:no-page POST /api/x", "refused:no-page DELETE /api/x"]
    );
}

#[tokio::test]
async fn a_page_without_its_cookie_gives_no_command() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    let cookie = browser.cookie.take();
    assert_eq!(browser.order("/orders", &token, "a=1").await.said(), (401, "signed-off"));
    let other = world.signed_in("bob").await;
    assert_eq!(other.order("/orders", &token, "a=1").await.said(), (403, "other-session"));
    assert_eq!(world.app.commands(), 0);
    browser.cookie = cookie;
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200);
}

#[tokio::test]
async fn a_cookie_from_another_client_address_where_it_is_bound_to_one() {
    let world =
        World::with_settings(serde_json::json!({}), |settings| settings.sessions.bind_client_address = true).await;
    let browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    let mut thief = browser.clone();
    thief.peer.client = Some("127.0.0.2".parse().unwrap());
    assert_eq!(thief.page("/page").await.said(), (401, "signed-off"));
    assert_eq!(thief.order("/orders", &token, "a=1").await.said(), (401, "signed-off"));
    assert_eq!(world.app.commands(), 0);
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200);
}

#[tokio::test]
async fn a_cookie_set_before_the_login_is_never_adopted() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let planted = "A".repeat(43);
    let mut browser = world.stranger();
    browser.cookie = Some(planted.clone());
    assert_eq!(browser.page("/").await.said(), (401, "signed-off"));
    let answer = browser.log_in("alice", "/").await;
    assert_eq!(answer.status, 303);
    let fresh = answer.cookie().unwrap();
    assert_ne!(fresh, planted);
    assert_eq!(fresh.len(), 43);
    let mut thief = world.stranger();
    thief.cookie = Some(planted);
    assert_eq!(thief.page("/").await.said(), (401, "signed-off"));
    // An attacker's own living session neither: it ends where somebody signs in over it.
    let mut victim = world.signed_in("mallory").await;
    let mallory = victim.clone();
    victim.log_in("alice", "/").await;
    assert_ne!(victim.cookie, mallory.cookie);
    assert_eq!(mallory.page("/").await.said(), (401, "signed-off"));
    assert_eq!(victim.page("/").await.status, 200);
}

#[tokio::test]
async fn every_login_sets_a_fresh_cookie_that_scripts_cant_read() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let first = browser.cookie.clone();
    let answer = browser.log_in("alice", "/").await;
    assert_ne!(browser.cookie, first);
    let field = answer.header("set-cookie");
    assert!(field.contains("; HttpOnly") && field.contains("; SameSite=Lax") && field.contains("; Path=/"), "{field}");
    assert!(!field.contains("Secure") && !field.contains("Domain"), "{field}");
    browser.peer.tls = true;
    let body = format!("user=alice&password={}", encoded(crate::world::PASSWORD));
    let answer = browser.send(browser.post("/.vestibule/login"), body).await;
    assert!(answer.header("set-cookie").starts_with("__Host-vestibule="), "{answer:?}");
    assert!(answer.header("set-cookie").contains("; Secure"));
}

#[tokio::test]
async fn a_wrong_password_opens_nothing() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let browser = world.stranger();
    for user in ["alice", "nobody", "%00", ""] {
        let answer = browser.send(browser.post("/.vestibule/login"), format!("user={user}&password=wrong")).await;
        assert_eq!((answer.said(), answer.cookie()), ((401, "signed-off"), None), "{user}");
        assert!(answer.text().contains("User name or password is wrong"), "{user}");
    }
    assert!(world.guard.sessions().is_empty());
}

fn from(browser: &Browser, target: &str, headers: &[(&str, &str)]) -> Builder {
    let builder = browser.bare(Method::POST, target).header("content-type", crate::world::FORM);
    headers.iter().fold(builder.header("accept", "text/html"), |builder, (name, value)| builder.header(*name, *value))
}

const ELSEWHERE: [&[(&str, &str)]; 7] = [
    &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("origin", "https://evil.example")],
    &[("sec-fetch-site", "cross-site"), ("origin", "http://orders.localhost:8080")],
    &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("origin", "http://other.localhost:8080")],
    &[("origin", "https://evil.example")],
    &[("origin", "http://orders.localhost:8081")],
    &[("origin", "https://orders.localhost:8080")],
    &[("referer", "https://evil.example/page")],
];

#[tokio::test]
async fn another_site_signs_nobody_in_or_off() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    let body = format!("user=alice&password={}", encoded(crate::world::PASSWORD));
    let nothing: &[(&str, &str)] = &[];
    for headers in ELSEWHERE.into_iter().chain([nothing]) {
        for target in ["/.vestibule/login", "/.vestibule/sign-off"] {
            let answer = browser.send(from(&browser, target, headers), body.clone()).await;
            assert_eq!(answer.said(), (403, "cross-site"), "{target} {headers:?}");
            assert_eq!(answer.cookie(), None);
        }
    }
    // Nor does a page of this site without a token.
    assert_eq!(browser.send(browser.post("/.vestibule/sign-off"), "").await.said(), (403, "no-page"));
    assert_eq!(browser.page("/").await.status, 200);
    assert_eq!(world.guard.sessions().len(), 1);
}

#[tokio::test]
async fn another_site_gives_no_command_even_with_a_token() {
    let world = World::new().await;
    for browser in [world.signed_in("alice").await, world.tunnel("bob", 1)] {
        let token = browser.token("/page").await;
        for headers in ELSEWHERE {
            let answer = browser.send(from(&browser, "/orders", headers), format!(".vestibule={token}&a=1")).await;
            assert_eq!(answer.said(), (403, "cross-site"), "{headers:?}");
        }
        // Nothing says where it comes from: only the token does.
        assert_eq!(browser.send(from(&browser, "/orders", &[]), "a=1").await.said(), (403, "no-page"));
        assert_eq!(world.app.commands(), 0);
    }
}

#[tokio::test]
async fn two_cookies_of_the_name_are_none() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    let own = browser.cookie.clone().unwrap();
    let mut bare = browser.clone();
    bare.cookie = None;
    let tossed = "A".repeat(43);
    for cookies in [
        format!("vestibule={own}; vestibule={tossed}"),
        format!("vestibule={tossed}; vestibule={own}"),
        format!("vestibule={own}; vestibule={own}"),
    ] {
        assert_eq!(
            bare.send(bare.get("/").header("cookie", &cookies), "").await.said(),
            (401, "signed-off"),
            "{cookies}"
        );
    }
    let apart =
        bare.get("/").header("cookie", format!("vestibule={tossed}")).header("cookie", format!("vestibule={own}"));
    assert_eq!(bare.send(apart, "").await.said(), (401, "signed-off"));
    // Others of similar names are the application's.
    let similar = bare.get("/").header("cookie", format!("vestibule2={tossed}; vestibule={own}; Vestibule={tossed}"));
    assert_eq!(bare.send(similar, "").await.status, 200);
    for nonsense in ["", "x", &"A".repeat(42), &"A".repeat(44), &"=".repeat(43), &own[1..]] {
        let request = bare.get("/").header("cookie", format!("vestibule={nonsense}"));
        assert_eq!(bare.send(request, "").await.said(), (401, "signed-off"), "{nonsense}");
    }
}

#[tokio::test]
async fn a_login_leads_nowhere_else() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    for (to, location) in [
        ("/orders?x=1", "/orders?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\r\nset-cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ] {
        let mut browser = world.stranger();
        let answer = browser.log_in("alice", to).await;
        assert_eq!((answer.status, answer.header("location")), (303, location), "{to:?}");
    }
}

#[tokio::test]
async fn a_link_from_elsewhere_leads_to_this_very_host() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    for target in ["/page?x=1", "//evil.example/x", "/\\evil.example/x"] {
        let link = browser.read(target, "cross-site", "navigate", "document").header("accept", "text/html");
        let page = browser.send(link, "").await;
        assert_eq!(page.status, 200);
        assert!(world.app.seen().is_empty(), "the application is not asked yet");
        let text = page.text();
        let link = text.split("href=\"").find(|rest| rest.contains(">Go on<")).unwrap().split('"').next().unwrap();
        if target.starts_with("/page") {
            assert!(link.starts_with("/page?x=1&#38;.vestibule="), "{link}");
        } else {
            assert!(link.starts_with("http://orders.localhost:8080/"), "{link}");
        }
    }
}

#[tokio::test]
async fn two_users_and_two_tabs_in_their_own_browsers() {
    let world = World::new().await;
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let tabs = [alice.token("/page").await, alice.token("/page").await];
    let bobs = bob.token("/page").await;
    for tab in &tabs {
        assert_eq!(alice.order("/orders", tab, "article=Desk").await.status, 200);
        assert_eq!(bob.order("/orders", tab, "article=Desk").await.said(), (403, "other-session"));
    }
    assert_eq!(bob.order("/orders", &bobs, "article=Desk").await.status, 200);
    let told: Vec<_> = world.app.at("/orders").iter().map(|seen| seen.headers["vestibule-user"].clone()).collect();
    assert_eq!(told, ["alice", "alice", "bob"]);
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let world = World::with_settings(serde_json::json!({}), |settings| {
        settings.sessions.idle = Duration::from_millis(400);
    })
    .await;
    let browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    let wait = async {
        while !world.guard.sessions().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
    assert_eq!(browser.order("/orders", &token, "a=1").await.said(), (401, "signed-off"));
    assert_eq!(world.app.commands(), 0);
}
