//! R2, "I moved": one datagram by which the source of a live connection's packets becomes another one.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | type ([`Kind::Moved`]) |
//! | 1 | version |
//! | 2..5 | zero |
//! | 5 | 20, the length of the tag |
//! | 6..26 | tag |
//! | 26..64 | zero |
//!
//! The tag stands where a first packet has its connection id, so that a door in the kernel finds both at one place.
//!
//! Both ends of a connection derive its tags beforehand, four for each move: the client takes the next one if the one before
//! seems lost, and the four of the next move once the gateway has answered at the new address. The gateway's door knows those
//! of the move that is due and, once one of them was spent, of the one after it; then those before it are worth nothing.

use crate::header::{Kind, VERSION};
use crate::id::TicketId;
use crate::key::{self, Secret};
use crate::ticket::Tag;

/// Size of the datagram in bytes.
pub const MOVED_LEN: usize = 64;

/// Where the tag begins.
const AT_TAG: usize = 6;

/// What the datagram begins with.
const LEAD: [u8; AT_TAG] = [Kind::Moved as u8, VERSION, 0, 0, 0, Tag::SIZE as u8];

/// The datagram that bears this tag.
#[must_use]
pub fn moved(tag: &Tag) -> [u8; MOVED_LEN] {
    let mut bytes = [0; MOVED_LEN];
    bytes[..AT_TAG].copy_from_slice(&LEAD);
    bytes[AT_TAG..AT_TAG + Tag::SIZE].copy_from_slice(tag.as_bytes());
    bytes
}

/// The 20 bytes that would be a tag, if this is such a datagram. No other byte of it is free.
#[must_use]
pub fn read_moved(datagram: &[u8]) -> Option<&[u8; Tag::SIZE]> {
    let bytes: &[u8; MOVED_LEN] = datagram.try_into().ok()?;
    let (lead, rest) = bytes.split_first_chunk::<AT_TAG>()?;
    let (tag, padding) = rest.split_first_chunk::<{ Tag::SIZE }>()?;
    (*lead == LEAD && padding.iter().all(|byte| *byte == 0)).then_some(tag)
}

/// What the tags of one connection derive from. Only its two ends have it: `kd` alone, which the login does not protect, is not
/// enough, nor is the TLS channel.
#[derive(Clone)]
pub struct MoveKey(Secret<32>);

impl MoveKey {
    /// `k_move = HKDF-SHA256(salt = exporter, ikm = kd, "vestibule/1 move")`.
    #[must_use]
    pub fn derive(kd: &Secret<32>, exporter: &[u8; 32]) -> Self {
        Self(key::hkdf(exporter, &[kd.expose()], b"vestibule/1 move"))
    }

    /// The tags of the move with this number, the connection's first being 0: `name 8 ‖ BLAKE2s-128(k_move, "move" ‖ name ‖
    /// n)[..12]`, n = 0 to 3.
    #[must_use]
    pub fn tags(&self, number: u32) -> Move {
        let name = self.name(number);
        let tags = [0, 1, 2, 3].map(|n| {
            let mac = key::blake2s_mac(self.0.expose(), &[b"move", name.as_bytes(), &[n]]);
            let mut tag = [0; Tag::SIZE];
            tag[..TicketId::SIZE].copy_from_slice(name.as_bytes());
            tag[TicketId::SIZE..].copy_from_slice(&mac[..Tag::SIZE - TicketId::SIZE]);
            Tag::new(tag)
        });
        Move { name, tags }
    }

    /// `BLAKE2s-128(k_move, "name" ‖ number as 4 bytes)[..8]`: nobody else can tell which names belong to one connection.
    fn name(&self, number: u32) -> TicketId {
        let mac = key::blake2s_mac(self.0.expose(), &[b"name", &number.to_be_bytes()]);
        let mut name = [0; TicketId::SIZE];
        name.copy_from_slice(&mac[..TicketId::SIZE]);
        TicketId::new(name)
    }
}

/// One move: what the door has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The first eight bytes of each of its tags, a ticket's id to the door.
    pub name: TicketId,
    /// Any of them will do, each once.
    pub tags: [Tag; 4],
}

/// The client's side: which tag comes next.
pub struct Mover {
    key: MoveKey,
    number: u32,
    used: usize,
}

impl Mover {
    /// For a connection that was just made.
    #[must_use]
    pub fn new(key: MoveKey) -> Self {
        Self { key, number: 0, used: 0 }
    }

    /// The next tag of the move that is due; `None` when all four went unanswered: then the session is resumed.
    pub fn next_tag(&mut self) -> Option<Tag> {
        let tag = self.key.tags(self.number).tags.get(self.used).copied()?;
        self.used += 1;
        Some(tag)
    }

    /// The gateway has answered at the new address: it has seen a tag of this move.
    pub fn handle_answer(&mut self) {
        if self.used > 0 {
            self.number = self.number.wrapping_add(1);
            self.used = 0;
        }
    }
}

/// The gateway's side: which tags its door must know.
pub struct Followed {
    key: MoveKey,
    /// The move that is due.
    due: u32,
}

