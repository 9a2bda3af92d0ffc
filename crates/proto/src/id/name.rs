//! Names that people type: of users and of services.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not a name of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// Empty, or longer than the kind allows.
    #[error("a name has 1 to {longest} characters")]
    Length {
        /// The most characters that the kind allows.
        longest: usize,
    },
    /// A character that the kind does not have.
    #[error("{character:?} may not stand in a name")]
    Character {
        /// The first such character.
        character: char,
    },
    /// Begins or ends with punctuation.
    #[error("a name begins and ends with a letter or a digit")]
    Edge,
}

/// Name of a user at a gateway: 1 to 64 of `a-z 0-9 . _ @ -`, a letter or digit at both ends. Upper case is folded when
/// read, so that `Alice` and `alice` are one person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// Name of a service: 1 to 63 of `a-z 0-9 -`, a letter or digit at both ends, so that it can be a label of a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl UserName {
    /// The most characters (all ASCII: bytes) of a user's name.
    pub const LONGEST: usize = 64;

    /// Reads a name, folding upper case.
    ///
    /// # Errors
    /// [`InvalidName`] saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let name = text.to_ascii_lowercase();
        check(&name, Self::LONGEST, "._@-")?;
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServiceName {
    /// The most characters (all ASCII: bytes) of a service's name.
    pub const LONGEST: usize = 63;

    /// Reads a name, folding upper case.
    ///
    /// # Errors
    /// [`InvalidName`] saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let name = text.to_ascii_lowercase();
        check(&name, Self::LONGEST, "-")?;
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str, longest: usize, punctuation: &str) -> Result<(), InvalidName> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(character) = name.chars().find(|&c| !is_plain(c) && !punctuation.contains(c)) {
        return Err(InvalidName::Character { character });
    }
    if name.is_empty() || name.len() > longest {
        return Err(InvalidName::Length { longest });
    }
    if name.starts_with(is_plain) && name.ends_with(is_plain) { Ok(()) } else { Err(InvalidName::Edge) }
}

macro_rules! name_conversions {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(&text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_conversions!(UserName);
name_conversions!(ServiceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_case() {
        assert_eq!(UserName::parse("Alice.B@Example").unwrap().as_str(), "alice.b@example");
        assert_eq!(ServiceName::parse("DB-1").unwrap().as_str(), "db-1");
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert_eq!(UserName::parse(""), Err(InvalidName::Length { longest: 64 }));
        assert_eq!(UserName::parse(&"a".repeat(65)), Err(InvalidName::Length { longest: 64 }));
        assert_eq!(UserName::parse("a b"), Err(InvalidName::Character { character: ' ' }));
        assert_eq!(UserName::parse("-rf"), Err(InvalidName::Edge));
        assert_eq!(UserName::parse("zoë"), Err(InvalidName::Character { character: 'ë' }));
        assert_eq!(ServiceName::parse("a.b"), Err(InvalidName::Character { character: '.' }));
        assert_eq!(ServiceName::parse("a-"), Err(InvalidName::Edge));
        assert!(ServiceName::parse(&"a".repeat(63)).is_ok());
        assert!(ServiceName::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn what_is_read_from_the_wire_is_checked_too() {
        let wire = postcard::to_stdvec("not a name").unwrap();
        assert!(postcard::from_bytes::<UserName>(&wire).is_err());
        let wire = postcard::to_stdvec("alice").unwrap();
        assert_eq!(postcard::from_bytes::<UserName>(&wire).unwrap().as_str(), "alice");
    }
}
