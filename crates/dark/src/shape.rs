//! What a datagram can be, judged by its first bytes and its length alone: the first look, before any table is asked.
//!
//! | first byte | is | more |
//! |---|---|---|
//! | `00......` | ours | K1 has type 1, our version and [`MESSAGE_LEN`] bytes; "I moved" has type 5 and [`MOVED_LEN`] bytes, a tag datagram type 4 and as many |
//! | `01......` | QUIC, short header | at least [`SHORT_MIN`] bytes, else no packet can be in it |
//! | `11......` | QUIC, long header | version 1; Initial or Handshake, at least [`LONG_MIN`] bytes; a first packet at least [`INITIAL_MIN`] |
//! | `10......` | nothing | QUIC's fixed bit is always set here: no endpoint of ours negotiates its greasing (RFC 9287) |
//!
//! A client's first packets bear a tag of 20 bytes as destination connection id; everything after the server's first
//! answer bears an id that the receiving endpoint chose, of [`CID_LEN`] bytes. Other lengths are nobody's, and so are
//! version negotiation, 0-RTT and Retry, which no endpoint of ours sends.

use vestibule_proto::header::{Kind, MESSAGE_LEN, VERSION};
use vestibule_proto::moving::MOVED_LEN;
use vestibule_proto::tcp::TAG_DATAGRAM_LEN;
use vestibule_proto::ticket::Tag;

/// Bytes in the connection ids that our endpoints choose.
pub(crate) const CID_LEN: usize = 8;

/// The smallest UDP payload that a client's first packet may come in (RFC 9000, section 14.1).
pub(crate) const INITIAL_MIN: usize = 1200;

/// The smallest datagram with a short header: first byte, connection id, 4 bytes of packet number and payload, and the 16
/// bytes of the tag, from which the header's protection is sampled.
pub(crate) const SHORT_MIN: usize = 1 + CID_LEN + 4 + 16;

/// The smallest datagram with a long header: first byte, version, two lengths of ids, our id, one byte of length, then as
/// in [`SHORT_MIN`]. The peer's id may be empty. A server acknowledges in Initial packets that small.
pub(crate) const LONG_MIN: usize = 1 + 4 + 2 + CID_LEN + 1 + 4 + 16;

/// QUIC version 1, the only one spoken.
pub(crate) const QUIC_V1: u32 = 1;

/// What a datagram can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// K1, if its mac1 is right.
    Knock,
    /// R2, if what it bears is a tag.
    Moved,
    /// D0, if what it bears is a tag.
    TagDatagram,
    /// A client's first packet, if these 20 bytes are a tag.
    First(&'a [u8; Tag::SIZE]),
    /// Part of a connection, if its source is live.
    Later,
    /// Nothing that an endpoint of ours ever sends.
    Foreign,
}

/// The first look at a datagram.
pub(crate) fn shape(datagram: &[u8]) -> Shape<'_> {
    match datagram.first().map(|first| first >> 6) {
        Some(0b00) if is_ours(datagram, Kind::Knock, MESSAGE_LEN) => Shape::Knock,
        Some(0b00) if is_ours(datagram, Kind::Moved, MOVED_LEN) => Shape::Moved,
        Some(0b00) if is_ours(datagram, Kind::TagDatagram, TAG_DATAGRAM_LEN) => Shape::TagDatagram,
        Some(0b01) if datagram.len() >= SHORT_MIN => Shape::Later,
        Some(0b11) => long_header(datagram).unwrap_or(Shape::Foreign),
        _ => Shape::Foreign,
    }
}

fn is_ours(datagram: &[u8], kind: Kind, len: usize) -> bool {
    datagram.len() == len && datagram.starts_with(&[kind as u8, VERSION])
}

fn long_header(datagram: &[u8]) -> Option<Shape<'_>> {
    let (head, rest) = datagram.split_first_chunk::<5>()?;
    let [first, version @ ..] = *head;
    if u32::from_be_bytes(version) != QUIC_V1 {
        return None;
    }
    let (&cid_len, rest) = rest.split_first()?;
    match (PacketType::of(first)?, usize::from(cid_len)) {
        (PacketType::Initial, Tag::SIZE) if datagram.len() >= INITIAL_MIN => rest.first_chunk().map(Shape::First),
        (PacketType::Initial | PacketType::Handshake, CID_LEN) if datagram.len() >= LONG_MIN => Some(Shape::Later),
        (PacketType::Initial | PacketType::Handshake, _) => None,
    }
}

/// The types of packets with long headers that have a place here (RFC 9000, section 17.2).
#[derive(Clone, Copy)]
pub(crate) enum PacketType {
    Initial = 0b00,
    Handshake = 0b10,
}

