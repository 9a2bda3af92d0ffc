//! `client.toml`: optional; every key has a default.

use super::{Checked, LogConfig};
use crate::fault::Fault;
use serde::Deserialize;
use std::net::SocketAddr;
use vestibule_client::forward::Forward;
use vestibule_client::{ClientError, Transport};

/// The client's configuration.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientConfig {
    /// The SOCKS5 proxy's address; must be a loopback address.
    pub(crate) socks: SocketAddr,
    /// The address of the HTTP proxy and of the `NAME.localhost` web services; must be a loopback address.
    pub(crate) http: SocketAddr,
    /// `LOCAL=SERVICE` forwards that `up` opens.
    pub(crate) forward: Vec<String>,
    /// Whether every user of this machine may use the local ports; by default only this one, and root.
    pub(crate) any_local_user: bool,
    /// Which way to the gateway: `auto`, `quic` or `tcp`.
    pub(crate) transport: Transport,
    /// How it logs.
    pub(crate) log: LogConfig,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            socks: SocketAddr::from(([127, 0, 0, 1], 1080)),
            http: SocketAddr::from(([127, 0, 0, 1], 8118)),
            forward: Vec::new(),
            any_local_user: false,
            transport: Transport::Auto,
            log: LogConfig { filter: "warn".to_owned(), ..LogConfig::default() },
        }
    }
}

impl Checked for ClientConfig {
    fn check(&self) -> Result<(), Fault> {
        for (key, address) in [("socks", self.socks), ("http", self.http)] {
            if !address.ip().is_loopback() {
                return Err(Fault::configuration(format!("`{key}` is {address}: only a loopback address is allowed"))
                    .detail("Whoever reaches the proxy reaches your services.")
                    .next("use 127.0.0.1 or [::1]"));
            }
        }
        self.forwards()?;
        self.log.check()
    }
}

impl ClientConfig {
    /// The forwards, as the client wants them.
    ///
    /// # Errors
    /// Exit code 40, naming the text that is none.
    pub(crate) fn forwards(&self) -> Result<Vec<Forward>, Fault> {
        let forwards = self.forward.iter().map(|text| text.parse());
        forwards.collect::<Result<_, ClientError>>().map_err(|error| Fault::from(error).into_configuration())
    }
}
