//! What idle sessions and idle connections cost the gateway.

use super::Row;
use super::stage::{PASSWORD, Stage, free_tcp, resident_kib};
use crate::run::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SESSIONS: usize = 128;
const CONNECTIONS: usize = 400;

/// Measures both, as growth of the gateway's resident size.
pub(super) fn idle(stage: &Stage, rows: &mut Vec<Row>) -> Result<()> {
    let gateway = stage.pid(1);
    let before = resident_kib(gateway)?;
    let mut client = stage.running_client("held", SESSIONS, &["hold"])?;
    let mut lines = BufReader::new(client.stdout.take().ok_or("no stdout")?).lines();
    let held = lines.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
        line["held"].as_f64()
    });
    let held = held.ok_or("the sessions were not held")?;
    std::thread::sleep(Duration::from_secs(1));
    let each = (resident_kib(gateway)? - before) / held.max(1.0);
    drop(client.stdin.take());
    client.wait()?;
    rows.push(
        Row::new("gateway's memory per idle session", each, "KiB").at_most(64.0).note(format!("of {held} sessions")),
    );

    let (forward, http, socks) = (free_tcp()?, free_tcp()?, free_tcp()?);
    let mut up = Command::new(&stage.program)
        .args(["up", "--password-stdin", "--forward", &format!("{forward}=echo")])
        .args(["--http", &http.to_string(), "--socks", &socks.to_string(), "--dir"])
        .arg(stage.dir("starter"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    up.stdin.take().ok_or("no stdin")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    let until = Instant::now() + Duration::from_secs(20);
    let mut connections = loop {
        if let Ok(stream) = TcpStream::connect(forward) {
            break vec![stream];
        }
        if Instant::now() > until {
            return Err("the forward did not open".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let before = resident_kib(gateway)?;
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(forward)?;
        let mut bytes = [b'.'; 64];
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        connections.push(stream);
    }
    std::thread::sleep(Duration::from_millis(500));
    let each = (resident_kib(gateway)? - before) / CONNECTIONS as f64;
    drop(connections);
    up.kill()?;
    up.wait()?;
    rows.push(
        Row::new("gateway's memory per idle connection", each, "KiB")
            .at_most(16.0)
            .note(format!("of {CONNECTIONS} in one session")),
    );
    Ok(())
}
