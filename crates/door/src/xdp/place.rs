//! Addresses with ports, as the program has them.

use std::net::IpAddr;

use crate::socket::Source;

/// An address, of IPv4 mapped into IPv6, and a port, as they stand in packets. Interfaces of link-local addresses are no
/// part of it: user space tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place(pub(super) [u8; 20]);

impl Place {
    pub(super) fn new(address: IpAddr, port: u16) -> Self {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&mapped(address).to_be_bytes());
        bytes[16..18].copy_from_slice(&port.to_be_bytes());
        Self(bytes)
    }

    /// Whether it is more than an address.
    pub(super) fn has_port(&self) -> bool {
        self.0[16..18] != [0, 0]
    }
}

impl From<Source> for Place {
    fn from(source: Source) -> Self {
        Self::new(source.ip(), source.port())
    }
}

/// An address of either family as one of IPv6.
pub(super) fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
