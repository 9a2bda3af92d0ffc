//! T, datagrams: how what a UDP service says and hears travels.
//!
//! A **flow** is one bidirectional stream of the client's, opened as for a connection, that lives as long as the flow does. A datagram that
//! fits travels by itself, as a QUIC DATAGRAM frame (RFC 9221): flow id, then payload. One that does not fit, and everything that the
//! client says before it was answered, goes on the flow's stream, as a record: length 2, then payload.
//!
//! The flow id is the number of the flow's stream among the bidirectional ones that the client has opened (its stream id divided by four, as
//! in RFC 9297), so both sides know it and nobody has to tell it.

use thiserror::Error;

/// The longest payload of a datagram, in bytes: what UDP over IPv4 carries.
pub const PAYLOAD_LIMIT: usize = 65_507;

/// Bytes of the length that leads a record.
pub const RECORD_HEAD_LEN: usize = 2;

/// Bytes of the longest flow id.
const LONGEST_ID: usize = 8;

/// Which flow of a connection: below 2^60, as there are no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(u64);

/// A DATAGRAM frame holds no datagram of a flow: its sender broke the protocol, or none of its flows is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// It ends inside the flow id, or is empty.
    #[error("a datagram ends before its flow is named")]
    Cut,
    /// The flow id is not written in the fewest bytes, or no stream has such a number.
    #[error("a datagram names its flow in no valid way")]
    FlowId,
    /// The payload is longer than [`PAYLOAD_LIMIT`].
    #[error("a datagram is longer than {PAYLOAD_LIMIT} bytes")]
    TooLong,
}

impl FlowId {
    /// The flow of the client's bidirectional stream with this number, counted from 0. `None` beyond the last that QUIC knows.
    #[must_use]
    pub const fn new(index: u64) -> Option<Self> {
        if index < 1 << 60 { Some(Self(index)) } else { None }
    }

    /// The number of its stream.
    #[must_use]
    pub fn index(self) -> u64 {
        self.0
    }

    /// How many bytes it takes in front of a payload: 1, 2, 4 or 8.
    #[must_use]
    pub fn encoded_len(self) -> usize {
        match self.0 {
            0..0x40 => 1,
            0x40..0x4000 => 2,
            0x4000..0x4000_0000 => 4,
            _ => LONGEST_ID,
        }
    }
}

