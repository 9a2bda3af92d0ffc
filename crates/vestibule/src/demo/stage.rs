//! The demo's stage: a folder of its own, the roles as processes, and short commands.

use crate::fault::Fault;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Names to a process of the demo the one that tells the story.
const PART_OF: &str = "VESTIBULE_DEMO";

/// A process of the demo ends with the demo, also when that is killed: nothing of it stays behind.
pub(crate) fn end_with_the_demo() {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let Some(demo) = std::env::var(PART_OF).ok().and_then(|pid| pid.parse::<i32>().ok()) else { return };
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before the kernel was asked.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != demo) {
        std::process::exit(i32::from(crate::fault::UNEXPECTED));
    }
}

/// How long a process may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A folder that vanishes, and the processes that live in it.
pub(crate) struct Stage {
    program: PathBuf,
    folder: TempDir,
    actors: Vec<Actor>,
}

/// A process of the demo.
struct Actor {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new() -> Result<Self, Fault> {
        let folder = tempfile::Builder::new()
            .prefix("vestibule-demo-")
            .tempdir()
            .map_err(|error| Fault::files(format!("the demo can't make a folder for itself: {error}")))?;
        let program = std::env::current_exe()
            .map_err(|error| Fault::unexpected(format!("the program can't find its own file: {error}")))?;
        Ok(Self { program, folder, actors: Vec::new() })
    }

    /// A path inside the stage's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program's own file.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a process that stays; its output goes to a log.
    pub(crate) fn start<S: AsRef<OsStr>>(
        &mut self,
        name: &'static str,
        arguments: &[S],
        stdin: Option<&str>,
    ) -> Result<(), Fault> {
        let log = self.path(&format!("{name}.log"));
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = open.map_err(|error| Fault::files(format!("{} can't be written: {error}", log.display())))?;
        let mut child = self
            .command(arguments)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| Fault::unexpected(format!("the {name} can't be started: {error}")))?;
        feed(&mut child, stdin)?;
        self.actors.push(Actor { name, child, log });
        Ok(())
    }

    /// Runs a short command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: Option<&str>) -> Result<Output, Fault> {
        let mut child = self
            .command(arguments)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Fault::unexpected(format!("the program can't start itself: {error}")))?;
        feed(&mut child, stdin)?;
        child.wait_with_output().map_err(|error| Fault::unexpected(format!("a command can't be waited for: {error}")))
    }

    /// Runs a short command that must succeed, and reads its JSON.
    pub(crate) fn ask<T: DeserializeOwned, S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        stdin: Option<&str>,
    ) -> Result<T, Fault> {
        let output = self.run(arguments, stdin)?;
        if !output.status.success() {
            return Err(Fault::unexpected(format!(
                "`vestibule {}` failed: {}",
                shown(arguments),
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            Fault::unexpected(format!("`vestibule {}` did not answer in JSON: {error}", shown(arguments)))
        })
    }

    /// Waits until `happened` gives something, or an actor dies, or `within` is over.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut happened: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Fault> {
        let until = Instant::now() + within;
        loop {
            if let Some(result) = happened(self) {
                return Ok(result);
            }
            self.check_alive()?;
            if Instant::now() > until {
                return Err(
                    Fault::unexpected(format!("{what} did not happen within {within:?}")).detail(self.log_tails())
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether an actor has ended by itself: then with its last words, and it is one no more.
    pub(crate) fn last_words(&mut self, name: &str) -> Option<String> {
        let index = self.actors.iter().position(|actor| actor.name == name)?;
        self.actors[index].child.try_wait().ok().flatten()?;
        Some(tail(&self.actors.remove(index).log))
    }

    /// Ends one actor, gracefully if it can.
    pub(crate) fn end(&mut self, name: &str) {
        if let Some(index) = self.actors.iter().position(|actor| actor.name == name) {
            let mut actor = self.actors.remove(index);
            actor.end();
        }
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG");
        command.env(PART_OF, std::process::id().to_string());
        command
    }

    fn check_alive(&mut self) -> Result<(), Fault> {
        for actor in &mut self.actors {
            if let Ok(Some(status)) = actor.child.try_wait() {
                return Err(Fault::unexpected(format!("the {} ended: {status}", actor.name)).detail(tail(&actor.log)));
            }
        }
        Ok(())
    }

    fn log_tails(&self) -> String {
        self.actors.iter().map(|actor| format!("{}:\n{}", actor.name, tail(&actor.log))).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for actor in self.actors.iter_mut().rev() {
            actor.end();
        }
    }
}

impl Actor {
    fn end(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn feed(child: &mut Child, text: Option<&str>) -> Result<(), Fault> {
    let (Some(text), Some(mut pipe)) = (text, child.stdin.take()) else { return Ok(()) };
    // A process that ends before it has read is told by its exit code.
    match pipe.write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::unexpected(format!("a command can't be given its input: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn shown<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    arguments.iter().map(|word| word.as_ref().to_string_lossy()).take(3).collect::<Vec<_>>().join(" ")
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// A UDP port that is free on `address` at this moment.
pub(crate) fn free_udp(address: IpAddr) -> Result<SocketAddr, Fault> {
    UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr()).map_err(|error| no_address(address, &error))
}

/// A TCP port that is free on `address` at this moment.
pub(crate) fn free_tcp(address: IpAddr) -> Result<SocketAddr, Fault> {
    std::net::TcpListener::bind((address, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| no_address(address, &error))
}

fn no_address(address: IpAddr, error: &std::io::Error) -> Fault {
    Fault::unexpected(format!("the loopback address {address} can't be used: {error}"))
        .next("the demo needs the whole of 127.0.0.0/8, as Linux gives it")
}
