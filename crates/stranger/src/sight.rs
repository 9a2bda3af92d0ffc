//! What was seen, judged: what only the service can have said, and what the machine says of any port.

use crate::packet::{TCP, UDP};
use crate::probe::{Place, Plan};
use crate::reply::Reply;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of probes; each is a row of what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Datagrams to the port, with everything that might make a server speak.
    Udp,
    /// TCP segments to the port, with six sets of flags; without raw sockets a connection.
    Tcp,
    /// Both from the ports 53, 67 and 123, from which firewalls let answers in.
    OddPorts,
    /// Datagrams to the port in fragments: in order, reversed, tiny, overlapping, the first one missing.
    Fragments,
    /// Every type of ICMP.
    Icmp,
    /// IP protocols that are neither UDP, TCP nor ICMP.
    Protocols,
    /// UDP and TCP to a port that nobody uses: what the machine says of itself.
    UnusedPort,
}

impl Group {
    /// All of them, as they are listed.
    pub const ALL: [Self; 7] =
        [Self::Udp, Self::Tcp, Self::OddPorts, Self::Fragments, Self::Icmp, Self::Protocols, Self::UnusedPort];

    /// The words for it in tables.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::OddPorts => "from ports 53, 67, 123",
            Self::Fragments => "fragments",
            Self::Icmp => "ICMP, all types",
            Self::Protocols => "other protocols",
            Self::UnusedPort => "an unused port",
        }
    }
}

/// How the probes were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// As whole packets, over raw sockets.
    Raw,
    /// As any program's, over ordinary sockets.
    Plain,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was not tried.
    NotTried,
    /// Nothing came back.
    Silent,
    /// The machine answers, as it would for a port that nobody uses: a stranger learns that there is a machine.
    Machine,
    /// The port answers: a stranger learns that there is a service.
    Service,
}

impl Verdict {
    /// The words for it in tables.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NotTried => "not tried",
            Self::Silent => "silent",
            Self::Machine => "the machine answers",
            Self::Service => "THE PORT ANSWERS",
        }
    }
}

/// What came back for probes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The kind.
    pub probes: Group,
    /// What it comes to.
    pub verdict: Verdict,
    /// How many packets were sent.
    pub sent: usize,
    /// What came back, and how often.
    pub answers: BTreeMap<String, usize>,
    /// Why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// What a stranger sees of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// How the probes were sent.
    pub means: Means,
    /// The machine says of unused ports that nobody is there and says nothing of this one, so that it stands out.
    pub stands_out: bool,
    /// A row for each of [`Group::ALL`].
    pub rows: Vec<Row>,
}

impl Sight {
    /// The worst of the rows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::NotTried)
    }
}

/// Answers as they come in.
#[derive(Debug)]
pub(crate) struct Tally {
    means: Means,
    sent: BTreeMap<Group, usize>,
    missing: BTreeMap<Group, String>,
    heard: BTreeMap<Place, Heard>,
}

/// What was heard for the probes of one place.
#[derive(Debug, Default)]
struct Heard {
    answers: BTreeMap<String, usize>,
    accepted: bool,
}

impl Tally {
    pub(crate) fn new(means: Means) -> Self {
        Self { means, sent: BTreeMap::new(), missing: BTreeMap::new(), heard: BTreeMap::new() }
    }

    pub(crate) fn sent(&mut self, group: Group) {
        *self.sent.entry(group).or_default() += 1;
    }

    pub(crate) fn missing(&mut self, group: Group, why: impl Into<String>) {
        self.missing.insert(group, why.into());
    }

    /// Takes a packet that came from the target; what no probe of the plan asked for is left.
    pub(crate) fn heard(&mut self, plan: &Plan, reply: Reply) {
        if let Some(place) = plan.place_of(reply) {
            self.note(place, reply.to_string(), reply.accepts());
        }
    }

    /// Takes an answer in words.
    pub(crate) fn note(&mut self, place: Place, answer: String, accepted: bool) {
        let heard = self.heard.entry(place).or_default();
        *heard.answers.entry(answer).or_default() += 1;
        heard.accepted |= accepted;
    }

    /// Judges what was heard.
    pub(crate) fn judge(&self) -> Sight {
        let rows = Group::ALL.map(|group| self.row(group)).into();
        Sight { means: self.means, stands_out: self.stands_out(), rows }
    }

    fn row(&self, group: Group) -> Row {
        let mut answers = BTreeMap::new();
        for heard in self.of(group).map(|(_, heard)| heard) {
            for (answer, count) in &heard.answers {
                *answers.entry(answer.clone()).or_default() += count;
            }
        }
        let sent = self.sent.get(&group).copied().unwrap_or(0);
        let verdict = match self.of(group).map(|(place, heard)| self.verdict(place, heard)).max() {
            Some(verdict) => verdict,
            None if sent > 0 => Verdict::Silent,
            None => Verdict::NotTried,
        };
        Row { probes: group, verdict, sent, answers, missing: self.missing.get(&group).cloned() }
    }

