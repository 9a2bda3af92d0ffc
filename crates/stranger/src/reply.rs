//! What came back, read as far as it takes to know whose answer it is. Never fails: what can't be read is nobody's.

use crate::packet::{FRAGMENT, ICMP, ICMPV6, TCP, UDP};
use std::fmt;

/// A packet that came from the address that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A UDP datagram.
    Datagram { ports: Ports, bytes: usize },
    /// A TCP segment.
    Segment { ports: Ports, flags: u8 },
    /// An ICMP message: the mark that an answer to an echo or the like repeats, or the packet that an error is about.
    Icmp { kind: u8, code: u8, id: u16, about: Option<About> },
}

/// The two ports of a conversation, as the stranger sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) ours: u16,
    pub(crate) theirs: u16,
}

/// The packet inside an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) protocol: u8,
    pub(crate) ports: Ports,
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Reply {
    /// Reads what follows the IP header of a packet with this protocol.
    pub(crate) fn read(protocol: u8, segment: &[u8]) -> Option<Self> {
        match protocol {
            UDP => Some(Self::Datagram { ports: answered(segment)?, bytes: segment.len().saturating_sub(8) }),
            TCP => Some(Self::Segment { ports: answered(segment)?, flags: *segment.get(13)? }),
            ICMP => {
                let [kind, code, ..] = *segment else { return None };
                let error = matches!(kind, 3 | 4 | 5 | 11 | 12);
                let about = segment.get(8..).filter(|_| error).and_then(about_v4);
                Some(Self::Icmp { kind, code, id: mark(segment), about })
            }
            ICMPV6 => {
                let [kind, code, ..] = *segment else { return None };
                // Errors have types below 128 (RFC 4443, section 2.1).
                let about = segment.get(8..).filter(|_| kind < 128).and_then(about_v6);
                Some(Self::Icmp { kind, code, id: mark(segment), about })
            }
            _ => None,
        }
    }

    /// Reads a whole IPv4 packet, as a raw socket gives it.
    pub(crate) fn read_v4(packet: &[u8]) -> Option<Self> {
        let (protocol, segment) = inside_v4(packet)?;
        Self::read(protocol, segment)
    }

    /// Whether it opens a TCP connection.
    pub(crate) fn accepts(self) -> bool {
        matches!(self, Self::Segment { flags, .. } if flags & SYN != 0)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { bytes, .. } => write!(formatter, "UDP, {bytes} bytes"),
            Self::Segment { flags, .. } if flags & SYN != 0 && flags & ACK != 0 => formatter.write_str("TCP SYN-ACK"),
            Self::Segment { flags, .. } if flags & RST != 0 => formatter.write_str("TCP RST"),
            Self::Segment { flags, .. } => write!(formatter, "TCP, flags {flags:#04x}"),
            Self::Icmp { kind, code, .. } => write!(formatter, "ICMP type {kind} code {code}"),
        }
    }
}

/// The ports of a segment that was sent to us.
fn answered(segment: &[u8]) -> Option<Ports> {
    let [theirs, ours] = two_ports(segment)?;
    Some(Ports { ours, theirs })
}

fn two_ports(segment: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d, ..] = *segment else { return None };
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

fn mark(message: &[u8]) -> u16 {
    message.get(4..6).map_or(0, |mark| u16::from_be_bytes([mark[0], mark[1]]))
}

fn inside_v4(packet: &[u8]) -> Option<(u8, &[u8])> {
    let header = usize::from(packet.first()? & 15) * 4;
    let first_fragment = packet.get(6..8).is_some_and(|field| field[0] & 0x1f == 0 && field[1] == 0);
    let segment = packet.get(header..).filter(|_| header >= 20 && first_fragment)?;
    Some((packet[9], segment))
}

/// The packet that an ICMP error quotes: one of ours.
fn about_v4(quoted: &[u8]) -> Option<About> {
    let (protocol, segment) = inside_v4(quoted)?;
    about(protocol, segment)
}

fn about_v6(quoted: &[u8]) -> Option<About> {
    match (*quoted.get(6)?, quoted.get(40..)?) {
        (FRAGMENT, piece) => about(*piece.first()?, piece.get(8..)?),
        (protocol, segment) => about(protocol, segment),
    }
}

fn about(protocol: u8, segment: &[u8]) -> Option<About> {
    let [ours, theirs] = two_ports(segment)?;
    Some(About { protocol, ports: Ports { ours, theirs } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Ends;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const V4: Ends = Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    const V6: Ends = Ends::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);

    #[test]
    fn answers_are_read() {
        let ports = Ports { ours: 4000, theirs: 4434 };
        let datagram = V4.udp(4434, 4000, b"hello");
        assert_eq!(Reply::read_v4(&datagram), Some(Reply::Datagram { ports, bytes: 5 }));
        let accepts = V4.tcp(4434, 4000, SYN | ACK, 1);
        assert!(Reply::read_v4(&accepts).is_some_and(Reply::accepts));
        let refuses = V4.tcp(4434, 4000, RST | ACK, 1);
        assert_eq!(Reply::read_v4(&refuses).map(|reply| reply.to_string()).as_deref(), Some("TCP RST"));
    }

    #[test]
    fn an_icmp_error_names_the_packet_that_it_is_about() {
        let about = Some(About { protocol: UDP, ports: Ports { ours: 4000, theirs: 4434 } });
        let quoted = [&[0; 4][..], &V4.udp(4000, 4434, b"")].concat();
        assert_eq!(Reply::read_v4(&V4.icmp(3, &quoted)), Some(Reply::Icmp { kind: 3, code: 0, id: 0, about }));
        let segment = V6.udp_segment(4000, 4434, &[0; 16]);
        let quoted = [&[0; 4][..], &V6.fragment(UDP, 9, &segment, 0, 16)].concat();
        let message = V6.icmp(1, &quoted);
        assert_eq!(Reply::read(ICMPV6, &message[40..]), Some(Reply::Icmp { kind: 1, code: 0, id: 0, about }));
        // An answer to an echo quotes nothing.
        assert_eq!(Reply::read_v4(&V4.icmp(0, &quoted)), Some(Reply::Icmp { kind: 0, code: 0, id: 0, about: None }));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_left(packet in proptest::collection::vec(any::<u8>(), 0..120), protocol: u8) {
            let _ = Reply::read_v4(&packet);
            let _ = Reply::read(protocol, &packet);
        }
    }
}
