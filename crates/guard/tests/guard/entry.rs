//! Entry proof: who comes to a strict application without a page shows that this is the browser in which somebody signed in. A
//! stolen cookie alone reads nothing.

use crate::world::{Answer, Browser, PASSWORD, World, attribute, encoded};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::json;

/// A browser's key, as its script makes and uses it.
struct Key(EcdsaKeyPair);

/// What the page at the entry gives its script.
#[derive(Clone)]
struct Asked {
    app: String,
    session: String,
    challenge: String,
    to: String,
}

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    fn signature(&self, asked: &Asked, origin: &str) -> String {
        let Asked { app, session, challenge, to } = asked;
        let message = ["vestibule/1 entry proof", app, origin, session, challenge, to].join("\n");
        URL_SAFE_NO_PAD.encode(self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap())
    }

    /// What the script posts.
    fn proof(&self, asked: &Asked, origin: &str) -> String {
        let signature = self.signature(asked, origin);
        format!("challenge={}&to={}&signature={signature}", asked.challenge, encoded(&asked.to))
    }
}

impl Asked {
    fn of(page: &Answer) -> Self {
        let text = page.text();
        let (_, tag) = text.split_once("id=\"entry\"").unwrap_or_else(|| panic!("a page at the entry: {text}"));
        let data = |name: &str| attribute(tag, &format!("data-{name}"));
        Self { app: data("app"), session: data("session"), challenge: data("challenge"), to: data("to") }
    }
}

fn strict() -> serde_json::Value {
    json!({ "mode": "strict", "commands": ["/delete"] })
}

async fn signed_in(world: &World, user: &str, key: &Key) -> Browser {
    if !world.guard.users().list().await.unwrap().iter().any(|known| known.name.as_str() == user) {
        world.add_user(user, &[]).await;
    }
    let mut browser = world.stranger();
    assert_eq!(browser.log_in_with(user, &format!("to=/&key={}", key.text())).await.status, 303);
    browser
}

async fn post(browser: &Browser, body: &str) -> Answer {
    browser.send(browser.call(Method::POST, "/.vestibule/entry", None), body.to_owned()).await
}

/// Where a proof leads.
fn way_in(answer: &Answer) -> String {
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    said["to"].as_str().unwrap().to_owned()
}

async fn follow(browser: &Browser, target: &str) -> Answer {
    browser.send(browser.read(target, "same-origin", "navigate", "document").header("accept", "text/html"), "").await
}

