//! A network of logical addresses, IPv4 or IPv6.

use crate::LogicalAddress;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// A network in CIDR form: an address whose bits behind the prefix are zero, and the length of the prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "{0:?} is not a network: write ADDRESS/BITS with nothing behind the prefix, like 10.64.0.0/16 or fd12:3456:789a::/64"
)]
pub struct InvalidNetwork(String);

impl Network {
    /// A unique-local /64 of IPv6 (RFC 4193): `fd`, a random global id of 40 bits, subnet 0.
    pub fn unique_local(random: [u8; 5]) -> Self {
        let [a, b, c, d, e] = random.map(u16::from);
        let base = Ipv6Addr::new(0xfd00 | a, b << 8 | c, d << 8 | e, 0, 0, 0, 0, 0);
        Self { base: base.into(), prefix: 64 }
    }

    /// Whether an address belongs to it and may be assigned.
    pub fn has(&self, address: LogicalAddress) -> bool {
        self.index(address).is_some()
    }

    /// How many addresses may be assigned; a /0 of IPv6 counts one too few.
    pub(super) fn size(&self) -> u128 {
        let all = 1_u128.checked_shl(self.host_bits()).unwrap_or(u128::MAX);
        all - self.reserved()
    }

    /// The assignable address with this index, below [`size`](Self::size).
    pub(super) fn address(&self, index: u128) -> LogicalAddress {
        let number = bits(self.base) | (index + u128::from(self.spares_ends()));
        LogicalAddress(match self.base {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        })
    }

    /// The index of an address, if it is assignable.
    pub(super) fn index(&self, address: LogicalAddress) -> Option<u128> {
        if address.0.is_ipv4() != self.base.is_ipv4() {
            return None;
        }
        let offset = bits(address.0).checked_sub(bits(self.base))?;
        let index = offset.checked_sub(u128::from(self.spares_ends()))?;
        (index < self.size()).then_some(index)
    }

    /// The network's own address and its last (broadcast in IPv4) are nobody's, where there are others.
    fn spares_ends(&self) -> bool {
        self.host_bits() > 1
    }

    fn reserved(&self) -> u128 {
        if self.spares_ends() { 2 } else { 0 }
    }

    fn host_bits(&self) -> u32 {
        width(self.base) - u32::from(self.prefix)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (base, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let base: IpAddr = base.parse().map_err(|_| invalid())?;
        let plain = !prefix.is_empty() && prefix.bytes().all(|digit| digit.is_ascii_digit());
        let prefix: u8 = if plain { prefix.parse().map_err(|_| invalid())? } else { return Err(invalid()) };
        let host_bits = width(base).checked_sub(u32::from(prefix)).ok_or_else(invalid)?;
        let host = bits(base) & 1_u128.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1);
        if host == 0 { Ok(Self { base, prefix }) } else { Err(invalid()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn text_form_reads_back() {
        for text in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "fd00:1::/64", "::/0", "::1/128"] {
            assert_eq!(network(text).to_string(), text);
        }
        for text in
            ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "fd00::1/64", "::/129", "a/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_ends_are_spared_where_there_is_more() {
        for (text, size, first, last) in [
            ("10.0.0.0/24", 254, "10.0.0.1", "10.0.0.254"),
            ("10.0.0.0/30", 2, "10.0.0.1", "10.0.0.2"),
            ("10.0.0.4/31", 2, "10.0.0.4", "10.0.0.5"),
            ("10.0.0.4/32", 1, "10.0.0.4", "10.0.0.4"),
            ("fd00::/64", (1 << 64) - 2, "fd00::1", "fd00::ffff:ffff:ffff:fffe"),
            ("fd00::8/128", 1, "fd00::8", "fd00::8"),
        ] {
            let network = network(text);
            assert_eq!(network.size(), size, "{text}");
            assert_eq!(network.address(0).to_string(), first, "{text}");
            assert_eq!(network.address(size - 1).to_string(), last, "{text}");
            assert_eq!(network.index(network.address(size - 1)), Some(size - 1), "{text}");
        }
    }

    #[test]
    fn others_do_not_belong_to_it() {
        let network = network("10.0.1.0/24");
        for text in ["10.0.1.0", "10.0.1.255", "10.0.0.255", "10.0.2.1", "::ffff:10.0.1.1", "::a00:101"] {
            assert!(!network.has(LogicalAddress(text.parse().unwrap())), "{text}");
        }
        assert!(network.has(LogicalAddress("10.0.1.1".parse().unwrap())));
        assert!("::/0".parse::<Network>().unwrap().size() > 1 << 127);
    }

    #[test]
    fn the_default_is_unique_local() {
        assert_eq!(Network::unique_local([0x12, 0x34, 0x56, 0x78, 0x9a]).to_string(), "fd12:3456:789a::/64");
    }
}
