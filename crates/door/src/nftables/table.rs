//! Our table: what the rules say, and how its elements are written.
//!
//! ```text
//! table inet vestibule {
//!     set tickets { 8 bytes;           timeout }      # what a first packet's tag may begin with
//!     set live4 { ipv4_addr . port;    timeout }      # who is in
//!     set live6 { ipv6_addr . port;    timeout }
//!     set from4 { ipv4_addr }                         # addresses that somebody in `live4` has
//!     set from6 { ipv6_addr }
//!     chain door { type filter hook prerouting priority -310; policy accept;
//!         <to where the gateway listens, no tag, source not @from> drop       # see `shortcut`
//!         <to where the gateway listens> goto guarded…
//!     }
//!     chain guarded… { <source> @live accept; <connection id> @tickets accept; drop }
//! }
//! ```
//!
//! With direct services there are more sets and chains: see `gated`.
//!
//! It stands before connection tracking, so that no entry is ever made for a stranger. Whatever is not for the gateway's
//! port leaves the table at once. With empty sets the port is shut.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vestibule_proto::id::TicketId;

use super::message::{Attributes, Batch, CREATE, Verb, attribute, attributes};
use super::{gated, rules, shortcut};
use crate::DirectPort;

/// The name of our table, in the family `inet`.
pub(super) const TABLE: &str = "vestibule";

/// Types of sets' keys, for those who list them: `nft` has these numbers.
const INTEGER: u32 = 4;
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;
const PORT: u32 = 13;
const CONCATENATED_BITS: u32 = 6;
/// A set whose elements go by themselves.
const TIMEOUT: u32 = 0x10;
/// A set that packets write to.
const WRITTEN: u32 = 0x20;
/// The longest key of ours, in bytes.
const KEY_LEN: usize = 24;

/// What the kernel runs when a packet finds the element.
const ELEMENT_EXPRESSION: u16 = 7;
/// A slot takes one packet in so long a time: longer than any slot stands.
const ONE_IN: Duration = Duration::from_secs(86_400);

/// What the table is laid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the gateway listens.
    pub(super) listen: Vec<SocketAddr>,
    /// Admissions at a time.
    pub(super) tickets: u32,
    /// Sources at a time, for each family.
    pub(super) sources: u32,
    /// The TCP ports that it stands before as well.
    pub(super) direct: Vec<DirectPort>,
    /// Addresses of this machine that strangers may come to: packets to others take the longer way through the rules.
    pub(super) own: Vec<IpAddr>,
}

/// One of our sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Set {
    /// Admissions whose tags open.
    Tickets,
    /// Live sources of IPv4.
    Live4,
    /// Live sources of IPv6.
    Live6,
    /// Addresses of live sources of IPv4. They have no end: what they open is the look-up among the live sources.
    From4,
    /// The same of IPv6.
    From6,
    /// Guarded TCP ports.
    Ports,
    /// Flows to them that pass.
    Flow4,
    /// The same of IPv6.
    Flow6,
    /// Addresses whose next connection to a guarded port passes.
    Slot4,
    /// The same of IPv6.
    Slot6,
    /// Flows that took such a slot.
    Claim4,
    /// The same of IPv6.
    Claim6,
}

/// The key of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) set: Set,
    bytes: [u8; KEY_LEN],
}

impl Key {
    /// What the tags of an admission begin with.
    pub(super) fn ticket(ticket: TicketId) -> Self {
        Self::of(Set::Tickets, &[ticket.as_bytes()])
    }

    /// The source's address and port. Interfaces of link-local addresses are no part of it: user space tells them apart.
    pub(super) fn source(address: IpAddr, port: u16) -> Self {
        Self::by_family([Set::Live4, Set::Live6], address, &[port])
    }

    /// The address of a live source, if this is the key of one.
    pub(super) fn of_address(&self) -> Option<Self> {
        let (set, len) = match self.set {
            Set::Live4 => (Set::From4, 4),
            Set::Live6 => (Set::From6, 16),
            Set::Tickets | Set::From4 | Set::From6 | Set::Ports | Set::Flow4 | Set::Flow6 => return None,
            Set::Slot4 | Set::Slot6 | Set::Claim4 | Set::Claim6 => return None,
        };
        Some(Self::of(set, &[&self.bytes[..len]]))
    }

    /// A guarded TCP port.
    pub(super) fn port(port: u16) -> Self {
        Self::of(Set::Ports, &[&port.to_be_bytes()])
    }

    /// A flow to a guarded port that passes.
    pub(super) fn flow(client: IpAddr, client_port: u16, port: u16) -> Self {
        Self::by_family([Set::Flow4, Set::Flow6], client, &[client_port, port])
    }

    /// An address whose next connection to a guarded port passes.
    pub(super) fn slot(client: IpAddr, port: u16) -> Self {
        Self::by_family([Set::Slot4, Set::Slot6], client, &[port])
    }

