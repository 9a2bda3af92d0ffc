//! From the owner's command to the last byte that still comes through.

use super::super::samples::Samples;
use super::echo::{SOURCE, UPGRADE};
use super::stage::Stage;
use super::starts::Starter;
use super::tunnel;
use super::{Effort, Row};
use crate::run::Result;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// How long bytes flow before the session is revoked.
const FLOWING: Duration = Duration::from_millis(300);

/// How long nothing may come before a flow of datagrams is taken for ended.
const SILENCE: Duration = Duration::from_millis(500);

/// Revokes the session of a client that reads as fast as it can, again and again: a connection, datagrams, a WebSocket.
pub(super) fn to_the_last_byte(stage: &Stage, starter: &Starter, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let of = "the command's own start counts";
    for (last, once) in [
        ("byte through the tunnel", of_bytes as Once),
        ("datagram of a UDP service", of_datagrams),
        ("frame of a WebSocket", of_frames),
    ] {
        let spans: Result<Vec<Duration>> = (0..effort.pick(10, 3)).map(|_| once(stage, starter)).collect();
        let (samples, name) = (Samples::new(spans?), format!("`session revoke` to the last {last}"));
        rows.push(Row::new(format!("{name}, p50"), samples.micros(50.0) / 1e3, "ms").note(of));
        rows.push(Row::new(format!("{name}, worst"), samples.micros(100.0) / 1e3, "ms").at_most(100.0));
    }
    Ok(())
}

type Once = fn(&Stage, &Starter) -> Result<Duration>;

fn of_bytes(stage: &Stage, starter: &Starter) -> Result<Duration> {
    let way = tunnel::up(stage, starter)?;
    let mut stream = way.connect()?;
    stream.write_all(&[SOURCE])?;
    revoked(stage, move || last_byte(stream))
}

/// Through the page guard, which passes WebSockets on.
fn of_frames(stage: &Stage, starter: &Starter) -> Result<Duration> {
    let way = tunnel::up_web(stage, starter)?;
    let mut stream = way.connect()?;
    stream.write_all(UPGRADE.as_bytes())?;
    let mut agreed = [0; 12];
    stream.read_exact(&mut agreed)?;
    if &agreed != b"HTTP/1.1 101" {
        return Err(format!("no WebSocket: {}", String::from_utf8_lossy(&agreed)).into());
    }
    revoked(stage, move || last_byte(stream))
}

fn of_datagrams(stage: &Stage, starter: &Starter) -> Result<Duration> {
    let way = tunnel::up_udp(stage, starter)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(way.address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(&[SOURCE])?;
    revoked(stage, move || last_datagram(&socket))
}

/// From the command to when `reader` has got the last of what comes.
fn revoked(stage: &Stage, reader: impl FnOnce() -> Instant + Send + 'static) -> Result<Duration> {
    let reader = thread::spawn(reader);
    thread::sleep(FLOWING);
    let sessions = stage.ask("gateway", &["session", "list"])?;
    let session = live(&sessions).ok_or_else(|| format!("no live session in {sessions}"))?;
    let begun = Instant::now();
    stage.ask("gateway", &["session", "revoke", session])?;
    let last = reader.join().map_err(|_| "the reader is gone")?;
    // A flow that had dried up before would be no measurement.
    last.checked_duration_since(begun).ok_or_else(|| "no byte came after the command".into())
}

/// When the last byte came.
fn last_byte(mut stream: TcpStream) -> Instant {
    let (mut last, mut bytes) = (Instant::now(), vec![0; 1 << 20]);
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
        last = Instant::now();
    }
    last
}

/// When the last datagram came.
fn last_datagram(socket: &UdpSocket) -> Instant {
    let (mut last, mut bytes) = (Instant::now(), [0; 2_048]);
    while socket.recv(&mut bytes).is_ok() {
        last = Instant::now();
    }
    last
}

/// The session that carries a flow.
fn live(sessions: &Value) -> Option<&str> {
    let flows = |session: &Value| session["live"]["flows"].as_array().is_some_and(|flows| !flows.is_empty());
    sessions.as_array()?.iter().find(|session| flows(session)).and_then(|session| session["id"].as_str())
}
