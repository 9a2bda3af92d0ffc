//! The program alone: crafted packets in, verdicts out (`BPF_PROG_TEST_RUN`), against a table made of rules.

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};

use crate::packets::{DESTINATION_OPTIONS, FRAGMENT, HOP_OPTIONS, Packet, Part, ROUTING, UDP, ethernet, ip, udp};
use crate::{address, with_programs};

const PORT: u16 = 4434;
const TAG: [u8; 20] = [7; 20];
const STRICT: [u8; 20] = [8; 20];
const OVER: [u8; 20] = [9; 20];
const LIVE: u16 = 1;
const GONE: u16 = 2;
const STRANGER: u16 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Drop = 1,
    Pass = 2,
}

use Verdict::{Drop, Pass};

/// The program in the kernel, at nothing.
struct Program(Ebpf);

impl Program {
    fn load() -> Self {
        let object = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/xdp/door.bpf.o"));
        let mut ebpf =
            aya::EbpfLoader::new().map_max_entries("tickets", 8).map_max_entries("live", 8).load(object).unwrap();
        for name in ["vestibule_door", "vestibule_ip"] {
            let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        let mut program = Self(ebpf);
        program.fill();
        program
    }

    /// Opens the port to a ticket from anywhere, to one from the home alone, and to a source; some of each are over.
    fn fill(&mut self) {
        let mut ports = Array::<_, u64>::try_from(self.0.map_mut("ports").unwrap()).unwrap();
        ports.set(u32::from(PORT / 64), 1 << (PORT % 64), 0).unwrap();
        let mut guarded = HashMap::<_, [u8; 20], u32>::try_from(self.0.map_mut("guarded").unwrap()).unwrap();
        for family in FAMILIES {
            guarded.insert(place(family.gateway(), PORT), 0, 0).unwrap();
            guarded.insert(place(family.gateway(), 0), 0, 0).unwrap();
        }
        // One of them is found at once, the other by looking it up.
        let mut first = Array::<_, [u8; 20]>::try_from(self.0.map_mut("first").unwrap()).unwrap();
        first.set(0, place(FAMILIES[0].gateway(), PORT), 0).unwrap();
        let mut live = HashMap::<_, [u8; 20], u64>::try_from(self.0.map_mut("live").unwrap()).unwrap();
        for family in FAMILIES {
            live.insert(place(family.home(), LIVE), u64::MAX, 0).unwrap();
            live.insert(place(family.home(), GONE), 1, 0).unwrap();
        }
        let mut tickets = HashMap::<_, [u8; 8], [u8; 40]>::try_from(self.0.map_mut("tickets").unwrap()).unwrap();
        let home = mapped(FAMILIES[0].home());
        tickets.insert(ticket(&TAG), admission(u64::MAX, [0; 16], [0; 16]), 0).unwrap();
        tickets.insert(ticket(&OVER), admission(1, [0; 16], [0; 16]), 0).unwrap();
        tickets.insert(ticket(&STRICT), admission(u64::MAX, [0xff; 16], home), 0).unwrap();
    }

    fn verdict_of(&self, name: &str, bytes: &[u8]) -> Verdict {
        let program: &Xdp = self.0.program(name).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::default() };
        match program.test_run(options).unwrap().return_value {
            1 => Drop,
            2 => Pass,
            other => panic!("the verdict {other}"),
        }
    }

    fn verdict(&self, bytes: &[u8]) -> Verdict {
        self.verdict_of("vestibule_door", bytes)
    }

    /// Dropped, passed by a tag, passed by their source.
    fn counts(&self) -> [u64; 3] {
        let counts = PerCpuArray::<_, u64>::try_from(self.0.map("counts").unwrap()).unwrap();
        [0, 1, 2].map(|count| counts.get(&count, 0).unwrap().iter().sum())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Four,
    Six,
}

const FAMILIES: [Family; 2] = [Family::Four, Family::Six];

impl Family {
    fn gateway(self) -> IpAddr {
        [address("192.0.2.1:1"), address("[2001:db8::1]:1")][self as usize].ip()
    }