impl PacketType {
    fn of(first_byte: u8) -> Option<Self> {
        match first_byte >> 4 & 0b11 {
            0b00 => Some(Self::Initial),
            0b10 => Some(Self::Handshake),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of this length that begins with these bytes.
    pub(crate) fn datagram(start: &[u8], len: usize) -> Vec<u8> {
        let mut datagram = start.to_vec();
        datagram.resize(len, 0x5a);
        datagram
    }

    /// The start of a long header up to the destination connection id.
    pub(crate) fn long(first: u8, version: u32, cid_len: u8) -> Vec<u8> {
        let mut start = vec![first];
        start.extend(version.to_be_bytes());
        start.push(cid_len);
        start
    }

    #[test]
    fn knocks_have_their_type_version_and_length() {
        assert_eq!(shape(&datagram(&[1, 1], 1200)), Shape::Knock);
        for (start, len) in [([1, 1], 1199), ([1, 1], 1201), ([1, 2], 1200), ([2, 1], 1200), ([0, 1], 1200)] {
            assert_eq!(shape(&datagram(&start, len)), Shape::Foreign, "{start:?}, {len} bytes");
        }
    }

    #[test]
    fn moves_and_tag_datagrams_have_their_type_version_and_length() {
        assert_eq!(shape(&datagram(&[5, 1], 64)), Shape::Moved);
        assert_eq!(shape(&datagram(&[4, 1], 64)), Shape::TagDatagram);
        let cut = [([5, 1], 63), ([5, 1], 65), ([4, 1], 63), ([4, 1], 65), ([5, 1], 1200), ([4, 1], 1200)];
        for (start, len) in [([5, 2], 64), ([4, 2], 64), ([1, 1], 64)].into_iter().chain(cut) {
            assert_eq!(shape(&datagram(&start, len)), Shape::Foreign, "{start:?}, {len} bytes");
        }
    }

    #[test]
    fn first_packets_show_their_tag() {
        let initial = datagram(&long(0xc3, 1, 20), 1200);
        assert_eq!(shape(&initial), Shape::First(&[0x5a; 20]));
        assert_eq!(shape(&datagram(&long(0xc3, 1, 8), 1200)), Shape::Later);
    }

    #[test]
    fn later_packets_have_room_for_a_packet() {
        assert_eq!(shape(&datagram(&[0x40], SHORT_MIN)), Shape::Later);
        assert_eq!(shape(&datagram(&[0x7f], SHORT_MIN - 1)), Shape::Foreign);
        for first in [0xc0, 0xe0] {
            assert_eq!(shape(&datagram(&long(first, 1, 8), LONG_MIN)), Shape::Later);
            assert_eq!(shape(&datagram(&long(first, 1, 8), LONG_MIN - 1)), Shape::Foreign);
        }
    }

    #[test]
    fn what_no_endpoint_of_ours_sends_is_foreign() {
        let foreign = [
            ("empty", vec![]),
            ("an unset fixed bit", datagram(&long(0x83, 1, 20), 1200)),
            ("version negotiation", datagram(&long(0xc0, 0, 20), 1200)),
            ("QUIC version 2", datagram(&long(0xc0, 0x6b33_43cf, 20), 1200)),
            ("a draft version", datagram(&long(0xc0, 0xff00_001d, 20), 1200)),
            ("a greased version", datagram(&long(0xc0, 0x1a2a_3a4a, 20), 1200)),
            ("0-RTT", datagram(&long(0xd0, 1, 20), 1200)),
            ("Retry", datagram(&long(0xf0, 1, 8), 1200)),
            ("a short Initial", datagram(&long(0xc3, 1, 20), 1199)),
            ("a connection id too short for a tag", datagram(&long(0xc3, 1, 19), 1200)),
            ("one too long", datagram(&long(0xc3, 1, 21), 1200)),
            ("a Handshake to a tag", datagram(&long(0xe3, 1, 20), 1200)),
            ("a cut long header", long(0xc3, 1, 20)[..4].to_vec()),
        ];
        for (what, datagram) in foreign {
            assert_eq!(shape(&datagram), Shape::Foreign, "{what}");
        }
    }

    proptest! {
        /// Every cut and every length is judged without a panic, and only by what is there.
        #[test]
        fn any_bytes_have_a_shape(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
            match shape(&bytes) {
                Shape::First(tag) => prop_assert_eq!(&bytes[6..26], tag),
                Shape::Knock => prop_assert_eq!(bytes.len(), MESSAGE_LEN),
                Shape::Moved => prop_assert_eq!(bytes.len(), MOVED_LEN),
                Shape::TagDatagram => prop_assert_eq!(bytes.len(), TAG_DATAGRAM_LEN),
                Shape::Later => prop_assert!(bytes.len() >= SHORT_MIN),
                Shape::Foreign => {}
            }
        }
    }
}
