//! A machine of the test: its own network, its own view of the file system.

use std::{
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::{Counters, Failure, Invocation, Result, holder::Holder};

/// A machine: a network namespace and a mount namespace. Clones are the same machine; with the last one everything
/// that runs in it is killed and the namespaces are gone.
#[derive(Clone)]
pub struct Host(Arc<Machine>);

struct Machine {
    name: String,
    /// `None`: the machine that the tests themselves run on.
    holder: Option<Holder>,
    number: u8,
    /// Dropped after `holder`: the wire, while anybody hangs on it.
    _wire: Option<Arc<Holder>>,
}

impl Host {
    /// A machine with nothing but a loopback interface of its own: no other test can take a port there.
    ///
    /// # Errors
    /// The system makes no namespaces for us; the text says what to do.
    pub fn solitary(name: &str) -> Result<Self> {
        let host = Self::from_parts(name, Holder::start(None)?, 0, None);
        host.command("ip").args(["link", "set", "lo", "up"]).run()?.ok()?;
        Ok(host)
    }

    /// The machine that the tests themselves run on, without any namespace.
    pub fn here() -> Self {
        Self(Arc::new(Machine { name: "here".into(), holder: None, number: 0, _wire: None }))
    }

    pub(crate) fn from_parts(name: &str, holder: Holder, number: u8, wire: Option<Arc<Holder>>) -> Self {
        Self(Arc::new(Machine { name: name.into(), holder: Some(holder), number, _wire: wire }))
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its IPv4 address on the wire; a loopback address where it hangs on none.
    pub fn v4(&self) -> Ipv4Addr {
        if self.0.number == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 77, 0, self.0.number) }
    }

    /// Its IPv6 address on the wire; the loopback address where it hangs on none.
    pub fn v6(&self) -> Ipv6Addr {
        if self.0.number == 0 {
            Ipv6Addr::LOCALHOST
        } else {
            Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.0.number.into())
        }
    }

    /// Whether the address is one of its two on the wire, or a loopback address.
    pub fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback() || address == self.v4() || address == self.v6()
    }

    /// The hardware address of its interface on the wire.
    pub fn mac(&self) -> [u8; 6] {
        [0x02, 0x77, 0, 0, 0, self.0.number]
    }

    /// A command to run on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Invocation {
        Invocation::new(self, program)
    }

    /// What its kernel counted so far.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn counters(&self) -> Result<Counters> {
        Counters::read(self.0.holder.as_ref().map(Holder::pid))
    }

    /// Adds an address to its interface on the wire, with the length of its network's prefix. It works at once, and
    /// nothing is sent for it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn add_address(&self, address: IpAddr, prefix: u8) -> Result<()> {
        let address_words = format!("{address}/{prefix}");
        let mut words = vec!["address", "add", &address_words, "dev", "eth0"];
        if address.is_ipv6() {
            words.push("nodad");
        }
        self.ip(&words)
    }

    /// Takes an address from its interface on the wire.
    ///
    /// # Errors
    /// It has no such address.
    pub fn remove_address(&self, address: IpAddr, prefix: u8) -> Result<()> {
        self.ip(&["address", "del", &format!("{address}/{prefix}"), "dev", "eth0"])
    }

    /// Pulls the plug of its interface on the wire, or puts it back.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_plugged(&self, plugged: bool) -> Result<()> {
        self.ip(&["link", "set", "eth0", if plugged { "up" } else { "down" }])
    }

    fn ip(&self, words: &[&str]) -> Result<()> {
        self.contained()?;
        self.command("ip").args(words).run()?.ok().map(drop)
    }

    pub(crate) fn prefix(&self) -> Vec<OsString> {
        self.0.holder.as_ref().map_or_else(Vec::new, Holder::prefix)
    }

    pub(crate) fn is_contained(&self) -> bool {
        self.0.holder.is_some()
    }

    /// Refuses what must never be done to the machine that the tests run on.
    pub(crate) fn contained(&self) -> Result<&Holder> {
        self.0
            .holder
            .as_ref()
            .ok_or_else(|| Failure::new("this is done to a host of the lab only, not to this machine"))
    }
}
