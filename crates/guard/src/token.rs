//! Page tokens: what every page bears and every command brings back (PAGEGUARD section 2, `docs/protocol.md` section 11).
//!
//! A token is sealed, stateless and different for every page: it says which page was sent to which session of which application,
//! and what its user was granted then. The guard stores nothing of a page that it sends, so Back, several tabs and scripts go on
//! working. A token opens only in its own session and application, and with one bit changed not at all.

mod cipher;
mod content;
mod keeper;
mod keyring;
#[cfg(test)]
mod tests;

pub(crate) use content::fuzz_content;
pub use keeper::PageKeys;
pub(crate) use keeper::SCHEMA;
pub(crate) use keyring::fuzz_text;
pub use keyring::{KeyRecord, Keyring, KeyringSettings};

use crate::{AppName, Binding, LogicalAddress, Serial, Stamp, UserName};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use thiserror::Error;
use vestibule_policy::web::{GrantSet, GrantSetId};

/// The bytes of randomness in a token, fresh for each.
pub const NONCE_LEN: usize = 24;
/// The most characters of a token, all of them `A-Z a-z 0-9 - _`.
pub const TOKEN_LONGEST: usize = 512;
/// How far in the future a page may have been made: a clock may be put right between sending and receiving.
pub const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// What is sealed into a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// To whom it was sent.
    pub user: UserName,
    /// Which page of the session it is.
    pub serial: Serial,
    /// When it was made.
    pub issued: Stamp,
    /// The digest of its own address, by [`source_of`].
    pub source: [u8; 16],
    /// What its user was granted when it was made.
    pub grants: SealedGrants,
}

/// The grants of a page: themselves while they fit, else the name of the set that was in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SealedGrants {
    /// The grants. Sealing puts their name in their place where they would make the token longer than [`TOKEN_LONGEST`].
    Inline(GrantSet),
    /// The name of the set.
    Reference(GrantSetId),
}

/// In which session and application a token is sealed, and alone opens: its associated data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The session's logical address.
    pub address: LogicalAddress,
    /// What the session's client proves itself with.
    pub binding: Binding,
    /// When the session began. An address may come back to the same client one day; its old pages don't.
    pub started: Stamp,
    /// The application.
    pub app: &'a AppName,
}

/// A sealed page as text: what goes into fields, queries and headers.
#[derive(Clone, PartialEq, Eq)]
pub struct PageToken(String);

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TokenError {
    /// It is no token of this version: its form is wrong.
    #[error("it is no page token")]
    Malformed,
    /// It does not open here: of another session, application or guard, or altered.
    #[error("it does not belong to this session and application, or was altered")]
    Foreign,
    /// Its page is older than pages may be.
    #[error("its page has expired")]
    Expired,
    /// Its page says that it was made later than now.
    #[error("its page was made in the future")]
    Future,
}

impl PageToken {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Logs have no use for a token: how long it is says enough.
impl fmt::Debug for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageToken({} characters)", self.0.len())
    }
}

impl From<PageToken> for String {
    fn from(token: PageToken) -> Self {
        token.0
    }
}

/// The digest of a page's own address: what it was asked for with, host without scheme, path with query. Each is free of NUL bytes,
/// being part of a request; so two addresses never look alike.
pub fn source_of(method: &str, host: &str, path_and_query: &str) -> [u8; 16] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in ["vestibule/1 source", method, host, path_and_query] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut source = [0; 16];
    source.copy_from_slice(&hash.finish().as_ref()[..16]);
    source
}
