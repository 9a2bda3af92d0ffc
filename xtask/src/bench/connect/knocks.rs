//! From the knock to the first byte, and how many of them a core takes.

use super::super::samples::Samples;
use super::Row;
use super::stage::{PASSWORD, Stage, text};
use crate::run::{self, Result};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Connects of the running client.
const CONNECTS: usize = 1_000;
/// Starts of the command.
const STARTS: usize = 15;
/// A dial that took so long waited for a retransmission: QUIC's first time-out is longer than any handshake on loopback.
const RETRANSMITTED_US: f64 = 200_000.0;

/// The samples of one span, in microseconds.
pub(super) fn spans(connects: &[Value], key: &str) -> Samples {
    let micros = connects.iter().filter_map(|connect| connect[key].as_f64());
    Samples::new(micros.map(|micros| Duration::from_secs_f64(micros / 1e6)).collect())
}

/// A thousand connects of a running client; the median from knock to ready, in microseconds.
pub(super) fn connects(stage: &Stage, rows: &mut Vec<Row>) -> Result<f64> {
    let connects = stage.connects("running", CONNECTS)?;
    let failed = connects.iter().filter(|connect| connect["failed"].is_string()).count();
    let knock = spans(&connects, "knock_us");
    let waited = connects.iter().filter(|connect| connect["dial_us"].as_f64() > Some(RETRANSMITTED_US)).count();
    rows.push(Row::new("knock to ready, running client, p50", knock.micros(50.0) / 1e3, "ms").at_most(1.5));
    rows.push(Row::new("knock to ready, running client, p99", knock.micros(99.0) / 1e3, "ms"));
    for (key, name) in [
        ("dial_us", "TLS over QUIC"),
        ("login_us", "login without its Argon2id"),
        ("first_byte_us", "open to first byte"),
    ] {
        rows.push(Row::new(format!("{name}, p50"), spans(&connects, key).micros(50.0) / 1e3, "ms"));
    }
    rows.push(Row::new(format!("of {CONNECTS} connects failed"), failed as f64, "").at_most(0.0));
    rows.push(Row::new(format!("of {CONNECTS} connects waited for a retransmission"), waited as f64, "").at_most(0.0));
    Ok(knock.micros(50.0))
}

/// From the command's start to the first byte through the tunnel, Argon2id apart.
pub(super) fn command_start(stage: &Stage, rows: &mut Vec<Row>) -> Result<()> {
    stage.ask("gateway", &["user", "add", "starter"])?;
    let invited = stage.ask("gateway", &["invite", "starter"])?;
    let dir = stage.dir("starter");
    let mut enroll = Command::new(&stage.program)
        .args(["enroll", "-", "--password-stdin", "--json", "--dir"])
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    enroll
        .stdin
        .take()
        .ok_or("no stdin")?
        .write_all(format!("{}\n{PASSWORD}\n", text(&invited, "link")?).as_bytes())?;
    if !enroll.wait()?.success() {
        return Err("the measured device could not be enrolled".into());
    }
    let (mut whole, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        std::thread::sleep(Duration::from_millis(1_100));
        let begun = Instant::now();
        let mut pipe = Command::new(&stage.program)
            .args(["pipe", "echo", "--alone", "--password-stdin", "--timings", "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        pipe.stdin.take().ok_or("no stdin")?.write_all(format!("{PASSWORD}\nhello\n").as_bytes())?;
        let ran = pipe.wait_with_output()?;
        let took = begun.elapsed();
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        let times: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let millis = |key: &str| times.iter().find_map(|times| times[key].as_f64());
        let (Some(argon2id), Some(ksf)) = (millis("argon2id_ms"), millis("ksf_ms")) else {
            return Err(format!("no times in {told}").into());
        };
        let slow = Duration::from_secs_f64((argon2id + ksf) / 1e3);
        whole.push(took.saturating_sub(slow));
        apart.push(slow);
    }
    let whole = Samples::new(whole);
    rows.push(
        Row::new("command start to end of a one-line exchange, p50", whole.micros(50.0) / 1e3, "ms")
            .at_most(20.0)
            .note("first byte, sign-off and exit included; Argon2id apart"),
    );
    rows.push(Row::new("Argon2id of it (256 MiB + 64 MiB), p50", Samples::new(apart).micros(50.0) / 1e3, "ms"));
    Ok(())
}

/// What a core of the controller takes: authentic knocks, and junk.
pub(super) fn rates(rows: &mut Vec<Row>) -> Result<()> {
    let rate: Value = serde_json::from_str(&run::output(&mut Command::new(example("knock_rate")))?)?;
    let number = |key: &str| rate[key].as_f64().unwrap_or_default();
    rows.push(Row::new("authentic knocks per second and core", number("per_second"), "1/s").at_least(5_000.0));
    rows.push(Row::new("  the bare curve arithmetic's limit", number("curve_limit_per_second"), "1/s"));
    let junk = run::output(Command::new(example("junk")).args(["2", "--json"]))?;
    for line in junk.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let kind = line["kind"].as_str().unwrap_or("junk").to_owned();
        let rate = line["refused_per_cpu_second"].as_f64().unwrap_or_default();
        rows.push(Row::new(format!("refused per CPU second: {kind}"), rate, "1/s").at_least(500_000.0));
    }
    Ok(())
}

fn example(name: &str) -> std::path::PathBuf {
    run::target().join("release/examples").join(name)
}
