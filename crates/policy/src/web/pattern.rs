//! Patterns of paths and of file names.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use super::path::NormalPath;

/// The most bytes of a pattern.
pub const PATTERN_LONGEST: usize = 256;

/// Stands for the user's own name (step 5 of the cycle: "only his account").
const USER: &str = "{user}";

/// A pattern of paths, in decoded characters: `/orders` is that path alone, `/orders/*` all that is one segment below it,
/// `/reports/**` itself and all below it. `*` also stands for any run of characters inside a segment (`/orders/*.pdf`),
/// `**` between slashes for any number of segments, `{user}` for the name of the user who asks. Upper and lower case
/// differ; a slash at the path's end does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPattern(String);

/// A pattern of file names: the last segment of a path that does not end with a slash. `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct FilePattern(String);

/// The text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    /// A path's pattern must begin with a slash.
    #[error("{0:?} is not a pattern of paths: it begins with /, as in /reports/**")]
    Start(String),
    /// A file's pattern is one segment.
    #[error("{0:?} is not a pattern of files: it is a name without slashes, as in *.pdf")]
    File(String),
    /// Something in it that no path has, so that it would never match.
    #[error("{0:?} would match no path: write it decoded, without //, . and .. segments, ; ? # and \\")]
    Never(String),
    /// `**` beside other characters of a segment.
    #[error("{0:?} is not a pattern: ** stands alone between two slashes or at the end")]
    Stars(String),
    /// Over [`PATTERN_LONGEST`] bytes.
    #[error("a pattern has at most {PATTERN_LONGEST} bytes")]
    Long,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It could not match any path, or not as meant.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        check_length(text)?;
        if !text.starts_with('/') {
            return Err(InvalidPattern::Start(text.to_owned()));
        }
        check_matches_something(text)?;
        let mixed = |segment: &str| segment.contains("**") && segment != "**";
        if text.split('/').any(mixed) { Err(InvalidPattern::Stars(text.to_owned())) } else { Ok(Self(text.to_owned())) }
    }

    /// Whether the path is one of these.
    pub fn matches(&self, path: &NormalPath) -> bool {
        glob(segments(&self.0), path.segments(), |part| *part == "**", |part, segment| in_segment(part, segment))
    }

    /// Whether a server that folds upper case, and dots and blanks at the end of a name, could take the path for one of these:
    /// for rules that ask more of a request, where a miss would let it by.
    pub fn may_match(&self, path: &NormalPath) -> bool {
        let same = |part: &&str, segment: &&str| in_segment(&fold(part), &fold(segment));
        glob(segments(&self.0), path.segments(), |part| *part == "**", same)
    }

    /// Whether every path is one of these.
    pub fn is_everything(&self) -> bool {
        self.0 == "/**"
    }

    /// The pattern with the name of `user` where it says `{user}`.
    #[must_use]
    pub fn for_user(&self, user: &str) -> Self {
        Self(own(&self.0, user))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FilePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It could not match any name.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        check_length(text)?;
        if text.is_empty() || text.contains('/') {
            return Err(InvalidPattern::File(text.to_owned()));
        }
        check_matches_something(&format!("/{text}"))?;
        Ok(Self(text.to_owned()))
    }

    /// Whether the path names one of these files.
    pub fn matches(&self, path: &NormalPath) -> bool {
        path.file_name().is_some_and(|name| in_segment(&self.0, name))
    }

    /// The pattern with the name of `user` where it says `{user}`.
    #[must_use]
    pub fn for_user(&self, user: &str) -> Self {
        Self(own(&self.0, user))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str) -> Result<(), InvalidPattern> {
    if text.len() > PATTERN_LONGEST { Err(InvalidPattern::Long) } else { Ok(()) }
}

/// A pattern is itself a plain path, so what paths can't have it can't have either: a pattern copied in its encoded form
/// would silently never match.
fn check_matches_something(text: &str) -> Result<(), InvalidPattern> {
    let plain = !text.contains(['%', '?', '#']) && NormalPath::from_request(text).is_ok();
    if plain { Ok(()) } else { Err(InvalidPattern::Never(text.to_owned())) }
}

/// A name that would say something else in a pattern leaves the placeholder, which no path has.
fn own(text: &str, user: &str) -> String {
    if !text.contains('{') || user.contains(['*', '/', '{', '}']) { text.to_owned() } else { text.replace(USER, user) }
}

fn segments(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split('/').filter(|segment| !segment.is_empty())
}

fn fold(segment: &str) -> String {
    segment.trim_end_matches(['.', ' ']).to_lowercase()
}

fn in_segment(pattern: &str, segment: &str) -> bool {
    glob(pattern.chars(), segment.chars(), |c| *c == '*', |wanted, c| wanted == c)
}

