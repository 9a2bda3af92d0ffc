//! What passes, and how.

use crate::support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use vestibule_guard::{UpstreamError, UpstreamErrorKind};

#[tokio::test]
async fn a_request_and_its_answer() {
    let (application, got) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi").await;
    let front = front(&[application]).await;
    let answer = get(&front, "/x?y=z&.x").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(answer.contains("x-a: b\r\n") && answer.contains("content-length: 2\r\n"), "{answer}");
    let got = got.lock().unwrap().concat();
    assert!(got.starts_with("GET /x?y=z&.x HTTP/1.1\r\n"), "{got}");
    for line in ["Host: orders.localhost:8080", "Vestibule-User: alice", "X-Forwarded-For: fd00::7"] {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line}: {got}");
    }
}

#[tokio::test]
async fn bodies_both_ways_and_connections_used_again() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (application, got) = answering(answer).await;
    let front = front(&[application]).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    let chunked = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    io.write_all(chunked.as_bytes()).await.unwrap();
    assert!(until(&mut io, "0\r\n\r\n").await.contains("\r\n\r\n3\r\nabc\r\n"));
    io.write_all(b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nho").await.unwrap();
    until(&mut io, "0\r\n\r\n").await;
    let got = got.lock().unwrap().clone();
    assert!(
        got[0].contains("\r\nTransfer-Encoding: chunked\r\n") && got[0].contains("2\r\nhi\r\n0\r\n\r\n"),
        "{got:?}"
    );
    assert!(got[1].contains("\r\nContent-Length: 2\r\n") && got[1].ends_with("\r\n\r\nho"), "{got:?}");
}

#[tokio::test]
async fn an_upstream_that_is_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let front = front(&[address]).await;
    assert!(get(&front, "/").await.starts_with("HTTP/1.1 502"));
    let error = UpstreamError { kind: UpstreamErrorKind::Away, sent: false };
    assert_eq!(*front.errors.lock().unwrap(), [error]);
}

#[tokio::test]
async fn events_pass_at_once_and_end_with_the_session() {
    let application = application(|_, mut io| async move {
        request(&mut io).await;
        let _ = io.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await;
        tokio::time::sleep(LONG * 2).await;
    })
    .await;
    let front = front(&[application]).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(until(&mut io, "data: 1\n\n").await.starts_with("HTTP/1.1 200"));
    let started = std::time::Instant::now();
    front.sign_off.notify_waiters();
    assert!(!rest(&mut io).await.contains("0\r\n\r\n"), "cut, not ended");
    assert!(started.elapsed().as_millis() < 1_000);
}

#[tokio::test]
async fn a_long_poll_is_answered_when_the_application_does() {
    let application = application(|_, mut io| async move {
        request(&mut io).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let _ = io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await;
    })
    .await;
    let front = front(&[application]).await;
    assert!(get(&front, "/poll").await.ends_with("late"));
}

#[tokio::test]
async fn a_websocket_passes_both_ways_and_ends_with_the_session() {
    let application = application(|_, mut io| async move {
        let head = request(&mut io).await.unwrap();
        assert!(head.contains("Connection: upgrade\r\n") && head.contains("Upgrade: websocket\r\n"), "{head}");
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let _ = io.write_all(agreed.as_bytes()).await;
        let (mut reader, mut writer) = io.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let front = front(&[application]).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    io.write_all(ask.as_bytes()).await.unwrap();
    let agreed = until(&mut io, "\r\n\r\n").await;
    assert!(agreed.starts_with("HTTP/1.1 101") && agreed.contains("sec-websocket-accept: x\r\n"), "{agreed}");
    io.write_all(b"\0\n\xff and back;").await.unwrap();
    assert!(until(&mut io, ";").await.ends_with(" and back;"));
    let started = std::time::Instant::now();
    front.sign_off.notify_waiters();
    assert_eq!(rest(&mut io).await, "");
    assert!(started.elapsed().as_millis() < 1_000);
}

#[tokio::test]
async fn no_other_protocol_passes() {
    // It agrees to whatever it likes.
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nsecret";
    for (asked, told) in [
        ("foo", None),
        ("h2c", None),
        ("websockets", None),
        ("foo, websocket", Some("Upgrade: websocket\r\n")),
        ("websocket", Some("Upgrade: websocket\r\n")),
    ] {
        let (application, got) = answering(agreed).await;
        let front = front(&[application]).await;
        let ask = format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: {asked}\r\n\r\n");
        let answer = exchange(&front, ask).await;
        assert!(answer.starts_with("HTTP/1.1 502") && !answer.contains("secret"), "{asked}: {answer}");
        let got = got.lock().unwrap().concat();
        let line = got.split_inclusive("\r\n").find(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
        assert_eq!(line, told, "{asked}: {got}");
        let error = UpstreamError { kind: UpstreamErrorKind::BadAnswer, sent: true };
        assert_eq!(*front.errors.lock().unwrap(), [error], "{asked}");
    }
}
