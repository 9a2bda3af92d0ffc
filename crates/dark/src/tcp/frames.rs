//! What has come in over a connection, packet by packet. Pure.

use std::fmt;

use bytes::BufMut;
use bytes::buf::Limit;
use vestibule_proto::ticket::Tag;

use super::PACKET_MAX;
use crate::shape::{Shape, shape};

/// Bytes of a packet's length in front of it.
pub(crate) const LENGTH: usize = 2;

/// Bytes that wait, at most; so many are read at a time.
const BUFFER: usize = 4 * (LENGTH + PACKET_MAX as usize);

/// Whose packets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A client's; the first one must be an Initial that bears this tag, the preface's.
    Client(Tag),
    /// A client's that has begun.
    ClientInside(Tag),
    /// A gateway's.
    Gateway,
}

/// The other end has sent what no endpoint of ours sends: the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a packet of ours")]
pub(crate) struct NotOurs;

/// Bytes that have come in and were not handed on yet.
pub(crate) struct Inward {
    from: From,
    /// Never longer than [`BUFFER`], for which it has room from the beginning.
    buffer: Vec<u8>,
    start: usize,
}

impl Inward {
    pub(crate) fn new(from: From) -> Self {
        Self { from, buffer: Vec::with_capacity(BUFFER), start: 0 }
    }

    /// To this what comes next is appended. There is always room when no whole packet waits.
    pub(crate) fn room(&mut self) -> Limit<&mut Vec<u8>> {
        self.buffer.drain(..std::mem::take(&mut self.start));
        let room = BUFFER - self.buffer.len();
        (&mut self.buffer).limit(room)
    }

    /// The next packet, if it is whole.
    pub(crate) fn packet(&mut self) -> Result<Option<&[u8]>, NotOurs> {
        let Some((length, rest)) = self.buffer[self.start..].split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u16::from_be_bytes(*length);
        if length == 0 || length > PACKET_MAX {
            return Err(NotOurs);
        }
        if rest.len() < length.into() {
            return Ok(None);
        }
        let start = self.start + LENGTH;
        let end = start + usize::from(length);
        self.from = self.from.after(&self.buffer[start..end])?;
        self.start = end;
        Ok(Some(&self.buffer[start..end]))
    }
}

impl fmt::Debug for Inward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inward").field("waiting", &(self.buffer.len() - self.start)).finish_non_exhaustive()
    }
}

impl From {
    /// Whose packets are taken once this one was.
    fn after(self, packet: &[u8]) -> Result<Self, NotOurs> {
        match (self, shape(packet)) {
            (Self::Client(tag) | Self::ClientInside(tag), Shape::First(dcid)) if Tag::new(*dcid) == tag => {
                Ok(Self::ClientInside(tag))
            }
            (Self::ClientInside(_) | Self::Gateway, Shape::Later) => Ok(self),
            (Self::Client(_) | Self::ClientInside(_) | Self::Gateway, _) => Err(NotOurs),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::{INITIAL_MIN, SHORT_MIN};

    const TAG: [u8; 20] = [0x5a; 20];

    fn initial(dcid: &[u8; 20]) -> Vec<u8> {
        let mut packet = vec![0xc3, 0, 0, 0, 1, 20];
        packet.extend(dcid);
        packet.resize(INITIAL_MIN, 7);
        packet
    }

    fn later(len: usize) -> Vec<u8> {
        (0..len).map(|n| if n == 0 { 0x40 } else { n as u8 }).collect()
    }

    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        let frame = |packet: &Vec<u8>| [&(packet.len() as u16).to_be_bytes()[..], packet].concat();
        packets.iter().flat_map(frame).collect()
    }

    /// Feeds bytes in pieces of this length; the packets that come of them.
    fn fed(from: From, bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, NotOurs> {
        let (mut inward, mut packets) = (Inward::new(from), Vec::new());
        for piece in bytes.chunks(piece) {
            let mut piece = piece;
            while !piece.is_empty() {
                let mut room = inward.room();
                let count = piece.len().min(room.remaining_mut());
                assert!(count > 0, "there is always room");
                room.put_slice(&piece[..count]);
                piece = &piece[count..];
                while let Some(packet) = inward.packet()? {
                    packets.push(packet.to_vec());
                }
            }
        }
        Ok(packets)
    }

    #[test]
    fn a_client_begins_with_its_tag_and_a_gateway_never_does() {
        let client = From::Client(Tag::new(TAG));
        let good = [initial(&TAG), initial(&TAG), later(SHORT_MIN), later(PACKET_MAX.into())];
        assert_eq!(fed(client, &framed(&good), usize::MAX), Ok(good.to_vec()));
        for bad in [vec![later(SHORT_MIN)], vec![initial(&[1; 20])], vec![initial(&TAG), initial(&[1; 20])]] {
            assert_eq!(fed(client, &framed(&bad), usize::MAX), Err(NotOurs));
        }
        assert_eq!(fed(From::Gateway, &framed(&good[2..]), usize::MAX), Ok(good[2..].to_vec()));
        assert_eq!(fed(From::Gateway, &framed(&good[..1]), usize::MAX), Err(NotOurs));
    }

    #[test]
    fn lengths_are_bounded() {
        let inside = From::Gateway;
        assert_eq!(fed(inside, &[0, 0], usize::MAX), Err(NotOurs));
        assert_eq!(
            fed(inside, &(PACKET_MAX + 1).to_be_bytes(), usize::MAX),
            Err(NotOurs),
            "before the packet is there"
        );
        assert_eq!(fed(inside, &framed(&[later(SHORT_MIN - 1)]), usize::MAX), Err(NotOurs));
    }

    proptest! {
        /// However the bytes arrive, the same packets come of them.
        #[test]
        fn packets_come_out_as_they_went_in(
            lengths in prop::collection::vec(SHORT_MIN..PACKET_MAX as usize, 0..40),
            piece in 1..200_000usize,
        ) {
            let packets: Vec<_> = lengths.into_iter().map(later).collect();
            prop_assert_eq!(fed(From::Gateway, &framed(&packets), piece), Ok(packets));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1..300usize) {
            let _ = fed(From::Client(Tag::new(TAG)), &bytes, piece);
            let _ = fed(From::Gateway, &bytes, piece);
            crate::fuzzing::packets(&bytes);
        }
    }
}
