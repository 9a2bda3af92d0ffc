//! What a request wants of a file: all of it, a part, or nothing because it has it already.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells one state of a file from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Validators {
    pub(super) length: u64,
    modified: SystemTime,
    etag: String,
}

/// A part of a file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Whole,
    Part(Part),
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    OutOfRange,
}

impl Validators {
    pub(super) fn of(about: &Metadata) -> Self {
        let nanos = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        // Fields tell seconds; what is finer stands in the tag.
        let modified = UNIX_EPOCH + Duration::from_secs(u64::try_from(about.mtime()).unwrap_or(0));
        let etag = format!("\"{:x}-{:x}-{nanos:x}\"", about.ino(), about.len());
        Self { length: about.len(), modified, etag }
    }

    /// Writes them into an answer's fields.
    pub(super) fn tell(&self, fields: &mut HeaderMap) {
        let modified = httpdate::fmt_http_date(self.modified);
        for (name, text) in [(header::ETAG, &self.etag), (header::LAST_MODIFIED, &modified)] {
            // Digits, letters and spaces are a valid value.
            if let Ok(value) = HeaderValue::try_from(text) {
                fields.insert(name, value);
            }
        }
    }

    /// Whether one of these tags is the file's; weak ones count when `weak`.
    fn matches(&self, tags: &str, weak: bool) -> bool {
        let own = |tag: &str| tag == self.etag || weak && tag.strip_prefix("W/") == Some(self.etag.as_str());
        tags.split(',').map(str::trim).any(|tag| tag == "*" || own(tag))
    }
}

/// Judges conditions in the order of RFC 9110 section 13.2.2, then the range.
pub(super) fn wanted(fields: &HeaderMap, validators: &Validators) -> Wanted {
    let text = |name: &HeaderName| fields.get(name).and_then(|value| value.to_str().ok());
    let date = |name: &HeaderName| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    let failed = match (text(&header::IF_MATCH), date(&header::IF_UNMODIFIED_SINCE)) {
        (Some(tags), _) => !validators.matches(tags, false),
        (None, Some(date)) => validators.modified > date,
        (None, None) => false,
    };
    if failed {
        return Wanted::Failed;
    }
    let had = match (text(&header::IF_NONE_MATCH), date(&header::IF_MODIFIED_SINCE)) {
        (Some(tags), _) => validators.matches(tags, true),
        (None, Some(date)) => validators.modified <= date,
        (None, None) => false,
    };
    if had {
        return Wanted::NotModified;
    }
    let still = text(&header::IF_RANGE).is_none_or(|state| {
        state == validators.etag || httpdate::parse_http_date(state).is_ok_and(|date| date == validators.modified)
    });
    text(&header::RANGE).filter(|_| still).map_or(Wanted::Whole, |text| ranged(text, validators.length))
}

/// One range of bytes; several, and what isn't understood, get the whole.
fn ranged(text: &str, length: u64) -> Wanted {
    let Some((first, last)) =
        text.strip_prefix("bytes=").filter(|text| !text.contains(',')).and_then(|text| text.split_once('-'))
    else {
        return Wanted::Whole;
    };
    // The standard parser takes a sign; here there is none.
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(suffix) if suffix > 0 && length > 0 => part(length.saturating_sub(suffix), length - 1),
            Some(_) => Wanted::OutOfRange,
            None => Wanted::Whole,
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first > last => Wanted::Whole,
            (Some(first), Some(_)) if first >= length => Wanted::OutOfRange,
            (Some(first), Some(last)) => part(first, last.min(length - 1)),
            (None, _) | (_, None) => Wanted::Whole,
        },
    }
}

fn part(first: u64, last: u64) -> Wanted {
    Wanted::Part(Part { start: first, length: last - first + 1 })
}

/// Any text as range and conditions of a file of this length.
pub(crate) fn fuzz(length: u64, text: &str) {
    let validators = Validators { length, modified: UNIX_EPOCH, etag: "\"a\"".to_owned() };
    let Ok(value) = HeaderValue::try_from(text) else { return };
    for name in [header::RANGE, header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE, header::IF_MODIFIED_SINCE] {
        let mut fields = HeaderMap::new();
        fields.insert(name, value.clone());
        fields.append(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        if let Wanted::Part(part) = wanted(&fields, &validators) {
            assert!(part.length > 0 && part.start + part.length <= length, "{part:?} of {length}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(lines: &[(&'static str, &str)]) -> Wanted {
        let modified = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let validators = Validators { length: 100, modified, etag: "\"a\"".to_owned() };
        let fields =
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        wanted(&fields, &validators)
    }

    #[test]
    fn ranges() {
        let get = |range| ask(&[("range", range)]);
        let some = |start, length| Wanted::Part(Part { start, length });
        assert_eq!(get("bytes=0-0"), some(0, 1));
        assert_eq!(get("bytes=10-"), some(10, 90));
        assert_eq!(get("bytes=90-1000"), some(90, 10));
        assert_eq!(get("bytes=-10"), some(90, 10));
        assert_eq!(get("bytes=-1000"), some(0, 100));
        for beyond in ["bytes=100-", "bytes=-0", "bytes=100-200"] {
            assert_eq!(get(beyond), Wanted::OutOfRange, "{beyond}");
        }
        for odd in
            ["bytes=5-1", "bytes=a-b", "bytes=+1-2", "bytes=1", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "bytes=1-x"]
        {
            assert_eq!(get(odd), Wanted::Whole, "{odd}");
        }
    }

    #[test]
    fn conditions() {
        const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        for (lines, outcome) in [
            (vec![("if-none-match", "\"a\"")], Wanted::NotModified),
            (vec![("if-none-match", "\"b\", W/\"a\"")], Wanted::NotModified),
            (vec![("if-none-match", "*")], Wanted::NotModified),
            (vec![("if-none-match", "\"b\""), ("if-modified-since", THEN)], Wanted::Whole),
            (vec![("if-modified-since", THEN)], Wanted::NotModified),
            (vec![("if-modified-since", BEFORE)], Wanted::Whole),
            (vec![("if-modified-since", "nonsense")], Wanted::Whole),
            (vec![("if-match", "\"a\"")], Wanted::Whole),
            (vec![("if-match", "W/\"a\"")], Wanted::Failed),
            (vec![("if-unmodified-since", BEFORE)], Wanted::Failed),
            (vec![("if-unmodified-since", THEN)], Wanted::Whole),
            (vec![("range", "bytes=0-9"), ("if-range", "\"a\"")], Wanted::Part(Part { start: 0, length: 10 })),
            (vec![("range", "bytes=0-9"), ("if-range", THEN)], Wanted::Part(Part { start: 0, length: 10 })),
            (vec![("range", "bytes=0-9"), ("if-range", "\"b\"")], Wanted::Whole),
            (vec![("range", "bytes=0-9"), ("if-none-match", "\"a\"")], Wanted::NotModified),
        ] {
            assert_eq!(ask(&lines), outcome, "{lines:?}");
        }
    }
}
