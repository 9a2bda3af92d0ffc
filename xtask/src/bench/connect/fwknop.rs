//! fwknop, the peer of the knock: client and server in two network namespaces of our own, as Debian configures them.
//!
//! The measurement runs in a process of this same program inside the namespaces, which does one knock for each line that it
//! reads. Neither needs root where the kernel lets a user have namespaces.

use super::super::Row;
use super::super::peer::Peer;
use crate::run::{Result, output, succeeds};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The hidden word by which this program runs [`inside`].
pub(in super::super) const INSIDE: &str = "fwknop-inside";

const CLIENT: &str = "10.99.0.1";
const SERVER: &str = "10.99.0.2";
/// The first port that is knocked for; each knock takes the next, so that it finds a closed door.
const FIRST_PORT: u16 = 2_000;
/// A connect that is not answered in this time found the door closed: another begins, with a SYN of its own.
const SYN_PATIENCE: Duration = Duration::from_millis(2);
/// A lost knock.
const GIVE_UP: Duration = Duration::from_secs(5);
/// What only root has, made in a namespace: the folder that all of fwknop's files lie in.
const RUN: &str = "/run/fwknop";

/// A running pair of fwknop.
pub(super) struct Fwknop {
    inside: Child,
    asks: ChildStdin,
    tells: BufReader<ChildStdout>,
}

impl Fwknop {
    /// Starts it, or gives the word why not.
    pub(super) fn start(row: &str) -> Result<std::result::Result<Self, Row>> {
        for (program, package) in [("fwknop", "fwknop-client"), ("fwknopd", "fwknop-server"), ("iptables", "iptables")]
        {
            if let Err(skipped) = Peer::new(program, package).path_or_skip(row, "ms") {
                return Ok(Err(skipped));
            }
        }
        if !succeeds(namespaces().arg("true")) {
            return Ok(Err(Row::skipped(row, "ms", "no namespaces may be made here")));
        }
        let mut inside = namespaces()
            .arg(env::current_exe()?)
            .args(["bench", INSIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = inside.stdin.take().ok_or("no stdin")?;
        let mut tells = BufReader::new(inside.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        tells.read_line(&mut line)?;
        if line.trim() != "ready" {
            inside.wait()?;
            return Ok(Err(Row::skipped(row, "ms", &format!("fwknopd did not start ({})", line.trim()))));
        }
        Ok(Ok(Self { inside, asks, tells }))
    }

    /// From the start of the client's program until the port is open; `None` if the knock was lost.
    pub(super) fn knock(&mut self) -> Result<Option<Duration>> {
        writeln!(self.asks, "knock")?;
        let mut line = String::new();
        self.tells.read_line(&mut line)?;
        Ok(line.trim().parse().ok().map(Duration::from_micros))
    }
}

impl Drop for Fwknop {
    fn drop(&mut self) {
        let _ = self.inside.kill();
        let _ = self.inside.wait();
    }
}

/// User, process, mount and network namespaces in which a command may do as it likes; all of it ends with the command.
fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
}

/// Inside the namespaces: sets both hosts up, says `ready`, and knocks for each line. Prints microseconds, or `lost`.
///
/// # Errors
/// A step of the setting up fails.
pub(in super::super) fn inside() -> Result<()> {
    let mut daemon = match set_up() {
        Ok(daemon) => daemon,
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };
    let keys = Keys::read()?;
    println!("ready");
    for (port, line) in (FIRST_PORT..).zip(io::stdin().lines()) {
        line?;
        match knock(&keys, port)? {
            Some(took) => println!("{}", took.as_micros()),
            None => println!("lost"),
        }
    }
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}

/// The server's host is a namespace within ours, with a closed firewall; ours is the client's.
fn set_up() -> Result<Child> {
    const STEPS: &[&str] = &[
        "mount -t tmpfs none /run",
        "ip link set lo up",
        "ip netns add server",
        "ip link add client0 type veth peer name server0 netns server",
        "ip addr add 10.99.0.1/24 dev client0",
        "ip link set client0 up",
        "ip -n server addr add 10.99.0.2/24 dev server0",
        "ip -n server link set server0 up",
        "ip -n server link set lo up",
        "ip netns exec server iptables -A INPUT -i lo -j ACCEPT",
        "ip netns exec server iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "ip netns exec server iptables -P INPUT DROP",
    ];
    for step in STEPS {
        output(&mut words(step))?;
    }
    output(&mut words(&format!("mkdir -m 0700 {RUN}")))?;
    let keys = output(&mut words("fwknop --key-gen --use-hmac --no-rc-file --no-home-dir"))?;
    fs::write(Path::new(RUN).join("keys"), &keys)?;
    let Keys { key, hmac } = Keys::read()?;
    let config = format!("PCAP_INTF server0;\nFWKNOP_RUN_DIR {RUN};\nFWKNOP_CONF_DIR {RUN};\n");
    fs::write(Path::new(RUN).join("fwknopd.conf"), config)?;
    let access = format!("SOURCE ANY\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {hmac}\nFW_ACCESS_TIMEOUT 600\n");
    fs::write(Path::new(RUN).join("access.conf"), access)?;
    for file in ["keys", "fwknopd.conf", "access.conf"] {
        output(&mut words(&format!("chmod 0600 {RUN}/{file}")))?;
    }
    let log = fs::File::create(Path::new(RUN).join("log"))?;
    let daemon = format!("ip netns exec server fwknopd -f -c {RUN}/fwknopd.conf -a {RUN}/access.conf");
    let daemon = words(&daemon).stdout(log.try_clone()?).stderr(log).spawn()?;
    let until = Instant::now() + GIVE_UP;
    while !fs::read_to_string(Path::new(RUN).join("log"))?.contains("main event loop") {
        if Instant::now() > until {
            return Err("it does not come to its main loop".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(daemon)
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null());
    command
}

/// What client and server share.
struct Keys {
    key: String,
    hmac: String,
}

impl Keys {
    fn read() -> Result<Self> {
        let text = fs::read_to_string(Path::new(RUN).join("keys"))?;
        let named = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|key| key.trim().to_owned()).ok_or("an unknown form of what fwknop --key-gen prints")
        };
        Ok(Self { key: named("KEY_BASE64:")?, hmac: named("HMAC_KEY_BASE64:")? })
    }
}

/// Knocks, and connects until somebody answers: nobody listens on the port, so the answer of an open door is a reset.
fn knock(keys: &Keys, port: u16) -> Result<Option<Duration>> {
    let to: SocketAddr = format!("{SERVER}:{port}").parse()?;
    let begun = Instant::now();
    let mut client = Command::new("fwknop")
        .args(["-A", &format!("tcp/{port}"), "-D", SERVER, "-a", CLIENT, "--no-save-args", "--use-hmac"])
        .args(["--key-base64-rijndael", &keys.key, "--key-base64-hmac", &keys.hmac])
        .env("HOME", RUN)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut opened = None;
    while opened.is_none() && begun.elapsed() < GIVE_UP {
        let answered = match TcpStream::connect_timeout(&to, SYN_PATIENCE) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        };
        opened = answered.then(|| begun.elapsed());
    }
    client.wait()?;
    Ok(opened)
}
