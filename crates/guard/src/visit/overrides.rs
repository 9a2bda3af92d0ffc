//! Methods that an application is asked to read instead of the request's own: what the grants permit must hold for them, too.

use crate::carried::BodyKind;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memchr;
use memchr::memmem::find_iter;
use percent_encoding::percent_decode;
use serde_json::{Map, Value};

/// Where frameworks look for it, in queries and in what is posted.
const FIELD: &str = "_method";
/// The longest method that is told apart from others.
const LONGEST: usize = 32;

/// Those that the query names.
pub(super) fn of_query(query: Option<&str>) -> Vec<String> {
    query.filter(|query| may_name(query.as_bytes())).map(|query| of_form(query.as_bytes())).unwrap_or_default()
}

/// Those that a body names: a form, an upload (as far as `start` goes), or JSON.
pub(super) fn of_body(headers: &HeaderMap, start: &[u8]) -> Vec<String> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match BodyKind::of(content_type) {
        Some(BodyKind::UrlEncoded) if may_name(start) => of_form(start),
        Some(BodyKind::Multipart(_)) => of_upload(start),
        None if content_type.to_ascii_lowercase().contains("json") => of_json(start),
        Some(BodyKind::UrlEncoded | BodyKind::Plain) | None => Vec::new(),
    }
}

/// Whether it is worth a closer look: the name may be written with escapes.
fn may_name(text: &[u8]) -> bool {
    find_iter(text, b"method").next().is_some() || text.contains(&b'%')
}

fn of_form(text: &[u8]) -> Vec<String> {
    let pairs = text.split(|byte| *byte == b'&').filter_map(|pair| Some(pair.split_at(memchr(b'=', pair)?)));
    let named = pairs.filter(|(name, _)| percent_decode(name).map(as_read).eq(FIELD.bytes()));
    named.filter_map(|(_, value)| method(&percent_decode(&value[1..]).collect::<Vec<_>>())).collect()
}

/// PHP takes these for underscores in a field's name.
fn as_read(byte: u8) -> u8 {
    if matches!(byte, b'.' | b' ' | b'+') { b'_' } else { byte }
}

/// The value stands behind the blank line after the part's name.
fn of_upload(start: &[u8]) -> Vec<String> {
    let value = |at| {
        let rest: &[u8] = &start[at..];
        let begin = find_iter(rest, b"\r\n\r\n").next()? + 4;
        let end = find_iter(&rest[begin..], b"\r\n").next()?;
        method(&rest[begin..begin + end])
    };
    find_iter(start, FIELD).filter_map(value).collect()
}

fn of_json(text: &[u8]) -> Vec<String> {
    let object: Option<Map<String, Value>> = serde_json::from_slice(text).ok();
    let named = object.and_then(|mut object| object.remove(FIELD));
    named.as_ref().and_then(Value::as_str).and_then(|value| method(value.as_bytes())).into_iter().collect()
}

fn method(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let is_word = !value.is_empty() && value.len() <= LONGEST && value.iter().all(u8::is_ascii_alphabetic);
    is_word.then(|| String::from_utf8_lossy(value).to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content_type: &'static str, text: &str) -> Vec<String> {
        let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
        of_body(&headers, text.as_bytes())
    }

    #[test]
    fn wherever_frameworks_look() {
        assert_eq!(of_query(Some("a=1&_method=delete")), ["DELETE"]);
        assert_eq!(of_query(Some("%5Fmethod=%64elete")), ["DELETE"]);
        assert_eq!(of_query(Some(".method=DELETE&x=%ff")), ["DELETE"]);
        assert_eq!(of_query(None), [""; 0]);
        const FORM: &str = "application/x-www-form-urlencoded";
        assert_eq!(body(FORM, "a=1&_method=PUT&_method=patch"), ["PUT", "PATCH"]);
        assert_eq!(body(FORM, "a=_method&x_method=PUT&_method=&_method=a-b"), [""; 0]);
        let upload = "--B\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--B--\r\n";
        assert_eq!(body("multipart/form-data; boundary=B", upload), ["DELETE"]);
        assert_eq!(body("multipart/form-data; boundary=B", &upload[..50]), [""; 0]);
        assert_eq!(body("application/json", r#"{"a":{"_method":"x"},"\u005fmethod":"Delete"}"#), ["DELETE"]);
        assert_eq!(body("application/json", r#"["_method"]"#), [""; 0]);
        assert_eq!(body("text/plain", "_method=DELETE"), [""; 0]);
    }
}
