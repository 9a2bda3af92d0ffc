//! What must not leak, and what a hostile script in a page can do (T23).

use crate::world::{Browser, World};
use hyper::Method;
use serde_json::json;

/// Everything that a busy session sends, tokens and cookies in every place they travel.
async fn busy(browser: &Browser) -> Vec<String> {
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap().to_owned();
    let referer = format!("{}/page?.vestibule={token}&x=1", browser.origin());
    let form = browser.post("/orders").header("referer", &referer);
    browser.send(form, format!(".vestibule={token}&article=Desk")).await;
    browser.send(browser.post("/orders"), format!("article=Chair&.vestibule={token}")).await;
    let call = browser.call(Method::POST, "/api/a", Some(&format!("{plain}.aaaaaaaaaaaaaaaa")));
    browser.send(call.header("referer", &referer), "{}").await;
    let beacon = browser.call(Method::POST, &format!("/api/b?x=1&.vestibule={plain}.bbbbbbbbbbbbbbbb&y=2"), None);
    browser.send(beacon, "{}").await;
    let mut upload = browser.post("/files");
    upload.headers_mut().unwrap().insert("content-type", "multipart/form-data; boundary=B".parse().unwrap());
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
    let own = format!("--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{token}\r\n");
    browser.send(upload, format!("{own}{part}")).await;
    let mut plain_text = browser.post("/plain");
    plain_text.headers_mut().unwrap().insert("content-type", "text/plain".parse().unwrap());
    browser.send(plain_text, format!(".vestibule={token}\r\na=1\r\n")).await;
    browser.send(browser.get(&format!("/page?.vestibule={token}")), "").await;
    browser.send(browser.read("/data.json", "same-origin", "cors", "empty").header("vestibule-page", &token), "").await;
    let again = browser.order("/orders", &token, "article=Desk").await;
    assert_eq!(again.said(), (409, "already-done"));
    let form = again.form("Do it again");
    assert_eq!(browser.press(&form).await.status, 200);
    vec![plain, form.fields[0].1.split('.').next().unwrap().to_owned()]
}

#[tokio::test]
async fn the_application_sees_neither_token_nor_cookie() {
    let world = World::new().await;
    for browser in [world.tunnel("alice", 1), world.signed_in("bob").await] {
        let before = world.app.seen().len();
        let mut secrets = busy(&browser).await;
        secrets.extend(browser.cookie.clone());
        secrets.extend(
            ["vestibule-page", "name=\".vestibule", ".vestibule=", ".vestibule-kept", "vestibule="].map(str::to_owned),
        );
        let seen = world.app.seen().split_off(before);
        assert_eq!(seen.len(), 10);
        for seen in &seen {
            let all = format!("{} {:?} {}", seen.target, seen.headers, String::from_utf8_lossy(&seen.body));
            for secret in &secrets {
                assert!(!all.contains(secret.as_str()), "{secret} in {all}");
            }
        }
        assert_eq!(seen[1].headers["referer"], "http://orders.localhost:8080/page?x=1");
        assert_eq!((&seen[1].body[..], &seen[2].body[..]), (&b"article=Desk"[..], &b"article=Chair"[..]));
        assert_eq!(seen[4].target, "/api/b?x=1&y=2");
        if browser.cookie.is_some() {
            assert!(seen.iter().all(|seen| seen.headers["cookie"] == "mine=1; other=2"));
        }
    }
    let audit = std::fs::read_to_string(world.dir.path().join("guard/audit.jsonl")).unwrap();
    assert!(!audit.contains("vestibule=") && !audit.contains("Desk"));
}

#[tokio::test]
async fn who_asks_is_said_by_the_guard_alone() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let request = browser.get("/page").header("vestibule-user", "admin").header("x-forwarded-for", "10.0.0.1");
    let request =
        request.header("vestibule_user", "admin").header("forwarded", "for=10.0.0.1").header("proxy", "http://x");
    browser.send(request, "").await;
    let headers = &world.app.seen()[0].headers;
    assert_eq!(headers["vestibule-user"], "alice");
    assert_eq!(headers.get_all("vestibule-user").iter().count(), 1);
    let address = world.session_of("alice").session().address.to_string();
    assert_eq!(headers["x-forwarded-for"], address.as_str());
    assert!(headers["forwarded"].to_str().unwrap().contains(&address));
    assert!(!headers.contains_key("proxy") && !headers.contains_key("vestibule_user"));
}

#[tokio::test]
async fn a_script_in_a_page_does_no_more_than_its_user_may() {
    let rules = json!({ "owner": "Olga", "rules": [
        { "who": "everyone", "methods": "reads", "paths": ["/**"] },
        { "who": "everyone", "paths": ["/api/orders/**"] },
        { "who": "group:managers", "paths": ["/**"] },
    ]});
    let world = World::with(rules).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    let call = async |method: Method, target: &str, action: &str| {
        let token = format!("{plain}.{action}");
        browser.send(browser.call(method, target, Some(&token)), "{}").await
    };
    assert_eq!(call(Method::POST, "/api/orders/7", "a").await.status, 200);
    for (method, target) in [
        (Method::POST, "/api/users"),
        (Method::DELETE, "/page"),
        (Method::PUT, "/api/orders/../users"),
        (Method::from_bytes(b"PURGE").unwrap(), "/api/users"),
    ] {
        let answer = call(method.clone(), target, "b").await;
        assert!(matches!(answer.said(), (403, "not-permitted") | (400, "malformed")), "{method} {target}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], answer.status);
    }
    // A method hidden in a header is the method that counts.
    let read = browser.read("/api/users", "same-origin", "cors", "empty").header("x-http-method-override", "DELETE");
    browser.send(read.header("vestibule-page", &token), "").await;
    assert!(world.app.seen().iter().all(|seen| !seen.headers.contains_key("x-http-method-override")));
    assert_eq!(world.app.commands(), 1);
}

#[tokio::test]
async fn the_guards_own_addresses_never_reach_the_application() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let before = world.app.seen().len();
    for path in ["", "guard.js", "style.css", "login", "sign-off", "alive", "nothing", "../page"] {
        browser.page(&format!("/.vestibule/{path}")).await;
    }
    browser.order("/.vestibule/nothing", &token, "a=1").await;
    assert_eq!(world.app.seen().len(), before);
}

#[tokio::test]
async fn an_application_cant_speak_in_the_guards_name() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let answer = browser.open(browser.get("/spoof"), "").await;
    assert!(!answer.headers().contains_key("vestibule-refused"));
    assert_eq!(answer.headers()["cache-control"], "private, no-cache");
}
