//! Pairs of TLS proxies, the peers of the transport over TCP: one half takes plain TCP and speaks TLS 1.3 to the other, which speaks
//! plain TCP to the echo.

use super::super::Row;
use super::super::peer::Peer;
use super::stage::{Stage, free_tcp, listens, wait};
use super::tunnel::{Way, trip};
use crate::run::{Result, output};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where the halves of a pair listen, and where the bytes go.
struct Ends {
    plain: SocketAddr,
    tls: SocketAddr,
    echo: SocketAddr,
}

/// A pair of HAProxy's that makes a full handshake for each connection, without client certificates; or the word why there is none.
pub(super) fn haproxy(stage: &Stage) -> Result<std::result::Result<Way, Row>> {
    let program = match Peer::new("haproxy", "haproxy").path_or_skip("HAProxy's pair", "") {
        Ok(program) => program,
        Err(skipped) => return Ok(Err(skipped)),
    };
    pair(stage, "haproxy", &program, &["-db", "-f"], |half, dir, ends| {
        let (d, Ends { plain, tls, echo }) = (dir.display(), ends);
        let defaults = "global\n maxconn 4096\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n";
        let proxy = match half {
            Half::Client => {
                let server = format!("{tls} ssl verify required ca-file {d}/cert.pem no-ssl-reuse");
                format!("listen half\n bind {plain}\n server half {server}\n")
            }
            Half::Server => {
                let ssl = format!("ssl crt {d}/pair.pem ssl-min-ver TLSv1.3 no-tls-tickets");
                format!("listen half\n bind {tls} {ssl}\n server half {echo}\n")
            }
        };
        format!("{defaults}{proxy}")
    })
}

/// A pair of stunnel's as Debian sets it up (it resumes sessions); or the word why there is none.
pub(super) fn stunnel(stage: &Stage) -> Result<std::result::Result<Way, Row>> {
    let program = match Peer::new("stunnel", "stunnel4").path_or_skip("stunnel's pair", "") {
        Ok(program) => program,
        Err(skipped) => return Ok(Err(skipped)),
    };
    pair(stage, "stunnel", &program, &[], |half, dir, ends| {
        let (d, Ends { plain, tls, echo }) = (dir.display(), ends);
        let service = match half {
            Half::Client => {
                format!("client = yes\naccept = {plain}\nconnect = {tls}\nverifyPeer = yes\nCAfile = {d}/cert.pem\n")
            }
            Half::Server => format!("accept = {tls}\nconnect = {echo}\ncert = {d}/pair.pem\n"),
        };
        let nodelay = "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n";
        format!("foreground = yes\npid =\nsyslog = no\ndebug = 2\n{nodelay}[half]\nsslVersion = TLSv1.3\n{service}")
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Client,
    Server,
}

fn pair(
    stage: &Stage,
    name: &str,
    program: &Path,
    words: &[&str],
    configuration: impl Fn(Half, &Path, &Ends) -> String,
) -> Result<std::result::Result<Way, Row>> {
    let dir = stage.dir(name);
    fs::create_dir(&dir)?;
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert),
    )?;
    fs::write(dir.join("pair.pem"), [fs::read(&cert)?, fs::read(&key)?].concat())?;
    let ends = Ends { plain: free_tcp()?, tls: free_tcp()?, echo: stage.echo };
    let mut way = Way { address: ends.plain, pids: Vec::new(), children: Vec::new() };
    for (half, file) in [(Half::Server, "server.conf"), (Half::Client, "client.conf")] {
        let file = dir.join(file);
        fs::write(&file, configuration(half, &dir, &ends))?;
        let child = started(program, words, &file)?;
        way.pids.push(child.id());
        way.children.push(child);
        wait(name, || listens(if half == Half::Server { ends.tls } else { ends.plain }))?;
    }
    trip(&mut way.connect()?)?;
    Ok(Ok(way))
}

fn started(program: &Path, words: &[&str], file: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    Ok(command.args(words).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}
