//! IP packets as a stranger may shape them, whole from the IP header on: RFC 791, 8200, 768, 9293, 792, 4443.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMPV6: u8 = 58;

const HOPS: u8 = 64;

/// Source and destination of a packet, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// `None` if the families differ.
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The way back.
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::V4(source, destination) => Self::V4(destination, source),
            Self::V6(source, destination) => Self::V6(destination, source),
        }
    }

    /// The number of this family's ICMP.
    pub(crate) fn icmp_protocol(self) -> u8 {
        match self {
            Self::V4(..) => ICMP,
            Self::V6(..) => ICMPV6,
        }
    }

    /// A UDP datagram.
    pub(crate) fn udp(self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        self.whole(UDP, &self.udp_segment(from, to, payload))
    }

    /// A UDP header and its payload, without the IP header.
    pub(crate) fn udp_segment(self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
        let mut segment = [from, to, length, 0].map(u16::to_be_bytes).concat();
        segment.extend_from_slice(payload);
        // A sum of 0 means that there is none (RFC 768).
        let sum = match self.sum(UDP, &segment) {
            0 => u16::MAX,
            sum => sum,
        };
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// A TCP segment without options or payload. `flags`: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
    pub(crate) fn tcp(self, from: u16, to: u16, flags: u8, sequence: u32) -> Vec<u8> {
        let mut segment = [from, to].map(u16::to_be_bytes).concat();
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&[0, 0, 0, 0, 5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        let sum = self.sum(TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.whole(TCP, &segment)
    }

    /// An ICMP message of this family.
    pub(crate) fn icmp(self, kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(rest);
        let sum = match self {
            Self::V4(..) => fold(add(0, &message)),
            Self::V6(..) => self.sum(ICMPV6, &message),
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.whole(self.icmp_protocol(), &message)
    }

    /// The packet in one piece.
    pub(crate) fn whole(self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(..) => self.v4(protocol, 0, 0, segment),
            Self::V6(..) => self.v6(protocol, segment),
        }
    }

    /// One fragment: the part of `segment` from byte `from` (a multiple of 8) to byte `to`.
    pub(crate) fn fragment(self, protocol: u8, id: u16, segment: &[u8], from: usize, to: usize) -> Vec<u8> {
        let (part, more) = (segment.get(from..to).unwrap_or_default(), to < segment.len());
        let units = u16::try_from(from / 8).unwrap_or(0);
        match self {
            Self::V4(..) => self.v4(protocol, id, units | u16::from(more) << 13, part),
            Self::V6(..) => {
                let mut piece = vec![protocol, 0];
                piece.extend_from_slice(&(units << 3 | u16::from(more)).to_be_bytes());
                piece.extend_from_slice(&u32::from(id).to_be_bytes());
                piece.extend_from_slice(part);
                self.v6(FRAGMENT, &piece)
            }
        }
    }

    fn v4(self, protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let Self::V4(source, destination) = self else { return Vec::new() };
        let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&[length, id, fragment].map(u16::to_be_bytes).concat());
        packet.extend_from_slice(&[HOPS, protocol, 0, 0]);
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&destination.octets());
        let sum = fold(add(0, &packet));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(self, next: u8, payload: &[u8]) -> Vec<u8> {
        let Self::V6(source, destination) = self else { return Vec::new() };
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[next, HOPS]);
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&destination.octets());
        packet.extend_from_slice(payload);
        packet
    }

    /// The checksum of a segment with its pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn sum(self, protocol: u8, segment: &[u8]) -> u16 {
        let ends = match self {
            Self::V4(source, destination) => add(add(0, &source.octets()), &destination.octets()),
            Self::V6(source, destination) => add(add(0, &source.octets()), &destination.octets()),
        };
        let length = u32::try_from(segment.len()).unwrap_or(0);
        fold(add(ends + u32::from(protocol) + length, segment))
    }
}

/// Adds 16-bit words to a sum of the Internet checksum (RFC 1071).
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let word = u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V4: Ends = Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    const V6: Ends = Ends::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

    #[test]
    fn a_header_is_that_of_the_standard() {
        // The example that is taught everywhere: RFC 1071's sum over a header is 0 where the checksum is right.
        let packet = V4.udp(53, 4434, b"hello");
        assert_eq!(packet[..4], [0x45, 0, 0, 33]);
        assert_eq!(packet[20..28], [0, 53, 0x11, 0x52, 0, 13, packet[26], packet[27]]);
        assert_eq!(fold(add(0, &packet[..20])), 0);
        let packet = V6.icmp(128, &[0; 4]);
        assert_eq!((packet[4..8].to_vec(), packet[40]), (vec![0, 8, 58, 64], 128));
    }

    proptest! {
        #[test]
        fn every_segment_sums_to_nothing(payload in proptest::collection::vec(any::<u8>(), 0..1400), from: u16, to: u16) {
            for ends in [V4, V6] {
                let segment = ends.udp_segment(from, to, &payload);
                prop_assert_eq!(ends.sum(UDP, &segment), 0);
            }
        }

        #[test]
        fn fragments_are_the_whole(payload in proptest::collection::vec(any::<u8>(), 17..1400), cut in 1_usize..3) {
            for (ends, start, header) in [(V4, 20, 20), (V6, 40, 48)] {
                let segment = ends.udp_segment(1, 2, &payload);
                let first = ends.fragment(UDP, 7, &segment, 0, cut * 8);
                let second = ends.fragment(UDP, 7, &segment, cut * 8, segment.len());
                prop_assert_eq!([&first[header..], &second[header..]].concat(), segment);
                prop_assert!(first.len() > start && second.len() > start);
            }
        }
    }
}
