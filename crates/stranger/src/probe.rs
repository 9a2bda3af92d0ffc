//! The probes for one address, and where an answer to each belongs.

use crate::bait::baits;
use crate::packet::{Ends, ICMP, ICMPV6, TCP, UDP};
use crate::reply::{Ports, Reply};
use crate::sight::Group;
use std::collections::BTreeMap;

/// Ports from which firewalls let answers in: names, addresses, time.
pub(crate) const ODD_PORTS: [u16; 3] = [53, 67, 123];

/// SYN, ACK, FIN, nothing, FIN-PSH-URG, SYN-ACK.
const FLAGS: [u8; 6] = [2, 16, 1, 0, 41, 18];

/// IGMP, IP in IP, IPv6 in IP, GRE, ESP, AH, OSPF, SCTP, and one that there isn't.
const PROTOCOLS: [u8; 9] = [2, 4, 41, 47, 50, 51, 89, 132, 253];

/// Neighbour discovery (RFC 4861): every machine of a link speaks it to its neighbours.
const NEIGHBOURS: std::ops::RangeInclusive<u8> = 133..=137;

/// Fragments of a datagram: its number among those of one bait, and from where to where. In order; reversed; a first one that
/// ends with the UDP header; overlapping; whole; without the first one.
const PIECES: [(u16, usize, usize); 10] = [
    (0, 0, 600),
    (0, 600, END),
    (1, 600, END),
    (1, 0, 600),
    (2, 0, 8),
    (2, 8, END),
    (3, 0, 600),
    (3, 400, END),
    (4, 0, END),
    (5, 600, END),
];
const END: usize = usize::MAX;

/// A packet, and what kind of probe it belongs to.
pub(crate) struct Probe {
    pub(crate) group: Group,
    pub(crate) packet: Vec<u8>,
}

/// Where answers belong together: those to TCP segments with the same flags can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) group: Group,
    pub(crate) protocol: u8,
    pub(crate) kind: u8,
}

/// All probes for one address.
pub(crate) struct Plan {
    pub(crate) probes: Vec<Probe>,
    places: BTreeMap<(u8, Ports), Place>,
    icmp: u8,
    id: u16,
}

/// What the plan is made for.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    pub(crate) ends: Ends,
    /// The port that is looked at.
    pub(crate) port: u16,
    /// A port that nobody uses.
    pub(crate) unused: u16,
    /// The first of [`OUR_PORTS`] ports of ours.
    pub(crate) ours: u16,
}

/// How many ports of ours a plan uses, one after the other; its first is also the mark of its echo requests.
pub(crate) const OUR_PORTS: u16 = 16;

impl Plan {
    pub(crate) fn new(question: Question) -> Self {
        let icmp = question.ends.icmp_protocol();
        let mut plan = Self { probes: Vec::new(), places: BTreeMap::new(), icmp, id: question.ours };
        plan.unused_port(question);
        plan.udp(question, Group::Udp, question.ours);
        plan.tcp(question, Group::Tcp, question.port, |at| question.ours + at);
        for odd in ODD_PORTS {
            plan.udp(question, Group::OddPorts, odd);
            plan.send(Group::OddPorts, question.ends.tcp(odd, question.port, FLAGS[0], 1));
            plan.expect(TCP, odd, question.port, Group::OddPorts, FLAGS[0]);
        }
        plan.fragments(question);
        plan.icmp(question);
        for protocol in PROTOCOLS {
            plan.send(Group::Protocols, question.ends.whole(protocol, &[0; 32]));
        }
        plan
    }

    /// Where an answer belongs; nowhere if none of these probes can have asked for it.
    pub(crate) fn place_of(&self, reply: Reply) -> Option<Place> {
        match reply {
            Reply::Datagram { ports, .. } => self.places.get(&(UDP, ports)).copied(),
            Reply::Segment { ports, .. } => self.places.get(&(TCP, ports)).copied(),
            Reply::Icmp { about: Some(about), .. } if matches!(about.protocol, UDP | TCP) => {
                self.places.get(&(about.protocol, about.ports)).copied()
            }
            Reply::Icmp { about: Some(about), .. } => {
                let group = if matches!(about.protocol, ICMP | ICMPV6) { Group::Icmp } else { Group::Protocols };
                Some(Place { group, protocol: self.icmp, kind: 0 })
            }
            Reply::Icmp { kind, id, about: None, .. } => {
                let neighbours = self.icmp == ICMPV6 && NEIGHBOURS.contains(&kind);
                (id == self.id && !neighbours).then_some(Place { group: Group::Icmp, protocol: self.icmp, kind: 0 })
            }
        }
    }

    fn send(&mut self, group: Group, packet: Vec<u8>) {
        self.probes.push(Probe { group, packet });
    }

    fn expect(&mut self, protocol: u8, ours: u16, theirs: u16, group: Group, kind: u8) {
        self.places.insert((protocol, Ports { ours, theirs }), Place { group, protocol, kind });
    }

