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
