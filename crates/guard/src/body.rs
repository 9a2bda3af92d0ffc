//! The one body type of requests and responses inside the guard.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;

/// A body that streams: of a request, of a response, made here or passed on.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body broke off. What was already passed on stays passed on; the receiver sees a broken connection, never a short body
/// that looks whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BodyError {
    /// The one who sent it (browser or upstream) went away or broke the protocol.
    #[error("its sender broke off")]
    Sender,
    /// It was larger than allowed.
    #[error("it is larger than allowed")]
    TooLarge,
    /// It came too slowly, or not at all.
    #[error("it did not come in time")]
    TooSlow,
    /// Its content coding (gzip, br…) is damaged.
    #[error("its content coding is damaged")]
    Coding,
    /// The session was signed off, revoked, or ran out while it streamed.
    #[error("the session ended")]
    SessionEnded,
    /// The command that it belongs to is not to be carried out after all: what is left of it goes nowhere.
    #[error("the command was stopped")]
    Stopped,
    /// Something of the guard's own (its store, its memory limit) gave way.
    #[error("the guard could not go on")]
    Own,
}