    fn home(self) -> IpAddr {
        [address("198.51.100.7:1"), address("[2001:db8:7::7]:1")][self as usize].ip()
    }

    fn away(self) -> IpAddr {
        [address("203.0.113.9:1"), address("[2001:db8:9::9]:1")][self as usize].ip()
    }

    fn elsewhere(self) -> IpAddr {
        [address("192.0.2.2:1"), address("[2001:db8::2]:1")][self as usize].ip()
    }

    /// What may stand between IP and UDP.
    fn extras(self) -> &'static [&'static [u8]] {
        match self {
            Self::Four => &[&[], &[1], &[1, 1, 1], &[1; 10]],
            Self::Six => &[
                &[],
                &[HOP_OPTIONS],
                &[DESTINATION_OPTIONS, ROUTING],
                &[HOP_OPTIONS, DESTINATION_OPTIONS, ROUTING, DESTINATION_OPTIONS],
            ],
        }
    }
}

/// What comes behind UDP, and whether it opens by itself: from anywhere, or from the home of IPv4.
struct Payload {
    name: &'static str,
    bytes: Vec<u8>,
    opens: Opens,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Nowhere,
    Anywhere,
    AtHome,
}

/// What a tag begins with.
fn ticket(tag: &[u8; 20]) -> [u8; 8] {
    tag[..8].try_into().unwrap()
}

fn long_header(first: u8, id: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0, 0, 0, 1, id.len() as u8];
    bytes.extend(id);
    bytes.resize(80, 0);
    bytes
}

fn payloads() -> Vec<Payload> {
    let of = |name, opens, bytes| Payload { name, bytes, opens };
    let shifted: Vec<u8> = [&[0xc0, 0, 0, 0, 1, 20, 0][..], &TAG, &[0; 40]].concat();
    let mut near = TAG;
    near[7] ^= 1;
    vec![
        of("nothing", Opens::Nowhere, vec![]),
        of("zeros", Opens::Nowhere, vec![0; 60]),
        of("a short header", Opens::Nowhere, long_header(0x40, &TAG)),
        of("no fixed bit", Opens::Nowhere, long_header(0x80, &TAG)),
        of("an unknown tag", Opens::Nowhere, long_header(0xc0, &[1; 20])),
        of("one bit beside", Opens::Nowhere, long_header(0xc0, &near)),
        of("one byte beside", Opens::Nowhere, shifted),
        of("19 bytes", Opens::Nowhere, long_header(0xc0, &TAG[..19])),
        of("8 bytes", Opens::Nowhere, long_header(0xc0, &TAG[..8])),
        of("no bytes", Opens::Nowhere, long_header(0xc0, &[])),
        of("a window that is over", Opens::Nowhere, long_header(0xc0, &OVER)),
        of("a tag", Opens::Anywhere, long_header(0xc0, &TAG)),
        of("a tag, other low bits", Opens::Anywhere, long_header(0xef, &TAG)),
        of("a tag of the same ticket", Opens::Anywhere, long_header(0xc0, &[&TAG[..8], &[1; 12]].concat())),
        of("a tag and nothing more", Opens::Anywhere, long_header(0xc0, &TAG)[..26].to_vec()),
        of("a tag for the home", Opens::AtHome, long_header(0xc0, &STRICT)),
    ]
}

fn opens(opens: Opens, source: IpAddr) -> bool {
    match opens {
        Opens::Nowhere => false,
        Opens::Anywhere => true,
        Opens::AtHome => source == Family::Four.home(),
    }
}

