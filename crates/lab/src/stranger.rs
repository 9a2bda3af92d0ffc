//! What anybody on the wire can do to a host: send it datagrams, try its ports, and look what comes back.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::{Context, Host, Result, peer};

/// A datagram that came back.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Reply {
    /// Who sent it.
    pub from: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

impl Host {
    /// Sends datagrams from one port (chosen by the system) of this host, in this order, and gives what came back
    /// until `listen` after the last. Any size, any content, any number.
    ///
    /// # Errors
    /// They can't be sent.
    pub fn send_datagrams<'a>(
        &self,
        datagrams: impl IntoIterator<Item = (SocketAddr, &'a [u8])>,
        listen: Duration,
    ) -> Result<Vec<Reply>> {
        self.send_datagrams_from(0, datagrams, listen)
    }

    /// As [`Host::send_datagrams`], from the port `from`.
    ///
    /// # Errors
    /// They can't be sent, or the port is taken.
    pub fn send_datagrams_from<'a>(
        &self,
        from: u16,
        datagrams: impl IntoIterator<Item = (SocketAddr, &'a [u8])>,
        listen: Duration,
    ) -> Result<Vec<Reply>> {
        let mut script = String::new();
        for (to, bytes) in datagrams {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            script += &format!("{to} {hex}\n");
        }
        let command = self.command(peer()?).arg("send").arg(from.to_string());
        let ran = command.arg(listen.as_millis().to_string()).stdin(script).run()?.ok()?;
        serde_json::from_slice(&ran.stdout).context("what lab-peer send prints")
    }

    /// Tries to open a TCP connection to `to`, for 3 s at most, and gives the first bytes that come over it within
    /// 1 s (none: empty).
    ///
    /// # Errors
    /// The program can't be run. A connection that doesn't come about is `Ok(Err(reason))`.
    pub fn tcp_probe(&self, to: SocketAddr) -> Result<Result<Vec<u8>, String>> {
        let ran = self.command(peer()?).arg("connect").arg(to.to_string()).run()?;
        Ok(if ran.code() == Some(0) { Ok(ran.stdout) } else { Err(ran.err()) })
    }
}
