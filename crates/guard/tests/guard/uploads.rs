//! Large commands: they stream, and nothing of them arrives twice.

use crate::raw::{connection, head, stand_in};
use crate::world::{Answer, Browser, HOST, LONG, World};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

const LEN: usize = 1_500_000;

fn upload(token: &str, byte: u8) -> Bytes {
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\".vestibule\"\r\n\r\n{token}\r\n\
         --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n"
    );
    [head.as_bytes(), &vec![byte; LEN], b"\r\n--B--\r\n"].concat().into()
}

async fn send(browser: &Browser, body: Bytes) -> Answer {
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
    assert_eq!(begun_at(&world, "/files"), 1, "of the other the application has seen nothing");
    let arrived = &world.app.at("/files")[0];
    let expected = upload("", 7);
    assert!(expected.ends_with(&arrived.body), "byte for byte without the token's part");
    assert_eq!(arrived.headers["content-length"], arrived.body.len().to_string());

    let receipt = send(&browser, body).await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert_eq!(begun_at(&world, "/files"), 1);
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

/// How many requests the application has seen here, whole or not.
fn begun_at(world: &World, path: &str) -> usize {
    world.app.seen().iter().filter(|seen| seen.target == path).count()
}

/// A body that says nothing of itself.
async fn plain(browser: &Browser, token: &str, body: impl Into<Bytes>) -> Answer {
    browser.send(browser.post(&format!("/files?.vestibule={token}")).header("content-type", "text/csv"), body).await
}

/// A connection on which an upload of this length has begun.
async fn begun(world: &World, browser: &Browser, token: &str, length: usize) -> DuplexStream {
    let head = format!(
        "POST /files?.vestibule={token} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nContent-Type: text/csv\r\n\
         Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection(world, browser, &head).await
}

/// The first line of the answer, and the refusal's word.
async fn told(mut client: DuplexStream) -> String {
    let mut answer = String::new();
    timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    match answer.split("vestibule-refused: ").nth(1) {
        Some(word) => format!("{status} {}", word.split("\r\n").next().unwrap()),
        None => status,
    }
}

async fn silent(client: &mut DuplexStream) {
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(300), client.read(&mut byte)).await.is_err(), "it has been answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_differ_run_at_once_and_the_same_one_waits() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let body = vec![b'x'; LEN];
    let mut first = begun(&world, &browser, &token, LEN).await;
    first.write_all(&body[..LEN / 2]).await.unwrap();
    // Of another length, or with another beginning, it can't be the same.
    assert_eq!(plain(&browser, &token, vec![b'x'; LEN + 1]).await.said(), (200, ""));
    assert_eq!(plain(&browser, &token, vec![b'y'; LEN]).await.said(), (200, ""));
    let mut same = begun(&world, &browser, &token, LEN).await;
    let sending = tokio::spawn({
        let body = body.clone();
        async move {
            // Nobody reads more of it than its beginning before the first has come to its end.
            same.write_all(&body).await.unwrap();
            same
        }
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished());
    first.write_all(&body[LEN / 2..]).await.unwrap();
    assert_eq!(told(first).await, "200");
    let same = timeout(LONG, sending).await.unwrap().unwrap();
    let said = told(same).await;
    assert!(said == "200" || said == "409 already-done", "{said}");
    assert_eq!((begun_at(&world, "/files"), world.app.at("/files").len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_begin_alike_are_told_apart_by_their_ends() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    for end in [b'a', b'b', b'c'] {
        let body = [&vec![b'x'; LEN][..], &[end]].concat();
        assert_eq!(plain(&browser, &token, body.clone()).await.said(), (200, ""), "another content");
        assert_eq!(plain(&browser, &token, body).await.said(), (409, "already-done"));
    }
    assert_eq!((begun_at(&world, "/files"), world.app.at("/files").len()), (3, 3));
    assert!(world.app.at("/files")[1].body.ends_with(b"xb"));
    // What is too large to be kept while it is compared is told apart all the same, but gone by then.
    let much = |end| [&vec![b'z'; 17 << 20][..], &[end]].concat();
    assert_eq!(plain(&browser, &token, much(b'a')).await.said(), (200, ""));
    assert_eq!(plain(&browser, &token, much(b'a')).await.said(), (409, "already-done"));
    assert_eq!(plain(&browser, &token, much(b'b')).await.said(), (403, "expired-page"));
    assert_eq!(plain(&browser, &browser.token("/page").await, much(b'b')).await.said(), (200, ""));
    assert_eq!((begun_at(&world, "/files"), world.app.at("/files").len()), (5, 5));
    assert_eq!(world.audit()[7..9], ["repeated POST /files", "refused:expired-page POST /files"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_broke_off_is_not_sent_again_from_its_page() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let body = vec![b'x'; LEN];
    let mut first = begun(&world, &browser, &token, LEN).await;
    first.write_all(&body[..LEN / 2]).await.unwrap();
    let arrived = async {
        while begun_at(&world, "/files") == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    drop(first);
    timeout(LONG, arrived).await.expect("the half of it");
    // Nobody knows what the application has made of its beginning.
    for _ in 0..2 {
        assert_eq!(plain(&browser, &token, body.clone()).await.said(), (409, "unknown-outcome"));
    }
    assert_eq!((begun_at(&world, "/files"), world.app.at("/files").len()), (1, 0));
    assert_eq!(plain(&browser, &token, vec![b'y'; LEN]).await.said(), (200, ""), "another file");
    assert_eq!(plain(&browser, &browser.token("/page").await, body.clone()).await.said(), (200, ""), "another page");
    assert_eq!(world.audit()[..2], ["unknown POST /files", "repeated POST /files"]);
    // Nor after a restart.
    let world = world.restarted().await;
    let browser = world.tunnel("alice", 1);
    assert_eq!(plain(&browser, &token, body).await.said(), (409, "unknown-outcome"));
    assert_eq!(world.app.at("/files").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_never_reached_the_application_may_be_sent_again() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = vestibule_guard::Backend::Http(vec![format!("http://{nobody}")]);
    world
        .guard
        .set_apps(vec![vestibule_guard::GuardConfig::default().meant(crate::world::orders(), &away).unwrap()])
        .unwrap();
    for _ in 0..2 {
        assert_eq!(plain(&browser, &token, vec![b'x'; LEN]).await.said(), (502, "upstream-down"));
    }
    world.change(json!({}));
    assert_eq!(plain(&browser, &token, vec![b'x'; LEN]).await.said(), (200, ""));
    assert_eq!(plain(&browser, &token, vec![b'x'; LEN]).await.said(), (409, "already-done"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_upload_per_form_where_the_owner_asks_for_it() {
    let world = World::with(json!({ "once": "form" })).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    assert_eq!(plain(&browser, &token, vec![b'x'; LEN]).await.said(), (200, ""));
    assert_eq!(plain(&browser, &token, vec![b'y'; LEN + 9]).await.said(), (409, "already-done"));
    assert_eq!(plain(&browser, &token, "small").await.said(), (409, "already-done"));
    assert_eq!(begun_at(&world, "/files"), 1);
    let token = browser.token("/page").await;
    assert_eq!(plain(&browser, &token, "small").await.said(), (200, ""));
    assert_eq!(plain(&browser, &token, vec![b'x'; LEN]).await.said(), (409, "already-done"));
    assert_eq!(begun_at(&world, "/files"), 2);
}

/// The same upload has another boundary each time, which some browsers make longer or shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_with_another_boundary_is_the_same() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let sent = async |boundary: &str, byte: u8| {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap().replace("--B", &format!("--{boundary}"));
        let mut request = browser.post("/files");
        let kind = format!("multipart/form-data; boundary={boundary}");
        request.headers_mut().unwrap().insert("content-type", kind.parse().unwrap());
        browser.send(request, text(&upload(&token, byte))).await
    };
    assert_eq!(sent("geckoA1", b'a').await.said(), (200, ""));
    for boundary in ["geckoB2", "geckoC33", "geckoD444"] {
        assert_eq!(sent(boundary, b'a').await.said(), (409, "already-done"), "{boundary}");
    }
    assert_eq!(sent("geckoE5", b'b').await.said(), (200, ""));
    assert_eq!(begun_at(&world, "/files"), 2);
}

/// What the owner forbids while a command is on its way is not done any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_rules_holds_for_what_is_under_way() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    for length in [1_000, LEN] {
        world.change(json!({}));
        let mut client = begun(&world, &browser, &token, length).await;
        client.write_all(&vec![b'x'; length - 1]).await.unwrap();
        silent(&mut client).await;
        world.change(json!({ "rules": [{ "who": "everyone", "methods": "reads", "paths": ["/**"] }] }));
        client.write_all(b"x").await.unwrap();
        assert_eq!(told(client).await, "403 not-permitted", "{length}");
    }
    // A method that stands in the body is another one.
    let both = json!({ "rules": [{ "who": "everyone", "methods": ["GET", "POST", "DELETE"], "paths": ["/**"] }] });
    let one = json!({ "rules": [{ "who": "everyone", "methods": ["GET", "POST"], "paths": ["/**"] }] });
    world.change(both);
    let token = browser.token("/page").await;
    let body = format!(".vestibule={token}&_method=DELETE&note=x");
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = connection(&world, &browser, &head).await;
    client.write_all(&body.as_bytes()[..body.len() - 1]).await.unwrap();
    silent(&mut client).await;
    world.change(one);
    client.write_all(b"x").await.unwrap();
    assert_eq!(told(client).await, "403 not-permitted");
    assert_eq!(world.app.commands(), 0);
    let refused = "refused:not-permitted POST /files";
    assert_eq!(world.audit(), [refused, refused, "refused:not-permitted POST /orders"]);
}

/// It answers the half of an upload and leaves the rest in its socket, where closing it resets the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_told_the_same_however_the_application_treats_its_connections() {
    for linger in [0, 50, 5_000] {
        let world = World::new().await;
        let browser = world.tunnel("alice", 1);
        let token = browser.token("/page").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        stand_in(&world, move |mut io| {
            let asked = counted.clone();
            async move {
                if head(&mut io).await.is_empty() {
                    return;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                io.read_exact(&mut vec![0; 100_000]).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nearly";
                io.write_all(answer).await.unwrap();
                sleep(Duration::from_millis(linger)).await;
            }
        })
        .await;
        let first = plain(&browser, &token, vec![b'x'; LEN]).await;
        let answered = first.said() == (200, "");
        // One that resets its connection before its answer was read has none.
        assert!(answered || first.said() == (409, "unknown-outcome"), "{linger}: {:?}", first.said());
        for _ in 0..5 {
            let again = plain(&browser, &token, vec![b'x'; LEN]).await;
            assert_eq!(again.said(), if answered { (409, "already-done") } else { first.said() }, "{linger}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{linger}");
        assert!(answered || linger == 0, "{linger}");
    }
}