/// Every family, source, destination, part, payload and number of VLAN tags, with all that may stand between IP and UDP,
/// behind an Ethernet header and without one.
#[test]
fn the_table_of_all_kinds_of_packets() {
    with_programs("program::the_table_of_all_kinds_of_packets", || {
        let program = Program::load();
        let (mut tried, mut dropped) = (0, 0);
        for packet in all_packets() {
            let Made { name, packet, expected } = packet;
            let said = |vlans: &[u16]| format!("{name}, {} VLAN tags: {:02x?}", vlans.len(), packet.bytes);
            for vlans in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100, 0x8100]] {
                assert_eq!(program.verdict(&packet.ethernet(vlans).bytes), expected, "{}", said(vlans));
            }
            assert_eq!(program.verdict_of("vestibule_ip", &packet.bytes), expected, "{name}, IP alone");
            tried += 5;
            dropped += if expected == Drop { 5 } else { 0 };
        }
        assert!(tried > 10_000, "{tried}");
        assert_eq!(program.counts()[0], dropped, "of {tried}");
        assert!(program.counts()[1] > 0 && program.counts()[2] > 0);
    });
}

struct Made {
    name: String,
    packet: Packet,
    expected: Verdict,
}

fn all_packets() -> Vec<Made> {
    let mut all = Vec::new();
    for family in FAMILIES {
        let sources = [(family.home(), LIVE), (family.home(), GONE), (family.home(), STRANGER), (family.away(), LIVE)];
        let destinations = [(family.gateway(), PORT), (family.gateway(), PORT + 1), (family.elsewhere(), PORT)];
        for (source, to) in sources.into_iter().flat_map(|source| destinations.map(|to| (source, to))) {
            for (part, payload) in
                Part::ALL.into_iter().flat_map(|part| payloads().into_iter().map(move |of| (part, of)))
            {
                let is_live = source == (family.home(), LIVE);
                let expected = if to != (family.gateway(), PORT) || matches!(part, Part::Middle | Part::Last) {
                    Pass
                } else if part == Part::First {
                    Drop
                } else if is_live || opens(payload.opens, source.0) {
                    Pass
                } else {
                    Drop
                };
                for extras in family.extras() {
                    let datagram = udp(source.1, to.1, &payload.bytes);
                    let packet = ip(source.0, to.0, extras, part, UDP, &datagram);
                    let name = format!("{} from {source:?} to {to:?}, {part:?}, extras {extras:?}", payload.name);
                    all.push(Made { name, packet, expected });
                }
            }
        }
    }
    all
}

/// A packet that is cut off anywhere: as long as it does not show whose it is, it passes; from where it shows that it is for
/// the gateway's machine, but not for which port, and from there on without all of a tag, it is dropped.
#[test]
fn a_packet_cut_off_at_any_byte() {
    with_programs("program::a_packet_cut_off_at_any_byte", || {
        let program = Program::load();
        for family in FAMILIES {
            for (extras, vlans) in family.extras().iter().zip([&[][..], &[0x8100], &[0x88a8, 0x8100], &[]]) {
                for from in [LIVE, STRANGER] {
                    let datagram = udp(from, PORT, &long_header(0xc0, &TAG));
                    let whole =
                        ip(family.home(), family.gateway(), extras, Part::Whole, UDP, &datagram).ethernet(vlans);
                    let least = 14;
                    for len in least..=whole.bytes.len() {
                        let shows_tag = len >= whole.udp + 8 + 26;
                        let expected = match len {
                            _ if len < whole.ip_end => Pass,
                            _ if len < whole.udp + 8 => Drop,
                            _ if from == LIVE || shows_tag => Pass,
                            _ => Drop,
                        };
                        let verdict = program.verdict(&whole.bytes[..len]);
                        assert_eq!(verdict, expected, "{family:?} {extras:?} {vlans:?} from {from}, {len} bytes");
                    }
                }
            }
        }
    });
}

