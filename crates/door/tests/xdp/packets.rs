//! Packets as an interface gets them, byte for byte.

use std::net::IpAddr;

pub(crate) const UDP: u8 = 17;
pub(crate) const HOP_OPTIONS: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// A packet of IP, and how its headers end.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    /// Where the fixed part of the IP header ends, and where UDP begins.
    pub(crate) ip_end: usize,
    pub(crate) udp: usize,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Middle,
    Last,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Whole, Self::First, Self::Middle, Self::Last];

    /// Offset in units of eight bytes, and whether more follow.
    fn fields(self) -> (u16, bool) {
        match self {
            Self::Whole => (0, false),
            Self::First => (0, true),
            Self::Middle => (185, true),
            Self::Last => (370, false),
        }
    }
}

/// A UDP header with its payload.
pub(crate) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0; 2], payload].concat()
}

/// A packet of either family, with this many extras: words of options, or extension headers in this order.
pub(crate) fn ip(from: IpAddr, to: IpAddr, extras: &[u8], part: Part, protocol: u8, payload: &[u8]) -> Packet {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (offset, more) = part.fields();
            let options = extras.len() * 4;
            let fragment = offset | u16::from(more) << 13;
            let len = (20 + options + payload.len()) as u16;
            let mut bytes = vec![0x45 + extras.len() as u8, 0];
            bytes.extend(len.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, protocol, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.resize(20 + options, 1);
            bytes.extend(payload);
            Packet { bytes, ip_end: 20, udp: 20 + options }
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let extensions = extensions(extras, part, protocol);
            let len = (extensions.1.len() + payload.len()) as u16;
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(len.to_be_bytes());
            bytes.extend([extensions.0, 64]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend(&extensions.1);
            let udp = bytes.len();
            bytes.extend(payload);
            Packet { bytes, ip_end: 40, udp }
        }
        _ => panic!("one family"),
    }
}

/// The first one's number, and all of them. A part of a datagram has a fragment header behind those named.
fn extensions(kinds: &[u8], part: Part, protocol: u8) -> (u8, Vec<u8>) {
    let mut kinds = kinds.to_vec();
    if part != Part::Whole {
        kinds.push(FRAGMENT);
    }
    let mut bytes = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let next = kinds.get(number + 1).copied().unwrap_or(protocol);
        if *kind == FRAGMENT {
            let (offset, more) = part.fields();
            bytes.extend([next, 0]);
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend([0, 0, 0, 1]);
        } else {
            // Of different lengths: 8 bytes, 16, 24.
            let units = (number % 3) as u8;
            bytes.extend([next, units]);
            bytes.resize(bytes.len() + usize::from(units) * 8 + 6, 0);
        }
    }
    (kinds.first().copied().unwrap_or(protocol), bytes)
}

impl Packet {
    /// Behind an Ethernet header, with these VLAN tags, outermost first.
    pub(crate) fn ethernet(&self, vlans: &[u16]) -> Self {
        let kind: u16 = if self.bytes[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        let head = ethernet(vlans, kind);
        let (ip_end, udp) = (self.ip_end + head.len(), self.udp + head.len());
        Self { bytes: [head, self.bytes.clone()].concat(), ip_end, udp }
    }
}

/// An Ethernet header.
pub(crate) fn ethernet(vlans: &[u16], kind: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for vlan in vlans {
        bytes.extend(vlan.to_be_bytes());
        bytes.extend([0, 10]);
    }
    bytes.extend(kind.to_be_bytes());
    bytes
}
