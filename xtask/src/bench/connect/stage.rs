//! Both roles of the release build on loopback, an echo upstream, and clients that stay running.

use crate::run::{self, Result};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a role may take to serve.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// How many devices the running client enrols: each may knock once a second.
const DEVICES: usize = 16;
/// What the enrolled person types.
pub(super) const PASSWORD: &str = "nine violet herons at noon";

/// What is measured; gone with its owner.
pub(super) struct Stage {
    folder: PathBuf,
    /// The program.
    pub(super) program: PathBuf,
    roles: Vec<Child>,
    pub(super) controller: SocketAddr,
    pub(super) echo: SocketAddr,
}

impl Stage {
    /// Builds the release and starts everything.
    pub(super) fn set() -> Result<Self> {
        build(&["--package", "vestibule"])?;
        build(&["--package", "vestibule-client", "--example", "connects"])?;
        build(&["--package", "vestibule-proto", "--example", "knock_rate"])?;
        build(&["--package", "vestibule-dark", "--example", "junk"])?;
        let folder = std::env::temp_dir().join(format!("vestibule-bench-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let (controller, gateway) = (free_udp()?, free_udp()?);
        let program = run::target().join("release/vestibule");
        let mut stage = Self { folder, program, roles: Vec::new(), controller, echo: echo()? };
        let (c, g) = (controller.to_string(), gateway.to_string());
        stage.ask("controller", &["controller", "init", "--listen", &c, "--public", &c])?;
        stage.start("controller")?;
        let link = stage.ask("controller", &["controller", "invite", "bench"])?;
        let link = text(&link, "link")?;
        stage.ask("gateway", &["gateway", "init", "--controller", &link, "--listen", &g, "--public", &g])?;
        stage.start("gateway")?;
        let until = Instant::now() + UP_WITHIN;
        while stage.ask("controller", &["controller", "gateways"])?[0]["linked"] != true {
            if Instant::now() > until {
                return Err("the gateway did not link".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let upstream = stage.echo.to_string();
        stage.ask("gateway", &["service", "add", "echo", "--tcp", &upstream, "--allow", "everyone"])?;
        for user in 0..DEVICES {
            stage.ask("gateway", &["user", "add", &format!("user{user}")])?;
        }
        Ok(stage)
    }

    /// A command with `--json` in a role's directory; its answer.
    pub(super) fn ask(&self, role: &str, words: &[&str]) -> Result<Value> {
        let dir = self.dir(role);
        let ran = Command::new(&self.program).args(words).arg("--json").arg("--dir").arg(dir).output()?;
        if !ran.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&ran.stderr)).into());
        }
        Ok(serde_json::from_slice(&ran.stdout)?)
    }

    /// A role's directory.
    pub(super) fn dir(&self, role: &str) -> PathBuf {
        self.folder.join(role)
    }

    /// A folder of its own for something.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Process id of the controller (0) or the gateway (1).
    pub(super) fn pid(&self, role: usize) -> u32 {
        self.roles.get(role).map_or(0, Child::id)
    }

    /// One invitation for each of the users, a line each.
    pub(super) fn invitations(&self) -> Result<String> {
        let mut lines = String::new();
        for user in 0..DEVICES {
            let invited = self.ask("gateway", &["invite", &format!("user{user}")])?;
            lines += &text(&invited, "link")?;
            lines.push('\n');
        }
        Ok(lines)
    }

    /// The running client: connects `count` times, and gives a JSON object for each.
    pub(super) fn connects(&self, name: &str, count: usize) -> Result<Vec<Value>> {
        let mut child = self.running_client(name, count, &[])?;
        let mut text = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut text)?;
        }
        child.wait()?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The same, left running with pipes; stdin stays open.
    pub(super) fn running_client(&self, name: &str, count: usize, more: &[&str]) -> Result<Child> {
        let folder = self.scratch(name)?;
        let program = run::target().join("release/examples/connects");
        let mut child = Command::new(program)
            .arg(folder)
            .args([&count.to_string(), "echo"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(stdin) = child.stdin.as_mut() {
            stdin.write_all(self.invitations()?.as_bytes())?;
            stdin.write_all(b"\n")?;
        }
        Ok(child)
    }

    fn start(&mut self, role: &str) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{role}.log")))?;
        let child = Command::new(&self.program)
            .args([role, "run", "--dir"])
            .arg(self.dir(role))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.roles.push(child);
        let until = Instant::now() + UP_WITHIN;
        while self.ask(role, &[role, "status"]).is_err() {
            if Instant::now() > until {
                return Err(format!("the {role} did not start").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.roles.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn build(words: &[&str]) -> Result<()> {
    let built = run::run(run::cargo(&["build", "--release", "--quiet"]).args(words))?;
    if built { Ok(()) } else { Err(format!("cargo can't build {words:?}").into()) }
}

/// A string in an answer.
pub(super) fn text(answer: &Value, key: &str) -> Result<String> {
    Ok(answer[key].as_str().ok_or_else(|| format!("no {key} in {answer}"))?.to_owned())
}

/// A UDP address that is free at this moment.
fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

/// A TCP address that is free at this moment.
pub(super) fn free_tcp() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Sends back what it gets; a connection that begins with a zero byte is only read from, one with a one only written to.
fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::Builder::new().stack_size(512 * 1024).spawn(move || serve(stream)).ok();
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = vec![0; 256 * 1024];
    let count = stream.read(&mut bytes)?;
    match bytes[..count].first() {
        Some(0) => while stream.read(&mut bytes)? > 0 {},
        Some(1) => loop {
            stream.write_all(&bytes)?;
        },
        Some(_) => {
            stream.write_all(&bytes[..count])?;
            loop {
                let count = stream.read(&mut bytes)?;
                if count == 0 {
                    break;
                }
                stream.write_all(&bytes[..count])?;
            }
        }
        None => {}
    }
    Ok(())
}

/// Resident memory of a process, in KiB.
pub(super) fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
