//! The token as the first part of `multipart/form-data` (RFC 7578), as browsers write it.

use super::form::{Scan, position};
use super::{FIELD, VALUE_LONGEST};

/// The most bytes of the headers of our part.
const HEADERS_LONGEST: usize = 512;

/// The boundary that a `Content-Type` names (RFC 2046 section 5.1.1): 1 to 70 characters.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let mut named = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim())
    });
    let (value, None) = (named.next()?, named.next()) else { return None };
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=70).contains(&value.len()) && value.bytes().all(good)).then(|| value.to_owned())
}

/// Looks at the beginning of a body: delimiter, headers, value, and the delimiter after it, which stays as the first.
pub(super) fn scan(boundary: &str, start: &[u8], ended: bool) -> Scan {
    let opening = format!("--{boundary}\r\n");
    let Some(part) = start.strip_prefix(opening.as_bytes()) else {
        let begun = !ended && opening.as_bytes().starts_with(start);
        return if begun { Scan::More } else { Scan::Absent };
    };
    let Some(headers_end) = position(part, b"\r\n\r\n") else {
        let more = !ended && part.len() < HEADERS_LONGEST + 4;
        return if more { Scan::More } else { Scan::Absent };
    };
    if headers_end > HEADERS_LONGEST || !is_ours(&part[..headers_end]) {
        return Scan::Absent;
    }
    let value = opening.len() + headers_end + 4;
    closing(boundary, &start[value..], ended).map_or_else(
        |unclear| unclear,
        |length| Scan::Field { field: 0..value + length + 2, value: value..value + length },
    )
}

/// Where the value ends: before a delimiter that is followed by a line's end or by the mark of the last one.
fn closing(boundary: &str, value: &[u8], ended: bool) -> Result<usize, Scan> {
    let delimiter = format!("\r\n--{boundary}");
    let unclear = || if ended { Scan::Malformed } else { Scan::More };
    let Some(length) = position(value, delimiter.as_bytes()) else {
        let long = value.len() > VALUE_LONGEST + delimiter.len();
        return Err(if long { Scan::Malformed } else { unclear() });
    };
    if length > VALUE_LONGEST {
        return Err(Scan::Malformed);
    }
    match value.get(length + delimiter.len()..length + delimiter.len() + 2) {
        Some(b"\r\n" | b"--") => Ok(length),
        Some(_) => Err(Scan::Malformed),
        None => Err(unclear()),
    }
}

fn is_ours(headers: &[u8]) -> bool {
    let Ok(headers) = std::str::from_utf8(headers) else { return false };
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let Some(mut words) = disposition.map(|value| value.split(';').map(str::trim)) else { return false };
    let named = format!("name=\"{FIELD}\"");
    words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("form-data")) && words.eq([named.as_str()])
}
