//! TCP's way in: the tag datagram (D0), which opens TCP for its own source, and the preface, with which a connection begins.
//!
//! D0, 64 bytes over UDP, never answered:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | type ([`Kind::TagDatagram`]) |
//! | 1 | version |
//! | 2..5 | zero |
//! | 5 | 20, the length of the tag |
//! | 6..26 | tag, n = 4 to 7 |
//! | 26..44 | the client's own address and port, if it has a global one that nothing on the way changes; else zero |
//! | 44..60 | mac: BLAKE2s-128(k_d0, bytes 0 to 43) |
//! | 60..64 | zero |
//!
//! The tag stands where a first packet has its connection id, so that a door in the kernel finds both at one place. A client
//! that names its address is let in from there alone: whoever sends a copy from elsewhere, and first, opens nothing for himself.
//!
//! The preface is a tag, n = 8 to 11, and nothing else: the first 20 bytes of the connection.

use std::fmt;
use std::net::SocketAddr;

use subtle::ConstantTimeEq;

use crate::header::{Kind, VERSION};
use crate::key::{self, Secret};
use crate::ticket::{Tag, Ticket};
use crate::wire::{ADDRESS_LEN, Reader, Writer};

/// Size of D0 in bytes.
pub const TAG_DATAGRAM_LEN: usize = 64;

/// Size of the preface in bytes.
pub const PREFACE_LEN: usize = Tag::SIZE;

/// What D0 begins with.
const LEAD: [u8; 6] = [Kind::TagDatagram as u8, VERSION, 0, 0, 0, Tag::SIZE as u8];
const MAC_LEN: usize = 16;
/// What the mac covers.
const COVERED: usize = LEAD.len() + Tag::SIZE + ADDRESS_LEN;
const PADDING: usize = TAG_DATAGRAM_LEN - COVERED - MAC_LEN;

/// What both ends derive from a ticket for TCP.
#[derive(Clone, PartialEq, Eq)]
pub struct TcpTags {
    /// The tags of D0, any of which opens TCP for one source.
    pub datagrams: [Tag; 4],
    /// The tags of prefaces, each good for one connection.
    pub prefaces: [Tag; 4],
    key: Secret<32>,
}

impl TcpTags {
    /// The tags of this ticket, and `k_d0 = HKDF-Expand(kd, "vestibule/1 d0")`.
    #[must_use]
    pub fn of(ticket: &Ticket) -> Self {
        Self {
            datagrams: [4, 5, 6, 7].map(|n| ticket.tag(n)),
            prefaces: [8, 9, 10, 11].map(|n| ticket.tag(n)),
            key: key::expand(&ticket.kd, b"vestibule/1 d0"),
        }
    }

    /// D0 with one of our tags.
    #[must_use]
    pub fn datagram(&self, tag: &Tag, own: Option<SocketAddr>) -> [u8; TAG_DATAGRAM_LEN] {
        let mut covered = Writer::<COVERED>::new();
        covered.bytes(&LEAD).bytes(tag.as_bytes()).address(own, ADDRESS_LEN);
        let covered = covered.finish();
        let mut datagram = Writer::<TAG_DATAGRAM_LEN>::new();
        datagram.bytes(&**covered).bytes(&self.mac(&**covered)).zeros(PADDING);
        **datagram.finish()
    }

    /// The address that the datagram names, if it names one. `None`: it is not the device's.
    #[must_use]
    pub fn check(&self, datagram: &TagDatagram<'_>) -> Option<Option<SocketAddr>> {
        let is_right: bool = self.mac(datagram.covered).ct_eq(datagram.mac).into();
        is_right.then_some(datagram.own)
    }

    fn mac(&self, covered: &[u8]) -> [u8; MAC_LEN] {
        key::blake2s_mac(self.key.expose(), &[covered])
    }
}

impl fmt::Debug for TcpTags {
    /// Names the tags alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { datagrams, prefaces, key: _ } = self;
        f.debug_struct("TcpTags").field("datagrams", datagrams).field("prefaces", prefaces).finish_non_exhaustive()
    }
}

/// A datagram that has the form of D0. Whose it is, [`TcpTags::check`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagDatagram<'a> {
    /// What would be its tag.
    pub tag: Tag,
    own: Option<SocketAddr>,
    covered: &'a [u8],
    mac: &'a [u8],
}

impl<'a> TagDatagram<'a> {
    /// Reads it; `None` if it has another form.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; TAG_DATAGRAM_LEN] = datagram.try_into().ok()?;
        let (covered, rest) = bytes.split_at(COVERED);
        let (mac, padding) = rest.split_at(MAC_LEN);
        if !padding.iter().all(|byte| *byte == 0) {
            return None;
        }
        let tag = covered.strip_prefix(&LEAD)?.first_chunk()?;
        let own = Reader::new(covered.get(LEAD.len() + Tag::SIZE..)?).address(ADDRESS_LEN).ok()?;
        Some(Self { tag: Tag::new(*tag), own, covered, mac })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::TicketId;

    fn tags(number: u64) -> TcpTags {
        let secret = Secret::random(&mut SeededEntropy::new(number));
        TcpTags::of(&Ticket::derive([1; 32], &secret, TicketId::new(*b"ticket#1")))
    }

    #[test]
    fn no_tag_serves_two_purposes() {
        let secret = Secret::random(&mut SeededEntropy::new(1));
        let ticket = Ticket::derive([1; 32], &secret, TicketId::new(*b"ticket#1"));
        let TcpTags { datagrams, prefaces, .. } = TcpTags::of(&ticket);
        let all = [ticket.quic_tags(), datagrams, prefaces].concat();
        assert_eq!(all, (0..12).map(|n| ticket.tag(n)).collect::<Vec<_>>());
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written_and_no_bit_of_it_is_free() {
        let tags = tags(1);
        for own in [None, Some("192.0.2.7:40000".parse().unwrap()), Some("[2001:db8::7]:40000".parse().unwrap())] {
            let bytes = tags.datagram(&tags.datagrams[2], own);
            let read = TagDatagram::read(&bytes).unwrap();
            assert_eq!((read.tag, tags.check(&read)), (tags.datagrams[2], Some(own)));
            for bit in 0..8 * bytes.len() {
                let mut altered = bytes;
                altered[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(TagDatagram::read(&altered).and_then(|read| tags.check(&read)), None, "bit {bit}");
            }
            assert_eq!(self::tags(2).check(&read), None, "another admission's");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(read) = TagDatagram::read(&bytes) {
                prop_assert_eq!(tags(1).check(&read), None);
            }
        }
    }
}
