//! Routers: a network behind another one, mostly behind a NAT.

use std::net::Ipv4Addr;

use crate::{Context, Host, Network, Result};

/// How a router's NAT maps what goes out, and whom it lets in. All of them are the kernel's own, by rules in the router's
/// namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    /// A host and port inside is one address and port outside, whomever it talks to, and anybody outside may send to it
    /// (endpoint-independent mapping and filtering; RFC 4787). IPv6 is mapped as by [`Nat::Common`].
    FullCone,
    /// The same mapping, but in comes only who was sent to: what most homes have.
    Common,
    /// Another random port for every destination (address- and port-dependent mapping).
    Symmetric,
    /// A carrier's: each flow of IPv4 leaves from the next of so many addresses, with a random port. IPv6 is mapped as by
    /// [`Nat::Symmetric`].
    Pool(u8),
}

/// A machine between two networks. Its `eth0` is outside, its `eth1` inside.
pub struct Router {
    host: Host,
    inside: Network,
    nat: Nat,
    pool: Vec<Ipv4Addr>,
    rebinds: u16,
}

impl Router {
    /// Puts a router on the wire `outside`, with a network of its own behind it. It answers nothing that comes from outside
    /// for itself.
    ///
    /// # Errors
    /// The system refuses; the kernel has no NAT, or `nft` isn't installed (Debian package nftables).
    pub fn start(outside: &Network, name: &str, nat: Nat) -> Result<Self> {
        let host = outside.host(name)?;
        let inside = outside.behind()?;
        inside.put_router(&host)?;
        let pool = match nat {
            Nat::Pool(size) => outside.spare(size)?,
            Nat::FullCone | Nat::Common | Nat::Symmetric => Vec::new(),
        };
        for address in &pool {
            host.add_address((*address).into(), 24)?;
        }
        let router = Self { host, inside, nat, pool, rebinds: 0 };
        router
            .host
            .command("sysctl")
            .args(["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
            .run()?
            .ok()?;
        router.write_rules()?;
        Ok(router)
    }

    /// The machine itself; its addresses are those outside.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The network behind it.
    pub fn inside(&self) -> &Network {
        &self.inside
    }

    /// The addresses of IPv4 that what goes out may have.
    pub fn public(&self) -> Vec<Ipv4Addr> {
        if self.pool.is_empty() { vec![self.host.v4()] } else { self.pool.clone() }
    }

    /// From now on no packet with more than so many bytes passes its outside: a larger one from inside is answered by ICMP, one
    /// from outside is dropped without a word.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_mtu(&self, bytes: u16) -> Result<()> {
        self.host.command("ip").args(["link", "set", "eth0", "mtu", &bytes.to_string()]).run()?.ok().map(drop)
    }

    /// Forgets every mapping of IPv4, as a router that was switched off and on: a flow that goes on leaves from another port, and
    /// what comes for the old one is dropped.
    ///
    /// # Errors
    /// The system refuses.
    pub fn rebind(&mut self) -> Result<()> {
        self.rebinds += 1;
        self.write_rules()?;
        // The kernel forgets the flows that were masqueraded by an address when the address goes.
        for address in self.public() {
            self.host.remove_address(address.into(), 24)?;
            self.host.add_address(address.into(), 24)?;
        }
        // An address that comes back brings the route to its network, and the router has no other outside.
        Ok(())
    }

    fn write_rules(&self) -> Result<()> {
        self.host.command("nft").args(["-f", "-"]).stdin(self.rules()).run()?.ok().context("NAT by nft").map(drop)
    }

    fn rules(&self) -> String {
        let cone = match self.nat {
            Nat::FullCone => CONE,
            Nat::Common | Nat::Symmetric | Nat::Pool(_) => "",
        };
        format!(
            "table inet lab {{}}\ndelete table inet lab\ntable inet lab {{\n{cone}\
             chain out {{ type nat hook postrouting priority srcnat;\n{}}}\n\
             chain own {{ type filter hook input priority filter;\n\
             iifname eth0 meta l4proto {{ tcp, udp }} ct state new drop\n}}\n}}\n",
            self.mapping()
        )
    }

    fn mapping(&self) -> String {
        let from = 20_000 + 5_000 * (self.rebinds % 8);
        match self.nat {
            // The same port as long as it may, and another one after a rebind.
            Nat::FullCone | Nat::Common if self.rebinds == 0 => "oifname eth0 masquerade\n".to_owned(),
            Nat::FullCone | Nat::Common => {
                format!("oifname eth0 meta l4proto {{ tcp, udp }} masquerade to :{from}-{}\n", from + 4_999)
            }
            Nat::Symmetric => "oifname eth0 masquerade fully-random\n".to_owned(),
            Nat::Pool(_) => {
                let addresses = self.pool.iter().enumerate().map(|(n, address)| format!("{n} : {address}"));
                let map = addresses.collect::<Vec<_>>().join(", ");
                format!(
                    "oifname eth0 meta nfproto ipv4 snat ip to numgen inc mod {} map {{ {map} }} fully-random\n\
                     oifname eth0 meta nfproto ipv6 masquerade fully-random\n",
                    self.pool.len()
                )
            }
        }
    }
}

/// Who has sent from inside gets what comes for the port outside that it was given.
const CONE: &str = "map back { type inet_service : ipv4_addr . inet_service; flags dynamic, timeout; timeout 120s; size 4096; }
chain note { type filter hook postrouting priority 110;
oifname eth0 meta nfproto ipv4 meta l4proto udp update @back { udp sport : ct original ip saddr . ct original proto-src }
}
chain in { type nat hook prerouting priority dstnat;
iifname eth0 meta nfproto ipv4 meta l4proto udp dnat ip to udp dport map @back
}
";
