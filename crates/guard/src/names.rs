//! The names that everything here speaks of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The most characters of an application's name: it is one label of a host name (RFC 1035 section 2.3.4).
const APP_LONGEST: usize = 63;
/// The most characters of a user's name.
const USER_LONGEST: usize = 64;

/// An application behind the guard, by the name under which the owner published it: 1 to 63 of `a-z 0-9 -`, a letter or digit
/// at both ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

/// A user, by name: 1 to 64 of `a-z 0-9 . _ @ -`, a letter or digit at both ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// The text is not a name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is not a name: {1}")]
pub struct InvalidName(String, &'static str);

/// The address under which a session is known to the audit log, to upstreams and to every page: it is taken from a pool at
/// login and given back at sign-off (steps 2 and 7 of the cycle).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogicalAddress(pub IpAddr);

/// The number of a page within its session; the first is 1. Never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Serial(pub u64);

/// What ties pages to the client that holds a session: 32 bytes derived from what the client proves itself with (its cookie, or
/// the session of its tunnel). Not a secret by itself, yet printed nowhere.
#[derive(Clone, Copy)]
pub struct Binding(pub [u8; 32]);

/// What a session was begun with, and what it could prove itself with again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Proof {
    /// A tunnel: the device has proven itself, and every connection of the session comes through it.
    Tunnel,
    /// A cookie in a bare browser: whoever holds it is believed.
    Cookie,
}

impl AppName {
    /// Reads a name; upper case is folded.
    ///
    /// # Errors
    /// It isn't one.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let why = "an application is named by 1 to 63 of a-z 0-9 -, with a letter or digit at both ends";
        name(text, APP_LONGEST, "-").map(Self).ok_or_else(|| InvalidName(text.to_owned(), why))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserName {
    /// Reads a name; upper case is folded.
    ///
    /// # Errors
    /// It isn't one.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let why = "a user is named by 1 to 64 of a-z 0-9 . _ @ -, with a letter or digit at both ends";
        name(text, USER_LONGEST, "._@-").map(Self).ok_or_else(|| InvalidName(text.to_owned(), why))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn name(text: &str, longest: usize, inner: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = text.len() <= longest
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || inner.contains(c));
    good.then_some(text)
}

impl PartialEq for Binding {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Binding {}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LogicalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for AppName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl TryFrom<String> for UserName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> Self {
        name.0
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(AppName::new("Orders-2").unwrap().as_str(), "orders-2");
        assert_eq!(UserName::new("alice.b@example").unwrap().as_str(), "alice.b@example");
        for bad in ["", "-a", "a-", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
        for bad in ["", ".a", "a@", "a/b", "a\n", &"a".repeat(65)] {
            assert!(UserName::new(bad).is_err(), "{bad}");
        }
    }
}
