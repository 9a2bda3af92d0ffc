//! One wire with hosts on it.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use crate::{
    Context, Failure, Host, Invocation, Result,
    holder::Holder,
    place::{Place, ROUTER},
};

const FIRST_NUMBER: u8 = 11;
const LAST_NUMBER: u8 = 250;
/// What Linux puts into one packet on its own links, in segments.
const SEGMENTS: u32 = 65_535;
/// Networks of one world.
const LAST_NETWORK: u8 = 100;

/// A bridge in a namespace of its own, and the hosts that hang on it: 10.77.0.0/24 and fd77::/64. No host has a route
/// beyond, and none has a link-local address, so what they send is what the test made them send.
///
/// Behind a [`Router`](crate::Router) lies another one, 10.78.0.0/24 and fd77:0:0:1::/64 and so on, whose hosts have a
/// default route through it.
pub struct Network {
    wire: Arc<Holder>,
    place: Place,
    next: AtomicU8,
    /// How many networks this world has.
    networks: Arc<AtomicU8>,
}

impl Network {
    /// A wire without hosts.
    ///
    /// # Errors
    /// The system makes no namespaces for us; the text says what to do.
    pub fn new() -> Result<Self> {
        Self::laid(Holder::start(None)?, Place::outside(), Arc::new(AtomicU8::new(1)))
    }

    /// One more wire of the same world, whose hosts have their default route through a router that is yet to be put there.
    pub(crate) fn behind(&self) -> Result<Self> {
        let number = self.networks.fetch_add(1, Ordering::Relaxed);
        if number > LAST_NETWORK {
            return Err(Failure::new("no more than 100 networks in one world"));
        }
        Self::laid(Holder::start(Some(&self.wire))?, Place::inside(number), Arc::clone(&self.networks))
    }

    fn laid(wire: Holder, place: Place, networks: Arc<AtomicU8>) -> Result<Self> {
        let network = Self { wire: Arc::new(wire), place, next: AtomicU8::new(FIRST_NUMBER), networks };
        network.on_wire(
            "link set lo up\nlink add wire type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set wire up\n",
        )?;
        Ok(network)
    }

    /// Puts one more host on the wire. The first has 10.77.0.11 and fd77::b, the next one more.
    ///
    /// # Errors
    /// The system refuses, or there are already 240 hosts.
    pub fn host(&self, name: &str) -> Result<Host> {
        let place = self.next_place()?;
        let holder = Holder::start(Some(&self.wire))?;
        let host = Host::from_parts(name, holder, place, Some(Arc::clone(&self.wire)));
        self.lay(&host, "eth0", place).context(format!("laying the wire to {name}"))?;
        host.plug("eth0")?;
        Ok(host)
    }

    /// Hangs a host of another network of this world on this wire, too: by one more interface, which is unplugged at first
    /// ([`Host::plug`]).
    ///
    /// # Errors
    /// The system refuses, or there are already 240 hosts.
    pub fn join(&self, host: &Host, interface: &str) -> Result<()> {
        let place = self.next_place()?;
        self.lay(host, interface, place)?;
        host.joined(interface, place, Arc::clone(&self.wire))
    }

    /// Addresses of IPv4 on this wire that no host will get.
    pub(crate) fn spare(&self, count: u8) -> Result<Vec<Ipv4Addr>> {
        (0..count).map(|_| Ok(self.next_place()?.v4())).collect()
    }

    /// Gives a host that has already one interface another one, as the router of this wire.
    pub(crate) fn put_router(&self, host: &Host) -> Result<()> {
        self.lay(host, "eth1", self.place.numbered(ROUTER))?;
        host.joined("eth1", self.place.numbered(ROUTER), Arc::clone(&self.wire))?;
        host.plug("eth1")
    }

    fn next_place(&self) -> Result<Place> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number > LAST_NUMBER {
            return Err(Failure::new("no more than 240 hosts on one wire"));
        }
        Ok(self.place.numbered(number))
    }

    fn lay(&self, host: &Host, interface: &str, place: Place) -> Result<()> {
        // Segments are cut before the capture sees them: one datagram, one packet.
        let number = place.number();
        self.on_wire(&format!(
            "link add port{number} gso_max_segs 1 type veth peer name {interface} netns {pid}\n\
             link set port{number} master wire\n\
             link set port{number} addrgenmode none up\n",
            pid = host.contained()?.pid()
        ))?;
        let [a, b, c, d, e, f] = place.mac();
        let script = format!(
            "link set lo up\n\
             link set {interface} address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} gso_max_segs 1 addrgenmode none\n"
        );
        host.command("ip").args(["-batch", "-"]).stdin(script).run()?.ok().map(drop)
    }

    /// Lets packets of many segments cross between this host and the wire, as they do on a machine's own veth: for measuring. A
    /// capture sees no packets any more that a network would carry.
    ///
    /// # Errors
    /// The system refuses.
    pub fn uncut(&self, host: &Host) -> Result<()> {
        let link = host.command("ip").args(["-json", "link", "show", "eth0"]).run()?.ok()?.json()?;
        let peer = link[0]["link_index"].as_u64().context("the number of the wire's end")?;
        let ports = self.command("ip").args(["-json", "link", "show"]).run()?.ok()?.json()?;
        let port = ports.as_array().into_iter().flatten().find(|port| port["ifindex"] == peer);
        let port = port.and_then(|port| port["ifname"].as_str()).context("the wire's end")?;
        self.on_wire(&format!("link set {port} gso_max_segs {SEGMENTS}\nlink set wire gso_max_segs {SEGMENTS}\n"))?;
        let own = format!("link set eth0 gso_max_segs {SEGMENTS}\n");
        host.command("ip").args(["-batch", "-"]).stdin(own).run()?.ok().map(drop)
    }

    pub(crate) fn wire(&self) -> &Holder {
        &self.wire
    }

    /// A command where the wire lies.
    pub(crate) fn command(&self, program: &str) -> Invocation {
        let (wire, prefix) = (Host::here(), self.wire.prefix());
        wire.command(&prefix[0]).args(&prefix[1..]).arg(program)
    }

    pub(crate) fn on_wire(&self, script: &str) -> Result<()> {
        self.command("ip").args(["-batch", "-"]).stdin(script).run()?.ok().map(drop)
    }
}
