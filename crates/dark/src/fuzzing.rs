//! Entry for the fuzzer: any bytes in, no panic, and an answer that holds.

use bytes::BufMut;
use vestibule_proto::header::MESSAGE_LEN;
use vestibule_proto::moving::MOVED_LEN;
use vestibule_proto::tcp::TAG_DATAGRAM_LEN;

use vestibule_proto::ticket::Tag;

use crate::shape::{INITIAL_MIN, SHORT_MIN, Shape, shape};
use crate::tcp::frames::{From, Inward, NotOurs};

/// The first look at a datagram.
pub fn classify(datagram: &[u8]) {
    match shape(datagram) {
        Shape::Knock => assert_eq!(datagram.len(), MESSAGE_LEN),
        Shape::Moved => assert_eq!(datagram.len(), MOVED_LEN),
        Shape::TagDatagram => assert_eq!(datagram.len(), TAG_DATAGRAM_LEN),
        Shape::First(tag) => {
            assert!(datagram.len() >= INITIAL_MIN);
            assert_eq!(&datagram[6..26], tag);
        }
        Shape::Later => assert!(datagram.len() >= SHORT_MIN),
        Shape::Foreign => {}
    }
}

/// What comes over a TCP connection behind its preface, whole and in pieces: the same packets come of it. The first byte says whose
/// packets they are, the second how long the pieces.
pub fn packets(bytes: &[u8]) {
    let [whose, piece, bytes @ ..] = bytes else { return };
    let from = match whose % 3 {
        0 => From::Client(TAG),
        1 => From::ClientInside(TAG),
        _ => From::Gateway,
    };
    let whole = fed(from, bytes, usize::MAX);
    assert_eq!(whole, fed(from, bytes, usize::from(*piece) + 1));
}

/// The tag of the client whose packets the fuzzer makes.
const TAG: Tag = Tag::new([0x5a; Tag::SIZE]);

/// The packets, until one is nobody's.
fn fed(from: From, bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), NotOurs>) {
    let (mut inward, mut packets) = (Inward::new(from), Vec::new());
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let mut room = inward.room();
            assert!(room.remaining_mut() > 0, "there is always room");
            let (now, later) = piece.split_at(piece.len().min(room.remaining_mut()));
            room.put_slice(now);
            piece = later;
            loop {
                match inward.packet() {
                    Ok(Some(packet)) => packets.push(packet.to_vec()),
                    Ok(None) => break,
                    Err(not_ours) => return (packets, Err(not_ours)),
                }
            }
        }
    }
    (packets, Ok(()))
}
