//! One captured frame, taken apart as far as tests ask.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::SystemTime,
};

/// What kind of packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proto {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp,
    /// An ICMP message, of this type.
    Icmp(u8),
    /// An ICMPv6 message, of this type.
    Icmp6(u8),
    /// An ARP message.
    Arp,
    /// Anything else: another protocol, a fragment that isn't the first, a frame cut short.
    Other,
}

/// A captured frame.
#[derive(Clone)]
pub struct Packet {
    /// When it was captured.
    pub at: SystemTime,
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
    /// What it carries.
    pub proto: Proto,
    /// Source address and port (port 0 where the protocol has none); for IP only.
    pub source: Option<SocketAddr>,
    /// Destination address and port.
    pub destination: Option<SocketAddr>,
    /// TCP's flags byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16); 0 for others.
    pub flags: u8,
    payload: (usize, usize),
}

const ETHERNET: usize = 14;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// An IP packet's inside: next protocol, addresses, and where its payload lies in the frame.
struct Ip {
    next: u8,
    source: IpAddr,
    destination: IpAddr,
    start: usize,
    end: usize,
}

impl Packet {
    /// Takes a frame apart. Never fails: what can't be read is [`Proto::Other`].
    pub(crate) fn decode(at: SystemTime, frame: Vec<u8>) -> Self {
        let mut packet =
            Self { at, frame, proto: Proto::Other, source: None, destination: None, flags: 0, payload: (0, 0) };
        let frame = &packet.frame;
        match be16(frame, 12) {
            Some(TYPE_ARP) => packet.proto = Proto::Arp,
            Some(TYPE_IPV4) => {
                if let Some(ip) = ipv4(frame) {
                    packet.take(&ip);
                }
            }
            Some(TYPE_IPV6) => {
                if let Some(ip) = ipv6(frame) {
                    packet.take(&ip);
                }
            }
            _ => {}
        }
        packet
    }

    fn take(&mut self, ip: &Ip) {
        let byte = |offset: usize| self.frame[..ip.end].get(ip.start + offset).copied();
        let port = |offset| be16(&self.frame[..ip.end], ip.start + offset).unwrap_or(0);
        let (proto, flags, header) = match ip.next {
            UDP => (Proto::Udp, 0, 8),
            TCP => (Proto::Tcp, byte(13).unwrap_or(0), usize::from(byte(12).unwrap_or(0x50) >> 4) * 4),
            ICMP => (Proto::Icmp(byte(0).unwrap_or(255)), 0, 8),
            ICMP6 => (Proto::Icmp6(byte(0).unwrap_or(255)), 0, 4),
            _ => (Proto::Other, 0, 0),
        };
        let (from, to) = if matches!(proto, Proto::Udp | Proto::Tcp) { (port(0), port(2)) } else { (0, 0) };
        self.source = Some(SocketAddr::new(ip.source, from));
        self.destination = Some(SocketAddr::new(ip.destination, to));
        (self.proto, self.flags, self.payload) = (proto, flags, ((ip.start + header).min(ip.end), ip.end));
    }

    /// What UDP or TCP carries.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.payload.0..self.payload.1]
    }

    /// The hardware address of the interface that sent it.
    pub fn source_mac(&self) -> [u8; 6] {
        self.frame.get(6..12).and_then(|mac| mac.try_into().ok()).unwrap_or_default()
    }

    /// Whether neighbours find each other by it, and no program asked for it: ARP, IPv6 neighbour discovery and
    /// multicast listener reports.
    pub fn is_housekeeping(&self) -> bool {
        matches!(self.proto, Proto::Arp | Proto::Icmp6(130..=137 | 143))
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(f, "{:03}.{:06} {:?}", seconds.as_secs() % 1000, seconds.subsec_micros(), self.proto)?;
        match (self.source, self.destination) {
            (Some(source), Some(destination)) => write!(f, " {source} > {destination}")?,
            _ => write!(f, " from {:02x?}", self.source_mac())?,
        }
        if self.proto == Proto::Tcp {
            write!(f, " flags {:#04x}", self.flags)?;
        }
        write!(f, ", {} bytes of payload in {}", self.payload().len(), self.frame.len())
    }
}