/// Matches with stars that stand for any run of items, in time of pattern × text at most: only the last star seen is ever
/// lengthened.
fn glob<P, T>(
    mut pattern: impl Iterator<Item = P> + Clone,
    mut text: impl Iterator<Item = T> + Clone,
    is_star: impl Fn(&P) -> bool,
    same: impl Fn(&P, &T) -> bool,
) -> bool {
    let mut retry = None;
    loop {
        let (ahead, item) = (pattern.clone().next(), text.clone().next());
        match (ahead, item) {
            (None, None) => return true,
            (Some(part), _) if is_star(&part) => {
                pattern.next();
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some(part), Some(item)) if same(&part, &item) => {
                pattern.next();
                text.next();
            }
            // Nothing fits: the last star takes one more.
            _ => {
                let Some((after_star, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PathPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for FilePattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl Serialize for FilePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> NormalPath {
        NormalPath::from_request(text).unwrap()
    }

    #[test]
    fn table() {
        for (pattern, inside, outside) in [
            ("/orders", "/orders /orders/", "/ /orders/7 /order /orderss /Orders"),
            ("/", "/", "/a"),
            ("/orders/*", "/orders/7 /orders/7/", "/orders /orders/ /orders/7/edit"),
            ("/reports/**", "/reports /reports/ /reports/a /reports/a/b.pdf", "/report /reportsx /a/reports/b /"),
            ("/**", "/ /a /a/b/c/", ""),
            ("/orders/*.pdf", "/orders/a.pdf /orders/.pdf", "/orders/a.pdfx /orders/a/b.pdf"),
            ("/a/**/edit", "/a/edit /a/1/edit /a/1/2/edit /a/edit/edit", "/a /a/edit/1 /edit"),
            ("/a/**/b/**/c", "/a/b/c /a/x/b/y/z/c /a/b/b/c/c", "/a/c/b /a/b"),
            ("/v*1/x", "/v1/x /v.11/x", "/v2/x /v1"),
            ("/a b/é", "/a%20b/%C3%A9", "/a/é"),
        ] {
            let pattern = PathPattern::parse(pattern).unwrap();
            assert!(inside.split_whitespace().all(|text| pattern.matches(&path(text))), "{pattern}: {inside}");
            assert!(!outside.split_whitespace().any(|text| pattern.matches(&path(text))), "{pattern}: {outside}");
        }
    }

    #[test]
    fn files() {
        let pattern = FilePattern::parse("*.pdf").unwrap();
        assert!(pattern.matches(&path("/a/b.pdf")) && pattern.matches(&path("/b.pdf")));
        assert!(
            !pattern.matches(&path("/b.pdf/")) && !pattern.matches(&path("/b.pdf/c")) && !pattern.matches(&path("/"))
        );
        assert!(
            FilePattern::parse("a/b").is_err() && FilePattern::parse("").is_err() && FilePattern::parse("..").is_err()
        );
    }

    #[test]
    fn a_users_own_part() {
        let pattern = PathPattern::parse("/accounts/{user}/**").unwrap();
        assert!(!pattern.matches(&path("/accounts/alice/1")));
        assert!(pattern.for_user("alice").matches(&path("/accounts/alice/1")));
        assert!(!pattern.for_user("alice").matches(&path("/accounts/bob/1")));
        assert!(!pattern.for_user("*").matches(&path("/accounts/bob/1")));
    }

    #[test]
    fn what_asks_more_is_matched_as_widely_as_any_server_would() {
        let pattern = PathPattern::parse("/cart/delete").unwrap();
        for text in ["/cart/delete", "/cart/delete/", "/Cart/DELETE", "/cart/delete.", "/cart/delete%20"] {
            assert!(pattern.may_match(&path(text)), "{text}");
        }
        assert!(!pattern.may_match(&path("/cart/deleted")));
    }

    #[test]
    fn what_would_never_match_is_refused() {
        for text in ["/a%20b", "/a//b", "/a/../b", "/a?b", "/a#b", "/a;b", "/a\\b", "/a\n"] {
            assert!(matches!(PathPattern::parse(text), Err(InvalidPattern::Never(_))), "{text:?}");
        }
        assert!(matches!(PathPattern::parse("a"), Err(InvalidPattern::Start(_))));
        assert!(matches!(PathPattern::parse("/a**"), Err(InvalidPattern::Stars(_))));
        assert!(matches!(PathPattern::parse(&"/a".repeat(129)), Err(InvalidPattern::Long)));
    }

    /// The definition, without a thought for time.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=text.len()).any(|skipped| slow(rest, &text[skipped..])),
            (Some((wanted, pattern)), Some((c, text))) => wanted == c && slow(pattern, text),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn stars_mean_what_they_say(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            let (parts, items): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(in_segment(&pattern, &text), slow(&parts, &items));
        }
    }
}
