//! [frames](mod@vestibule_proto::frame) over QUIC streams: one call writes a message, one call reads one.
//!
//! For everything that is said inside an authenticated channel: the link (C1), login (L1-L4), resumption (R1), enrolment
//! (E1) and the head of a tunnel stream (T).

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};
use vestibule_proto::frame::{self, FRAME_LIMIT, FrameError, LENGTH_LEN};
use zeroize::Zeroizing;

/// Why no frame could be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramedError {
    /// The peer ended the stream between two frames: it has no more to say.
    #[error("the stream has ended")]
    Ended,
    /// The peer ended the stream inside a frame.
    #[error("the stream has ended inside a frame")]
    Cut,
    /// The bytes are no frame of the expected kind: the peer broke the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer reset or stopped the stream, with this application error code.
    #[error("the peer gave the stream up with code {0}")]
    Reset(u64),
    /// The connection below is gone.
    #[error("the connection is lost: {0}")]
    Lost(quinn::ConnectionError),
    /// The stream was closed at this end.
    #[error("the stream is closed at this end")]
    Closed,
}

/// Reads one frame of at most [`FRAME_LIMIT`] bytes.
///
/// Not cancel-safe: when the future is dropped half-way, the stream is of no more use.
///
/// # Errors
/// [`FramedError::Ended`] at the end of the stream; see [`FramedError`] for the rest.
pub async fn read_frame<T: DeserializeOwned>(recv: &mut RecvStream) -> Result<T, FramedError> {
    read_frame_within(recv, FRAME_LIMIT).await
}

/// Reads one frame of at most `limit` bytes: for peers that have not proved yet who they are.
///
/// Not cancel-safe: when the future is dropped half-way, the stream is of no more use.
///
/// # Errors
/// [`FrameError::TooLarge`] before anything is allocated for it; [`FramedError::Ended`] at the end of the stream.
pub async fn read_frame_within<T: DeserializeOwned>(recv: &mut RecvStream, limit: usize) -> Result<T, FramedError> {
    let mut head = [0; LENGTH_LEN];
    recv.read_exact(&mut head).await.map_err(|error| read_error(error, LENGTH_LEN))?;
    let length = frame::document_length(head)?;
    if length > limit {
        return Err(FrameError::TooLarge.into());
    }
    // Many messages hold secrets.
    let mut document = Zeroizing::new(vec![0; length]);
    recv.read_exact(&mut document).await.map_err(|error| read_error(error, 0))?;
    Ok(frame::decode(&document)?)
}

/// Writes one frame. Returns when the stream has taken it, not when the peer has it.
///
/// Not cancel-safe: when the future is dropped half-way, the stream is of no more use.
///
/// # Errors
/// See [`FramedError`].
pub async fn write_frame<T: Serialize>(send: &mut SendStream, message: &T) -> Result<(), FramedError> {
    // Kept until the peer has it, then wiped.
    let framed = Bytes::from_owner(frame::encode(message)?);
    send.write_chunk(framed).await.map_err(write_error)
}

fn read_error(error: ReadExactError, wanted: usize) -> FramedError {
    use quinn::ReadError;
    match error {
        ReadExactError::FinishedEarly(0) if wanted > 0 => FramedError::Ended,
        ReadExactError::FinishedEarly(_) => FramedError::Cut,
        ReadExactError::ReadError(ReadError::Reset(code)) => FramedError::Reset(code.into_inner()),
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => FramedError::Lost(error),
        ReadExactError::ReadError(
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected,
        ) => FramedError::Closed,
    }
}

fn write_error(error: WriteError) -> FramedError {
    match error {
        WriteError::Stopped(code) => FramedError::Reset(code.into_inner()),
        WriteError::ConnectionLost(error) => FramedError::Lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => FramedError::Closed,
    }
}
