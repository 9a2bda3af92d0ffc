//! The control stream, until a session stands: one message at a time, each within a time.

use quinn::{Connection, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use vestibule_dark::framed::{FramedError, read_frame_within, write_frame};
use vestibule_proto::session::Reason;

/// How long a client may take for its next message: it stretches a password meanwhile, on whatever machine it has.
const MESSAGE_WITHIN: Duration = Duration::from_secs(60);

/// How long the peer may take to acknowledge the last message.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);

/// Both halves of the control stream.
pub(crate) struct Control {
    send: SendStream,
    recv: RecvStream,
}

/// Why the conversation stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The stream or the connection failed, or the client broke the protocol.
    #[error(transparent)]
    Framed(#[from] FramedError),
    /// The client said nothing for too long.
    #[error("no message within {MESSAGE_WITHIN:?}")]
    Silent,
}

impl From<ControlError> for Reason {
    fn from(_: ControlError) -> Self {
        Self::Malformed
    }
}

impl Control {
    /// The conversation on this stream.
    pub(crate) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv }
    }

    /// The client's next message, of at most `limit` bytes.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self, limit: usize) -> Result<T, ControlError> {
        let heard = tokio::time::timeout(MESSAGE_WITHIN, read_frame_within(&mut self.recv, limit));
        Ok(heard.await.map_err(|_| ControlError::Silent)??)
    }

    /// Says something to the client.
    pub(crate) async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), ControlError> {
        let said = tokio::time::timeout(MESSAGE_WITHIN, write_frame(&mut self.send, message));
        Ok(said.await.map_err(|_| ControlError::Silent)??)
    }

    /// Ends the stream and the connection, once the client has the last message.
    pub(crate) async fn end(mut self, connection: &Connection, code: u32) {
        // Fails only when the client has stopped the stream: it doesn't want to know.
        let _ = self.send.finish();
        let _ = tokio::time::timeout(FAREWELL_WITHIN, self.send.stopped()).await;
        connection.close(code.into(), b"");
    }

    /// The halves, for a session.
    pub(crate) fn into_halves(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}
