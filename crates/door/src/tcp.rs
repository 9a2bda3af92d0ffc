//! Who is awaited over TCP: the sources of tag datagrams (D0), as long as the admission window lasts.
//!
//! One list for all back ends, asked by the gateway's listener. A back end in the kernel lets the datagrams pass by their tickets, as
//! it does first packets; the listener itself exists only while somebody is awaited, and takes connections from nobody else's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vestibule_proto::expiring::ExpiringMap;
use vestibule_proto::id::TicketId;
use vestibule_proto::tcp::{TagDatagram, TcpTags};
use vestibule_proto::ticket::{NatPolicy, Tag};

use crate::Admission;

/// The list.
pub struct TcpDoor(Mutex<Table>);

/// The admissions that a device may use over TCP, until their windows end. Of many thousands few are awaited, for most devices come in
/// by QUIC: who that is is known without looking through all of them.
struct Table {
    admissions: ExpiringMap<TicketId, Standing>,
    /// How many tags of datagrams were spent for each address; none of these is 0.
    awaited: BTreeMap<IpAddr, usize>,
    /// When the last window of those ends.
    latest: Option<Instant>,
}

struct Standing {
    tags: TcpTags,
    announced: IpAddr,
    policy: NatPolicy,
    until: Instant,
    /// For which address each datagram's tag was spent.
    opened: [Option<IpAddr>; 4],
    /// Which prefaces were.
    begun: [bool; 4],
}

impl TcpDoor {
    /// One that awaits nobody, and never more than so many.
    pub(crate) fn new(limit: usize) -> Self {
        let admissions = ExpiringMap::with_limit(limit);
        Self(Mutex::new(Table { admissions, awaited: BTreeMap::new(), latest: None }))
    }

    /// D0: TCP opens for the datagram's source, until the moment that this returns. `None`: for nobody. The same datagram from the
    /// same address opens again, from another one it never does.
    pub fn datagram(&self, source: SocketAddr, datagram: &TagDatagram<'_>, now: Instant) -> Option<Instant> {
        let address = source.ip().to_canonical();
        let mut table = self.table(now);
        let Table { admissions, awaited, latest } = &mut *table;
        let standing = admissions.get_mut(&datagram.tag.ticket())?;
        let n = standing.tags.datagrams.iter().position(|own| *own == datagram.tag)?;
        let named = standing.tags.check(datagram)?;
        let comes_rightly = standing.policy.matches(standing.announced, address)
            && named.is_none_or(|named| (named.ip(), named.port()) == (address, source.port()));
        if !comes_rightly || standing.opened[n].is_some_and(|opened| opened != address) {
            return None;
        }
        if standing.opened[n].replace(address).is_none() {
            *awaited.entry(address).or_default() += 1;
            *latest = (*latest).max(Some(standing.until));
        }
        Some(standing.until)
    }

    /// Until when somebody is awaited, if nobody is withdrawn; `None`: nobody is.
    pub fn awaits(&self, now: Instant) -> Option<Instant> {
        self.table(now).latest
    }

    /// The addresses that somebody is awaited from, each once.
    pub fn addresses(&self, now: Instant) -> BTreeSet<IpAddr> {
        self.table(now).awaited.keys().copied().collect()
    }

    /// Whether anybody is awaited from this address.
    pub fn takes(&self, source: SocketAddr, now: Instant) -> bool {
        self.table(now).awaited.contains_key(&source.ip().to_canonical())
    }

    /// The ticket of a preface, which is spent by that. `None`: it is nobody's, or was spent before, or its admission awaits nobody
    /// from this address.
    pub fn preface(&self, source: SocketAddr, tag: &Tag, now: Instant) -> Option<TicketId> {
        let address = source.ip().to_canonical();
        let mut table = self.table(now);
        let ticket = tag.ticket();
        let standing = table.admissions.get_mut(&ticket)?;
        let n = standing.tags.prefaces.iter().position(|own| own == tag)?;
        if !standing.is_open_for(address) || std::mem::replace(&mut standing.begun[n], true) {
            return None;
        }
        Some(ticket)
    }

    pub(crate) fn admit(&self, admission: &Admission) {
        let Some(tags) = &admission.tcp else { return };
        let until = admission.deadline;
        let standing = Standing {
            tags: (**tags).clone(),
            announced: admission.announced,
            policy: admission.policy,
            until,
            opened: [None; 4],
            begun: [false; 4],
        };
        // There is room for whoever found room among all admissions; without it, nobody comes in.
        let mut table = self.whole_table();
        if let Ok(Some(former)) = table.admissions.insert(admission.ticket, standing, until) {
            table.forget(&former);
        }
    }

    pub(crate) fn withdraw(&self, ticket: &TicketId) {
        let mut table = self.whole_table();
        if let Some(standing) = table.admissions.remove(ticket) {
            table.forget(&standing);
        }
    }

    pub(crate) fn remove_expired(&self, now: Instant) {
        drop(self.table(now));
    }

    /// The list, without those whose window is over.
    fn table(&self, now: Instant) -> MutexGuard<'_, Table> {
        let mut table = self.whole_table();
        while let Some((_, standing)) = table.admissions.pop_expired(now) {
            table.forget(&standing);
        }
        table
    }

    fn whole_table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Nobody is awaited any more for this one, which is out.
    fn forget(&mut self, standing: &Standing) {
        for address in standing.opened.iter().flatten() {
            if let Some(count) = self.awaited.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.awaited.remove(address);
                }
            }
        }
        if self.awaited.is_empty() {
            self.latest = None;
        }
    }
}

