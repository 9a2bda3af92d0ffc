//! The token in the body of a form: held whole, or while it streams.

use std::borrow::Cow;
use std::ops::Range;

use super::{FIELD, Found, VALUE_LONGEST, multipart, take_from_pairs};
use crate::headers::essence;

/// The most bytes that a stream is held back until it is clear whether it begins with our field.
const HELD_MOST: usize = 2_048;

/// A type of body that can carry the token: the three that forms have (HTML section 4.10.21.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
    /// `multipart/form-data`, with its boundary.
    Multipart(String),
    /// `text/plain`: a line for each field.
    Plain,
}

/// Takes our field off a body that streams, where it comes first. Holds at most 2 KiB back; what follows passes untouched.
#[derive(Debug)]
pub struct FormTake {
    kind: BodyKind,
    held: Vec<u8>,
    decided: Option<Found>,
    removed: usize,
}

/// What the beginning of a body says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scan {
    /// It is too short to say.
    More,
    /// It does not begin with our field.
    Absent,
    /// It does: `value` is its value, and with `field` taken out the body is as it would be without it.
    Field { field: Range<usize>, value: Range<usize> },
    /// It does, but not as a browser writes it.
    Malformed,
}

impl BodyKind {
    /// The kind of a body by its `Content-Type`; nothing when a form is never sent so.
    pub fn of(content_type: &str) -> Option<Self> {
        match essence(content_type).to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Some(Self::UrlEncoded),
            "text/plain" => Some(Self::Plain),
            "multipart/form-data" => multipart::boundary(content_type).map(Self::Multipart),
            _ => None,
        }
    }

    fn scan(&self, start: &[u8], ended: bool) -> Scan {
        match self {
            Self::UrlEncoded => leading(start, b"&", ended),
            Self::Plain => leading(start, b"\r\n", ended),
            Self::Multipart(boundary) => multipart::scan(boundary, start, ended),
        }
    }
}

impl FormTake {
    /// For a body of this kind.
    pub fn new(kind: BodyKind) -> Self {
        Self { kind, held: Vec::new(), decided: None, removed: 0 }
    }

    /// Takes the next bytes of the body; what may be passed on is added to `out`.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.decided.is_some() {
            out.extend_from_slice(bytes);
            return;
        }
        let room = HELD_MOST.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..room]);
        self.look(false, out);
        // Held back to the brim and still undecided: a field that is no browser's.
        if self.decided.is_none() && self.held.len() == HELD_MOST {
            self.decide(Found::Malformed, 0..0, out);
        }
        if self.decided.is_some() {
            out.extend_from_slice(&bytes[room..]);
        }
    }

    /// The body has ended; what was still held back is added to `out`.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Found {
        self.look(true, out);
        self.decided.clone().unwrap_or(Found::Nothing)
    }

    /// What was found, as soon as it is clear.
    pub fn found(&self) -> Option<&Found> {
        self.decided.as_ref()
    }

    /// By how many bytes the body has become shorter: for its `Content-Length`, once it is [clear](Self::found).
    pub fn removed(&self) -> usize {
        self.removed
    }

    fn look(&mut self, ended: bool, out: &mut Vec<u8>) {
        if self.decided.is_some() {
            return;
        }
        match self.kind.scan(&self.held, ended) {
            Scan::More if !ended => {}
            Scan::More | Scan::Absent => self.decide(Found::Nothing, 0..0, out),
            Scan::Field { field, value } => self.decide(Found::read(&self.held[value]), field, out),
            Scan::Malformed => self.decide(Found::Malformed, 0..0, out),
        }
    }

    fn decide(&mut self, found: Found, field: Range<usize>, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        out.extend_from_slice(&held[..field.start]);
        out.extend_from_slice(&held[field.end..]);
        self.removed = field.len();
        self.decided = Some(found);
    }
}

/// Takes our field off a body that is held whole: in `application/x-www-form-urlencoded` wherever it stands, else where it comes
/// first.
pub fn take_from_body<'a>(kind: &BodyKind, body: &'a [u8]) -> (Found, Cow<'a, [u8]>) {
    if *kind == BodyKind::UrlEncoded {
        let (found, rest) = take_from_pairs(body);
        return if found == Found::Nothing { (found, Cow::Borrowed(body)) } else { (found, Cow::Owned(rest)) };
    }
    match kind.scan(body, true) {
        Scan::More | Scan::Absent => (Found::Nothing, Cow::Borrowed(body)),
        Scan::Malformed => (Found::Malformed, Cow::Borrowed(body)),
        Scan::Field { field, value } => {
            let rest = [&body[..field.start], &body[field.end..]].concat();
            (Found::read(&body[value]), Cow::Owned(rest))
        }
    }
}

/// `.vestibule=VALUE` at the very beginning, up to `end` or the body's own.
fn leading(start: &[u8], end: &[u8], ended: bool) -> Scan {
    let name = [FIELD.as_bytes(), b"="].concat();
    let Some(after) = start.strip_prefix(name.as_slice()) else {
        let begun = !ended && name.starts_with(start);
        return if begun { Scan::More } else { Scan::Absent };
    };
    match position(after, end) {
        Some(length) if length > VALUE_LONGEST => Scan::Malformed,
        Some(length) => {
            Scan::Field { field: 0..name.len() + length + end.len(), value: name.len()..name.len() + length }
        }
        None if after.len() > VALUE_LONGEST + if ended { 0 } else { end.len() } => Scan::Malformed,
        None if ended => Scan::Field { field: 0..start.len(), value: name.len()..start.len() },
        None => Scan::More,
    }
}

pub(super) fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
