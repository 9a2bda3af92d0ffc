//! Upstreams that hang, break off, lie, or flood; and what is sent again, or never.

use crate::support::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use vestibule_guard::{Limits, UpstreamError, UpstreamErrorKind};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";

fn error(front: &Front) -> UpstreamError {
    let errors = front.errors.lock().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0]
}

async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An application that answers the first `good` requests of each connection and closes it at the next one, read or unread.
async fn closing(good: usize, reads_on: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = application(move |_, mut io| {
        let requests = Arc::clone(&counted);
        async move {
            for _ in 0..good {
                let Some(_) = request(&mut io).await else { return };
                requests.fetch_add(1, Ordering::SeqCst);
                let _ = io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            if reads_on && request(&mut io).await.is_some() {
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn one_that_hangs_is_not_waited_for() {
    let application = application(|_, mut io| async move {
        request(&mut io).await;
        sleep(LONG).await;
    })
    .await;
    let mut settings = http(&[application]);
    settings.first_byte_timeout = Duration::from_millis(300);
    let front = front_with(settings, Limits::default()).await;
    assert!(exchange(&front, POST).await.starts_with("HTTP/1.1 502"));
    assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::Hangs, sent: true });
}

#[tokio::test]
async fn a_slow_upload_is_no_hanging_upstream() {
    let (application, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut settings = http(&[application]);
    settings.first_byte_timeout = Duration::from_millis(400);
    let front = front_with(settings, Limits::default()).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    for _ in 0..8 {
        sleep(Duration::from_millis(120)).await;
        io.write_all(b"x").await.unwrap();
    }
    assert!(rest(&mut io).await.ends_with("ok"));
}

#[tokio::test]
async fn an_answer_cut_off_never_looks_whole() {
    for cut in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ] {
        let cut_off = format!("HTTP/1.1 200 OK\r\n{cut}");
        let application = application(move |_, mut io| {
            let cut_off = cut_off.clone();
            async move {
                request(&mut io).await;
                let _ = io.write_all(cut_off.as_bytes()).await;
            }
        })
        .await;
        let front = front(&[application]).await;
        let answer = exchange(&front, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n\r\n"), "{cut}: {answer}");
        assert!(!answer.contains("content-length: 4"), "{cut}: {answer}");
    }
}

#[tokio::test]
async fn one_that_lies_about_its_length() {
    // What follows an answer is nobody's answer.
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (application, _) = answering(twice).await;
    let front = front(&[application]).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    for _ in 0..3 {
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = until(&mut io, "ok").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && !answer.contains("evil"), "{answer}");
        sleep(Duration::from_millis(20)).await;
    }
    for lie in ["Content-Length: 2\r\nContent-Length: 4\r\n\r\nokok", "Content-Length: x\r\n\r\nok"] {
        let (application, _) = answering(format!("HTTP/1.1 200 OK\r\n{lie}")).await;
        let front = crate::support::front(&[application]).await;
        assert!(exchange(&front, GET).await.starts_with("HTTP/1.1 502"), "{lie}");
        assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::BadAnswer, sent: true });
    }
}

#[tokio::test]
async fn one_that_speaks_no_http() {
    let many: String = (0..300).map(|nth| format!("X-{nth}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(2_000_000));
    for nonsense in [
        "SSH-2.0-x\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{long}\r\n"),
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
    ] {
        let (application, _) = answering(nonsense.clone()).await;
        let front = front(&[application]).await;
        assert!(exchange(&front, GET).await.starts_with("HTTP/1.1 502"), "{:.60}", nonsense);
        assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::BadAnswer, sent: true }, "{nonsense:.60}");
    }
}

#[tokio::test]
async fn a_command_is_never_sent_twice() {
    let (application, requests) = closing(0, true).await;
    let front = front(&[application, application]).await;
    assert!(exchange(&front, POST).await.starts_with("HTTP/1.1 502"));
    assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::Broken, sent: true });
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    // Nor on a connection that had been used before.
    let (application, requests) = closing(1, true).await;
    let front = crate::support::front(&[application]).await;
    assert!(exchange(&front, GET).await.ends_with("ok"));
    assert!(exchange(&front, POST).await.starts_with("HTTP/1.1 502"));
    assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::Broken, sent: true });
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_read_is_sent_again_when_its_connection_was_being_closed() {
    let (application, requests) = closing(1, true).await;
    let front = front(&[application]).await;
    assert!(exchange(&front, GET).await.ends_with("ok"));
    assert!(exchange(&front, GET).await.ends_with("ok"));
    assert_eq!(requests.load(Ordering::SeqCst), 3, "the second came twice");
    // On a fresh connection once is enough.
    let (application, requests) = closing(0, true).await;
    let front = crate::support::front(&[application]).await;
    assert!(exchange(&front, GET).await.starts_with("HTTP/1.1 502"));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_closed_before_a_byte_was_sent_does_not_count() {
    let (application, requests) = closing(1, false).await;
    let front = front(&[application]).await;
    for _ in 0..3 {
        assert!(exchange(&front, POST).await.ends_with("ok"));
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    assert!(front.errors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_address_takes_over() {
    let (application, requests) = closing(usize::MAX, true).await;
    let front = front(&[dead().await, application, dead().await]).await;
    for _ in 0..3 {
        assert!(exchange(&front, POST).await.ends_with("ok"));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn it_has_as_many_connections_as_allowed() {
    let application = application(|_, mut io| async move {
        request(&mut io).await;
        sleep(LONG).await;
    })
    .await;
    let mut settings = http(&[application]);
    (settings.connections, settings.connect_timeout) = (1, Duration::from_millis(200));
    let front = front_with(settings, Limits::default()).await;
    let mut first = TcpStream::connect(front.address).await.unwrap();
    first.write_all(GET.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(exchange(&front, GET).await.starts_with("HTTP/1.1 502"));
    assert_eq!(error(&front), UpstreamError { kind: UpstreamErrorKind::TooMany, sent: false });
}

#[tokio::test]
async fn a_request_that_breaks_off_reaches_no_end() {
    let (application, got) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let limits = Limits { body: 1_000, body_wait: Duration::from_millis(300), ..Limits::default() };
    let front = front_with(http(&[application]), limits).await;
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(exchange(&front, format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await.starts_with("HTTP/1.1 502"));
    assert!(exchange(&front, format!("{head}{chunk}")).await.starts_with("HTTP/1.1 502"));
    let kinds: Vec<_> = front.errors.lock().unwrap().iter().map(|error| (error.kind, error.sent)).collect();
    let request = |why| (UpstreamErrorKind::Request(why), true);
    assert_eq!(kinds, [request(vestibule_guard::BodyError::TooLarge), request(vestibule_guard::BodyError::TooSlow)]);
    assert!(got.lock().unwrap().is_empty(), "the application never got a whole request");
}

/// What the process holds, in bytes.
fn resident() -> usize {
    let about = std::fs::read_to_string("/proc/self/statm").unwrap();
    about.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_each_way_in_constant_memory() {
    const PIECE: usize = 1 << 20;
    const COUNT: usize = 1 << 10;
    let application = application(|_, mut io| async move {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(io.read_u8().await.unwrap()));
        }
        let mut piece = vec![0; PIECE];
        if head.starts_with("POST") {
            for _ in 0..COUNT {
                io.read_exact(&mut piece).await.unwrap();
            }
        }
        io.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * COUNT).as_bytes()).await.unwrap();
        for _ in 0..COUNT {
            if io.write_all(&piece).await.is_err() {
                return;
            }
        }
    })
    .await;
    let front = front(&[application]).await;
    let before = resident();
    let mut largest = before;
    let io = TcpStream::connect(front.address).await.unwrap();
    let (mut reader, mut writer) = io.into_split();
    let upload = tokio::spawn(async move {
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", PIECE * COUNT);
        writer.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; PIECE];
        for _ in 0..COUNT {
            writer.write_all(&piece).await.unwrap();
        }
        writer
    });
    let (mut piece, mut total) = (vec![0; PIECE], 0);
    loop {
        let read = reader.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        total += read;
        largest = largest.max(resident());
    }
    upload.await.unwrap();
    assert!(total > PIECE * COUNT, "{total}");
    // Of which 3 MiB are this test's own; the other tests run beside it.
    assert!(largest - before < 64 << 20, "{} MiB", (largest - before) >> 20);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let application = application(move |_, mut io| {
        let sent = Arc::clone(&counted);
        async move {
            request(&mut io).await;
            let _ = io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
            while let Ok(written) = io.write(&[0; 64 * 1024]).await {
                sent.fetch_add(written, Ordering::SeqCst);
            }
        }
    })
    .await;
    let limits = Limits { write_wait: Duration::from_millis(500), ..Limits::default() };
    let front = front_with(http(&[application]), limits).await;
    let mut io = TcpStream::connect(front.address).await.unwrap();
    io.write_all(GET.as_bytes()).await.unwrap();
    let started = Instant::now();
    sleep(Duration::from_millis(1_500)).await;
    let held = sent.load(Ordering::SeqCst);
    assert!(held < 64 << 20, "{held}");
    let got = rest(&mut io).await.len();
    assert!(got < held && started.elapsed() < LONG, "the connection was given up");
}