impl Standing {
    fn is_open_for(&self, address: IpAddr) -> bool {
        self.opened.contains(&Some(address))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vestibule_proto::key::Secret;
    use vestibule_proto::ticket::Ticket;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const HOME: &str = "198.51.100.7:40000";
    const AWAY: &str = "203.0.113.9:40000";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A door that awaits the bearer of these tags.
    fn door(policy: NatPolicy, now: Instant) -> (TcpDoor, TcpTags) {
        let ticket = Ticket::derive([1; 32], &Secret::new([2; 32]), TicketId::new([7; 8]));
        let tcp = TcpTags::of(&ticket);
        let door = TcpDoor::new(8);
        door.admit(&Admission {
            ticket: ticket.id,
            tags: ticket.quic_tags(),
            tcp: Some(Box::new(tcp.clone())),
            announced: at(HOME).ip(),
            policy,
            deadline: now + WINDOW,
        });
        (door, tcp)
    }

    fn says(door: &TcpDoor, tcp: &TcpTags, n: usize, from: &str, own: Option<&str>, now: Instant) -> bool {
        let bytes = tcp.datagram(&tcp.datagrams[n], own.map(at));
        door.datagram(at(from), &TagDatagram::read(&bytes).unwrap(), now).is_some()
    }

    #[test]
    fn a_datagram_opens_for_its_source_and_a_preface_begins_once() {
        let now = Instant::now();
        let (door, tcp) = door(NatPolicy::Follow, now);
        assert_eq!((door.awaits(now), door.takes(at(HOME), now)), (None, false), "before any datagram");
        assert_eq!(door.preface(at(HOME), &tcp.prefaces[0], now), None);
        assert!(says(&door, &tcp, 0, HOME, None, now));
        assert!(says(&door, &tcp, 0, "[::ffff:198.51.100.7]:40001", None, now), "said again");
        assert!(!says(&door, &tcp, 0, AWAY, None, now), "a copy from elsewhere");
        assert_eq!(door.addresses(now), BTreeSet::from([at(HOME).ip()]));
        assert!(door.takes(at("198.51.100.7:9"), now) && !door.takes(at(AWAY), now));
        assert_eq!(door.preface(at(AWAY), &tcp.prefaces[0], now), None, "from where nobody is awaited");
        assert_eq!(door.preface(at(HOME), &tcp.datagrams[0], now), None, "no preface");
        assert_eq!(door.preface(at(HOME), &tcp.prefaces[0], now), Some(TicketId::new([7; 8])));
        assert_eq!(door.preface(at(HOME), &tcp.prefaces[0], now), None, "spent");
    }

    #[test]
    fn it_ends_with_the_window_and_with_the_admission() {
        let now = Instant::now();
        let (door, tcp) = door(NatPolicy::Follow, now);
        assert!(says(&door, &tcp, 0, HOME, None, now));
        let last = now + WINDOW - Duration::from_nanos(1);
        assert_eq!(door.awaits(last), Some(now + WINDOW));
        assert!(!door.takes(at(HOME), now + WINDOW) && !says(&door, &tcp, 1, HOME, None, now + WINDOW));
        assert_eq!(door.preface(at(HOME), &tcp.prefaces[0], now + WINDOW), None);

        let (door, tcp) = self::door(NatPolicy::Follow, now);
        assert!(says(&door, &tcp, 0, HOME, None, now) && door.takes(at(HOME), now));
        door.withdraw(&TicketId::new([7; 8]));
        assert!(!door.takes(at(HOME), now) && door.awaits(now).is_none());
    }

    #[test]
    fn an_address_is_awaited_as_long_as_any_admission_awaits_it() {
        let now = Instant::now();
        let (door, tcp) = door(NatPolicy::Follow, now);
        let other = Ticket::derive([1; 32], &Secret::new([2; 32]), TicketId::new([8; 8]));
        let others = TcpTags::of(&other);
        door.admit(&Admission {
            ticket: other.id,
            tags: other.quic_tags(),
            tcp: Some(Box::new(others.clone())),
            announced: at(HOME).ip(),
            policy: NatPolicy::Follow,
            deadline: now + 2 * WINDOW,
        });
        for (tags, n, from) in [(&tcp, 0, HOME), (&tcp, 1, HOME), (&tcp, 2, AWAY), (&others, 0, HOME)] {
            assert!(says(&door, tags, n, from, None, now));
        }
        assert_eq!(door.addresses(now), BTreeSet::from([at(HOME).ip(), at(AWAY).ip()]));
        assert_eq!(door.awaits(now), Some(now + 2 * WINDOW));
        assert_eq!(door.addresses(now + WINDOW), BTreeSet::from([at(HOME).ip()]), "the other admission's");
        door.withdraw(&other.id);
        assert_eq!((door.addresses(now + WINDOW), door.awaits(now + WINDOW)), (BTreeSet::new(), None));
        assert!(door.whole_table().awaited.is_empty());
    }

    #[test]
    fn who_names_an_address_is_let_in_from_there_alone() {
        let now = Instant::now();
        let (door, tcp) = door(NatPolicy::Follow, now);
        assert!(!says(&door, &tcp, 0, AWAY, Some(HOME), now), "a copy that came first");
        assert!(says(&door, &tcp, 0, HOME, Some(HOME), now), "which has spent nothing");
    }

    #[test]
    fn the_policy_holds_for_tcp_as_well() {
        let now = Instant::now();
        let (door, tcp) = door(NatPolicy::Strict, now);
        assert!(!says(&door, &tcp, 0, AWAY, None, now));
        assert!(says(&door, &tcp, 0, HOME, None, now));
    }
}
