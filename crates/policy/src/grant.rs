//! Grants: what stands in a service's list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most characters (all ASCII: bytes) of a group's name.
pub const GROUP_NAME_LONGEST: usize = 64;

/// One line of a service's list: who may use it. Its text form, also in serde, is `everyone`, `user:NAME` or
/// `group:NAME`; names are folded to lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grant {
    /// Every user of this gateway.
    Everyone,
    /// One user, by name.
    User(String),
    /// All members of a group, by its name.
    Group(String),
}

/// The text is not a grant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidGrant {
    /// It begins with none of the known words.
    #[error("{0:?} is not a grant: write everyone, user:NAME or group:NAME")]
    Form(String),
    /// The name is empty, too long, or has a character that names don't have.
    #[error("{0:?} is not a name: 1 to 64 of a-z 0-9 . _ @ -, with a letter or digit at both ends")]
    Name(String),
}

impl Grant {
    /// Reads `everyone`, `user:NAME` or `group:NAME`.
    pub fn parse(text: &str) -> Result<Self, InvalidGrant> {
        let text = text.to_ascii_lowercase();
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("user", name)) => name_of(name, "._@-").map(Self::User),
            Some(("group", name)) => check_group_name(name).map(Self::Group),
            None | Some(_) => Err(InvalidGrant::Form(text)),
        }
    }
}

/// Reads a group's name, folding upper case: 1 to 64 of `a-z 0-9 . _ -`, a letter or digit at both ends.
pub fn check_group_name(text: &str) -> Result<String, InvalidGrant> {
    name_of(text, "._-")
}

fn name_of(text: &str, punctuation: &str) -> Result<String, InvalidGrant> {
    let name = text.to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (1..=GROUP_NAME_LONGEST).contains(&name.len())
        && name.chars().all(|c| plain(c) || punctuation.contains(c))
        && name.starts_with(plain)
        && name.ends_with(plain);
    if good { Ok(name) } else { Err(InvalidGrant::Name(text.to_owned())) }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Grant {
    type Error = InvalidGrant;

    fn try_from(text: String) -> Result<Self, InvalidGrant> {
        Self::parse(&text)
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> String {
        grant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back_and_folds_case() {
        for (text, grant) in [
            ("everyone", Grant::Everyone),
            ("Everyone", Grant::Everyone),
            ("user:Alice@example.org", Grant::User("alice@example.org".to_owned())),
            ("group:sales_1", Grant::Group("sales_1".to_owned())),
        ] {
            assert_eq!(Grant::parse(text).as_ref(), Ok(&grant));
            assert_eq!(Grant::parse(&grant.to_string()), Ok(grant));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "alice", "user", "any:one", "everyone:", "everyone ", " everyone", "users:a", "*"] {
            assert!(matches!(Grant::parse(text), Err(InvalidGrant::Form(_))), "{text:?}");
        }
        let long = format!("user:{}", "a".repeat(65));
        for text in ["user:", "group:", "user:-a", "user:a b", "group:a:b", "group:a@b", "user:é", &long] {
            assert!(matches!(Grant::parse(text), Err(InvalidGrant::Name(_))), "{text:?}");
        }
    }
}
