//! Sources as keys of a table.

use std::net::{IpAddr, SocketAddr};

/// Where a datagram comes from: address, port and, for link-local addresses of IPv6, the interface. Two forms of one
/// address (IPv4, and IPv4 mapped into IPv6) are one source; a flow label is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    address: u128,
    /// Port in the low 16 bits, interface above.
    port_and_scope: u64,
}

impl Source {
    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V6(self.address.into()).to_canonical()
    }

    pub(crate) fn port(self) -> u16 {
        self.port_and_scope as u16
    }
}

impl From<SocketAddr> for Source {
    fn from(source: SocketAddr) -> Self {
        let (address, scope) = match source {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        Self { address: address.to_bits(), port_and_scope: u64::from(scope) << 16 | u64::from(source.port()) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn mapped_addresses_and_flow_labels_make_no_difference() {
        assert_eq!(source("192.0.2.1:7"), source("[::ffff:192.0.2.1]:7"));
        let labelled = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 7, 0xfffff, 0);
        assert_eq!(Source::from(SocketAddr::V6(labelled)), source("[2001:db8::1]:7"));
    }

    #[test]
    fn address_port_and_interface_make_one() {
        assert_ne!(source("192.0.2.1:7"), source("192.0.2.1:8"));
        assert_ne!(source("192.0.2.1:7"), source("192.0.2.2:7"));
        let link_local = "fe80::1".parse().unwrap();
        let on = |interface| Source::from(SocketAddr::V6(SocketAddrV6::new(link_local, 7, 0, interface)));
        assert_ne!(on(1), on(2));
    }

    #[test]
    fn addresses_read_back_in_their_own_family() {
        assert_eq!(source("[::ffff:192.0.2.1]:7").ip().to_string(), "192.0.2.1");
        assert_eq!(source("[2001:db8::1]:7").ip().to_string(), "2001:db8::1");
    }
}
