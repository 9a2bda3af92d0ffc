//! Why a request was refused, in one word.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a request goes no further. The word stands in the header `vestibule-refused`, in problem documents and in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// There is no session: never begun, signed off, or run out.
    SignedOff,
    /// The page's token belongs to another session, application or gateway, or has been altered.
    OtherSession,
    /// The page is older than pages live.
    ExpiredPage,
    /// It came from no page: without a token where one is needed.
    NoPage,
    /// No grant covers it.
    NotPermitted,
    /// The command was given before from the same page.
    AlreadyDone,
    /// The command was sent once; whether it took effect is not known.
    UnknownOutcome,
    /// Another site sent it.
    CrossSite,
    /// The application does not answer.
    UpstreamDown,
    /// Larger than allowed.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It can be read in several ways, or in none.
    Malformed,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SignedOff,
        Self::OtherSession,
        Self::ExpiredPage,
        Self::NoPage,
        Self::NotPermitted,
        Self::AlreadyDone,
        Self::UnknownOutcome,
        Self::CrossSite,
        Self::UpstreamDown,
        Self::TooLarge,
        Self::TooSlow,
        Self::Malformed,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::SignedOff => "signed-off",
            Self::OtherSession => "other-session",
            Self::ExpiredPage => "expired-page",
            Self::NoPage => "no-page",
            Self::NotPermitted => "not-permitted",
            Self::AlreadyDone => "already-done",
            Self::UnknownOutcome => "unknown-outcome",
            Self::CrossSite => "cross-site",
            Self::UpstreamDown => "upstream-down",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::Malformed => "malformed",
        }
    }

    /// The refusal of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.word() == word)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
