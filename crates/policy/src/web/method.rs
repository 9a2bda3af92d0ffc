//! Sets of HTTP methods.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// The most characters of one method's name.
const METHOD_LONGEST: usize = 32;
/// The most methods in one list.
const METHODS_MOST: usize = 32;

/// Which HTTP methods a rule speaks of. Its text form, also in serde, is `all`, `reads`, or the methods' names with
/// spaces between (`GET POST`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Methods {
    /// Every method.
    #[default]
    All,
    /// The methods that only read: GET, HEAD and OPTIONS. Not TRACE, which no application needs.
    Reads,
    /// These and no others, in upper case, sorted; GET brings HEAD with it (RFC 9110 section 9.3.2).
    Listed(Vec<String>),
}

/// The text names no methods.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} names no methods: write all, reads, or names such as GET POST")]
pub struct InvalidMethods(String);

/// Whether a method is safe by its definition (RFC 9110 section 9.2.1): it asks, and is not meant to change anything.
pub fn is_safe_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

impl Methods {
    /// Reads `all`, `reads` or a list of names; upper and lower case are the same.
    ///
    /// # Errors
    /// It is empty, or something in it is no method's name.
    pub fn parse(text: &str) -> Result<Self, InvalidMethods> {
        match text.trim().to_ascii_lowercase().as_str() {
            "all" => Ok(Self::All),
            "reads" => Ok(Self::Reads),
            _ => listed(text).ok_or_else(|| InvalidMethods(text.to_owned())),
        }
    }

    /// Whether `method`, as it stands in the request, is one of these. Methods are case-sensitive (RFC 9110 section 9.1):
    /// `post` is not POST, and no list has it.
    pub fn contains(&self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Reads => matches!(method, "GET" | "HEAD" | "OPTIONS"),
            Self::Listed(names) => {
                let has = |wanted: &str| names.iter().any(|name| name == wanted);
                has(method) || (method == "HEAD" && has("GET"))
            }
        }
    }
}

fn listed(text: &str) -> Option<Methods> {
    let mut names: Vec<String> =
        text.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_uppercase).collect();
    names.sort();
    names.dedup();
    let good = |name: &String| name.len() <= METHOD_LONGEST && name.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    let known = !names.is_empty() && names.len() <= METHODS_MOST && names.iter().all(good);
    known.then_some(Methods::Listed(names))
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Reads => f.write_str("reads"),
            Self::Listed(names) => f.write_str(&names.join(" ")),
        }
    }
}

impl TryFrom<String> for Methods {
    type Error = InvalidMethods;

    fn try_from(text: String) -> Result<Self, InvalidMethods> {
        Self::parse(&text)
    }
}

/// Each page's token has them: nothing is copied that need not be.
impl Serialize for Methods {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => to.serialize_str("all"),
            Self::Reads => to.serialize_str("reads"),
            Self::Listed(names) => match names.as_slice() {
                [name] => to.serialize_str(name),
                names => to.serialize_str(&names.join(" ")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back() {
        for (text, shown) in
            [("All", "all"), ("reads", "reads"), ("post, get get", "GET POST"), ("M-SEARCH", "M-SEARCH")]
        {
            let methods = Methods::parse(text).unwrap();
            assert_eq!(methods.to_string(), shown);
            assert_eq!(Methods::parse(shown), Ok(methods));
        }
        for text in ["", " ", ",", "GET/POST", "GÉT", "*", &"A".repeat(33)] {
            assert!(Methods::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn which_methods_are_in() {
        for (text, inside, outside) in [
            ("all", "GET POST DELETE post", ""),
            ("reads", "GET HEAD OPTIONS", "POST PUT TRACE PROPFIND get"),
            ("GET POST", "GET HEAD POST", "OPTIONS PUT post"),
            ("POST", "POST", "GET HEAD"),
        ] {
            let methods = Methods::parse(text).unwrap();
            assert!(inside.split_whitespace().all(|method| methods.contains(method)), "{text}");
            assert!(!outside.split_whitespace().any(|method| methods.contains(method)), "{text}");
        }
    }

    #[test]
    fn safe_methods() {
        assert!(["GET", "HEAD", "OPTIONS", "TRACE"].into_iter().all(is_safe_method));
        assert!(!["POST", "get", "PROPFIND", "CONNECT", ""].into_iter().any(is_safe_method));
    }
}
