//! Our table: what the rules say, and how its elements are written.
//!
//! ```text
//! table inet vestibule {
//!     set tags  { 20 bytes;               timeout }   # what a first packet may bear
//!     set live4 { ipv4_addr . port;       timeout }   # who is in
//!     set live6 { ipv6_addr . port;       timeout }
//!     chain door { type filter hook prerouting priority -310; policy accept;
//!         <to where the gateway listens> goto guarded…
//!     }
//!     chain guarded… { <source> @live accept; <connection id> @tags accept; drop }
//! }
//! ```
//!
//! It stands before connection tracking, so that no entry is ever made for a stranger. Whatever is not for the gateway's
//! port leaves the table at once. With empty sets the port is shut.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vestibule_proto::ticket::Tag;

use super::message::{Attributes, Batch, CREATE, Verb, attribute};
use super::rules;

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

/// What the table is laid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the gateway listens.
    pub(super) listen: Vec<SocketAddr>,
    /// Tags at a time.
    pub(super) tags: u32,
    /// Sources at a time, for each family.
    pub(super) sources: u32,
}

/// One of our sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Set {
    /// Unspent tags.
    Tags,
    /// Live sources of IPv4.
    Live4,
    /// Live sources of IPv6.
    Live6,
}

/// The key of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) set: Set,
    bytes: [u8; Tag::SIZE],
}

impl Key {
    pub(super) fn tag(tag: &Tag) -> Self {
        Self { set: Set::Tags, bytes: *tag.as_bytes() }
    }

    /// The source's address and port. Interfaces of link-local addresses are no part of it: user space tells them apart.
    pub(super) fn source(address: IpAddr, port: u16) -> Self {
        let mut bytes = [0; Tag::SIZE];
        let port = port.to_be_bytes();
        let set = match address.to_canonical() {
            IpAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.octets());
                bytes[4..6].copy_from_slice(&port);
                Set::Live4
            }
            IpAddr::V6(v6) => {
                bytes[..16].copy_from_slice(&v6.octets());
                bytes[16..18].copy_from_slice(&port);
                Set::Live6
            }
        };
        Self { set, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.set.key_len()]
    }
}

impl Set {
    pub(super) const ALL: [Self; 3] = [Self::Tags, Self::Live4, Self::Live6];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Live4 => "live4",
            Self::Live6 => "live6",
        }
    }

    /// Bytes; each part of a key takes a multiple of four.
    fn key_len(self) -> usize {
        match self {
            Self::Tags | Self::Live6 => 20,
            Self::Live4 => 8,
        }
    }

    fn key_type(self) -> u32 {
        match self {
            Self::Tags => INTEGER,
            Self::Live4 => IPV4_ADDRESS << CONCATENATED_BITS | PORT,
            Self::Live6 => IPV6_ADDRESS << CONCATENATED_BITS | PORT,
        }
    }

    fn size(self, plan: &Plan) -> u32 {
        match self {
            Self::Tags => plan.tags,
            Self::Live4 | Self::Live6 => plan.sources,
        }
    }
}

/// Makes the table anew, without elements: whatever stood in a table of this name is gone with the same step.
pub(super) fn lay(plan: &Plan, batch: &mut Batch) {
    batch.add(Verb::NewTable, CREATE, table);
    batch.add(Verb::DeleteTable, 0, table);
    batch.add(Verb::NewTable, CREATE, table);
    for (number, set) in (1..).zip(Set::ALL) {
        batch.add(Verb::NewSet, CREATE, |new| new_set(new, set, number, set.size(plan)));
    }
    rules::write(&plan.listen, batch);
}

/// Takes the table away.
pub(super) fn remove(batch: &mut Batch) {
    batch.add(Verb::NewTable, CREATE, table);
    batch.add(Verb::DeleteTable, 0, table);
}

/// Puts elements into their set, each for its time.
pub(super) fn add(batch: &mut Batch, set: Set, elements: &[(Key, Duration)]) {
    batch.add(Verb::NewElements, CREATE, |new| {
        write_elements(new, set, elements.iter().map(|(key, time)| (key, Some(*time))));
    });
}

/// Takes elements out of their set. One that isn't there is an error.
pub(super) fn delete(batch: &mut Batch, set: Set, keys: &[Key]) {
    batch.add(Verb::DeleteElements, 0, |old| write_elements(old, set, keys.iter().map(|key| (key, None))));
}

fn write_elements<'a>(
    message: &mut Attributes<'_>,
    set: Set,
    elements: impl Iterator<Item = (&'a Key, Option<Duration>)>,
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
            });
        }
    });
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
    new.number(3, TIMEOUT);
    new.number(4, set.key_type());
    new.number(5, set.key_len() as u32);
    new.nested(9, |description| description.number(1, size));
    new.number(10, number);
}
