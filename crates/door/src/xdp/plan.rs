//! What is guarded: which interfaces, and which addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::fault::XdpError;
use super::place::Place;
use crate::links::{Framing, Interface};

/// What the door is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the gateway listens; addresses of IPv4 as such.
    listen: Vec<SocketAddr>,
    /// The interfaces that the owner named.
    named: Vec<String>,
}

impl Plan {
    pub(super) fn new(listen: &[SocketAddr], named: &[String]) -> Self {
        let canonical = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { listen: listen.iter().map(canonical).collect(), named: named.to_vec() }
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.listen.iter().map(SocketAddr::port)
    }

    /// The interfaces to be guarded, of those that there are: the named ones, or those that carry what is listened at.
    pub(super) fn guarded<'a>(&self, interfaces: &'a [Interface]) -> Vec<&'a Interface> {
        let carries = |interface: &Interface| self.listen.iter().any(|listen| carries(interface, listen.ip()));
        let wanted = |interface: &&Interface| {
            if self.named.is_empty() {
                !interface.is_loopback && carries(interface)
            } else {
                self.named.contains(&interface.name)
            }
        };
        interfaces.iter().filter(wanted).collect()
    }

    /// Where the gateway's packets go: each address of this machine if it listens at all of them. Each stands there with
    /// port 0, too.
    pub(super) fn places(&self, interfaces: &[Interface]) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for listen in &self.listen {
            let own = interfaces.iter().flat_map(|interface| &interface.addresses);
            let all = own.copied().filter(|own| listen.ip().is_unspecified() && is_taken(listen.ip(), *own));
            for address in all.chain(Some(listen.ip()).filter(|address| !address.is_unspecified())) {
                places.extend([Place::new(address, listen.port()), Place::new(address, 0)]);
            }
        }
        places
    }

    /// What is lacking so that the door could be opened.
    pub(super) fn check(&self, interfaces: &[Interface], ours: &[u32]) -> Result<(), XdpError> {
        if self.ports().any(|port| port == 0) {
            return Err(XdpError::NoPort);
        }
        if let Some(name) = self.named.iter().find(|name| interfaces.iter().all(|interface| interface.name != **name)) {
            return Err(XdpError::NoInterface { name: name.clone() });
        }
        let guarded = self.guarded(interfaces);
        if guarded.is_empty() {
            let address = self.listen.first().map_or([0; 4].into(), SocketAddr::ip);
            let loopback = interfaces.iter().any(|interface| interface.is_loopback && carries(interface, address));
            return Err(if loopback { XdpError::Loopback { address } } else { XdpError::NoCarrier { address } });
        }
        guarded.into_iter().try_for_each(|interface| check_interface(interface, ours))
    }
}

/// Whether our program could be at this interface; `ours` are the numbers by which the kernel knows it.
pub(super) fn check_interface(interface: &Interface, ours: &[u32]) -> Result<(), XdpError> {
    let interface_name = || interface.name.clone();
    if interface.framing == Framing::Other {
        return Err(XdpError::Framing { interface: interface_name() });
    }
    if interface.programs.iter().any(|program| !ours.contains(program)) {
        return Err(XdpError::Taken { interface: interface_name() });
    }
    Ok(())
}

/// Whether packets to the address come by the interface. One that is a part of another (a bridge, a bond) hands them to that one.
fn carries(interface: &Interface, listen: IpAddr) -> bool {
    if listen.is_loopback() {
        return interface.is_loopback;
    }
    if listen.is_unspecified() {
        return !interface.is_part && interface.addresses.iter().any(|own| is_taken(listen, *own));
    }
    interface.addresses.contains(&listen)
}

/// Whether a socket at this unspecified address takes what comes to an address: that of IPv6 takes both families, as the
/// gateway's does.
fn is_taken(unspecified: IpAddr, own: IpAddr) -> bool {
    unspecified.is_ipv6() || own.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            index: u32::from(name.as_bytes()[0]),
            name: name.to_owned(),
            framing: Framing::Ethernet,
            is_loopback: name == "lo",
            is_part: name.starts_with("port"),
            programs: Vec::new(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface("lo", &["127.0.0.1", "::1"]),
            interface("eth0", &["192.0.2.1", "2001:db8::1"]),
            interface("six", &["2001:db8:6::1"]),
            interface("bare", &[]),
            interface("port0", &["fe80::1"]),
        ]
    }

    fn plan(listen: &str, named: &[&str]) -> Plan {
        Plan::new(&[listen.parse().unwrap()], &named.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    fn guarded(listen: &str, named: &[&str]) -> Vec<String> {
        plan(listen, named).guarded(&machine()).iter().map(|interface| interface.name.clone()).collect()
    }

    #[test]
    fn interfaces_that_carry_the_address_are_guarded_or_those_that_are_named() {
        assert_eq!(guarded("192.0.2.1:4434", &[]), ["eth0"]);
        assert_eq!(guarded("[::ffff:192.0.2.1]:4434", &[]), ["eth0"]);
        assert_eq!(guarded("[2001:db8:6::1]:4434", &[]), ["six"]);
        assert_eq!(guarded("0.0.0.0:4434", &[]), ["eth0"]);
        assert_eq!(guarded("[::]:4434", &[]), ["eth0", "six"]);
        assert_eq!(guarded("[::]:4434", &["bare", "lo"]), ["lo", "bare"]);
        assert_eq!(guarded("127.0.0.1:4434", &["lo"]), ["lo"]);
    }

    #[test]
    fn a_packet_is_the_gateway_s_at_each_address_that_it_listens_at() {
        let places = |listen: &str| plan(listen, &[]).places(&machine());
        let at = |address: &str, port| Place::new(address.parse().unwrap(), port);
        let one = BTreeSet::from([at("192.0.2.1", 0), at("192.0.2.1", 4434)]);
        assert_eq!(places("192.0.2.1:4434"), one);
        let four = places("0.0.0.0:4434");
        assert!(four.is_superset(&one) && four.contains(&at("127.0.0.1", 4434)) && four.len() == 4);
        assert_eq!(places("[::]:4434").len(), 12);
    }

    #[test]
    fn each_lack_is_said() {
        let check = |listen: &str, named: &[&str]| plan(listen, named).check(&machine(), &[]);
        assert_eq!(check("[::]:4434", &[]), Ok(()));
        assert_eq!(check("[::]:0", &[]), Err(XdpError::NoPort));
        assert_eq!(check("[::]:1", &["eth9"]), Err(XdpError::NoInterface { name: "eth9".to_owned() }));
        let address = "127.0.0.1".parse().unwrap();
        assert_eq!(check("127.0.0.1:1", &[]), Err(XdpError::Loopback { address }));
        let address = "203.0.113.1".parse().unwrap();
        assert_eq!(check("203.0.113.1:1", &[]), Err(XdpError::NoCarrier { address }));
        let mut machine = machine();
        machine[1].programs = vec![7, 8];
        let taken = Err(XdpError::Taken { interface: "eth0".to_owned() });
        assert_eq!(plan("[::]:1", &[]).check(&machine, &[7]), taken);
        assert_eq!(plan("[::]:1", &[]).check(&machine, &[7, 8]), Ok(()));
        machine[1].framing = Framing::Other;
        let framing = Err(XdpError::Framing { interface: "eth0".to_owned() });
        assert_eq!(plan("[::]:1", &[]).check(&machine, &[7, 8]), framing);
    }
}
