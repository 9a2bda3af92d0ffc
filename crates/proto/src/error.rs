//! What can be wrong with a sealed message. Nothing of it is ever told to a stranger.

use thiserror::Error;

use crate::wire::Malformed;

/// A message can't be read. Whose fault it is depends on how far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Unreadable {
    /// It is no such message, or not the answer that is expected: another length, type, version or message id. Anybody's.
    #[error("not such a message")]
    Form,
    /// Its seal does not open: altered, or made by somebody without the keys, or with another key than ours.
    #[error("the seal does not open")]
    Seal,
    /// It was sealed by a holder of the keys, but what it contains breaks the format: the peer misbehaves or is newer.
    #[error("the sealed content is malformed")]
    Content,
}

impl From<Malformed> for Unreadable {
    fn from(Malformed: Malformed) -> Self {
        Self::Content
    }
}

/// A message can't be sealed: a public key of the other side is a point of low order, which is nobody's key. We are
/// misconfigured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("a public key of the other side is not a key")]
pub struct Unsealable;
