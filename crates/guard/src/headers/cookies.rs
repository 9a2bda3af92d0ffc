//! Cookies between the application and the browser: the guard's own stays its own, and an application's stays on its host.

use super::origin::Mapping;
use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};

/// The guard's cookie over TLS: the prefix makes browsers take it from this very host only (RFC 6265bis section 4.1.3.2).
pub const COOKIE: &str = "__Host-vestibule";
/// The guard's cookie over plain HTTP.
pub const PLAIN_COOKIE: &str = "vestibule";

/// Makes one `Cookie` field of them all (HTTP/2 splits it, RFC 9113 section 8.2.3), without the guard's own cookies.
pub(super) fn to_upstream(fields: &mut HeaderMap) {
    let values: Vec<&[u8]> = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let is_ours = |pair: &&[u8]| is_reserved(name_of(pair));
    if values.len() < 2 && !values.iter().any(|value| pairs(value).any(|pair| is_ours(&pair))) {
        return;
    }
    let kept: Vec<&[u8]> = values.iter().flat_map(|value| pairs(value)).filter(|pair| !is_ours(pair)).collect();
    let joined = kept.join(&b"; "[..]);
    fields.remove(header::COOKIE);
    // Parts of valid values are valid.
    if let (false, Ok(value)) = (joined.is_empty(), HeaderValue::from_bytes(&joined)) {
        fields.insert(header::COOKIE, value);
    }
}

