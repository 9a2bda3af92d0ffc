//! The demo's sample upstreams: a web page and a TCP service, each a process of its own.

use crate::fault::Fault;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The page that the web upstream serves.
const PAGE: &str = include_str!("../../../../demo/page.html");

/// What the TCP upstream says first; then it gives back what it gets.
pub(crate) const GREETING: &str = "hello from a service behind two doors\n";

/// A connection that says nothing for so long is closed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which sample upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sample {
    /// Answers every request with one page.
    Web,
    /// Greets, then echoes.
    Tcp,
    /// Takes orders, as often as they come.
    Orders,
}

/// Serves until the process is ended.
pub(crate) fn serve(sample: Sample, address: SocketAddr) -> Result<ExitCode, Fault> {
    let listener = TcpListener::bind(address)
        .map_err(|error| Fault::unexpected(format!("the sample upstream can't listen on {address}: {error}")))?;
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // A client that goes away in the middle is its own affair.
            let _ = match sample {
                Sample::Web => web(&stream),
                Sample::Tcp => tcp(&stream),
                Sample::Orders => super::orders::serve(&stream, PATIENCE),
            };
        });
    }
    Ok(ExitCode::SUCCESS)
}

fn web(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut requests = BufReader::new(stream.take(64 * 1024));
    let mut line = String::new();
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            let mut answer = stream;
            write!(
                answer,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n{PAGE}",
                PAGE.len()
            )?;
            requests.get_mut().set_limit(64 * 1024);
        }
    }
}

fn tcp(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(GREETING.as_bytes())?;
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..count])?;
    }
}
