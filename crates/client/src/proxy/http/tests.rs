//! The local web port, spoken to over raw sockets; upstreams are raw sockets too, so that every byte is seen.

use super::*;
use crate::fake::{Behaviour, FakeTunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(10);

async fn proxy(tunnel: &FakeTunnel) -> SocketAddr {
    let proxy = HttpProxy::bind("127.0.0.1:0".parse().unwrap(), tunnel.clone(), Neighbours::refused()).await.unwrap();
    let address = proxy.local_addr();
    tokio::spawn(proxy.serve());
    address
}

/// An upstream behind the web service `orders`; its connections come out of the listener.
async fn upstream(tunnel: &FakeTunnel) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tunnel.set("orders", Behaviour::Real(listener.local_addr().unwrap()));
    listener
}

/// Reads up to and including the empty line that ends a head, and not a byte more.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(SOON, stream.read_u8()).await.expect("a head in time");
        match byte {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    tokio::time::timeout(SOON, stream.read_exact(&mut bytes)).await.expect("bytes in time").unwrap();
    bytes
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the end in time").unwrap();
    bytes
}

/// Sends `request` over a new connection and reads until the proxy closes it.
async fn whole(proxy: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(rest(&mut stream).await).unwrap()
}

#[tokio::test]
async fn requests_reach_the_service_as_the_browser_sent_them() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    let request = "GET /a%20b?c=d HTTP/1.1\r\nHost: orders.localhost:8118\r\nCookie: a=1\r\nCookie: b=2\r\nTE: trailers\r\n\
                   Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic x\r\n\r\n";
    browser.write_all(request.as_bytes()).await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    let seen = head(&mut service).await;
    assert_eq!(
        seen.to_ascii_lowercase(),
        "get /a%20b?c=d http/1.1\r\nhost: orders.localhost:8118\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n"
    );
    service
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: x=y\r\nKeep-Alive: timeout=9\r\n\r\nhello")
        .await
        .unwrap();
    let answer = head(&mut browser).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok\r\n") && answer.contains("set-cookie: x=y"), "{answer}");
    assert!(!answer.contains("keep-alive") && !answer.contains("via"), "{answer}");
    assert_eq!(exactly(&mut browser, 5).await, b"hello");
}

#[tokio::test]
async fn the_next_request_takes_the_same_upstream_connection() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: orders.localhost\r\n\r\n";
    browser.write_all(request).await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    for round in 0..3 {
        head(&mut service).await;
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
        head(&mut browser).await;
        assert_eq!(exactly(&mut browser, 1).await, b"x");
        if round < 2 {
            browser.write_all(request).await.unwrap();
        }
    }
    assert_eq!(tunnel.opened(), 1);
    // The service closes its idle connection, as services do: the browser notices nothing.
    drop(service);
    tokio::time::sleep(Duration::from_millis(50)).await;
    browser.write_all(request).await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    head(&mut service).await;
    service.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 204"));
    assert_eq!(tunnel.opened(), 2);
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    let request = "POST /live HTTP/1.1\r\nHost: orders.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    browser.write_all(request.as_bytes()).await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    assert!(head(&mut service).await.to_ascii_lowercase().contains("transfer-encoding: chunked"));
    assert_eq!(exactly(&mut service, 6).await, b"1\r\na\r\n");
    // The answer begins before the request has ended, and its first piece arrives before the second is sent.
    service.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n").await.unwrap();
    head(&mut browser).await;
    assert_eq!(exactly(&mut browser, 6).await, b"1\r\nA\r\n");
    browser.write_all(b"1\r\nb\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(exactly(&mut service, 6).await, b"1\r\nb\r\n");
    service.write_all(b"1\r\nB\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(exactly(&mut browser, 11).await, b"1\r\nB\r\n0\r\n\r\n");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    const LENGTH: usize = 3_000_000;
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let body: Vec<u8> = (0..LENGTH).map(|byte| byte as u8).collect();
    let service = tokio::spawn(async move {
        let (mut service, _) = upstream.accept().await.unwrap();
        head(&mut service).await;
        let body = exactly(&mut service, LENGTH).await;
        service.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).await.unwrap();
        service.write_all(&body).await.unwrap();
        service
    });
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    let head_sent =
        format!("PUT / HTTP/1.1\r\nHost: orders.localhost\r\nContent-Length: {LENGTH}\r\nExpect: 100-continue\r\n\r\n");
    browser.write_all(head_sent.as_bytes()).await.unwrap();
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 100"));
    browser.write_all(&body).await.unwrap();
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 200"));
    assert!(exactly(&mut browser, LENGTH).await == body);
    service.await.unwrap();
}

