//! The short way out: most of what strangers send is dropped by the first rule that it meets.
//!
//! A packet passes by its source or by its tag. One whose connection id is not as long as a tag, from an address that nobody has who
//! is in, has neither, and nothing more must be known of it. So there is a rule for each address that strangers may come to,
//! which looks once, among addresses alone: those have no end and a set of fixed size, in which the kernel looks up in a
//! fraction of the time. What such a rule does not drop goes on to the others, which are exact; a rule that is missing opens
//! nothing. It does not count what it drops, for counting takes as long as looking. Nor does it ask of which family a packet is: one of
//! the other family has these bytes in those places by a chance of one in 2^40 (IPv4) or 2^128, and is dropped then.

use std::net::{IpAddr, SocketAddr};

use vestibule_proto::ticket::Tag;

use super::expression::{Base, Expression, Register, Verdict};
use super::message::Batch;
use super::rules::{AT_CID_LEN, AT_PORT, CHAIN, Family, UDP, octets, rule};
use super::table::Set;
use crate::links::Interface;

/// Where a header of IPv4 has the protocol.
const AT_PROTOCOL4: u32 = 9;

/// Addresses of each family that get a rule; packets to further ones, and all others, would pay for more.
const EACH_FAMILY: usize = 4;

/// Whether the machine's addresses must be known for the rules.
pub(super) fn wants_addresses(listen: &[SocketAddr]) -> bool {
    listen.iter().any(|listen| listen.ip().is_unspecified())
}

/// The machine's addresses that strangers may come to from afar, in the order in which packets are compared with them.
pub(super) fn addresses(interfaces: &[Interface]) -> Vec<IpAddr> {
    let far = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let all: Vec<IpAddr> = interfaces.iter().flat_map(|interface| &interface.addresses).copied().filter(far).collect();
    let of = |four: bool| all.iter().copied().filter(move |address| address.is_ipv4() == four).take(EACH_FAMILY);
    of(true).chain(of(false)).collect()
}

/// Writes the rules for a gateway that listens there, on a machine that has these addresses.
pub(super) fn write(listen: &[SocketAddr], own: &[IpAddr], batch: &mut Batch) {
    for (address, port) in places(listen, own) {
        drop_strangers(address, port, batch);
    }
}

/// Each address that strangers may come to, with the gateway's port there.
fn places(listen: &[SocketAddr], own: &[IpAddr]) -> Vec<(IpAddr, u16)> {
    let at = |listen: &SocketAddr| match listen.ip().to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => own.iter().copied().filter(IpAddr::is_ipv4).collect(),
        IpAddr::V6(v6) if v6.is_unspecified() => own.to_vec(),
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => vec![address],
    };
    listen.iter().flat_map(|listen| at(listen).into_iter().map(|address| (address, listen.port()))).collect()
}

fn drop_strangers(address: IpAddr, port: u16, batch: &mut Batch) {
    use Expression::{Differs, Equals, IsNotIn, Load, Protocol, Then};
    let first = Register::FIRST;
    let family = Family::of(address);
    let (source, destination, len) = family.addresses();
    let from = match family {
        Family::V4 => Set::From4,
        Family::V6 => Set::From6,
    };
    // What a header says is compared in a fraction of the time in which the kernel is asked.
    let udp: &[Expression<'_>] = match family {
        Family::V4 => &[Load(Base::Network, AT_PROTOCOL4, 1, first), Equals(first, &[UDP])],
        Family::V6 => &[Protocol(UDP)],
    };
    let (port, address) = (port.to_be_bytes(), octets(address));
    let to_gateway = [
        Load(Base::Transport, AT_PORT, 2, first),
        Equals(first, &port),
        Load(Base::Network, destination, len, first),
        Equals(first, &address),
    ];
    let no_tag = [Load(Base::Transport, AT_CID_LEN, 1, first), Differs(first, &[Tag::SIZE as u8])];
    let nobody = [Load(Base::Network, source, len, first), IsNotIn(first, from.name()), Then(Verdict::Drop)];
    rule(batch, CHAIN, &[&to_gateway[..], udp, &no_tag, &nobody].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses_of(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn there_is_a_rule_for_each_address_that_strangers_may_come_to() {
        let own = addresses_of("192.0.2.1 2001:db8::1");
        let places = |listen: &str| places(&[listen.parse().unwrap()], &own).len();
        assert_eq!([places("0.0.0.0:1"), places("[::]:1"), places("[::ffff:0.0.0.0]:1")], [1, 2, 1]);
        assert_eq!([places("192.0.2.77:1"), places("[::ffff:192.0.2.77]:1")], [1, 1]);
    }

    #[test]
    fn only_addresses_that_are_seen_from_afar_count_and_of_each_family_no_more_than_a_few() {
        let interface = |addresses: &str| Interface {
            index: 1,
            name: "eth0".to_owned(),
            framing: crate::links::Framing::Ethernet,
            is_loopback: false,
            is_part: false,
            programs: Vec::new(),
            addresses: addresses_of(addresses),
        };
        let near = interface("127.0.0.1 ::1 fe80::1 169.254.0.1");
        let far = interface("192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.3 192.0.2.4 192.0.2.5");
        let expected = addresses_of("192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 2001:db8::1");
        assert_eq!(addresses(&[near, far]), expected);
    }
}
