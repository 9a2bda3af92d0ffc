//! From the start of the command, beside fwknop: to the open door, and to the first byte through the tunnel.

use super::super::samples::Samples;
use super::fwknop::Fwknop;
use super::stage::{PASSWORD, Stage, program, type_in};
use super::{Effort, Row};
use crate::run::Result;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The controller lets a device knock once a second.
const PAUSE: Duration = Duration::from_millis(1_100);
const FWKNOP_ROW: &str = "fwknop: command start to open port, p50";

/// A person's device, enrolled by the program as everybody's is.
pub(super) struct Starter {
    /// Its directory.
    pub(super) dir: PathBuf,
}

impl Starter {
    /// Enrols it.
    pub(super) fn enrol(stage: &Stage, name: &str) -> Result<Self> {
        let starter = Self { dir: stage.dir(name) };
        let mut enroll = starter.command(&["enroll", "-", "--password-stdin", "--json"]);
        let mut enroll = enroll.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        type_in(&mut enroll, &format!("{}\n{PASSWORD}\n", stage.invitation()?))?;
        let ran = enroll.wait_with_output()?;
        if ran.status.success() { Ok(starter) } else { Err(String::from_utf8_lossy(&ran.stderr).into()) }
    }

    /// A command of this person; its standard input is a pipe.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).arg("--dir").arg(&self.dir).stdin(Stdio::piped());
        command
    }
}

/// Spans of one start of the command, Argon2id apart.
struct Start {
    to_ready: Duration,
    to_first_byte: Duration,
    argon2id: Duration,
}

/// Starts the command and fwknop's in turns.
pub(super) fn beside_fwknop(starter: &Starter, knock_us: f64, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let mut fwknop = Fwknop::start(FWKNOP_ROW)?;
    let (mut starts, mut opened, mut lost) = (Vec::new(), Vec::new(), 0);
    for _ in 0..effort.pick(20, 5) {
        let begun = Instant::now();
        starts.push(start(starter)?);
        if let Ok(fwknop) = &mut fwknop {
            match fwknop.knock()? {
                Some(took) => opened.push(took),
                None => lost += 1,
            }
        }
        thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
    let millis = |span: fn(&Start) -> Duration| {
        let samples = Samples::new(starts.iter().map(span).collect());
        [samples.micros(50.0) / 1e3, samples.micros(99.0) / 1e3]
    };
    let [ready, ready_p99] = millis(|start| start.to_ready);
    let [first, first_p99] = millis(|start| start.to_first_byte);
    let [argon2id, _] = millis(|start| start.argon2id);
    rows.push(Row::new("command start to ready, Argon2id apart, p50", ready, "ms"));
    rows.push(Row::new("command start to ready, Argon2id apart, p99", ready_p99, "ms"));
    rows.push(Row::new("command start to first byte, Argon2id apart, p50", first, "ms").at_most(20.0));
    rows.push(Row::new("command start to first byte, Argon2id apart, p99", first_p99, "ms"));
    rows.push(Row::new("  Argon2id of it, p50", argon2id, "ms").note("credential 256 MiB, login 64 MiB"));
    match fwknop {
        Err(skipped) => rows.push(skipped),
        Ok(_) => {
            let samples = Samples::new(opened);
            let peer = samples.micros(50.0) / 1e3;
            rows.push(Row::new(FWKNOP_ROW, peer, "ms").note(format!("Debian's default; {lost} knocks lost")));
            rows.push(Row::new("  p99", samples.micros(99.0) / 1e3, "ms"));
            let name = "fwknop's command to open port, of ours to ready";
            rows.push(Row::new(name, peer / ready, "x").at_least(20.0).note("Argon2id apart"));
            let name = "fwknop's command to open port, of our knock to ready";
            rows.push(Row::new(name, peer * 1e3 / knock_us.max(1.0), "x").at_least(20.0).note("running client"));
        }
    }
    Ok(())
}

/// One exchange of a line through a pipe that knocks and logs in for it.
fn start(starter: &Starter) -> Result<Start> {
    let words = ["pipe", "echo", "--alone", "--password-stdin", "--timings"];
    let begun = Instant::now();
    let mut pipe = starter.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    type_in(&mut pipe, &format!("{PASSWORD}\nhello\n"))?;
    // It tells its times when the session stands, and what the opening took at its end.
    let mut lines = BufReader::new(pipe.stderr.take().ok_or("no stderr")?);
    let mut connected = String::new();
    lines.read_line(&mut connected)?;
    let stands = begun.elapsed();
    let mut first = [0; 1];
    let came = pipe.stdout.as_mut().ok_or("no stdout")?.read_exact(&mut first);
    let took = begun.elapsed();
    drop(pipe.stdin.take());
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    pipe.wait()?;
    came.map_err(|error| format!("nothing came through the pipe: {error}; {connected}{rest}"))?;
    let told: Value = serde_json::from_str(&connected).map_err(|_| format!("no times: {connected}"))?;
    let span = |key: &str| -> Result<Duration> {
        let millis = told[key].as_f64().ok_or_else(|| format!("no {key} in {told:?}"))?;
        Ok(Duration::from_secs_f64(millis / 1e3))
    };
    let argon2id = span("argon2id_ms")? + span("ksf_ms")?;
    let after_ready = span("dial_ms")? + span("login_ms")?;
    Ok(Start {
        to_ready: stands.saturating_sub(argon2id + after_ready),
        to_first_byte: took.saturating_sub(argon2id),
        argon2id,
    })
}
