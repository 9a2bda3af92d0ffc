//! Length-delimited frames: a big-endian `u32` length, then that many bytes of a postcard document.
//!
//! Used on every stream that runs inside an authenticated channel: the gateway link (C1), login (L1-L4), enrolment
//! (E1) and the head of a tunnel stream (T). Messages are enums and structs to which variants and fields are only
//! ever *appended*; the first frame of a stream names the version.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// Bytes of the length that leads a frame.
pub const LENGTH_LEN: usize = 4;

/// The largest frame that anybody may send, in bytes; what is announced larger ends the stream.
pub const FRAME_LIMIT: usize = 256 * 1024;

/// Why bytes are not a frame of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer announced, or we tried to send, more than [`FRAME_LIMIT`] bytes.
    #[error("a frame is larger than {FRAME_LIMIT} bytes")]
    TooLarge,
    /// The bytes do not decode as the expected message, or bytes are left over.
    #[error("a frame does not hold the expected message")]
    Malformed,
}

/// The whole frame for `message`: length and document. Many messages hold secrets: the bytes are wiped when dropped, and no
/// copy of them is left behind on the way.
///
/// # Errors
/// [`FrameError::TooLarge`] when the document exceeds [`FRAME_LIMIT`].
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let length = postcard::experimental::serialized_size(message).map_err(|_| FrameError::Malformed)?;
    if length > FRAME_LIMIT {
        return Err(FrameError::TooLarge);
    }
    let mut framed = Vec::with_capacity(LENGTH_LEN + length);
    framed.extend_from_slice(&(length as u32).to_be_bytes());
    append(message, framed)
}

/// The document of `message` alone, as a key file holds it; wiped and without copies like a frame.
///
/// # Errors
/// [`FrameError::Malformed`] when it can't be written as a document.
pub fn document<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let length = postcard::experimental::serialized_size(message).map_err(|_| FrameError::Malformed)?;
    append(message, Vec::with_capacity(length))
}

/// `bytes` has room for all of it: it does not grow, which would leave a copy behind.
fn append<T: Serialize>(message: &T, bytes: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    postcard::to_extend(message, bytes).map(Zeroizing::new).map_err(|_| FrameError::Malformed)
}

/// The length of the document that follows these four bytes.
///
/// # Errors
/// [`FrameError::TooLarge`] when it exceeds [`FRAME_LIMIT`]: nothing is allocated for it.
pub fn document_length(head: [u8; LENGTH_LEN]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(head) as usize;
    if length > FRAME_LIMIT { Err(FrameError::TooLarge) } else { Ok(length) }
}

/// The message in a frame's document (the bytes behind the length).
///
/// # Errors
/// [`FrameError::Malformed`] when the bytes are not exactly one message.
pub fn decode<T: DeserializeOwned>(document: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(document) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_round_trips() {
        let framed = encode(&("orders".to_owned(), 7u16)).unwrap();
        let (head, document) = framed.split_at(LENGTH_LEN);
        assert_eq!(document_length(head.try_into().unwrap()).unwrap(), document.len());
        assert_eq!(decode::<(String, u16)>(document), Ok(("orders".to_owned(), 7)));
    }

    #[test]
    fn a_frame_does_not_grow_while_it_is_made() {
        let message = (7u64, vec![300u16; 5_000], "orders".to_owned());
        let (framed, alone) = (encode(&message).unwrap(), document(&message).unwrap());
        assert_eq!((framed.capacity(), alone.capacity()), (framed.len(), alone.len()));
        assert_eq!(framed[LENGTH_LEN..], alone[..]);
    }

    #[test]
    fn bytes_left_over_are_refused() {
        let mut framed = encode(&1u8).unwrap();
        framed.push(0);
        assert_eq!(decode::<u8>(&framed[LENGTH_LEN..]), Err(FrameError::Malformed));
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        assert_eq!(document_length((FRAME_LIMIT as u32 + 1).to_be_bytes()), Err(FrameError::TooLarge));
        assert_eq!(encode(&vec![0u8; FRAME_LIMIT + 1]), Err(FrameError::TooLarge));
    }
}
