//! Services to reach through the gateway.

use std::{net::SocketAddr, path::Path, time::Duration};

use crate::{Context, Host, Invocation, Result, Running, peer};

const UP_WITHIN: Duration = Duration::from_secs(10);

/// A small server on a host; it ends with this.
pub struct Upstream {
    running: Running,
    address: SocketAddr,
}

impl Upstream {
    /// Sends back what it receives, and closes its side when the other side has closed its own.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn echo(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("echo", host, dir)
    }

    /// Accepts connections, and then neither reads nor writes nor closes.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn hanging(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("hang", host, dir)
    }

    /// Sends zeros as fast as they are read; [`Upstream::drain`] reads them.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn source(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("source", host, dir)
    }

    /// Reads a connection to `from` as fast as it can, from `host`, until it ends or this time is over: a program that prints how many
    /// bytes came, within how many nanoseconds, and when the last of them came, in nanoseconds since 1970.
    ///
    /// # Errors
    /// The program is not there.
    pub fn drain(host: &Host, from: SocketAddr, span: Duration) -> Result<Invocation> {
        Ok(host.command(peer()?).args(["drain", &from.to_string(), &span.as_millis().to_string()]))
    }

    /// Sends a line per millisecond for as long as the connection lives: `0\n`, `1\n`, …
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn ticking(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("tick", host, dir)
    }

    /// A web server (HTTP/1.1): `/` is a page that holds `Vestibule lab`, `/bytes/N` are N bytes, anything else is
    /// not found.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn web(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("web", host, dir)
    }

    /// A name server over UDP, for which every name leads to one address; [`Upstream::ask`] asks it.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn dns(host: &Host, dir: &Path) -> Result<Self> {
        Self::start("dns", host, dir)
    }

    /// Asks a name server once, from `host`, for the address of `name`: a program that prints it, or fails when no answer has come within
    /// this time.
    ///
    /// # Errors
    /// The program is not there.
    pub fn ask(host: &Host, server: SocketAddr, name: &str, within: Duration) -> Result<Invocation> {
        let within = within.as_millis().to_string();
        Ok(host.command(peer()?).args(["ask", &server.to_string(), name, &within]))
    }

    /// Where it listens: the host's IPv4 address and a port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted until now; questions, of a name server.
    pub fn accepted(&self) -> usize {
        self.running.log().matches("accepted ").count()
    }

    /// Kills it: its port is closed from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    fn start(kind: &str, host: &Host, dir: &Path) -> Result<Self> {
        // A file of its own for each: the port is read from it.
        let log = tempfile::Builder::new().prefix(kind).suffix(".log").tempfile_in(dir)?.into_temp_path().keep()?;
        let command = host.command(peer()?).args(["serve", kind, &format!("{}:0", host.v4())]);
        let mut running = command.spawn(log)?;
        running.wait_for_log("listening on ", UP_WITHIN)?;
        let said = running.log();
        let address = said.lines().find_map(|line| line.strip_prefix("listening on ")).context("no address")?;
        Ok(Self { address: address.parse()?, running })
    }
}
