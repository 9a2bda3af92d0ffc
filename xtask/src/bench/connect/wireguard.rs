//! WireGuard in user space, a peer of the transport by QUIC: `boringtun-cli` at both ends of a veth, an echo behind the far one.

use super::super::Row;
use super::super::peer::Peer;
use super::ground::Ground;
use super::stage::{Stage, wait};
use super::tunnel::{Way, trip};
use super::{echo, floods};
use crate::run::{Result, output};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, process};

const ROW: &str = "WireGuard (boringtun)";

/// The tunnel's own addresses.
const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));
const PORT: u16 = 51_820;

/// The place that the tunnel's far end is in, and what both ends leave behind; gone with its owner.
pub(super) struct Far {
    _ground: Ground,
    sockets: [PathBuf; 2],
}

impl Drop for Far {
    fn drop(&mut self) {
        self.sockets.iter().for_each(|socket| drop(fs::remove_file(socket)));
    }
}

/// A tunnel and where it ends, or the word why there is none.
pub(super) fn way(stage: &Stage) -> Result<std::result::Result<(Way, Far), Row>> {
    let peer = Peer::new("boringtun-cli", "none; `cargo install boringtun-cli` builds it");
    let program = match peer.path_or_skip(ROW, "") {
        Ok(program) => program,
        Err(skipped) => return Ok(Err(skipped)),
    };
    if !floods::is_in_own_network() {
        return Ok(Err(Row::skipped(ROW, "", "measured with `--only transport`, in a network of its own")));
    }
    let far = Ground::across_a_veth()?;
    let dir = stage.dir("wireguard");
    fs::create_dir(&dir)?;
    let keys = [Key::new(&dir.join("near"))?, Key::new(&dir.join("far"))?];
    let [near, far_end] = ["near", "far"].map(|end| format!("wg{end}{}", process::id()));
    let mut way = Way { address: SocketAddr::new(FAR, 0), pids: Vec::new(), children: Vec::new() };
    let at = |is_far: bool, program: &Path| if is_far { far.command(program) } else { Command::new(program) };
    for (is_far, name, peer_at) in [(false, &near, far.roles), (true, &far_end, far.upstreams)] {
        let child = started(at(is_far, &program), name)?;
        way.pids.push(child.id());
        way.children.push(child);
        wait(ROW, || socket(name).exists())?;
        let (own, peer) = if is_far { (&keys[1], &keys[0]) } else { (&keys[0], &keys[1]) };
        let (own_address, peers) = if is_far { (FAR, NEAR) } else { (NEAR, FAR) };
        tell(&socket(name), (own, peer), SocketAddr::new(peer_at, PORT), peers)?;
        let ip = Path::new("ip");
        output(at(is_far, ip).args(["address", "add", &format!("{own_address}/24"), "dev", name]))?;
        output(at(is_far, ip).args(["link", "set", name, "up"]))?;
    }
    way.address = far.inside(|| echo::start(FAR))??;
    trip(&mut way.connect()?)?;
    let sockets = [&near, &far_end].map(|name| socket(name));
    Ok(Ok((way, Far { _ground: far, sockets })))
}

fn started(mut command: Command, interface: &str) -> Result<Child> {
    command.args(["--foreground", "--disable-drop-privileges", "--verbosity", "error", interface]);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn socket(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

/// Sets an end up, by the protocol that all implementations of WireGuard in user space have in common.
fn tell(socket: &Path, (own, peer): (&Key, &Key), endpoint: SocketAddr, allowed: IpAddr) -> Result<()> {
    let words = format!(
        "set=1\nprivate_key={}\nlisten_port={PORT}\npublic_key={}\nendpoint={endpoint}\nallowed_ip={allowed}/32\n\n",
        own.private, peer.public
    );
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(words.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains("errno=0") { Ok(()) } else { Err(format!("{ROW} took no configuration: {answer}").into()) }
}

/// A key pair of this run, in hex.
struct Key {
    private: String,
    public: String,
}

impl Key {
    fn new(file: &Path) -> Result<Self> {
        let public = file.with_extension("pub");
        let openssl = |words: &[&str], into: &Path| output(Command::new("openssl").args(words).arg("-out").arg(into));
        openssl(&["genpkey", "-algorithm", "X25519", "-outform", "DER"], file)?;
        let own = file.to_str().ok_or("a path that is no text")?;
        openssl(&["pkey", "-inform", "DER", "-in", own, "-pubout", "-outform", "DER"], &public)?;
        Ok(Self { private: last_32(file)?, public: last_32(&public)? })
    }
}

/// The key itself stands at the end of its DER.
fn last_32(file: &Path) -> Result<String> {
    let der = fs::read(file)?;
    let key = der.last_chunk::<32>().ok_or("a key of X25519 has 32 bytes")?;
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}
