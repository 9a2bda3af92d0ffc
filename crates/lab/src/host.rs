//! A machine of the test: its own network, its own view of the file system.

use std::{
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Context, Counters, Failure, Invocation, Result, holder::Holder, place::Place};

/// A machine: a network namespace and a mount namespace. Clones are the same machine; with the last one everything
/// that runs in it is killed and the namespaces are gone.
#[derive(Clone)]
pub struct Host(Arc<Machine>);

struct Machine {
    name: String,
    /// `None`: the machine that the tests themselves run on.
    holder: Option<Holder>,
    place: Place,
    /// Further interfaces.
    more: Mutex<Vec<Interface>>,
    /// Dropped after `holder`: the wire, while anybody hangs on it.
    _wire: Option<Arc<Holder>>,
}

struct Interface {
    name: String,
    place: Place,
    _wire: Arc<Holder>,
}

impl Host {
    /// A machine with nothing but a loopback interface of its own: no other test can take a port there.
    ///
    /// # Errors
    /// The system makes no namespaces for us; the text says what to do.
    pub fn solitary(name: &str) -> Result<Self> {
        let host = Self::from_parts(name, Holder::start(None)?, Place::outside(), None);
        host.command("ip").args(["link", "set", "lo", "up"]).run()?.ok()?;
        Ok(host)
    }

    /// The machine that the tests themselves run on, without any namespace.
    pub fn here() -> Self {
        Self(Arc::new(Machine {
            name: "here".into(),
            holder: None,
            place: Place::outside(),
            more: Mutex::default(),
            _wire: None,
        }))
    }

    pub(crate) fn from_parts(name: &str, holder: Holder, place: Place, wire: Option<Arc<Holder>>) -> Self {
        Self(Arc::new(Machine { name: name.into(), holder: Some(holder), place, more: Mutex::default(), _wire: wire }))
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its IPv4 address on the wire; a loopback address where it hangs on none.
    pub fn v4(&self) -> Ipv4Addr {
        if self.0.place.is_somewhere() { self.0.place.v4() } else { Ipv4Addr::LOCALHOST }
    }

    /// Its IPv6 address on the wire; the loopback address where it hangs on none.
    pub fn v6(&self) -> Ipv6Addr {
        if self.0.place.is_somewhere() { self.0.place.v6() } else { Ipv6Addr::LOCALHOST }
    }

    /// Whether the address is one of those it was given on its wires, or a loopback address.
    pub fn owns(&self, address: IpAddr) -> bool {
        let has = |place: Place| address == place.v4() || address == place.v6();
        address.is_loopback() || self.places().into_iter().any(has)
    }

    /// The hardware address of its interface on the wire.
    pub fn mac(&self) -> [u8; 6] {
        self.0.place.mac()
    }

    /// The hardware addresses of all its interfaces.
    pub(crate) fn macs(&self) -> Vec<[u8; 6]> {
        self.places().into_iter().map(Place::mac).collect()
    }

    /// Its number on the wire.
    pub(crate) fn number(&self) -> u8 {
        self.0.place.number()
    }

    fn places(&self) -> Vec<Place> {
        let first = self.0.place.is_somewhere().then_some(self.0.place);
        first.into_iter().chain(self.more().iter().map(|more| more.place)).collect()
    }

    fn more(&self) -> std::sync::MutexGuard<'_, Vec<Interface>> {
        self.0.more.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Plugs one of its interfaces in (`eth0`, or what [`Network::join`](crate::Network::join) named): it has its addresses
    /// there again, and the default route leads out there, if that network has a router.
    ///
    /// # Errors
    /// It has no such interface.
    pub fn plug(&self, interface: &str) -> Result<()> {
        let script = self.place_of(interface)?.settle(interface);
        self.command("ip").args(["-batch", "-"]).stdin(script).run()?.ok().map(drop)
    }

    /// Pulls the plug of one of its interfaces: its addresses there are gone, and so is every route through it.
    ///
    /// # Errors
    /// It has no such interface.
    pub fn unplug(&self, interface: &str) -> Result<()> {
        self.ip(&["link", "set", interface, "down"])?;
        self.ip(&["address", "flush", "dev", interface])
    }

    /// Its IPv4 address at an interface, plugged in or not.
    ///
    /// # Errors
    /// It has no such interface.
    pub fn v4_at(&self, interface: &str) -> Result<Ipv4Addr> {
        Ok(self.place_of(interface)?.v4())
    }

    fn place_of(&self, interface: &str) -> Result<Place> {
        if interface == "eth0" && self.0.place.is_somewhere() {
            return Ok(self.0.place);
        }
        let found = self.more().iter().find(|more| more.name == interface).map(|more| more.place);
        found.context(format!("{} has no {interface}", self.name()))
    }

    pub(crate) fn joined(&self, interface: &str, place: Place, wire: Arc<Holder>) -> Result<()> {
        if self.place_of(interface).is_ok() {
            return Err(Failure::new(format!("{} has an {interface} already", self.name())));
        }
        self.more().push(Interface { name: interface.to_owned(), place, _wire: wire });
        Ok(())
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
