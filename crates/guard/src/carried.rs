//! The page's token on its way back: found in header, query or form, and taken off again, so that the application sees what it
//! would have seen without us, byte for byte.
//!
//! The one name that is ours is [`FIELD`]; a field of any other name is the application's and stays.

mod form;
mod multipart;

#[cfg(test)]
mod tests;

pub use form::{BodyKind, FormTake, take_from_body};

use std::fmt;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::token::TOKEN_LONGEST;

/// The name of the form field and of the query parameter that carry the token.
pub const FIELD: &str = ".vestibule";
/// The name of the header that carries it.
pub const HEADER: HeaderName = HeaderName::from_static("vestibule-page");
/// The most bytes of an action's id.
pub const ACTION_LONGEST: usize = 32;

/// The most bytes of a value: token, dot, action.
const VALUE_LONGEST: usize = TOKEN_LONGEST + 1 + ACTION_LONGEST;

/// What a page's form or script sends back: `TOKEN` or `TOKEN.ACTION`. Printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Carried {
    token: String,
    action: Option<String>,
}

/// What was found in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing of ours.
    Nothing,
    /// A token; whether it opens is another matter.
    One(Carried),
    /// Our name with something else than a token, or more than once: no page of ours sends that.
    Malformed,
}

impl Carried {
    /// Reads a value: base64url without padding, at most [`TOKEN_LONGEST`] bytes, then perhaps a dot and the action's id,
    /// 1 to [`ACTION_LONGEST`] of `A-Z a-z 0-9 _ -`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (token, action) = value.split_once('.').map_or((value, None), |(token, action)| (token, Some(action)));
        let good = is_word(token, TOKEN_LONGEST) && action.is_none_or(|action| is_word(action, ACTION_LONGEST));
        good.then(|| Self { token: token.to_owned(), action: action.map(str::to_owned) })
    }

    /// The token's text.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The action's id: which form of the page, or which call of its script.
    pub fn action(&self) -> Option<&str> {
        self.action.as_deref()
    }
}

impl Found {
    fn read(value: &[u8]) -> Self {
        Carried::parse(value).map_or(Self::Malformed, Self::One)
    }

    /// With what was found in another place: the same twice is one (a call that is retried), two different ones are none.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, found) | (found, Self::Nothing) => found,
            (Self::One(one), Self::One(other)) if one == other => Self::One(one),
            (Self::One(_) | Self::Malformed, Self::One(_) | Self::Malformed) => Self::Malformed,
        }
    }
}

/// Takes the token off the headers.
pub fn take_from_headers(headers: &mut HeaderMap) -> Found {
    let found =
        headers.get_all(&HEADER).iter().map(|value| Found::read(value.as_bytes())).fold(Found::Nothing, Found::and);
    headers.remove(&HEADER);
    found
}

/// Takes the token off a path with its query (or a whole address); the text without it when there was one.
pub fn take_from_query(target: &str) -> (Found, Option<String>) {
    let Some((path, query)) = target.split_once('?') else { return (Found::Nothing, None) };
    let (found, rest) = take_from_pairs(query.as_bytes());
    match found {
        Found::Nothing => (Found::Nothing, None),
        Found::One(_) | Found::Malformed => {
            // Whole pairs were taken out of a text: what is left is text.
            let rest = String::from_utf8_lossy(&rest).into_owned();
            (found, Some(if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") }))
        }
    }
}

/// Takes our pairs out of those between `&`, wherever they stand.
fn take_from_pairs(pairs: &[u8]) -> (Found, Vec<u8>) {
    let (mut found, mut rest, mut first) = (Found::Nothing, Vec::with_capacity(pairs.len()), true);
    for pair in pairs.split(|byte| *byte == b'&') {
        if let Some(value) = own_value(pair) {
            found = found.and(Found::read(value));
            continue;
        }
        if !std::mem::take(&mut first) {
            rest.push(b'&');
        }
        rest.extend_from_slice(pair);
    }
    (found, rest)
}

fn own_value(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(FIELD.as_bytes())?.strip_prefix(b"=")
}

fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("action", &self.action).finish_non_exhaustive()
    }
}
