//! Paths of requests: read so that everybody reads them alike, and folded to a shape.

pub use vestibule_policy::web::{NormalPath, PathTrick};

use hyper::http::uri::{PathAndQuery, Uri};
use std::borrow::Cow;
use std::fmt;

/// Segments that a shape keeps; a deeper path ends in `**`.
const DEEPEST: usize = 8;
/// The most bytes of a segment that a shape keeps.
const SEGMENT_LONGEST: usize = 40;
/// Digits in a name that make it one of many.
const DIGITS_OF_AN_ID: usize = 3;
/// Hexadecimal digits in a row, one of `0-9` among them, that make a name one of many.
const HEX_OF_AN_ID: usize = 8;

/// Path and query that an address asks for.
pub(crate) fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// A path with what counts things folded away, so that `/orders/17/edit` and `/orders/18/edit` are one: `/orders/*/edit`. Of a
/// plain path it is a [`PathPattern`](vestibule_policy::web::PathPattern) that covers it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathShape(String);

impl PathShape {
    /// The shape of a path that everybody reads alike.
    pub fn of(path: &NormalPath) -> Self {
        let mut shape = String::with_capacity(path.as_str().len());
        for (depth, segment) in path.segments().enumerate() {
            shape.push('/');
            if depth == DEEPEST {
                shape.push_str("**");
                break;
            }
            shape.push_str(&folded(segment));
        }
        Self(if shape.is_empty() { "/".to_owned() } else { shape })
    }

    /// The shape of all paths that are no plain ones.
    pub fn of_tricks() -> Self {
        Self("(not a plain path)".to_owned())
    }

    /// The shape of what is left when there are too many.
    pub fn of_the_rest() -> Self {
        Self("(other paths)".to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Whether it can stand in a rule.
    pub fn is_pattern(&self) -> bool {
        self.0.starts_with('/')
    }
}

impl fmt::Display for PathShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that has characters of patterns, or is longer than a reader wants, is folded too.
fn folded(segment: &str) -> Cow<'_, str> {
    let strange = |c: char| matches!(c, '*' | '%' | '{' | '}' | '?' | '#');
    let (stem, extension) = match segment.rsplit_once('.') {
        Some((stem, extension)) if is_extension(extension) => (stem, Some(extension)),
        Some(_) | None => (segment, None),
    };
    if segment.len() <= SEGMENT_LONGEST && !segment.contains(strange) && !looks_counted(stem) {
        return segment.into();
    }
    extension.map_or("*".into(), |extension| format!("*.{extension}").into())
}

fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn looks_counted(name: &str) -> bool {
    let all_digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let hex = |run: &str| run.len() >= HEX_OF_AN_ID && run.bytes().any(|byte| byte.is_ascii_digit());
    all_digits || digits >= DIGITS_OF_AN_ID || name.split(|c: char| !c.is_ascii_hexdigit()).any(hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vestibule_policy::web::PathPattern;

    use super::*;

    fn shape(path: &str) -> PathShape {
        PathShape::of(&NormalPath::from_request(path).unwrap())
    }

    #[test]
    fn what_counts_things_is_folded() {
        for (path, expected) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/7/edit", "/orders/*/edit"),
            ("/orders/", "/orders"),
            ("/api/v2/kernels/3f2a9c1b-77d0-4d5e-9a57-2f1f0a1b2c3d/channels", "/api/v2/kernels/*/channels"),
            ("/static/app.3f2a9c1b.js", "/static/*.js"),
            ("/static/jquery.min.js", "/static/jquery.min.js"),
            ("/files/IMG_1234.jpg", "/files/*.jpg"),
            ("/deadbeef", "/deadbeef"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/**"),
            ("/x%7By%7D", "/*"),
            (&format!("/{}", "long".repeat(20)), "/*"),
        ] {
            assert_eq!(shape(path).as_str(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_shape_is_a_pattern_that_covers_its_paths(path in "(/[a-c0-9{}*.]{1,9}){0,10}/?") {
            if let Ok(path) = NormalPath::from_request(&path) {
                let shape = PathShape::of(&path);
                prop_assert!(PathPattern::parse(shape.as_str()).unwrap().matches(&path), "{} {}", path, shape);
            }
        }
    }
}
