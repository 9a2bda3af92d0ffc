//! Large commands: they stream, and arrive whole once.

use crate::world::{Browser, World};
use bytes::Bytes;

const LEN: usize = 1_500_000;

fn upload(token: &str, byte: u8) -> Bytes {
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{token}\r\n\
         --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n"
    );
    [head.as_bytes(), &vec![byte; LEN], b"\r\n--B--\r\n"].concat().into()
}

async fn send(browser: &Browser, body: Bytes) -> crate::world::Answer {
    let request = browser.post("/files");
    let mut request = request;
    request.headers_mut().unwrap().insert("content-type", "multipart/form-data; boundary=B".parse().unwrap());
    browser.send(request, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_twice_at_once_and_afterwards() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let body = upload(&token, 7);
    let (one, other) = tokio::join!(send(&browser, body.clone()), send(&browser, body.clone()));
    let said = [one.said(), other.said()];
    assert!(said.contains(&(200, "")), "{said:?}");
    assert!(said.iter().all(|said| matches!(said, (200, "") | (409, "already-done"))), "{said:?}");
    assert_eq!(world.app.at("/files").len(), 1);
    let arrived = &world.app.at("/files")[0];
    let expected = upload("", 7);
    assert!(expected.ends_with(&arrived.body), "byte for byte without the token's part");
    assert_eq!(arrived.headers["content-length"], arrived.body.len().to_string());

    let receipt = send(&browser, body).await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert_eq!(world.app.at("/files").len(), 1);
    // What was sent is too large to keep: it can be seen, but not sent again from here.
    assert_eq!(receipt.forms().iter().map(|form| form.button.as_str()).collect::<Vec<_>>(), ["See the result"]);
    assert!(browser.press(&receipt.form("See the result")).await.text().contains("done 1<"));
    assert_eq!(send(&browser, upload(&token, 8)).await.said(), (200, ""));
    assert_eq!(world.app.at("/files").len(), 2);
}

#[tokio::test]
async fn an_upload_without_a_page_is_refused_before_it_is_read() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.page("/").await;
    let stolen = world.tunnel("bob", 2).token("/page").await;
    assert_eq!(send(&browser, upload(&stolen, 7)).await.said(), (403, "other-session"));
    let bare = Bytes::from([&b"--B\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n"[..], &[7; LEN]].concat());
    assert_eq!(send(&browser, bare).await.said(), (403, "no-page"));
    assert!(world.app.seen().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test]
async fn an_upload_whose_token_is_in_the_query() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let body = Bytes::from(vec![b'z'; LEN]);
    let sent = || browser.post(&format!("/files?a=1&.vestibule={token}&b=2")).header("content-length", LEN);
    let (one, other) = tokio::join!(browser.send(sent(), body.clone()), browser.send(sent(), body.clone()));
    assert!(one.status == 200 || other.status == 200);
    let arrived = world.app.at("/files");
    assert_eq!((arrived.len(), arrived[0].target.as_str(), &arrived[0].body), (1, "/files?a=1&b=2", &body));
}
