//! Requests that two readers could understand differently, bombs, and clients that take their time: none reaches an application.

use crate::support::*;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use vestibule_guard::Limits;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const INNER: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_corpus_of_smuggling() {
    let (application, got) = answering(OK).await;
    let front = front(&[application]).await;
    let post = "POST /outer HTTP/1.1\r\nHost: a\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let heads = [
        ("CL.TE", format!("Content-Length: 40\r\n{chunked}\r\n0\r\n\r\n")),
        ("TE.CL", format!("{chunked}Content-Length: 4\r\n\r\n2c\r\n")),
        ("CL.TE, old", format!("Content-Length: 40\r\nConnection: Transfer-Encoding\r\n{chunked}\r\n0\r\n\r\n")),
        ("TE.TE", format!("{chunked}Transfer-Encoding: x\r\n\r\n0\r\n\r\n")),
        ("TE.TE, twice", format!("{chunked}{chunked}\r\n0\r\n\r\n")),
        ("TE of several", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE misspelt", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE quoted", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE with a control character", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE and a space", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("TE behind a bare LF", format!("X: y\n{chunked}\r\n0\r\n\r\n")),
        ("TE behind a bare CR", format!("X: y\r{chunked}\r\n0\r\n\r\n")),
        ("bare LF ends the head", "Content-Length: 0\n\n".to_owned()),
        ("CL twice", "Content-Length: 0\r\nContent-Length: 36\r\n\r\n".to_owned()),
        ("CL twice, the same", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("CL list", "Content-Length: 0, 36\r\n\r\n".to_owned()),
        ("CL signed", "Content-Length: +0\r\n\r\n".to_owned()),
        ("CL hexadecimal", "Content-Length: 0x0\r\n\r\n".to_owned()),
        ("CL empty", "Content-Length:\r\n\r\n".to_owned()),
        ("host twice", "Host: b\r\n\r\n".to_owned()),
        ("folded field", "X: y\r\n z\r\n\r\n".to_owned()),
        ("NUL", "X: \0\r\n\r\n".to_owned()),
    ];
    for (name, head) in &heads {
        let answer = exchange(&front, format!("{post}{head}{INNER}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
    }
    assert!(got.lock().unwrap().is_empty(), "{:?}", got.lock().unwrap());
    for (target, host) in
        [("http://b/outer", "a"), ("//a", ""), ("/outer", "a b"), ("/outer", "a/b"), ("*", "a"), ("a:1", "a")]
    {
        let answer = exchange(&front, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
    }
    for method in ["CONNECT", "TRACE"] {
        let answer =
            exchange(&front, format!("{method} /outer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{method}: {answer}");
    }
    assert!(got.lock().unwrap().is_empty(), "{:?}", got.lock().unwrap());
}

#[tokio::test]
async fn a_sloppy_chunk_ends_the_request_and_the_connection() {
    let (application, got) = answering(OK).await;
    let front = front(&[application]).await;
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(300));
    for body in [
        "0\n\n",
        "1\nx\r\n0\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1;a\rb\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        " 1\r\nx\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        "1\r\nxx0\r\n\r\n",
        "-1\r\n\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nx",
        "0\r\nContent-Length: 3\r\n\r\n",
        &long,
    ] {
        let head = "POST /outer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = exchange(&front, format!("{head}{body}{INNER}")).await;
        assert!(!answer.contains("200 OK") && answer.matches("HTTP/1.1").count() <= 1, "{body:?}: {answer}");
    }
    assert!(got.lock().unwrap().is_empty(), "{:?}", got.lock().unwrap());
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_no_request() {
    let (application, got) = answering(OK).await;
    let front = front(&[application]).await;
    let head = "GET /outer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = exchange(&front, format!("{head}{INNER}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    let h2c = head.replace("websocket", "h2c");
    assert_eq!(exchange(&front, format!("{h2c}{INNER}")).await.matches("HTTP/1.1 200 OK").count(), 1);
    let got = got.lock().unwrap().concat();
    assert!(!got.contains("smuggled") && !got.contains("h2c"), "{got}");
}

#[tokio::test]
async fn an_upstream_that_answers_early_is_not_confused() {
    // The application answers without reading the body, which looks like a request.
    let (application, got) =
        answering("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let front = front(&[application]).await;
    let request = format!("POST /outer HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{INNER}", INNER.len());
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    assert!(until(&mut io, "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
    assert_eq!(got.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn bombs_of_header_fields() {
    let (application, got) = answering(OK).await;
    let front = front(&[application]).await;
    let many: String = (0..200).map(|nth| format!("X-{nth}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    for (fields, target) in
        [(many.as_str(), "/".to_owned()), (long.as_str(), "/".to_owned()), ("", format!("/{}", "x".repeat(20_000)))]
    {
        let answer = exchange(&front, format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414"), "{answer}");
    }
    assert!(got.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_even_read() {
    let (application, got) = answering(OK).await;
    let front = front_with(http(&[application]), Limits { body: 1_000, ..Limits::default() }).await;
    let answer = exchange(&front, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("vestibule-refused: too-large"), "{answer}");
    assert!(got.lock().unwrap().is_empty());
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let (application, got) = answering(OK).await;
    let limits = Limits {
        header_wait: Duration::from_millis(400),
        idle: Duration::from_millis(900),
        body_wait: Duration::from_millis(400),
        ..Limits::default()
    };
    let front = front_with(http(&[application]), limits).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(front.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    assert!(started.elapsed() < Duration::from_millis(1_500));
    for begun in [
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ] {
        let started = Instant::now();
        let mut io = TcpStream::connect(front.address).await.unwrap();
        io.write_all(begun.as_bytes()).await.unwrap();
        let dripping = async {
            // One that keeps the connection busy without getting anywhere.
            while io.write_all(b"X").await.is_ok() && started.elapsed() < LONG {
                sleep(Duration::from_millis(150)).await;
            }
        };
        dripping.await;
        assert!(started.elapsed() < Duration::from_secs(4), "{begun:?}: {:?}", started.elapsed());
    }
    // One whose request was answered may think for a while, and no longer.
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut io, "ok").await;
    sleep(Duration::from_millis(600)).await;
    io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut io, "ok").await;
    let idle = Instant::now();
    assert_eq!(rest(&mut io).await, "");
    assert!(idle.elapsed() < Duration::from_secs(3));
    assert!(got.lock().unwrap().iter().all(|request| request.starts_with("GET")));
}
