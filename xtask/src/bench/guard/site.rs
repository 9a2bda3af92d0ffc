//! The application behind: pages, a style sheet and large bodies from memory, a thread for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

/// What is sent at once of a body that does not lie ready.
const BLOCK: usize = 1 << 16;
/// How long a streamed page pauses after its first block: application, guard and client are three for two cores, and whoever waits
/// for a core in between would be measured instead of the guard.
const BREATH: Duration = Duration::from_millis(5);
/// Bytes of a streamed page.
pub(super) const STREAMED: usize = 10 << 20;
/// Bytes of a download.
pub(super) const DOWNLOAD: usize = 1 << 30;

/// Something that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A page with one form, of so many KiB.
    Page(usize),
    /// A style sheet of so many KiB.
    Style(usize),
    /// A page of 10 MiB whose length is not said.
    Streamed,
    /// 1 GiB of anything.
    Download,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(kib) => write!(f, "/page/{kib}"),
            Self::Style(kib) => write!(f, "/style/{kib}"),
            Self::Streamed => write!(f, "/streamed"),
            Self::Download => write!(f, "/download"),
        }
    }
}

struct Ready {
    answers: Vec<(String, Vec<u8>)>,
    block: Vec<u8>,
}

/// Starts it; it goes on as long as the program.
///
/// # Errors
/// No port.
pub(super) fn start(sizes: &[usize]) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let pages = sizes.iter().map(|&kib| (Target::Page(kib), "text/html; charset=utf-8", page(kib << 10)));
    let styles = sizes.iter().map(|&kib| (Target::Style(kib), "text/css", style(kib << 10)));
    let answers = pages.chain(styles).map(|(target, kind, body)| (target.to_string(), whole(kind, &body))).collect();
    let ready = Arc::new(Ready { answers, block: page(BLOCK).into_bytes() });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let ready = Arc::clone(&ready);
            // How a connection ends is seen by whoever measures.
            thread::spawn(move || serve(stream, &ready));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, ready: &Ready) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BLOCK, stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = end_of_head(&mut reader)?;
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        answer(&mut stream, &target, ready)?;
    }
}

/// Reads to the end of a request's head; the length of its body.
fn end_of_head(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            return Ok(length);
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

fn answer(stream: &mut TcpStream, target: &str, ready: &Ready) -> io::Result<()> {
    if let Some((_, bytes)) = ready.answers.iter().find(|(known, _)| known == target) {
        return stream.write_all(bytes);
    }
    if target == Target::Streamed.to_string() {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for nth in 0..STREAMED / BLOCK {
            write!(stream, "{:x}\r\n", ready.block.len())?;
            stream.write_all(&ready.block)?;
            stream.write_all(b"\r\n")?;
            if nth == 0 {
                thread::sleep(BREATH);
            }
        }
        return stream.write_all(b"0\r\n\r\n");
    }
    if target == Target::Download.to_string() {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {DOWNLOAD}\r\n\r\n"
        )?;
        return (0..DOWNLOAD / BLOCK).try_for_each(|_| stream.write_all(&ready.block));
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
}

fn whole(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// A page of that many bytes: one form, and a table with four addresses to the KiB.
fn page(length: usize) -> String {
    let mut page = String::from(concat!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Orders</title></head>\n<body>\n",
        "<form action=\"/orders/place\" method=\"post\"><input name=\"item\"><button>Place</button></form>\n<table>\n",
    ));
    let end = "</table>\n</body></html>\n";
    for row in 0.. {
        let line = format!(
            "<tr class=\"row\"><td><a href=\"/orders/{row}/show\">Order {row}</a></td><td class=\"what\">forty-two widgets in \
             three boxes, by rail, to be signed for on delivery; see the warehouse's notes beside this order, and call the \
             number there before noon if anything seems to be missing from it</td></tr>\n"
        );
        if page.len() + line.len() + end.len() > length {
            break;
        }
        page += &line;
    }
    page += &" ".repeat(length - page.len() - end.len());
    page + end
}

fn style(length: usize) -> String {
    let line = ".row > .what:nth-child(2n) { color: #335; background: url(/images/paper.png) repeat-x; }\n";
    let mut style = line.repeat(length.div_ceil(line.len()));
    style.truncate(length);
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_length_and_its_addresses() {
        for kib in [10, 64, 100] {
            let page = page(kib << 10);
            assert_eq!(page.len(), kib << 10);
            assert_eq!(page.matches("<form").count(), 1);
            let per_kib = page.matches("href=\"/").count() as f64 / kib as f64;
            assert!((3.0..4.5).contains(&per_kib), "{per_kib}");
        }
        assert_eq!(style(10 << 10).len(), 10 << 10);
    }
}
