//! Pages that are too much of something: they stream through in little memory, or are broken off; never do they look whole.

use crate::raw::{answering, head, resident, stand_in};
use crate::world::{Browser, LONG, World};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

const MIB: usize = 1 << 20;

/// Reads an answer to its end or to where it breaks off: how many bytes, how often `needle` stood in them, whether it is whole.
async fn counted(mut body: Incoming, needle: &str) -> (usize, usize, bool) {
    let (mut bytes, mut found, mut tail) = (0, 0, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (bytes, found, false) };
        let data = frame.into_data().unwrap();
        bytes += data.len();
        tail.extend_from_slice(&data);
        found += memchr::memmem::find_iter(&tail, needle).count();
        // A needle may be cut by two pieces, but isn't counted twice.
        let keep = tail.len().min(needle.len() - 1);
        tail.drain(..tail.len() - keep);
    }
    (bytes, found, true)
}

async fn write_many(io: &mut TcpStream, piece: &[u8], times: usize) {
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    for _ in 0..times {
        if io.write_all(&chunk).await.is_err() {
            return;
        }
    }
    let _ = io.write_all(b"0\r\n\r\n").await;
}

const PAGE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_forms_get_each_a_field_of_their_own() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    stand_in(&world, |mut io| async move {
        head(&mut io).await;
        io.write_all(PAGE_HEAD).await.unwrap();
        let forms = "<form method=post action=/orders><input name=a></form>\n".repeat(100);
        write_many(&mut io, forms.as_bytes(), 1_000).await;
    })
    .await;
    let before = resident();
    let body = browser.open(browser.get("/page"), "").await.into_body();
    let (_, fields, whole) = counted(body, "name=\".vestibule\"").await;
    assert_eq!((fields, whole), (100_000, true));
    assert!(resident().saturating_sub(before) < 64 * MIB);
}

/// Sends a body of so many MiB.
async fn post_many(browser: &Browser, guard: &vestibule_guard::Guard, token: &str, mib: usize) -> Incoming {
    let (client, server) = tokio::io::duplex(256 << 10);
    let (guard, peer) = (guard.clone(), browser.peer.clone());
    tokio::spawn(async move { guard.serve(server, peer).await });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let piece = Bytes::from(vec![b'x'; MIB]);
    let pieces = stream::iter((0..mib).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone()))));
    let request: Request<_> = browser
        .post(&format!("/files?.vestibule={token}"))
        .header("content-length", mib * MIB)
        .body(StreamBody::new(pieces))
        .unwrap();
    sender.send_request(request).await.unwrap().into_body()
}

/// Up as a command (digest, claim, held-back end), down as a page (rewritten, every MiB a form).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_gigabyte_each_way_through_the_whole_guard_in_constant_memory() {
    const COUNT: usize = 1 << 10;
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    stand_in(&world, |mut io| async move {
        head(&mut io).await;
        let mut piece = vec![0; MIB];
        for _ in 0..COUNT {
            io.read_exact(&mut piece).await.unwrap();
        }
        io.write_all(PAGE_HEAD).await.unwrap();
        let form = "<form method=post action=/orders></form>";
        let page = format!("{form}{}", "<p>text\n".repeat((MIB - form.len()) / 8));
        write_many(&mut io, page.as_bytes(), COUNT).await;
    })
    .await;
    let before = resident();
    let largest = Arc::new(AtomicUsize::new(before));
    let watching = tokio::spawn({
        let largest = largest.clone();
        async move {
            loop {
                largest.fetch_max(resident(), Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let body = post_many(&browser, &world.guard, &token, COUNT).await;
    let (bytes, fields, whole) = counted(body, "name=\".vestibule\"").await;
    watching.abort();
    let grown = largest.load(Ordering::SeqCst) - before;
    assert!(bytes > COUNT * (MIB - 8) && whole, "{bytes}");
    assert_eq!(fields, COUNT);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    assert_eq!(world.audit(), ["done POST /files 200"]);
}

#[tokio::test]
async fn a_compressed_bomb_is_put_out() {
    let mut gzip = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    for _ in 0..128 {
        gzip.write_all(&vec![b' '; MIB]).await.unwrap();
    }
    gzip.shutdown().await.unwrap();
    let bomb = gzip.into_inner();
    assert!(bomb.len() < MIB);
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    );
    answering(&world, [head.as_bytes(), &bomb].concat()).await;
    let before = resident();
    let request = browser.get("/page").header("accept-encoding", "gzip");
    if let Ok(answer) = browser.try_open(request, "").await {
        let (bytes, _, whole) = counted(answer.into_body(), "x").await;
        assert!(!whole && bytes < 32 * MIB, "{bytes}");
    }
    assert!(resident().saturating_sub(before) < 64 * MIB);
    // What isn't rewritten isn't unpacked either: it is the browser's to unpack or not.
    let passes = String::from_utf8_lossy(head.as_bytes()).replace("text/html", "application/octet-stream");
    answering(&world, [passes.as_bytes(), &bomb].concat()).await;
    let request = browser.read("/data", "same-origin", "cors", "empty").header("accept-encoding", "gzip");
    assert_eq!(browser.send(request, "").await.body, bomb);
}

#[tokio::test]
async fn a_page_that_is_cut_off_or_lies_about_its_length_never_looks_whole() {
    let page = crate::application::PAGE;
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
    let coded = async_compressed(page).await;
    let cut = coded.len() - 9;
    let answers: [Vec<u8>; 5] = [
        format!("{plain}Content-Length: {}\r\n\r\n{page}", page.len() + 1).into(),
        format!("{plain}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{page}\r\n", page.len()).into(),
        format!("{plain}Transfer-Encoding: chunked\r\n\r\nfffff\r\n{page}").into(),
        [format!("{plain}Content-Encoding: gzip\r\nContent-Length: {cut}\r\n\r\n").as_bytes(), &coded[..cut]].concat(),
        format!("{plain}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n{page}", page.len()).into(),
    ];
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    for answer in answers {
        answering(&world, answer.clone()).await;
        let request = browser.get("/page").header("accept-encoding", "gzip");
        let Ok(answered) = tokio::time::timeout(LONG, browser.try_open(request, "")).await.unwrap() else { continue };
        assert!(!answered.headers().contains_key("content-length"));
        let (_, _, whole) = counted(answered.into_body(), "x").await;
        assert!(!whole, "{}", String::from_utf8_lossy(&answer[..120]));
    }
    // One that says less than it sends is cut where it says.
    answering(&world, format!("{plain}Content-Length: 6\r\nConnection: close\r\n\r\n<p>hi<script>alert(1)</script>"))
        .await;
    let text = browser.page("/page").await.text();
    assert!(text.contains("<p>hi<") || text.ends_with("<p>hi<"), "{text}");
    assert!(!text.contains("alert(1)"), "{text}");
}

async fn async_compressed(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut coder = async_compression::tokio::bufread::GzipEncoder::new(text.as_bytes());
    coder.read_to_end(&mut out).await.unwrap();
    out
}
