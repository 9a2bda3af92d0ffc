//! What an entry of the audit log says.

use crate::{AppName, LogicalAddress, Serial, Stamp, UserName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most bytes of a method, a path and a reason that are kept.
const METHOD_LONGEST: usize = 32;
const PATH_LONGEST: usize = 1_024;
const WORD_LONGEST: usize = 32;

/// One command, as it is told afterwards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When it was given.
    pub at: Stamp,
    /// Who gave it.
    pub user: UserName,
    /// By which session.
    pub address: LogicalAddress,
    /// To which application.
    pub app: AppName,
    /// From which page, where it said so.
    pub serial: Option<Serial>,
    /// The request's method; the first 32 bytes are kept.
    pub method: String,
    /// The path without its query; the first 1,024 bytes are kept.
    pub path: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: AuditOutcome,
    /// The application's status, where it answered.
    pub status: Option<u16>,
    /// From the request to the end of the answer, in milliseconds.
    #[serde(rename = "milliseconds", with = "millis")]
    pub duration: Duration,
}

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "word", rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was the first of its name, and the application answered.
    Done,
    /// It was given before: not sent, its first answer or a word was handed over.
    Repeated,
    /// It could not be sent; giving it again runs it.
    NotSent,
    /// It was sent and nobody knows what became of it.
    Unknown,
    /// It was refused; the word says why (`not-permitted`…), at most 32 bytes.
    Refused(String),
}

/// Which entries are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditQuery {
    /// Of this user alone.
    pub user: Option<UserName>,
    /// To this application alone.
    pub app: Option<AppName>,
    /// Given at this time or later.
    pub since: Option<Stamp>,
    /// At most this many, the latest; 10,000 at most.
    pub limit: usize,
}

impl Entry {
    /// The same with texts of strangers cut to what is kept.
    pub(super) fn bounded(mut self) -> Self {
        cut(&mut self.method, METHOD_LONGEST);
        cut(&mut self.path, PATH_LONGEST);
        if let AuditOutcome::Refused(word) = &mut self.outcome {
            cut(word, WORD_LONGEST);
        }
        self
    }
}

fn cut(text: &mut String, longest: usize) {
    text.truncate(text.floor_char_boundary(longest));
}

mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