/// A datagram whose header says that it ends before its tag does: the kernel hands over no more than it says.
#[test]
fn a_tag_behind_the_end_of_its_datagram_opens_nothing() {
    with_programs("program::a_tag_behind_the_end_of_its_datagram_opens_nothing", || {
        let program = Program::load();
        for family in FAMILIES {
            for len in 0..=42u16 {
                let mut datagram = udp(STRANGER, PORT, &long_header(0xc0, &TAG));
                datagram[4..6].copy_from_slice(&len.to_be_bytes());
                let packet = ip(family.home(), family.gateway(), &[], Part::Whole, UDP, &datagram).ethernet(&[]);
                let expected = if len < 8 + 26 { Drop } else { Pass };
                assert_eq!(program.verdict(&packet.bytes), expected, "{family:?}, {len}");
            }
        }
    });
}

#[test]
fn what_is_not_for_the_gateway_s_port_passes_untouched() {
    with_programs("program::what_is_not_for_the_gateway_s_port_passes_untouched", || {
        let program = Program::load();
        let six = Family::Six;
        let mut passing: Vec<(String, Vec<u8>)> = vec![
            ("ARP".to_owned(), [ethernet(&[], 0x0806), vec![0; 28]].concat()),
            ("LLDP".to_owned(), [ethernet(&[], 0x88cc), vec![0; 46]].concat()),
            ("802.3 with a length".to_owned(), [ethernet(&[], 46), vec![0; 46]].concat()),
            ("nothing behind Ethernet".to_owned(), ethernet(&[], 0x0800)),
            ("three VLAN tags".to_owned(), to_port(Family::Four).ethernet(&[0x88a8, 0x8100, 0x8100]).bytes),
        ];
        // ICMP, IGMP, TCP, ESP, AH, ICMPv6 (neighbours), no more, OSPF, UDP-Lite, and numbers that are nobody's.
        for family in FAMILIES {
            for protocol in (0..=255u8).filter(|protocol| *protocol != UDP) {
                let is_extension = [HOP_OPTIONS, ROUTING, FRAGMENT, DESTINATION_OPTIONS].contains(&protocol);
                if family == Family::Six && is_extension {
                    continue;
                }
                let payload = udp(STRANGER, PORT, &[0; 60]);
                let packet = ip(family.home(), family.gateway(), &[], Part::Whole, protocol, &payload).ethernet(&[]);
                passing.push((format!("{family:?}, protocol {protocol}"), packet.bytes));
            }
            // The gateway's own link to its controller leaves from another port.
            let answer = udp(4433, 51_820, &long_header(0xc0, &[1; 20]));
            let packet = ip(family.away(), family.gateway(), &[], Part::Whole, UDP, &answer).ethernet(&[]);
            passing.push((format!("{family:?}, from the controller"), packet.bytes));
        }
        let tcp = ip(six.home(), six.gateway(), &[HOP_OPTIONS, ROUTING], Part::Whole, 6, &udp(1, PORT, &[0; 20]));
        passing.push(("TCP behind extension headers".to_owned(), tcp.ethernet(&[]).bytes));
        for (byte, value, name) in [(0, 0x65, "version 6"), (0, 0x44, "a short header"), (0, 0x05, "version 0")] {
            let mut packet = to_port(Family::Four).ethernet(&[]).bytes;
            packet[14 + byte] = value;
            passing.push((format!("IPv4 by its type, with {name}"), packet));
        }
        let mut packet = to_port(Family::Six).ethernet(&[]).bytes;
        packet[14] = 0x45;
        passing.push(("IPv6 by its type, with version 4".to_owned(), packet));
        for (name, bytes) in passing {
            assert_eq!(program.verdict(&bytes), Pass, "{name}");
        }
        assert_eq!(program.counts(), [0; 3], "and is not counted");
    });
}

