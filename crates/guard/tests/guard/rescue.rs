//! A form that meets an ended session is kept for its user, and sent once.

use crate::world::World;
use vestibule_guard::Selector;

#[tokio::test]
async fn a_form_is_sent_after_the_login() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    world.guard.revoke(&Selector::All).await.unwrap();
    let login = browser.order("/orders?x=1", &token, "article=Desk&note=a+long+text").await;
    assert_eq!(login.said(), (401, "signed-off"));
    assert!(login.text().contains("has been kept"));
    let kept = login.forms()[0].fields.iter().find(|(name, _)| name == "kept").unwrap().1.clone();
    // A wrong password does not lose it.
    let wrong = browser.send(browser.post("/.vestibule/login"), format!("user=alice&password=wrong&kept={kept}")).await;
    assert!(wrong.forms()[0].fields.iter().any(|(name, value)| name == "kept" && *value == kept));
    let offer = browser.log_in_with("alice", &format!("kept={kept}")).await;
    assert_eq!(offer.said(), (200, ""));
    assert_eq!(world.app.commands(), 0, "not without being asked");
    let form = offer.form("Send it now");
    assert_eq!(browser.press(&form).await.said(), (200, ""));
    let arrived = world.app.at("/orders");
    assert_eq!((arrived.len(), arrived[0].target.as_str()), (1, "/orders?x=1"));
    assert_eq!(arrived[0].body, "article=Desk&note=a+long+text", "as the page's own, without the token");
    assert_eq!(arrived[0].headers["content-length"], "29");
    assert_eq!(browser.press(&form).await.said(), (409, "already-done"));
    assert_eq!(world.app.commands(), 1);
    assert_eq!(world.audit(), ["done POST /orders 200", "repeated POST /orders"]);
}

#[tokio::test]
async fn an_upload_is_kept_too() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    world.guard.revoke(&Selector::All).await.unwrap();
    let mut request = browser.post("/files");
    request.headers_mut().unwrap().insert("content-type", "multipart/form-data; boundary=B".parse().unwrap());
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
    let own = format!("--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{token}\r\n");
    let login = browser.send(request, format!("{own}{part}")).await;
    let kept = login.forms()[0].fields.iter().find(|(name, _)| name == "kept").unwrap().1.clone();
    let offer = browser.log_in_with("alice", &format!("kept={kept}")).await;
    assert_eq!(browser.press(&offer.form("Send it now")).await.said(), (200, ""));
    let arrived = &world.app.at("/files")[0];
    assert_eq!(arrived.body, part);
    assert_eq!(arrived.headers["content-type"], "multipart/form-data; boundary=B");
}

#[tokio::test]
async fn a_form_is_its_users_alone() {
    let world = World::new().await;
    world.add_user("bob", &[]).await;
    let mut browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    world.guard.revoke(&Selector::All).await.unwrap();
    let login = browser.order("/orders", &token, "article=Desk").await;
    let kept = login.forms()[0].fields.iter().find(|(name, _)| name == "kept").unwrap().1.clone();
    // Another user of the same browser, or whoever has found the ticket.
    let answer = browser.log_in_with("bob", &format!("kept={kept}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"));
    let body = format!(".vestibule={}&.vestibule-kept={kept}&.vestibule-do=send", browser.token("/page").await);
    assert_eq!(browser.send(browser.post("/orders"), body).await.said(), (403, "expired-page"));
    assert_eq!(world.app.commands(), 0);
    let offer = browser.log_in_with("alice", &format!("kept={kept}")).await;
    assert_eq!(browser.press(&offer.form("Send it now")).await.status, 200);
    assert_eq!(world.app.commands(), 1);
}

#[tokio::test]
async fn a_stranger_s_form_is_not_kept() {
    let world = World::new().await;
    let mut browser = world.stranger();
    for cookie in [None, Some("A".repeat(43))] {
        browser.cookie = cookie;
        let login = browser.order("/orders", "AAAA", "article=Desk").await;
        assert_eq!(login.said(), (401, "signed-off"));
        assert!(login.forms()[0].fields.iter().all(|(name, _)| name != "kept"));
    }
    assert_eq!(world.app.commands(), 0);
}

#[tokio::test]
async fn over_a_tunnel() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    browser.sign_off().await;
    let page = browser.order("/orders", &token, "article=Desk").await;
    assert_eq!(page.said(), (401, "signed-off"));
    let offer = browser.press(&page.form("Sign in again")).await;
    assert_eq!(offer.status, 200);
    assert_eq!(world.app.commands(), 0);
    assert_eq!(browser.press(&offer.form("Send it now")).await.status, 200);
    assert_eq!(world.app.at("/orders")[0].body, "article=Desk");
}

#[tokio::test]
async fn another_site_has_nothing_kept() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    world.guard.revoke(&Selector::All).await.unwrap();
    let mut request = browser.post("/orders");
    let headers = request.headers_mut().unwrap();
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    headers.insert("origin", "https://evil.example".parse().unwrap());
    let answer = browser.send(request, "article=Yacht").await;
    assert_eq!(answer.said(), (403, "cross-site"));
    assert!(answer.forms().is_empty());
}

#[tokio::test]
async fn what_another_site_wrote_is_not_kept() {
    let world = World::new().await;
    let browser = world.signed_in("alice").await;
    let token = browser.token("/page").await;
    world.guard.revoke(&Selector::All).await.unwrap();
    for origin in [Some("null"), Some("http://evil.example"), None] {
        let mut request = browser.post("/orders");
        let fields = request.headers_mut().unwrap();
        for told in ["origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"] {
            fields.remove(told);
        }
        fields.insert("accept", "text/html".parse().unwrap());
        fields.extend(
            origin.map(|origin| ("origin".parse::<hyper::header::HeaderName>().unwrap(), origin.parse().unwrap())),
        );
        let answer = browser.send(request, format!(".vestibule={token}&article=Desk")).await;
        assert_ne!(answer.status, 200, "{origin:?}");
        assert!(answer.forms().iter().all(|form| form.fields.iter().all(|(name, _)| name != "kept")), "{origin:?}");
    }
}