#[tokio::test]
async fn a_browser_with_its_key_reads_what_it_came_for() {
    let world = World::with(strict()).await;
    let key = Key::new();
    let browser = signed_in(&world, "alice", &key).await;
    for target in ["/page?x=1&y=%26", "/", "/a/b?", "/led"] {
        let before = world.app.seen().len();
        let between = browser.page(target).await;
        assert_eq!((between.status, between.header("cache-control")), (200, "no-store"));
        let policy = between.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(between.text().contains("<noscript>") && between.text().contains("href=\"/.vestibule/login?to="));
        assert_eq!(world.app.seen().len(), before, "nothing has been read yet");
        let proven = post(&browser, &key.proof(&Asked::of(&between), &browser.origin())).await;
        assert_eq!((proven.status, proven.header("cache-control")), (200, "no-store"));
        let to = way_in(&proven);
        let page = follow(&browser, &to).await;
        assert!(matches!(page.status, 200 | 302), "{target}: {}", page.text());
        assert_eq!(world.app.seen().last().unwrap().target, target.trim_end_matches('?'), "as it was asked for");
        // The page that came has a token like every page; the address it came by is good for nothing more.
        let again = follow(&browser, &to).await;
        assert_eq!(Asked::of(&again).to, target.trim_end_matches('?'));
        assert_eq!(world.app.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn a_stolen_cookie_alone_reads_nothing() {
    let world = World::with(strict()).await;
    let key = Key::new();
    let owner = signed_in(&world, "alice", &key).await;
    // What the owner does meanwhile, and the thief may have seen.
    let asked = Asked::of(&owner.page("/page").await);
    let (used, unused) = (key.proof(&asked, &owner.origin()), Asked::of(&owner.page("/page").await));
    let to = way_in(&post(&owner, &used).await);
    assert_eq!(follow(&owner, &to).await.status, 200);
    let before = world.app.seen().len();

    let (thief, own_key) = (owner.clone(), Key::new());
    let mut answers = Vec::new();
    for target in ["/page", "/", "/data.json", "/delete", "/led", "/.vestibule/", "/.vestibule/login?to=/page", &to] {
        for (site, mode, dest) in [
            ("none", "navigate", "document"),
            ("same-origin", "navigate", "document"),
            ("same-origin", "navigate", "iframe"),
            ("cross-site", "navigate", "document"),
            ("same-origin", "cors", "empty"),
            ("same-origin", "same-origin", "empty"),
            ("same-origin", "no-cors", "script"),
        ] {
            let read = thief.read(target, site, mode, dest).header("accept", "text/html");
            answers.push(thief.send(read, "").await);
            let read = thief.read(target, site, mode, dest).header("sec-purpose", "prefetch;prerender");
            answers.push(thief.send(read, "").await);
        }
        answers.push(thief.send(thief.bare(Method::GET, target), "").await);
        answers.push(thief.send(thief.bare(Method::GET, target).header("accept", "text/html"), "").await);
    }
    let mine = Asked::of(&thief.page("/page").await);
    for proof in [
        own_key.proof(&mine, &thief.origin()),
        used.clone(),
        key.proof(&asked, "http://evil.example"),
        format!("{}&key={}", own_key.proof(&unused, &thief.origin()), own_key.text()),
    ] {
        let answer = post(&thief, &proof).await;
        assert!(matches!(answer.said(), (403, "other-session") | (409, "already-done")), "{answer:?}");
        answers.push(answer);
    }
    // A key of the thief's own comes in with the password alone.
    for password in ["", "wrong"] {
        let form = format!("user=alice&password={password}&to=/page&key={}", own_key.text());
        assert_eq!(thief.send(thief.post("/.vestibule/login"), form).await.said(), (401, "signed-off"));
    }
    let again = Asked::of(&thief.page("/page").await);
    assert_eq!(post(&thief, &own_key.proof(&again, &thief.origin())).await.said(), (403, "other-session"));

    for answer in &answers {
        let text = answer.text();
        assert!(!text.contains("Desk") && !text.contains("name=\".vestibule\"") && !text.contains("alice"), "{text}");
    }
    // What pages are made of was asked for, and what is nothing of the kind did not get through.
    for seen in world.app.seen().split_off(before) {
        assert!(seen.headers.get("sec-fetch-dest").is_none_or(|dest| dest == "script"), "{seen:?}");
    }
    assert_eq!(owner.page("/page").await.status, 200, "the owner's session goes on");
}

#[tokio::test]
async fn a_part_of_a_page_is_no_way_to_a_page() {
    let world = World::with(strict()).await;
    let browser = signed_in(&world, "alice", &Key::new()).await;
    let part = async |target: &str| browser.send(browser.read(target, "same-origin", "no-cors", "image"), "").await;
    assert_eq!(part("/style.css").await.status, 200);
    let missing = part("/missing").await;
    assert_eq!(
        (missing.said(), missing.text().as_str()),
        ((404, ""), ""),
        "an error page is a page: it says only that"
    );
    let led = part("/led").await;
    assert_eq!((led.status, led.header("location"), led.text().as_str()), (302, "/page?led=1", ""));
}

#[tokio::test]
async fn a_proof_is_for_one_session_one_address_and_one_time() {
    let world = World::with(strict()).await;
    let (key, other_key) = (Key::new(), Key::new());
    let browser = signed_in(&world, "alice", &key).await;
    let other = signed_in(&world, "bob", &other_key).await;
    let asked = Asked::of(&browser.page("/page?x=1").await);
    let theirs = Asked::of(&other.page("/page?x=1").await);
    let origin = browser.origin();
    let changed = |change: &dyn Fn(&mut Asked)| {
        let mut asked = asked.clone();
        change(&mut asked);
        asked
    };
    for wrong in [
        changed(&|asked| asked.to = "/reports".to_owned()),
        changed(&|asked| asked.to = "https://evil.example/".to_owned()),
        changed(&|asked| asked.to = "//evil.example/".to_owned()),
        changed(&|asked| asked.to = "/delete?id=1".to_owned()),
        changed(&|asked| asked.app = "wiki".to_owned()),
        changed(&|asked| asked.session = "A".repeat(43)),
        changed(&|asked| asked.challenge.replace_range(40..44, "AAAA")),
        changed(&|asked| asked.challenge.clone_from(&theirs.challenge)),
        theirs.clone(),
    ] {
        assert_eq!(post(&browser, &key.proof(&wrong, &origin)).await.said(), (403, "other-session"));
    }
    let proof = key.proof(&asked, &origin);
    assert_eq!(post(&other, &proof).await.said(), (403, "other-session"), "another session's");
    assert_eq!(post(&browser, &other_key.proof(&asked, &origin)).await.said(), (403, "other-session"));
    for (body, said) in [
        (String::new(), (400, "malformed")),
        (proof.replace("challenge=", "challenge=A"), (400, "malformed")),
        (proof.replace("&to=", "&at="), (400, "malformed")),
        (format!("{proof}{}", "A".repeat(80)), (403, "other-session")),
        (format!("{proof}&more={}", "A".repeat(40_000)), (413, "too-large")),
    ] {
        assert_eq!(post(&browser, &body).await.said(), said, "{body:.40}");
    }
    let mut from_elsewhere = browser.call(Method::POST, "/.vestibule/entry", None);
    from_elsewhere.headers_mut().unwrap().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(browser.send(from_elsewhere, proof.clone()).await.said(), (403, "cross-site"));

    let to = way_in(&post(&browser, &proof).await);
    assert_eq!(post(&browser, &proof).await.said(), (409, "already-done"));
    // What it bought is good for the address that was asked for, in this session; and for a page, not for a script's call.
    let admission = to.split_once(".vestibule=").unwrap().1;
    let before = world.app.seen().len();
    for target in ["/reports", "/page", "/page?x=2", "/delete?id=1", "/.vestibule/"] {
        let joint = if target.contains('?') { '&' } else { '?' };
        follow(&browser, &format!("{target}{joint}.vestibule={admission}")).await;
        follow(&other, &format!("{target}{joint}.vestibule={admission}")).await;
    }
    follow(&other, &to).await;
    assert_eq!(browser.order("/orders", admission, "a=1").await.status, 403);
    assert_eq!(browser.send(browser.call(Method::POST, "/api/x", Some(admission)), "{}").await.status, 403);
    assert_eq!(world.app.seen().len(), before);
    assert_eq!(follow(&browser, &to).await.status, 200);
    assert_eq!(world.app.seen().last().unwrap().target, "/page?x=1");
}

#[tokio::test]
async fn an_entry_is_never_a_command_and_a_prefetch_never_an_entry() {
    let world = World::with(strict()).await;
    let key = Key::new();
    let browser = signed_in(&world, "alice", &key).await;
    assert_eq!(browser.page("/delete?id=1").await.said(), (403, "no-page"));
    let prefetch = browser.get("/page").header("sec-purpose", "prefetch;prerender");
    assert_eq!(browser.send(prefetch, "").await.said(), (403, "no-page"));
    let to = way_in(&post(&browser, &key.proof(&Asked::of(&browser.page("/page").await), &browser.origin())).await);
    let prefetch = browser.get(&to).header("sec-purpose", "prefetch;prerender");
    assert_eq!(browser.send(prefetch, "").await.said(), (403, "no-page"), "not even with a proof");
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn another_site_leads_in_by_hand() {
    let world = World::with(strict()).await;
    let key = Key::new();
    let browser = signed_in(&world, "alice", &key).await;
    let led = browser.read("/page?x=1", "cross-site", "navigate", "document").header("accept", "text/html");
    let notice = browser.send(led, "").await;
    assert!(notice.text().contains("href=\"/page?x=1\">Go on<") && !notice.text().contains("<script"));
    let between = follow(&browser, "/page?x=1").await;
    assert_eq!(Asked::of(&between).to, "/page?x=1");
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn redirects_lead_on_from_the_page_that_led_to_them() {
    let world = World::with(strict()).await;
    let key = Key::new();
    let browser = signed_in(&world, "alice", &key).await;
    let asked = Asked::of(&browser.page("/led").await);
    let led = follow(&browser, &way_in(&post(&browser, &key.proof(&asked, &browser.origin())).await)).await;
    assert!(led.status == 302 && led.header("cache-control").contains("no-store"), "{led:?}");
    assert!(led.header("location").starts_with("/page?led=1&.vestibule="), "{led:?}");
    let page = follow(&browser, led.header("location")).await;
    assert_eq!((page.status, world.app.seen().last().unwrap().target.as_str()), (200, "/page?led=1"));
    // A form's answer, too; and once.
    let put = browser.order("/put", &page.token(), "a=1").await;
    let location = put.header("location").to_owned();
    assert!(location.starts_with("/page?put&.vestibule=") && location.ends_with("#there"), "{location}");
    let location = location.strip_suffix("#there").unwrap();
    assert!(!follow(&browser, location).await.token().is_empty());
    assert_eq!(Asked::of(&follow(&browser, location).await).to, "/page?put");
}

#[tokio::test]
async fn the_key_outlives_a_restart_and_is_never_another() {
    let world = World::with(strict()).await;
    let (key, other) = (Key::new(), Key::new());
    let browser = signed_in(&world, "alice", &key).await;
    let before = Asked::of(&browser.page("/page").await);
    let cookie = browser.cookie.clone();
    drop(browser);
    let world = world.restarted().await;
    world.change(strict());
    let mut browser = world.stranger();
    browser.cookie = cookie;
    let proof = key.proof(&before, &browser.origin());
    assert_eq!(post(&browser, &proof).await.said(), (403, "other-session"), "given out before the restart");
    let asked = Asked::of(&browser.page("/page").await);
    assert_eq!(post(&browser, &other.proof(&asked, &browser.origin())).await.said(), (403, "other-session"));
    assert_eq!(post(&browser, &key.proof(&asked, &browser.origin())).await.status, 200);
}

#[tokio::test]
async fn without_a_key_the_entry_asks_to_sign_in_again() {
    let world = World::with(strict()).await;
    world.add_user("alice", &[]).await;
    for key in ["", "AAAA", &"A".repeat(87), &"A".repeat(3_000)] {
        let mut browser = world.stranger();
        let body = format!("user=alice&password={}&to=/page&key={key}", encoded(PASSWORD));
        let answer = browser.send(browser.post("/.vestibule/login"), body).await;
        browser.cookie = answer.cookie();
        assert_eq!(follow(&browser, answer.header("location")).await.status, 200);
        assert_eq!(browser.page("/page").await.said(), (401, "signed-off"));
        assert_eq!(post(&browser, "challenge=A&to=/page&signature=A").await.said(), (403, "no-page"));
    }
    assert_eq!(post(&world.stranger(), "challenge=A&to=/page&signature=A").await.said(), (401, "signed-off"));
    let browser = world.tunnel("bob", 1);
    assert_eq!(post(&browser, "challenge=A&to=/page&signature=A").await.said(), (403, "no-page"));
}

/// Whether a body holds anything that leads on.
fn leads_on(answer: &Answer) -> bool {
    let text = answer.text();
    text.contains("data-page") || text.contains("name=\".vestibule\"") || text.contains("Desk")
}

#[tokio::test]
async fn a_point_of_entry_gives_a_cookie_alone_no_page() {
    let entry = ["POST /acs", "POST /put", "GET /page", "GET /ws"];
    let world = World::with(json!({ "mode": "strict", "entry": entry })).await;
    let key = Key::new();
    let browser = signed_in(&world, "alice", &key).await;
    let from_elsewhere = |target: &str| {
        let mut request = browser.post(target);
        let headers = request.headers_mut().unwrap();
        headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
        headers.insert("origin", "https://login.example".parse().unwrap());
        request
    };
    let socket = |target: &str| {
        let request = browser.bare(Method::GET, target).header("connection", "upgrade").header("upgrade", "websocket");
        request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("origin", browser.origin())
    };
    // The application answers each of them with a page.
    let posted = "SAMLResponse=a";
    for (request, body) in [(from_elsewhere("/acs"), posted), (browser.post("/acs"), posted), (socket("/page"), "")] {
        let answer = browser.send(request, body).await;
        assert_eq!(answer.said(), (403, "no-page"));
        assert!(!leads_on(&answer), "{}", answer.text());
    }
    assert_eq!((world.app.at("/acs").len(), world.app.at("/page").len()), (2, 1), "they were let through");
    let unconnected =
        browser.bare(Method::GET, "/page").header("upgrade", "websocket").header("origin", browser.origin());
    assert!(!leads_on(&browser.send(unconnected, "").await), "that asks for no WebSocket");
    assert_eq!(browser.open(socket("/ws"), "").await.status(), 101);
    // A redirect leads on, to where the browser proves itself.
    let led = browser.send(from_elsewhere("/put"), "SAMLResponse=a").await;
    assert_eq!((led.status, led.header("location"), led.text().as_str()), (303, "/page?put#there", ""));
    let asked = Asked::of(&follow(&browser, "/page?put").await);
    let page = follow(&browser, &way_in(&post(&browser, &key.proof(&asked, &browser.origin())).await)).await;
    assert_eq!(page.status, 200);
    // What a page of the application sends there is answered with a page.
    let answer = browser.order("/acs", &page.token(), "SAMLResponse=b").await;
    assert!(answer.status == 200 && leads_on(&answer), "{answer:?}");
}