fn ipv4(frame: &[u8]) -> Option<Ip> {
    let header = frame.get(ETHERNET..ETHERNET + 20)?;
    let start = ETHERNET + usize::from(header[0] & 0x0f) * 4;
    // A frame may be padded to Ethernet's least length; the packet's own length decides.
    let end = (ETHERNET + usize::from(be16(header, 2)?)).min(frame.len());
    let later_fragment = be16(header, 6)? & 0x1fff != 0;
    let address = |offset: usize| -> IpAddr {
        Ipv4Addr::new(header[offset], header[offset + 1], header[offset + 2], header[offset + 3]).into()
    };
    let next = if later_fragment { 255 } else { header[9] };
    (start <= end).then(|| Ip { next, source: address(12), destination: address(16), start, end })
}

fn ipv6(frame: &[u8]) -> Option<Ip> {
    let header = frame.get(ETHERNET..ETHERNET + 40)?;
    let address = |offset: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = header.get(offset..offset + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    let (mut next, mut start) = (header[6], ETHERNET + 40);
    let end = (start + usize::from(be16(header, 4)?)).min(frame.len());
    if next == HOP_BY_HOP {
        // Multicast listener reports carry a router alert in it.
        next = *frame.get(start)?;
        start += (usize::from(*frame.get(start + 1)?) + 1) * 8;
    }
    (start <= end).then_some(Ip { next, source: address(8)?, destination: address(24)?, start, end })
}

fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(offset)?, *bytes.get(offset + 1)?]))
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A UDP datagram over IPv4, padded to 60 bytes at least.
    pub(crate) fn udp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Packet {
        let mut frame = vec![0x02; 12];
        frame.extend(TYPE_IPV4.to_be_bytes());
        let length = u16::try_from(28 + payload.len()).unwrap();
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        frame.extend(from.0.octets());
        frame.extend(to.0.octets());
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend((length - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        Packet::decode(SystemTime::UNIX_EPOCH, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
    const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);

    #[test]
    fn reads_a_padded_udp_datagram() {
        let packet = samples::udp4((A, 1000), (B, 53), b"hi");
        assert_eq!(packet.proto, Proto::Udp);
        assert_eq!(packet.source, Some("10.77.0.11:1000".parse().unwrap()));
        assert_eq!(packet.destination, Some("10.77.0.12:53".parse().unwrap()));
        assert_eq!(packet.payload(), b"hi", "padding is no payload");
        assert!(!packet.is_housekeeping());
    }

    #[test]
    fn reads_a_listener_report_behind_hop_by_hop_options() {
        let mut frame = vec![0; 12];
        frame.extend(TYPE_IPV6.to_be_bytes());
        frame.extend([0x60, 0, 0, 0, 0, 12, HOP_BY_HOP, 1]);
        frame.extend([0; 32]);
        frame.extend([ICMP6, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0]);
        let packet = Packet::decode(SystemTime::UNIX_EPOCH, frame);
        assert_eq!(packet.proto, Proto::Icmp6(143));
        assert!(packet.is_housekeeping());
    }

    #[test]
    fn survives_any_cut_of_a_frame() {
        let whole = samples::udp4((A, 1), (B, 2), &[0xff; 40]).frame;
        for length in 0..whole.len() {
            let packet = Packet::decode(SystemTime::UNIX_EPOCH, whole[..length].to_vec());
            assert!(packet.payload().len() <= 40);
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut frame = samples::udp4((A, 1), (B, 2), &[9; 40]).frame;
        frame[ETHERNET + 7] = 5;
        assert_eq!(Packet::decode(SystemTime::UNIX_EPOCH, frame).proto, Proto::Other);
    }
}