    /// The flow that took the slot.
    pub(super) fn claim(client: IpAddr, client_port: u16, port: u16) -> Self {
        Self::by_family([Set::Claim4, Set::Claim6], client, &[client_port, port])
    }

    /// The client's port, of a claim's key as the kernel tells it, if the claim is one of this slot.
    pub(super) fn claimed_port(&self, claim: &[u8]) -> Option<u16> {
        let address = self.set.key_len() - 4;
        let of = claim.get(..address)? == &self.bytes[..address]
            && claim.get(address + 4..address + 6)? == &self.bytes[address..address + 2];
        let port = claim.get(address..address + 2)?.try_into().ok()?;
        of.then_some(u16::from_be_bytes(port))
    }

    fn by_family([four, six]: [Set; 2], address: IpAddr, ports: &[u16]) -> Self {
        let ports: Vec<[u8; 4]> = ports.iter().map(|port| (u32::from(*port) << 16).to_be_bytes()).collect();
        let ports = ports.concat();
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of(four, &[&v4.octets(), &ports]),
            IpAddr::V6(v6) => Self::of(six, &[&v6.octets(), &ports]),
        }
    }

    /// Each part of a key takes a multiple of four bytes; they do by now.
    fn of(set: Set, parts: &[&[u8]]) -> Self {
        let mut bytes = [0; KEY_LEN];
        let parts = parts.concat();
        bytes[..parts.len()].copy_from_slice(&parts);
        Self { set, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.set.key_len()]
    }
}

impl Set {
    /// Those without which no gateway is.
    const ALWAYS: [Self; 5] = [Self::Tickets, Self::Live4, Self::Live6, Self::From4, Self::From6];
    /// Those of direct services.
    const GATED: [Self; 7] =
        [Self::Ports, Self::Flow4, Self::Flow6, Self::Slot4, Self::Slot6, Self::Claim4, Self::Claim6];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tickets => "tickets",
            Self::Live4 => "live4",
            Self::Live6 => "live6",
            Self::From4 => "from4",
            Self::From6 => "from6",
            Self::Ports => "ports",
            Self::Flow4 => "flows4",
            Self::Flow6 => "flows6",
            Self::Slot4 => "slots4",
            Self::Slot6 => "slots6",
            Self::Claim4 => "claims4",
            Self::Claim6 => "claims6",
        }
    }

    /// Bytes; each part of a key of several takes a multiple of four.
    fn key_len(self) -> usize {
        match self {
            Self::Live6 | Self::Slot6 => 20,
            Self::Tickets | Self::Live4 | Self::Slot4 => 8,
            Self::From4 => 4,
            Self::From6 => 16,
            Self::Ports => 2,
            Self::Flow4 | Self::Claim4 => 12,
            Self::Flow6 | Self::Claim6 => 24,
        }
    }

    fn key_type(self) -> u32 {
        let and_port = |kind: u32| kind << CONCATENATED_BITS | PORT;
        match self {
            Self::Tickets => INTEGER,
            Self::Live4 | Self::Slot4 => and_port(IPV4_ADDRESS),
            Self::Live6 | Self::Slot6 => and_port(IPV6_ADDRESS),
            Self::From4 => IPV4_ADDRESS,
            Self::From6 => IPV6_ADDRESS,
            Self::Ports => PORT,
            Self::Flow4 | Self::Claim4 => and_port(and_port(IPV4_ADDRESS)),
            Self::Flow6 | Self::Claim6 => and_port(and_port(IPV6_ADDRESS)),
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::From4 | Self::From6 | Self::Ports => 0,
            Self::Claim4 | Self::Claim6 => TIMEOUT | WRITTEN,
            Self::Tickets | Self::Live4 | Self::Live6 | Self::Flow4 | Self::Flow6 | Self::Slot4 | Self::Slot6 => {
                TIMEOUT
            }
        }
    }

    fn size(self, plan: &Plan) -> u32 {
        match self {
            Self::Tickets => plan.tickets,
            Self::Ports => plan.direct.len() as u32,
            Self::Live4 | Self::Live6 | Self::From4 | Self::From6 => plan.sources,
            Self::Flow4 | Self::Flow6 | Self::Slot4 | Self::Slot6 | Self::Claim4 | Self::Claim6 => plan.sources,
        }
    }
}

/// Makes the table anew, without elements: whatever stood in a table of this name is gone with the same step.
pub(super) fn lay(plan: &Plan, batch: &mut Batch) {
    batch.add(Verb::NewTable, CREATE, table);
    batch.add(Verb::DeleteTable, 0, table);
    batch.add(Verb::NewTable, CREATE, table);
    let gated: &[Set] = if plan.direct.is_empty() { &[] } else { &Set::GATED };
    for (number, set) in (1..).zip(Set::ALWAYS.iter().chain(gated)) {
        batch.add(Verb::NewSet, CREATE, |new| new_set(new, *set, number, set.size(plan)));
    }
    rules::write(&plan.listen, batch);
    if !plan.direct.is_empty() {
        gated::write(&plan.direct, batch);
    }
    enter(plan, batch);
}