    /// First, while the machine has spent none of the errors that it allows itself a second.
    fn unused_port(&mut self, question: Question) {
        let Question { ends, unused, ours, .. } = question;
        self.send(Group::UnusedPort, ends.udp(ours, unused, b"hello"));
        self.expect(UDP, ours, unused, Group::UnusedPort, 0);
        self.tcp(question, Group::UnusedPort, unused, |at| ours + at);
    }

    fn udp(&mut self, question: Question, group: Group, from: u16) {
        for bait in baits() {
            self.send(group, question.ends.udp(from, question.port, &bait));
        }
        self.expect(UDP, from, question.port, group, 0);
    }

    fn tcp(&mut self, question: Question, group: Group, to: u16, from: impl Fn(u16) -> u16) {
        for (flags, at) in FLAGS.into_iter().zip(0..) {
            self.send(group, question.ends.tcp(from(at), to, flags, 1));
            self.expect(TCP, from(at), to, group, flags);
        }
    }

    fn fragments(&mut self, question: Question) {
        let Question { ends, port, ours, .. } = question;
        let from = ours + 1;
        for (bait, id) in baits().into_iter().filter(|bait| bait.len() > 1000).zip((1..).step_by(8)) {
            let segment = ends.udp_segment(from, port, &bait);
            for (nth, from, to) in PIECES {
                let to = to.min(segment.len());
                self.send(Group::Fragments, ends.fragment(UDP, id + nth, &segment, from, to));
            }
        }
        self.expect(UDP, from, port, Group::Fragments, 0);
    }

    /// Every type, with our mark, and behind it what errors quote: a packet that the target might have sent.
    fn icmp(&mut self, question: Question) {
        let Question { ends, port, ours, .. } = question;
        let quoted = ends.turned().udp(port, ours + 2, &[0; 16]);
        for kind in 0..=u8::MAX {
            let error = matches!((ends, kind), (Ends::V4(..), 3 | 4 | 5 | 11 | 12) | (Ends::V6(..), 0..=127));
            let mark =
                if error { [0; 4] } else { [self.id.to_be_bytes(), [0, 1]].concat().try_into().unwrap_or([0; 4]) };
            self.send(Group::Icmp, ends.icmp(kind, &[&mark[..], &quoted].concat()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::About;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn plan(ends: Ends) -> Plan {
        Plan::new(Question { ends, port: 4434, unused: 50_000, ours: 30_000 })
    }

    fn plans() -> [Plan; 2] {
        let v4 = Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        [plan(v4), plan(Ends::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED))]
    }

    #[test]
    fn every_group_has_its_probes_and_none_is_longer_than_a_link_takes() {
        for plan in plans() {
            for group in Group::ALL {
                assert!(plan.probes.iter().any(|probe| probe.group == group), "{group:?}");
            }
            assert!(plan.probes.iter().all(|probe| probe.packet.len() <= 1280));
        }
    }

    #[test]
    fn answers_find_their_place() {
        for plan in plans() {
            let datagram = |ours, theirs| plan.place_of(Reply::Datagram { ports: Ports { ours, theirs }, bytes: 1 });
            assert_eq!(datagram(30_000, 4434).map(|place| place.group), Some(Group::Udp));
            assert_eq!(datagram(30_001, 4434).map(|place| place.group), Some(Group::Fragments));
            assert_eq!(datagram(123, 4434).map(|place| place.group), Some(Group::OddPorts));
            assert_eq!(datagram(30_000, 50_000).map(|place| place.group), Some(Group::UnusedPort));
            // Another program's.
            assert_eq!(datagram(30_009, 4434), None);

            let refused = |ours, theirs| plan.place_of(Reply::Segment { ports: Ports { ours, theirs }, flags: 4 });
            assert_eq!(refused(30_000, 4434).map(|place| place.kind), refused(30_000, 50_000).map(|place| place.kind));
            let error = About { protocol: UDP, ports: Ports { ours: 30_000, theirs: 50_000 } };
            let icmp = |kind, id, about| plan.place_of(Reply::Icmp { kind, code: 3, id, about });
            assert_eq!(icmp(3, 0, Some(error)).map(|place| place.group), Some(Group::UnusedPort));
            assert_eq!(icmp(0, 30_000, None).map(|place| place.group), Some(Group::Icmp));
            assert_eq!(icmp(0, 30_001, None), None, "somebody else's ping");
            let other = About { protocol: 132, ports: Ports { ours: 0, theirs: 0 } };
            assert_eq!(icmp(3, 0, Some(other)).map(|place| place.group), Some(Group::Protocols));
        }
    }

    #[test]
    fn neighbours_may_speak_with_each_other() {
        let [_, v6] = plans();
        assert_eq!(v6.place_of(Reply::Icmp { kind: 136, code: 0, id: 30_000, about: None }), None);
    }
}
