//! `ssh -N -L` with its default cipher, to an sshd of our own: the peer of the tunnel.

use super::super::Row;
use super::super::peer::Peer;
use super::stage::{Stage, free_tcp, listens, wait};
use super::tunnel::{Way, trip};
use crate::run::{Result, output};
use std::fs;
use std::process::{Child, Command, Stdio};

/// The way through ssh, or the word why there is none.
pub(super) fn way(stage: &Stage) -> Result<std::result::Result<Way, Row>> {
    const ROW: &str = "ssh -L";
    let sshd = match Peer::new("sshd", "openssh-server").path_or_skip(ROW, "") {
        Ok(sshd) => sshd,
        Err(skipped) => return Ok(Err(skipped)),
    };
    if let Err(skipped) = Peer::new("ssh", "openssh-client").path_or_skip(ROW, "") {
        return Ok(Err(skipped));
    }
    let dir = stage.dir("ssh");
    fs::create_dir(&dir)?;
    for key in ["host", "user"] {
        output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)))?;
    }
    let (listen, address) = (free_tcp()?, free_tcp()?);
    let (d, config) = (dir.display(), dir.join("sshd_config"));
    let files = format!("HostKey {d}/host\nAuthorizedKeysFile {d}/user.pub\nPidFile none\n");
    fs::write(&config, format!("ListenAddress {listen}\n{files}UsePAM no\nStrictModes no\n"))?;
    // Debian's sshd runs only where this is, even if it has no use for it.
    let _ = fs::create_dir_all("/run/sshd");
    let server = Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config).stderr(Stdio::null()).spawn()?;
    let mut way = Way { address, pids: Vec::new(), children: vec![server] };
    wait("sshd", || listens(listen))?;
    let client = Command::new("ssh")
        .args(["-F", "none", "-N", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "ExitOnForwardFailure=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(dir.join("user"))
        .args(["-L", &format!("{address}:{}", stage.echo), "-p", &listen.port().to_string()])
        .arg(listen.ip().to_string())
        .stderr(Stdio::null())
        .spawn()?;
    way.pids.push(client.id());
    way.children.push(client);
    wait("ssh -L", || listens(address))?;
    trip(&mut way.connect()?)?;
    // What carries the bytes at the server is a child of the listener, and a child of that.
    let halves = way.children.first().map(Child::id).map(descendants).unwrap_or_default();
    way.pids.extend(halves);
    Ok(Ok(way))
}

fn descendants(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children: Vec<u32> =
        fs::read_to_string(path).unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    children.iter().copied().chain(children.iter().flat_map(|pid| descendants(*pid))).collect()
}
