//! Entry for the fuzzer: any bytes in, no panic, and an answer that holds.

use vestibule_proto::header::MESSAGE_LEN;
use vestibule_proto::moving::MOVED_LEN;
use vestibule_proto::tcp::TAG_DATAGRAM_LEN;

use crate::shape::{INITIAL_MIN, SHORT_MIN, Shape, shape};

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