/// Maps each `Set-Cookie`, and drops those that would set a cookie of the guard's.
pub(super) fn to_client(fields: &mut HeaderMap, mapping: &Mapping<'_>) {
    if !fields.contains_key(header::SET_COOKIE) {
        return;
    }
    let values: Vec<HeaderValue> = fields.get_all(header::SET_COOKIE).iter().cloned().collect();
    fields.remove(header::SET_COOKIE);
    for value in values.iter().filter_map(|value| mapped(value, mapping)) {
        fields.append(header::SET_COOKIE, value);
    }
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// The name under which browsers send a cookie again: one without a name is sent as its value alone, which may look like `name=value`.
fn name_of(pair: &[u8]) -> &[u8] {
    let mut parts = pair.splitn(2, |&byte| byte == b'=');
    match (parts.next().unwrap_or_default().trim_ascii(), parts.next()) {
        (b"", Some(value)) => name_of(value.trim_ascii()),
        (name, _) => name,
    }
}

fn is_reserved(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(COOKIE.as_bytes()) || name.eq_ignore_ascii_case(PLAIN_COOKIE.as_bytes())
}

/// The cookie as the browser gets it: for the outer host alone (so that no application tosses cookies at its siblings), for the
/// path as the browser knows it, `Secure` where the browser's connection is.
fn mapped(value: &HeaderValue, mapping: &Mapping<'_>) -> Option<HeaderValue> {
    let mut attributes = value.as_bytes().split(|&byte| byte == b';');
    let pair = attributes.next().unwrap_or_default();
    let name = name_of(pair.trim_ascii());
    if is_reserved(name) {
        return None;
    }
    let prefixed = name.len() > 2 && name.starts_with(b"__");
    let tls = mapping.outer.is_secure();
    let mut cookie = pair.to_vec();
    let mut secure = tls;
    for attribute in attributes {
        let key = attribute.splitn(2, |&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        if is("domain") {
            continue;
        }
        if is("secure") {
            secure |= prefixed || !mapping.base().secure;
            continue;
        }
        cookie.push(b';');
        cookie.extend_from_slice(if is("path") { &[] } else { attribute });
        if is("path") {
            cookie.extend_from_slice(&path(attribute, mapping));
        }
    }
    if secure {
        cookie.extend_from_slice(b"; Secure");
    }
    HeaderValue::from_bytes(&cookie).ok()
}

/// A `Path` attribute without the prefix that the upstream's address has.
fn path(attribute: &[u8], mapping: &Mapping<'_>) -> Vec<u8> {
    let prefix = mapping.base().prefix.as_bytes();
    let value = attribute.splitn(2, |&byte| byte == b'=').nth(1).unwrap_or_default().trim_ascii();
    match value.strip_prefix(prefix) {
        Some(b"") if !prefix.is_empty() => b" Path=/".to_vec(),
        Some(rest) if rest.starts_with(b"/") && !prefix.is_empty() => [b" Path=", rest].concat(),
        Some(_) | None => attribute.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::*;
    use crate::upstream::Base;

    fn sent(lines: &[&str]) -> Option<String> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(header::COOKIE, line.parse().unwrap());
        }
        to_upstream(&mut fields);
        assert!(fields.get_all(header::COOKIE).iter().count() < 2);
        fields.get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    fn set(upstream: &str, scheme: &'static str, line: &str) -> Option<String> {
        let bases = [Base::parse(upstream).unwrap()];
        let outer = Origin { scheme, host: "orders.example" };
        let mut fields = HeaderMap::new();
        fields.append(header::SET_COOKIE, line.parse().unwrap());
        to_client(&mut fields, &Mapping { outer, bases: &bases, nth: 0, host_is_outer: true });
        fields.get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_guards_own_cookie_stays_its_own() {
        assert_eq!(sent(&["a=1; b=\"2;3\""]).unwrap(), "a=1; b=\"2;3\"");
        assert_eq!(sent(&["a=1; vestibule=SECRET; b=2"]).unwrap(), "a=1; b=2");
        assert_eq!(sent(&["__Host-vestibule=SECRET"]), None);
        assert_eq!(sent(&["vestibule=ONE;vestibule=TWO", "a=1"]).unwrap(), "a=1");
        assert_eq!(sent(&["a=1", "b=2"]).unwrap(), "a=1; b=2");
        assert_eq!(sent(&["vestibule2=1; =vestibule=2"]).unwrap(), "vestibule2=1");
    }

    #[test]
    fn no_application_sets_it() {
        for line in [
            "vestibule=evil",
            "__Host-vestibule=evil; Secure; Path=/",
            "VESTIBULE=evil",
            "  vestibule =evil",
            "=vestibule=evil",
            "= =vestibule=evil",
            "vestibule",
        ] {
            assert_eq!(set("http://up", "http", line), None, "{line}");
        }
        assert!(set("http://up", "http", "vestibules=good").is_some());
    }

    #[test]
    fn an_applications_cookie_stays_on_its_host() {
        let line = "a=b; Domain=example; Path=/; HttpOnly";
        assert_eq!(set("http://up", "http", line).unwrap(), "a=b; Path=/; HttpOnly");
        assert_eq!(set("http://up", "https", line).unwrap(), "a=b; Path=/; HttpOnly; Secure");
    }

    #[test]
    fn secure_follows_the_browsers_connection() {
        assert_eq!(set("https://up", "http", "a=b; secure; SameSite=Lax").unwrap(), "a=b; SameSite=Lax");
        assert_eq!(set("https://up", "https", "a=b; Secure").unwrap(), "a=b; Secure");
        assert_eq!(set("http://up", "http", "a=b; Secure").unwrap(), "a=b; Secure", "its own wish");
        assert_eq!(set("https://up", "http", "__Host-a=b; Secure; Path=/").unwrap(), "__Host-a=b; Path=/; Secure");
    }

    #[test]
    fn the_path_is_the_one_that_the_browser_knows() {
        assert_eq!(set("http://up/app", "http", "a=b; Path=/app").unwrap(), "a=b; Path=/");
        assert_eq!(set("http://up/app", "http", "a=b; path=/app/x").unwrap(), "a=b; Path=/x");
        assert_eq!(set("http://up/app", "http", "a=b; Path=/apple").unwrap(), "a=b; Path=/apple");
        assert_eq!(set("http://up", "http", "a=b; Path=/app").unwrap(), "a=b; Path=/app");
    }
}