    fn of(&self, group: Group) -> impl Iterator<Item = (&Place, &Heard)> {
        self.heard.iter().filter(move |(place, _)| place.group == group)
    }

    /// Whose answer it is. The machine's own are what it says of an unused port as well, and ICMP, which no service speaks.
    fn verdict(&self, place: &Place, heard: &Heard) -> Verdict {
        if matches!(place.group, Group::UnusedPort | Group::Icmp | Group::Protocols) {
            return Verdict::Machine;
        }
        let unused = Place { group: Group::UnusedPort, ..*place };
        let unused: BTreeSet<&String> =
            self.heard.get(&unused).into_iter().flat_map(|heard| heard.answers.keys()).collect();
        let ordinary = |answer: &String| answer.starts_with("ICMP") || unused.contains(answer);
        if !heard.accepted && heard.answers.keys().all(ordinary) { Verdict::Machine } else { Verdict::Service }
    }

    fn stands_out(&self) -> bool {
        let silent = |group: Group, protocol: u8| !self.of(group).any(|(place, _)| place.protocol == protocol);
        [(Group::Udp, UDP), (Group::Tcp, TCP)].into_iter().any(|(group, protocol)| {
            self.sent.contains_key(&group) && silent(group, protocol) && !silent(Group::UnusedPort, protocol)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(group: Group, protocol: u8, kind: u8) -> Place {
        Place { group, protocol, kind }
    }

    fn sight(heard: &[(Place, &str)]) -> Sight {
        let mut tally = Tally::new(Means::Raw);
        Group::ALL.into_iter().for_each(|group| tally.sent(group));
        for (place, answer) in heard {
            tally.note(*place, (*answer).to_owned(), *answer == "TCP SYN-ACK");
        }
        tally.judge()
    }

    fn verdict(sight: &Sight, group: Group) -> Verdict {
        sight.rows.iter().find(|row| row.probes == group).expect("a row for every group").verdict
    }

    #[test]
    fn nothing_is_silence() {
        let sight = sight(&[]);
        assert!(sight.rows.iter().all(|row| row.verdict == Verdict::Silent) && !sight.stands_out);
        assert_eq!(Tally::new(Means::Plain).judge().verdict(), Verdict::NotTried);
    }

    #[test]
    fn a_datagram_is_the_services_answer() {
        for group in [Group::Udp, Group::OddPorts, Group::Fragments] {
            let sight = sight(&[(place(group, UDP, 0), "UDP, 5 bytes")]);
            assert_eq!((verdict(&sight, group), sight.verdict()), (Verdict::Service, Verdict::Service));
        }
    }

    #[test]
    fn a_refusal_is_the_machines_where_an_unused_port_is_refused_the_same_way() {
        let refused = (place(Group::Tcp, TCP, 2), "TCP RST");
        let unused = (place(Group::UnusedPort, TCP, 2), "TCP RST");
        assert_eq!(verdict(&sight(&[refused, unused]), Group::Tcp), Verdict::Machine);
        assert_eq!(verdict(&sight(&[refused]), Group::Tcp), Verdict::Service);
        let other_flags = (place(Group::UnusedPort, TCP, 16), "TCP RST");
        assert_eq!(verdict(&sight(&[refused, other_flags]), Group::Tcp), Verdict::Service);
    }

    #[test]
    fn a_connection_is_the_services_answer_even_where_every_port_takes_one() {
        let taken = (place(Group::Tcp, TCP, 2), "TCP SYN-ACK");
        let unused = (place(Group::UnusedPort, TCP, 2), "TCP SYN-ACK");
        assert_eq!(verdict(&sight(&[taken, unused]), Group::Tcp), Verdict::Service);
    }

    #[test]
    fn icmp_is_the_machines() {
        let sight = sight(&[(place(Group::Icmp, 1, 0), "ICMP type 0 code 0")]);
        assert_eq!(verdict(&sight, Group::Icmp), Verdict::Machine);
        assert_eq!(sight.verdict(), Verdict::Machine);
    }

    #[test]
    fn silence_stands_out_among_refusals() {
        let unused = (place(Group::UnusedPort, UDP, 0), "ICMP type 3 code 3");
        assert!(sight(&[unused]).stands_out);
        let closed = (place(Group::Udp, UDP, 0), "ICMP type 3 code 3");
        assert!(!sight(&[unused, closed]).stands_out);
    }
}
