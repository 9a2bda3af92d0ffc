//! Where an interface hangs: on which network of its world, and as which host. All its addresses follow from that.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The router's number on a network that has one.
pub(crate) const ROUTER: u8 = 1;

/// A place on a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    network: u8,
    host: u8,
}

impl Place {
    /// The outermost network itself.
    pub(crate) fn outside() -> Self {
        Self { network: 0, host: 0 }
    }

    /// A network behind a router.
    pub(crate) fn inside(network: u8) -> Self {
        Self { network, host: 0 }
    }

    /// A host's place on this network.
    pub(crate) fn numbered(self, host: u8) -> Self {
        Self { host, ..self }
    }

    pub(crate) fn number(self) -> u8 {
        self.host
    }

    /// Whether it is a place for a host at all.
    pub(crate) fn is_somewhere(self) -> bool {
        self.host != 0
    }

    pub(crate) fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77 + self.network, 0, self.host)
    }

    pub(crate) fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, self.network.into(), 0, 0, 0, self.host.into())
    }

    pub(crate) fn mac(self) -> [u8; 6] {
        [0x02, 0x77, 0, 0, self.network, self.host]
    }

    /// Lines for `ip -batch` that give an interface its addresses, put it up, and lay the default route where there is one.
    /// Without harm if it has them.
    pub(crate) fn settle(self, interface: &str) -> String {
        let mut script = format!(
            "address replace {}/24 dev {interface}\n\
             address replace {}/64 dev {interface} nodad\n\
             link set {interface} up\n",
            self.v4(),
            self.v6()
        );
        if self.network > 0 && self.host != ROUTER {
            let router = self.numbered(ROUTER);
            script += &format!(
                "route replace default via {} dev {interface}\nroute replace default via {} dev {interface}\n",
                router.v4(),
                router.v6()
            );
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_share_an_address() {
        let (one, other) = (Place::outside().numbered(11), Place::inside(1).numbered(11));
        assert_eq!((one.v4(), one.v6()), (Ipv4Addr::new(10, 77, 0, 11), "fd77::b".parse().unwrap()));
        assert_eq!((other.v4(), other.v6()), (Ipv4Addr::new(10, 78, 0, 11), "fd77:0:0:1::b".parse().unwrap()));
        assert_ne!(one.mac(), other.mac());
    }

    #[test]
    fn only_behind_a_router_there_is_a_way_out() {
        assert!(!Place::outside().numbered(11).settle("eth0").contains("default"));
        assert!(!Place::inside(1).numbered(ROUTER).settle("eth1").contains("default"));
        assert!(Place::inside(1).numbered(11).settle("eth0").contains("default via 10.78.0.1"));
    }
}