#[tokio::test]
async fn websockets_pass_with_what_was_said_too_early() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: orders.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\nOrigin: http://orders.localhost\r\n\r\nEARLY";
    browser.write_all(request.as_bytes()).await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    let seen = head(&mut service).await.to_ascii_lowercase();
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "origin: http://orders.localhost\r\n"] {
        assert!(seen.contains(line), "{seen}");
    }
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nFIRST";
    service.write_all(answer.as_bytes()).await.unwrap();
    let seen = head(&mut browser).await.to_ascii_lowercase();
    assert!(seen.starts_with("http/1.1 101") && seen.contains("upgrade: websocket\r\n"), "{seen}");
    assert_eq!(exactly(&mut browser, 5).await, b"FIRST");
    assert_eq!(exactly(&mut service, 5).await, b"EARLY");
    service.write_all(b"ping").await.unwrap();
    assert_eq!(exactly(&mut browser, 4).await, b"ping");
    browser.write_all(b"pong").await.unwrap();
    browser.shutdown().await.unwrap();
    assert_eq!(rest(&mut service).await, b"pong");
    service.write_all(b"bye").await.unwrap();
    drop(service);
    assert_eq!(rest(&mut browser).await, b"bye");
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_refused() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: orders.localhost\r\n\r\n").await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    head(&mut service).await;
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    service.write_all(answer).await.unwrap();
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 502"));
}

#[tokio::test]
async fn connect_carries_bytes_and_half_close() {
    let tunnel = FakeTunnel::new();
    let proxy = proxy(&tunnel).await;
    let mut program = TcpStream::connect(proxy).await.unwrap();
    program.write_all(b"CONNECT echo:7 HTTP/1.1\r\nHost: echo:7\r\n\r\nearly ").await.unwrap();
    assert!(head(&mut program).await.starts_with("HTTP/1.1 200"));
    program.write_all(b"and late").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(rest(&mut program).await, b"early and late");
}

#[tokio::test]
async fn refusals_are_pages_that_say_why() {
    let tunnel = FakeTunnel::new();
    let proxy = proxy(&tunnel).await;
    let service = || "orders".to_owned();
    tunnel.set("db", Behaviour::Fails(ClientError::UpstreamAway { service: "db".to_owned() }));
    for (request, status, text) in [
        ("CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n", 403, "no service"),
        ("CONNECT db:5432 HTTP/1.1\r\nHost: x\r\n", 502, "is away"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n", 421, "does not belong here"),
        ("GET / HTTP/1.1\r\nHost: db.localhost\r\n", 404, "not a web service"),
        ("GET / HTTP/1.0\r\n", 400, "exactly one Host"),
    ] {
        let answer = whole(proxy, &format!("{request}Connection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.{} {status}", if request.contains("1.0") { 0 } else { 1 })),
            "{answer}"
        );
        assert!(answer.contains(text) && answer.contains("→"), "{answer}");
    }
    for (error, status) in [
        (ClientError::UpstreamHangs { service: service() }, 504),
        (ClientError::Busy, 503),
        (ClientError::Cut { service: service() }, 502),
    ] {
        tunnel.set("orders", Behaviour::Fails(error));
        let answer = whole(proxy, "GET / HTTP/1.1\r\nHost: orders.localhost\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_service_that_breaks_off_is_told_and_not_asked_twice() {
    let tunnel = FakeTunnel::new();
    let (proxy, upstream) = (proxy(&tunnel).await, upstream(&tunnel).await);
    let mut browser = TcpStream::connect(proxy).await.unwrap();
    browser.write_all(b"POST /pay HTTP/1.1\r\nHost: orders.localhost\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    head(&mut service).await;
    drop(service);
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 502"));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), upstream.accept()).await.is_err(),
        "the command was sent again"
    );
}

#[tokio::test]
async fn heads_are_bounded() {
    let tunnel = FakeTunnel::new();
    let proxy = proxy(&tunnel).await;
    let long = format!("GET / HTTP/1.1\r\nHost: orders.localhost\r\nX: {}\r\n\r\n", "x".repeat(HEAD_LEN));
    let many = format!("GET / HTTP/1.1\r\nHost: orders.localhost\r\n{}\r\n", "X: 1\r\n".repeat(HEADERS + 1));
    for request in [long, many] {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        // The other side may close while we still write.
        let _ = stream.write_all(request.as_bytes()).await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 431"));
    }
    assert_eq!(tunnel.opened(), 0);
}

#[tokio::test]
async fn connections_end_with_the_proxy() {
    let tunnel = FakeTunnel::new();
    let listening =
        HttpProxy::bind("127.0.0.1:0".parse().unwrap(), tunnel.clone(), Neighbours::refused()).await.unwrap();
    let address = listening.local_addr();
    let serving = tokio::spawn(listening.serve());
    let upstream = upstream(&tunnel).await;
    let mut browser = TcpStream::connect(address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: orders.localhost\r\n\r\n").await.unwrap();
    let (mut service, _) = upstream.accept().await.unwrap();
    head(&mut service).await;
    serving.abort();
    assert_eq!(rest(&mut browser).await, b"");
    assert_eq!(rest(&mut service).await, b"");
}