/// As many headers as the program reads, and more; a whole datagram in a fragment header; a first fragment that hides its port.
#[test]
fn chains_of_headers_that_hide_the_port_are_dropped() {
    with_programs("program::chains_of_headers_that_hide_the_port_are_dropped", || {
        let program = Program::load();
        let six = Family::Six;
        let to = |to: IpAddr, kinds: &[u8], from| {
            let datagram = udp(from, PORT, &[0; 60]);
            program.verdict(&ip(six.home(), to, kinds, Part::Whole, UDP, &datagram).ethernet(&[]).bytes)
        };
        for count in 0..=12 {
            let kinds = vec![DESTINATION_OPTIONS; count];
            let live = if count <= 8 { Pass } else { Drop };
            assert_eq!(to(six.gateway(), &kinds, LIVE), live, "{count} headers");
            assert_eq!(to(six.gateway(), &kinds, STRANGER), Drop, "{count} headers");
            assert_eq!(to(six.elsewhere(), &kinds, STRANGER), Pass, "{count} headers");
        }
        let whole_in_one = |from, to| {
            let inner = [&[UDP, 0, 0, 0, 0, 0, 0, 1][..], &udp(from, PORT, &[0; 60])].concat();
            program.verdict(&ip(six.home(), to, &[], Part::Whole, FRAGMENT, &inner).ethernet(&[]).bytes)
        };
        assert_eq!(whole_in_one(LIVE, six.gateway()), Pass, "a fragment that is all of its datagram");
        assert_eq!(whole_in_one(STRANGER, six.gateway()), Drop);
        assert_eq!(whole_in_one(STRANGER, six.elsewhere()), Pass);
        for (gateway, expected) in [(six.gateway(), Drop), (six.elsewhere(), Pass)] {
            let hidden = ip(six.home(), gateway, &[], Part::First, DESTINATION_OPTIONS, &[UDP, 0]);
            assert_eq!(program.verdict(&hidden.ethernet(&[]).bytes), expected, "the port is in the next fragment");
        }
    });
}

/// With nothing admitted the port is shut, and all else open.
#[test]
fn an_empty_door_is_shut() {
    with_programs("program::an_empty_door_is_shut", || {
        let mut program = Program::load();
        let mut tickets = HashMap::<_, [u8; 8], [u8; 40]>::try_from(program.0.map_mut("tickets").unwrap()).unwrap();
        [TAG, STRICT, OVER].iter().for_each(|tag| tickets.remove(&ticket(tag)).unwrap());
        let mut live = HashMap::<_, [u8; 20], u64>::try_from(program.0.map_mut("live").unwrap()).unwrap();
        for source in FAMILIES.iter().flat_map(|of| [place(of.home(), LIVE), place(of.home(), GONE)]) {
            live.remove(&source).unwrap();
        }
        for Made { name, packet, .. } in all_packets() {
            let is_for_port = name.contains(&format!("to ({}, {PORT})", Family::Four.gateway()))
                || name.contains(&format!("to ({}, {PORT})", Family::Six.gateway()));
            let is_later = name.contains("Middle") || name.contains("Last");
            let expected = if is_for_port && !is_later { Drop } else { Pass };
            assert_eq!(program.verdict(&packet.ethernet(&[]).bytes), expected, "{name}");
        }
    });
}

/// A stranger's datagram to the port.
fn to_port(family: Family) -> Packet {
    ip(family.home(), family.gateway(), &[], Part::Whole, UDP, &udp(STRANGER, PORT, &[0; 60]))
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn place(address: IpAddr, port: u16) -> [u8; 20] {
    let mut place = [0; 20];
    place[..16].copy_from_slice(&mapped(address));
    place[16..18].copy_from_slice(&port.to_be_bytes());
    place
}

fn admission(until: u64, mask: [u8; 16], announced: [u8; 16]) -> [u8; 40] {
    let mut value = [0; 40];
    value[..8].copy_from_slice(&until.to_ne_bytes());
    value[8..24].copy_from_slice(&mask);
    value[24..].copy_from_slice(&announced);
    value
}
