//! Both roles of the release build on loopback, and an echo upstream.

use super::echo;
use super::ground::Ground;
use crate::run::{self, Result};
use serde_json::Value;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// How long anything may take to serve.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// What the enrolled person types.
pub(super) const PASSWORD: &str = "nine violet herons at noon";

/// What is measured; gone with its owner.
pub(super) struct Stage {
    folder: PathBuf,
    controller: Option<Child>,
    gateway: Option<Child>,
    ground: Ground,
    /// Where the controller listens.
    pub(super) controller_at: SocketAddr,
    /// Where the gateway does.
    pub(super) gateway_at: SocketAddr,
    /// The upstream of the service `echo`.
    pub(super) echo: SocketAddr,
}

impl Stage {
    /// Builds the release, and starts a controller and, there, a gateway whose new devices' passwords are hardly stretched.
    pub(super) fn set(ground: Ground) -> Result<Self> {
        build()?;
        let folder = env::temp_dir().join(format!("vestibule-bench-{}", process::id()));
        fs::create_dir(&folder)?;
        let at = |address: Result<SocketAddr>| address.map(|free| SocketAddr::new(ground.roles, free.port()));
        let (controller_at, gateway_at) = (at(free_udp())?, at(free_udp())?);
        let upstreams = ground.upstreams;
        let echo = echo::start(upstreams)?;
        let mut stage = Self { folder, controller: None, gateway: None, ground, controller_at, gateway_at, echo };
        let (c, g) = (controller_at.to_string(), gateway_at.to_string());
        stage.ask("controller", &["controller", "init", "--listen", &c, "--public", &c])?;
        let run = ["controller", "run", "--dir"];
        stage.controller = Some(stage.start(stage.ground.command(program()).args(run).arg(stage.dir("controller")))?);
        stage.wait("the controller", || stage.ask("controller", &["controller", "status"]).is_ok())?;
        let link = stage.ask("controller", &["controller", "invite", "bench"])?;
        let link = text(&link, "link")?;
        stage.ask("gateway", &["gateway", "init", "--controller", &link, "--listen", &g, "--public", &g])?;
        // A WebSocket that no page has opened.
        let file = stage.dir("gateway").join("gateway.toml");
        fs::write(&file, fs::read_to_string(&file)? + "\n[guard.frames]\nentry = [\"GET /frames\"]\n")?;
        let light = stage.start(stage.ground.command(example("light")).arg(stage.dir("gateway")).arg(&g))?;
        stage.gateway = Some(light);
        stage.wait_linked()?;
        stage.ask("gateway", &["service", "add", "echo", "--tcp", &echo.to_string(), "--allow", "everyone"])?;
        let datagrams = echo::start_udp(upstreams)?.to_string();
        stage.ask("gateway", &["service", "add", "datagrams", "--udp", &datagrams, "--allow", "everyone"])?;
        let frames = format!("http://{}", echo::start_web(upstreams)?);
        stage.ask("gateway", &["service", "add", "frames", "--web", &frames, "--allow", "everyone"])?;
        stage.ask("gateway", &["user", "add", "bench"])?;
        Ok(stage)
    }

    /// The gateway is from now on that of the program, with this door.
    pub(super) fn change_gateway(&mut self, door: &str) -> Result<()> {
        end(self.gateway.take());
        let file = self.dir("gateway").join("gateway.toml");
        let text = fs::read_to_string(&file)?;
        let lines = text
            .lines()
            .map(|line| if line.starts_with("door = ") { format!("door = \"{door}\"") } else { line.to_owned() });
        fs::write(&file, lines.collect::<Vec<_>>().join("\n") + "\n")?;
        let run = ["gateway", "run", "--dir"];
        self.gateway = Some(self.start(self.ground.command(program()).args(run).arg(self.dir("gateway")))?);
        self.wait_linked()
    }

    /// A command with `--json` in a role's directory; its answer.
    pub(super) fn ask(&self, role: &str, words: &[&str]) -> Result<Value> {
        let dir = self.dir(role);
        let ran = Command::new(program()).args(words).arg("--json").arg("--dir").arg(dir).output()?;
        if !ran.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&ran.stderr)).into());
        }
        Ok(serde_json::from_slice(&ran.stdout)?)
    }

    /// An invitation for one more device.
    pub(super) fn invitation(&self) -> Result<String> {
        self.invitation_of("bench")
    }

    /// An invitation for a device of this person.
    pub(super) fn invitation_of(&self, user: &str) -> Result<String> {
        text(&self.ask("gateway", &["invite", user])?, "link")
    }

    /// A directory's path: a role's, a person's, or another's.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Process id of the controller.
    pub(super) fn controller(&self) -> u32 {
        self.controller.as_ref().map_or(0, Child::id)
    }

    /// Process id of the gateway.
    pub(super) fn gateway(&self) -> u32 {
        self.gateway.as_ref().map_or(0, Child::id)
    }

    fn start(&self, command: &mut Command) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.dir("log"))?;
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()?)
    }

    /// The gateway is asked: the controller may still hold the link of one that was ended.
    fn wait_linked(&self) -> Result<()> {
        self.wait("the link", || {
            let status = self.ask("gateway", &["gateway", "status"]);
            status.is_ok_and(|status| status["running"]["link"]["up"] == true)
        })
    }

    fn wait(&self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let log = || fs::read_to_string(self.dir("log")).unwrap_or_default();
        wait(what, ready).map_err(|error| format!("{error}\n{}", log()).into())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(self.gateway.take());
        end(self.controller.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits until something is so.
///
/// # Errors
/// It takes too long.
pub(in crate::bench) fn wait(what: &str, ready: impl Fn() -> bool) -> Result<()> {
    let until = Instant::now() + UP_WITHIN;
    while !ready() {
        if Instant::now() > until {
            return Err(format!("{what} did not come up").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The program as it is shipped, and apart from it (cargo would unite their features) what measures from a process of its own.
pub(super) fn build() -> Result<()> {
    let examples = ["connects", "light", "knock_rate", "junk", "handshakes"].map(|example| ["--example", example]);
    let packages = ["client", "gateway", "proto", "dark"].map(|package| format!("--package=vestibule-{package}"));
    let mut program = run::cargo(&["build", "--release", "--quiet", "--package", "vestibule"]);
    let mut tools = run::cargo(&["build", "--release", "--quiet"]);
    tools.args(packages).args(examples.as_flattened());
    for cargo in [&mut program, &mut tools] {
        // Standard output is for the rows.
        if !cargo.stdout(Stdio::null()).status()?.success() {
            return Err("the release can't be built".into());
        }
    }
    Ok(())
}

/// The program's release.
pub(super) fn program() -> PathBuf {
    run::target().join("release/vestibule")
}

/// The release of a measuring tool.
pub(in crate::bench) fn example(name: &str) -> PathBuf {
    run::target().join("release/examples").join(name)
}

/// A string in an answer.
pub(super) fn text(answer: &Value, key: &str) -> Result<String> {
    Ok(answer[key].as_str().ok_or_else(|| format!("no {key} in {answer}"))?.to_owned())
}

/// Writes a line to a program that reads it and no more.
pub(super) fn type_in(child: &mut Child, lines: &str) -> Result<()> {
    child.stdin.as_mut().ok_or("no stdin")?.write_all(lines.as_bytes())?;
    Ok(())
}

fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A TCP address that is free at this moment.
pub(in crate::bench) fn free_tcp() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether somebody listens.
pub(in crate::bench) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}