/// What the gateway's door must be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Renewal {
    /// This one is due from now on.
    pub admit: Move,
    /// These tags open nothing any more.
    pub withdraw: Option<TicketId>,
}

impl Followed {
    /// For a connection that was just made, and the first move, which the door must be told.
    #[must_use]
    pub fn new(key: MoveKey) -> (Self, Move) {
        let first = key.tags(0);
        (Self { key, due: 0 }, first)
    }

    /// A tag of this name was spent. `None`: the door knows what it must.
    pub fn handle_spent(&mut self, name: &TicketId) -> Option<Renewal> {
        if self.key.name(self.due) != *name {
            // One more tag of a move that was seen already.
            return None;
        }
        let before = self.due.checked_sub(1).map(|before| self.key.name(before));
        self.due = self.due.wrapping_add(1);
        Some(Renewal { admit: self.key.tags(self.due), withdraw: before })
    }

    /// The names of all moves that the door still knows.
    #[must_use]
    pub fn names(&self) -> Vec<TicketId> {
        let before = self.due.checked_sub(1).map(|before| self.key.name(before));
        before.into_iter().chain([self.key.name(self.due)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::entropy::SeededEntropy;

    fn key(number: u64) -> MoveKey {
        MoveKey::derive(&Secret::random(&mut SeededEntropy::new(number)), &[3; 32])
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written_and_in_no_other_way() {
        let tag = key(1).tags(0).tags[2];
        let bytes = moved(&tag);
        assert_eq!(read_moved(&bytes), Some(tag.as_bytes()));
        for at in (0..AT_TAG).chain(AT_TAG + Tag::SIZE..MOVED_LEN) {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(read_moved(&other), None, "byte {at}");
        }
        assert_eq!(read_moved(&bytes[..MOVED_LEN - 1]), None);
        assert_eq!(read_moved(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn tags_differ_between_moves_connections_and_keys() {
        let kd = Secret::random(&mut SeededEntropy::new(1));
        let keys = [MoveKey::derive(&kd, &[3; 32]), MoveKey::derive(&kd, &[4; 32]), key(2)];
        let tags: HashSet<Tag> = keys.iter().flat_map(|key| (0..8).flat_map(|number| key.tags(number).tags)).collect();
        assert_eq!(tags.len(), 3 * 8 * 4);
        let Move { name, tags } = keys[0].tags(5);
        assert!(tags.iter().all(|tag| tag.ticket() == name));
    }

    /// A door that knows what the gateway told it, and lets each tag be spent once.
    struct Door {
        followed: Followed,
        known: Vec<Move>,
        spent: HashSet<Tag>,
    }

    impl Door {
        fn new() -> Self {
            let (followed, first) = Followed::new(key(1));
            Self { followed, known: vec![first], spent: HashSet::new() }
        }

        fn receive(&mut self, tag: Tag) -> bool {
            if !self.known.iter().any(|known| known.tags.contains(&tag)) || !self.spent.insert(tag) {
                return false;
            }
            if let Some(Renewal { admit, withdraw }) = self.followed.handle_spent(&tag.ticket()) {
                self.known.retain(|known| Some(known.name) != withdraw);
                self.known.push(admit);
            }
            let names: Vec<TicketId> = self.known.iter().map(|known| known.name).collect();
            assert_eq!(names, self.followed.names());
            true
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Arrives,
        Lost,
        /// It arrives, and the answer does not.
        Unanswered,
        /// Somebody else's copy comes first.
        Overtaken,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![4 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Unanswered), 1 => Just(Fate::Overtaken)]
    }

    proptest! {
        /// Whatever is lost, doubled, overtaken or replayed, in any order: as long as fewer than four tries of one move in a row
        /// went unanswered, the next one opens; and no tag opens twice, nor one from before the move before.
        #[test]
        fn the_next_tag_always_opens_and_no_recorded_one_does(
            fates in prop::collection::vec((fate(), any::<prop::sample::Index>()), 1..60),
        ) {
            let (mut door, mut mover) = (Door::new(), Mover::new(key(1)));
            let (mut recorded, mut spent) = (Vec::<Tag>::new(), Vec::<Tag>::new());
            for (fate, replayed) in fates {
                let Some(tag) = mover.next_tag() else { break };
                recorded.push(tag);
                match fate {
                    Fate::Lost => {}
                    Fate::Arrives | Fate::Unanswered | Fate::Overtaken => {
                        prop_assert!(door.receive(tag));
                        spent.push(tag);
                        if matches!(fate, Fate::Arrives) {
                            mover.handle_answer();
                        }
                    }
                }
                // A copy of what was spent, now or later.
                if !spent.is_empty() {
                    prop_assert!(!door.receive(spent[replayed.index(spent.len())]));
                }
            }
            // What was withheld from moves before the last two that were seen is worth nothing.
            let live: HashSet<TicketId> = door.followed.names().into_iter().collect();
            for tag in recorded {
                prop_assert!(!door.receive(tag) || live.contains(&tag.ticket()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(tag) = read_moved(&bytes) {
                prop_assert_eq!(&moved(&Tag::new(*tag))[..], &bytes[..]);
            }
        }
    }
}
