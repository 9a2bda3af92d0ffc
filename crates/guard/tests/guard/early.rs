//! Applications that answer an upload before they have got all of it, and clients that break off.

use crate::raw::{connection, head, stand_in};
use crate::world::{Browser, HOST, LONG, World};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

const LEN: usize = 4 << 20;

/// An application that answers after this many bytes of the body, and takes the rest afterwards; how often it was asked.
async fn answers_after(world: &World, bytes: usize) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    stand_in(world, move |mut io| {
        let asked = counted.clone();
        async move {
            while !head(&mut io).await.is_empty() {
                asked.fetch_add(1, Ordering::SeqCst);
                io.read_exact(&mut vec![0; bytes]).await.unwrap();
                io.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nearly")
                    .await
                    .unwrap();
                let Ok(_) = io.read_exact(&mut vec![0; LEN - bytes]).await else { return };
            }
        }
    })
    .await;
    asked
}

async fn upload(browser: &Browser, token: &str) -> crate::world::Answer {
    let request = browser.post(&format!("/files?.vestibule={token}"));
    browser.send(request, Bytes::from(vec![b'x'; LEN])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_claimed_like_any_other() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let asked = answers_after(&world, 100_000).await;
    let first = upload(&browser, &token).await;
    assert_eq!((first.said(), first.text().as_str()), ((200, ""), "early"));
    let again = upload(&browser, &token).await;
    assert_eq!(again.said(), (409, "already-done"));
    assert!(browser.press(&again.form("See the result")).await.text() == "early");
    assert!(asked.load(Ordering::SeqCst) <= 2);
    assert_eq!(world.audit()[..2], ["done POST /files 200", "repeated POST /files"]);
}

/// A connection on which a request with a body of this length has begun.
async fn begun(world: &World, browser: &Browser, token: &str, length: usize) -> DuplexStream {
    let head = format!(
        "POST /files?.vestibule={token} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nContent-Type: text/csv\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection(world, browser, &head).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_not_handed_on_before_its_claim_stands() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let asked = answers_after(&world, 100_000).await;
    let mut client = begun(&world, &browser, &token, LEN).await;
    client.write_all(&vec![b'x'; LEN - 1]).await.unwrap();
    while asked.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(300), client.read(&mut byte)).await.is_err(), "it has been answered");
    client.write_all(b"x").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("early"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_stands_in_the_audit_log() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    // While it is small, while it streams, and after an answer to the half of it.
    let asked = answers_after(&world, 100_000).await;
    for (sent, lines) in [(10, 1), (LEN / 2, 2)] {
        let mut client = begun(&world, &browser, &token, LEN).await;
        client.write_all(&vec![b'x'; sent]).await.unwrap();
        while sent > 10 && asked.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(200)).await;
        drop(client);
        let written = async {
            while world.audit().len() < lines {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, written).await.expect("a line of it");
    }
    assert_eq!(world.audit(), ["refused:malformed POST /files", "unknown POST /files 200"]);
}

#[tokio::test]
async fn a_body_that_breaks_off_while_its_token_is_looked_for() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.page("/page").await;
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na=1&b\r\nnonsense\r\n"
    );
    let mut client = connection(&world, &browser, &head).await;
    let mut answer = Vec::new();
    let _ = timeout(LONG, client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(world.audit(), ["refused:malformed POST /orders"]);
    assert_eq!(world.app.commands(), 0);
}