/// The content of a DATAGRAM frame: the flow id as a variable-length integer of QUIC (RFC 9000, section 16) in the fewest bytes, then the payload.
///
/// # Errors
/// [`DatagramError::TooLong`].
pub fn encode(flow: FlowId, payload: &[u8]) -> Result<Vec<u8>, DatagramError> {
    if payload.len() > PAYLOAD_LIMIT {
        return Err(DatagramError::TooLong);
    }
    let length = flow.encoded_len();
    // The two top bits tell the length.
    let marked = flow.0 | (u64::from(length.ilog2()) << (8 * length - 2));
    let mut frame = Vec::with_capacity(length + payload.len());
    frame.extend_from_slice(&marked.to_be_bytes()[LONGEST_ID - length..]);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// The flow that a DATAGRAM frame belongs to, and its payload.
///
/// # Errors
/// See [`DatagramError`]; the frame is dropped and counted, and nothing else happens.
pub fn decode(frame: &[u8]) -> Result<(FlowId, &[u8]), DatagramError> {
    let length = 1 << (frame.first().ok_or(DatagramError::Cut)? >> 6);
    let (id, payload) = frame.split_at_checked(length).ok_or(DatagramError::Cut)?;
    let value = id.iter().skip(1).fold(u64::from(id[0] & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    let flow = FlowId::new(value).filter(|flow| flow.encoded_len() == length).ok_or(DatagramError::FlowId)?;
    if payload.len() > PAYLOAD_LIMIT {
        return Err(DatagramError::TooLong);
    }
    Ok((flow, payload))
}

/// What leads a payload of this length on a flow's stream.
///
/// # Errors
/// [`DatagramError::TooLong`].
pub fn record_head(length: usize) -> Result<[u8; RECORD_HEAD_LEN], DatagramError> {
    match u16::try_from(length) {
        Ok(short) if length <= PAYLOAD_LIMIT => Ok(short.to_be_bytes()),
        Ok(_) | Err(_) => Err(DatagramError::TooLong),
    }
}

/// The length of the payload that follows these two bytes on a flow's stream.
///
/// # Errors
/// [`DatagramError::TooLong`]: the stream ends, since nobody can tell where the next record begins.
pub fn record_length(head: [u8; RECORD_HEAD_LEN]) -> Result<usize, DatagramError> {
    let length = usize::from(u16::from_be_bytes(head));
    if length > PAYLOAD_LIMIT { Err(DatagramError::TooLong) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(index: u64) -> FlowId {
        FlowId::new(index).unwrap()
    }

    /// The examples of RFC 9000, appendix A.1, as far as they are flow ids.
    #[test]
    fn flow_ids_are_written_as_quic_writes_numbers() {
        for (index, bytes) in [
            (0, &[0][..]),
            (37, &[0x25]),
            (63, &[0x3f]),
            (64, &[0x40, 0x40]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ] {
            assert_eq!(encode(flow(index), b"").unwrap(), bytes, "{index}");
            assert_eq!(decode(bytes), Ok((flow(index), &b""[..])));
            assert_eq!(flow(index).encoded_len(), bytes.len());
        }
        assert_eq!(FlowId::new(1 << 60), None);
        assert!(FlowId::new((1 << 60) - 1).is_some());
    }

    #[test]
    fn what_is_no_datagram_is_refused() {
        for (frame, why) in [
            (&[][..], DatagramError::Cut),
            (&[0x40], DatagramError::Cut),
            (&[0x80, 0, 0], DatagramError::Cut),
            (&[0xc0, 0, 0, 0, 0, 0, 0], DatagramError::Cut),
            // 37 in two, four and eight bytes.
            (&[0x40, 0x25], DatagramError::FlowId),
            (&[0x80, 0, 0, 0x25], DatagramError::FlowId),
            (&[0xc0, 0, 0, 0, 0, 0, 0, 0x25], DatagramError::FlowId),
            (&[0xd0, 0, 0, 0, 0, 0, 0, 0], DatagramError::FlowId),
            (&[0xff; 9], DatagramError::FlowId),
        ] {
            assert_eq!(decode(frame), Err(why), "{frame:?}");
        }
        let longest = vec![7; PAYLOAD_LIMIT];
        assert_eq!(decode(&encode(flow(0), &longest).unwrap()), Ok((flow(0), longest.as_slice())));
        assert_eq!(decode(&vec![0; PAYLOAD_LIMIT + 2]), Err(DatagramError::TooLong));
        assert_eq!(encode(flow(0), &vec![0; PAYLOAD_LIMIT + 1]), Err(DatagramError::TooLong));
    }

    #[test]
    fn records_are_as_long_as_a_datagram_may_be() {
        for length in [0, 1, 255, 256, 60_000, PAYLOAD_LIMIT] {
            assert_eq!(record_length(record_head(length).unwrap()), Ok(length));
        }
        for length in [PAYLOAD_LIMIT + 1, 65_535, 65_536, usize::MAX] {
            assert_eq!(record_head(length), Err(DatagramError::TooLong), "{length}");
        }
        for length in PAYLOAD_LIMIT as u16 + 1..=u16::MAX {
            assert_eq!(record_length(length.to_be_bytes()), Err(DatagramError::TooLong), "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(index in 0..1u64 << 60, shift in 0..60u32, payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let flow = flow(index >> shift);
            let frame = encode(flow, &payload).unwrap();
            prop_assert_eq!(frame.len(), flow.encoded_len() + payload.len());
            prop_assert_eq!(decode(&frame), Ok((flow, payload.as_slice())));
            for cut in 0..flow.encoded_len() {
                prop_assert_eq!(decode(&frame[..cut]), Err(DatagramError::Cut));
            }
        }

        #[test]
        fn what_is_read_is_what_would_be_written(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((flow, payload)) = decode(&frame) {
                prop_assert_eq!(encode(flow, payload).unwrap(), frame);
            }
        }
    }
}
