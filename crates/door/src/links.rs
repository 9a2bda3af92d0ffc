//! The machine's interfaces, as the kernel tells them over netlink (linux/rtnetlink.h, linux/if_link.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use crate::nftables::attribute;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// A question about all things of a kind.
const REQUEST_DUMP: u16 = 0x301;
/// The flag of an answer during which something changed.
const INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const TRIES: usize = 4;
/// The longest answer that the kernel makes to such a question.
const ANSWER: usize = 1 << 15;

/// Kinds of hardware (linux/if_arp.h).
const ETHERNET: u16 = 1;
pub(crate) const LOOPBACK: u16 = 772;
/// Point-to-point links and tunnels, whose packets begin with the IP header: PPP, IP in IP of either family, SIT, GRE, none.
const BARE_IP: [u16; 7] = [512, 768, 769, 776, 778, 823, 0xfffe];

/// With what the packets of an interface begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Ethernet,
    BareIp,
    Other,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) framing: Framing,
    pub(crate) is_loopback: bool,
    /// It is a port of a bridge, a slave of a bond or the like.
    pub(crate) is_part: bool,
    /// The XDP programs at it, by the kernel's numbers.
    pub(crate) programs: Vec<u32>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A socket by which the kernel is asked.
pub(crate) struct Links {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl Links {
    pub(crate) fn open() -> Result<Self, Errno> {
        // NETLINK_ROUTE is the protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER] })
    }

    /// All interfaces of the network namespace. A list that changed while it was read is read again.
    pub(crate) fn interfaces(&mut self) -> Result<Vec<Interface>, Errno> {
        let mut listed = self.list();
        for _ in 1..TRIES {
            if listed != Err(Errno::INTR) {
                break;
            }
            listed = self.list();
        }
        listed
    }

    fn list(&mut self) -> Result<Vec<Interface>, Errno> {
        let mut interfaces = Vec::new();
        self.dump(GET_LINK, LINK_HEADER, |kind, body| {
            if kind == NEW_LINK {
                interfaces.extend(interface(body));
            }
        })?;
        self.dump(GET_ADDRESS, ADDRESS_HEADER, |kind, body| {
            if let Some((index, address)) = address(body).filter(|_| kind == NEW_ADDRESS)
                && let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index)
            {
                interface.addresses.push(address);
            }
        })?;
        Ok(interfaces)
    }

    fn dump(&mut self, question: u16, body: usize, mut take: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body);
        message.extend(((HEADER + body) as u32).to_ne_bytes());
        message.extend(question.to_ne_bytes());
        message.extend(REQUEST_DUMP.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.resize(HEADER + body, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut interrupted = false;
        loop {
            // The next part of the answer is made when the one before has been read: nobody waits.
            let len = match recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let mut take = |kind, flags: u16, body: &[u8]| {
                interrupted |= flags & INTERRUPTED != 0;
                take(kind, body);
            };
            if let Some(end) = read(&self.answer[..len.min(ANSWER)], self.sequence, &mut take) {
                return if interrupted { Err(Errno::INTR) } else { end };
            }
        }
    }
}

/// Hands each message of a datagram that answers `sequence` to `take`, with its kind and flags; how the answer ends, if it does here.
fn read(mut datagram: &[u8], sequence: u32, take: &mut impl FnMut(u16, u16, &[u8])) -> Option<Result<(), Errno>> {
    while let Some((head, rest)) = datagram.split_first_chunk::<HEADER>() {
        let len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (kind, flags) = (u16::from_ne_bytes([head[4], head[5]]), u16::from_ne_bytes([head[6], head[7]]));
        let answers = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) == sequence;
        let body = &rest[..len.saturating_sub(HEADER).min(rest.len())];
        match kind {
            _ if !answers => {}
            DONE => return Some(Ok(())),
            ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg());
                return Some(Err(Errno::from_raw_os_error(code)));
            }
            _ => take(kind, flags, body),
        }
        datagram = datagram.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn interface(body: &[u8]) -> Option<Interface> {
    const NAME: u16 = 3;
    const MASTER: u16 = 10;
    const LINK_INFO: u16 = 18;
    const PART_KIND: u16 = 4;
    let (head, attributes) = body.split_first_chunk::<LINK_HEADER>()?;
    let hardware = u16::from_ne_bytes([head[2], head[3]]);
    let name = attribute(attributes, NAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
    // What belongs to a VRF keeps its addresses and its packets.
    let kind = attribute(attributes, LINK_INFO).and_then(|info| attribute(info, PART_KIND));
    Some(Interface {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        name,
        framing: framing(hardware),
        is_loopback: hardware == LOOPBACK,
        is_part: attribute(attributes, MASTER).is_some() && kind.is_none_or(|kind| !kind.starts_with(b"vrf")),
        programs: programs(attributes),
        addresses: Vec::new(),
    })
}

fn framing(hardware: u16) -> Framing {
    match hardware {
        ETHERNET | LOOPBACK => Framing::Ethernet,
        other if BARE_IP.contains(&other) => Framing::BareIp,
        _ => Framing::Other,
    }
}

fn programs(attributes: &[u8]) -> Vec<u32> {
    const XDP: u16 = 43;
    /// The only program, or those of the driver, of the generic mode, of the hardware.
    const NUMBERS: [u16; 4] = [4, 5, 6, 7];
    let Some(xdp) = attribute(attributes, XDP) else { return Vec::new() };
    let number = |kind| attribute(xdp, kind)?.try_into().ok().map(u32::from_ne_bytes);
    let mut programs: Vec<u32> = NUMBERS.into_iter().filter_map(number).filter(|number| *number != 0).collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

fn address(body: &[u8]) -> Option<(u32, IpAddr)> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let (head, attributes) = body.split_first_chunk::<ADDRESS_HEADER>()?;
    let index = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    // At a link between two, the other one's address is the first.
    let bytes = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    let address = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some((index, address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_has_a_loopback_interface_with_its_address() {
        let interfaces = Links::open().unwrap().interfaces().unwrap();
        let lo = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.is_loopback && !lo.is_part && lo.framing == Framing::Ethernet && lo.index > 0);
        assert!(lo.addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{lo:?}");
    }

    #[test]
    fn a_refusal_ends_the_answer() {
        let mut datagram = 20u32.to_ne_bytes().to_vec();
        datagram.extend(ERROR.to_ne_bytes());
        datagram.extend([0; 2]);
        datagram.extend(7u32.to_ne_bytes());
        datagram.extend([0; 4]);
        datagram.extend((-1i32).to_ne_bytes());
        assert_eq!(read(&datagram, 7, &mut |_, _, _| panic!("nothing came")), Some(Err(Errno::PERM)));
        assert_eq!(read(&datagram, 8, &mut |_, _, _| panic!("nothing came")), None);
    }

    proptest! {
        #[test]
        fn no_answer_of_whatever_bytes_is_read_beyond_its_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = interface(&bytes);
            let _ = address(&bytes);
            let _ = read(&bytes, 0, &mut |_, _, body| {
                let _ = (interface(body), address(body));
            });
        }
    }
}