/// Leaves of a table with direct services those alone.
pub(super) fn enter_gated(batch: &mut Batch) {
    leave_rules(batch);
    gated::enter(batch);
}

fn leave_rules(batch: &mut Batch) {
    batch.add(Verb::DeleteRule, 0, |old| {
        old.text(1, TABLE);
        old.text(2, rules::CHAIN);
    });
}

/// Writes the rules by which packets come to the others, in place of those that stand there.
pub(super) fn enter(plan: &Plan, batch: &mut Batch) {
    leave_rules(batch);
    shortcut::write(&plan.listen, &plan.own, batch);
    rules::enter(&plan.listen, batch);
    if !plan.direct.is_empty() {
        gated::enter(batch);
    }
}

/// Takes the table away.
pub(super) fn remove(batch: &mut Batch) {
    batch.add(Verb::NewTable, CREATE, table);
    batch.add(Verb::DeleteTable, 0, table);
}

/// Puts elements into their set, each for its time.
pub(super) fn add(batch: &mut Batch, set: Set, elements: &[(Key, Duration)]) {
    batch.add(Verb::NewElements, CREATE, |new| {
        write_elements(new, set, elements.iter().map(|(key, time)| (key, Some(*time))), |_| {});
    });
}

/// Puts elements without an end into their set.
pub(super) fn add_lasting(batch: &mut Batch, set: Set, keys: &[Key]) {
    batch.add(Verb::NewElements, CREATE, |new| write_elements(new, set, keys.iter().map(|key| (key, None)), |_| {}));
}

/// Opens a slot: of all packets that find it, the kernel lets the first one pass, and no other one.
pub(super) fn add_slot(batch: &mut Batch, slot: &Key, time: Duration) {
    batch.add(Verb::NewElements, CREATE, |new| {
        write_elements(new, slot.set, std::iter::once((slot, Some(time))), |element| {
            element.nested(ELEMENT_EXPRESSION, |expression| {
                expression.text(1, "limit");
                expression.nested(2, |limit| {
                    limit.long(1, 1);
                    limit.long(2, ONE_IN.as_secs());
                    limit.number(3, 1);
                    limit.number(4, 0);
                });
            });
        });
    });
}

/// Takes elements out of their set. One that isn't there is an error.
pub(super) fn delete(batch: &mut Batch, set: Set, keys: &[Key]) {
    batch.add(Verb::DeleteElements, 0, |old| write_elements(old, set, keys.iter().map(|key| (key, None)), |_| {}));
}

fn write_elements<'a>(
    message: &mut Attributes<'_>,
    set: Set,
    elements: impl Iterator<Item = (&'a Key, Option<Duration>)>,
    more: impl Fn(&mut Attributes<'_>),
) {
    message.text(1, TABLE);
    message.text(2, set.name());
    message.nested(3, |list| {
        for (key, time) in elements {
            list.nested(1, |element| {
                element.nested(1, |data| data.bytes(1, key.as_bytes()));
                if let Some(time) = time {
                    element.long(4, u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1));
                }
                more(element);
            });
        }
    });
}

/// Names a set, in a question for its elements.
pub(super) fn set(message: &mut Attributes<'_>, set: Set) {
    message.text(1, TABLE);
    message.text(2, set.name());
}

/// The keys in an answer to such a question.
pub(super) fn keys(answer: &[u8]) -> Vec<&[u8]> {
    let list = attribute(answer, 3).unwrap_or_default();
    let key = |element| attribute(attribute(element, 1)?, 1);
    attributes(list, 1).into_iter().filter_map(key).collect()
}

/// Names the table, in whatever message.
pub(super) fn table(message: &mut Attributes<'_>) {
    message.text(1, TABLE);
}

/// What of a rule changes if somebody else changes our rules: its handle, which is never given twice.
pub(super) fn handle_of_rule(rule: &[u8]) -> Option<u64> {
    if attribute(rule, 1)? != b"vestibule\0" {
        return None;
    }
    attribute(rule, 3)?.try_into().ok().map(u64::from_be_bytes)
}

/// The same of the table: its flags (one of them turns it off) and its handle.
pub(super) fn mark_of_table(table: &[u8]) -> Option<u64> {
    let flags = attribute(table, 2).and_then(|flags| flags.try_into().ok()).map_or(0, u32::from_be_bytes);
    let handle = u64::from_be_bytes(attribute(table, 4)?.try_into().ok()?);
    Some(handle ^ u64::from(flags) << 56)
}

fn new_set(new: &mut Attributes<'_>, set: Set, number: u32, size: u32) {
    new.text(1, TABLE);
    new.text(2, set.name());
    new.number(3, set.flags());
    new.number(4, set.key_type());
    new.number(5, set.key_len() as u32);
    new.nested(9, |description| description.number(1, size));
    new.number(10, number);
}
