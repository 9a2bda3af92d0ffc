//! What of the header fields goes on, on the way to an upstream and back (PAGEGUARD section 6; RFC 9110 section 7.6).

pub(crate) mod cookies;
pub(crate) mod origin;

use crate::classify::overrides_method;
use crate::{AppName, LogicalAddress, UserName, websocket};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::Method;
use origin::{Mapping, Origin};
use std::net::IpAddr;
use std::ops::Range;

/// The field by which an upstream is told the user's name.
pub const USER_FIELD: HeaderName = HeaderName::from_static("vestibule-user");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What kind of content a `Content-Type` says: the type without its parameters (WHATWG MIME Sniffing, section 4.2).
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// What an upstream is told about whoever sends a request; taken from the session, never from the request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The session's logical address.
    pub address: LogicalAddress,
    /// The user.
    pub user: &'a UserName,
    /// The application asked for.
    pub app: &'a AppName,
    /// The `Host` under which the client knows the application: name, and port where it isn't the scheme's own.
    pub outer_host: &'a str,
    /// The scheme under which the client knows the application: `http` or `https`.
    pub outer_scheme: &'a str,
}

/// Fields that speak of one connection only (RFC 9110 section 7.6.1), and what some senders use as such.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that `Connection` can't take away: a client could make the upstream see another request than the guard judged.
static END_TO_END: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::COOKIE,
    header::AUTHORIZATION,
    header::ORIGIN,
    header::REFERER,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
];

/// Fields by which a client could lie about who or where it is, or which page it asks for; `-` and `_` are the same to many
/// applications. Beside them, everything that begins with one of [`FORGED_BEGINNINGS`].
const FORGED: [&str; 12] = [
    "proxy",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
];

const FORGED_BEGINNINGS: [&str; 4] = ["x-forwarded-", "vestibule-", "x-vestibule-", "x-arr-"];

/// The most bytes of what an upstream is told about who asks, beside host and user.
const TOLD: usize = 96;

/// The first letters of both.
const FORGED_INITIALS: &[u8] = b"cfptvx";

/// Makes a request's fields those that `mapping`'s upstream gets. With `upgrade` it asks for a WebSocket.
pub(crate) fn to_upstream(
    fields: &mut HeaderMap,
    method: &Method,
    upgrade: bool,
    caller: &Caller<'_>,
    mapping: &Mapping<'_>,
) {
    let trailers = takes_trailers(fields);
    strip_hop_by_hop(fields);
    fields.remove(header::EXPECT);
    strip_forged(fields, method);
    cookies::to_upstream(fields);
    mapping.request(fields);
    tell(fields, caller);
    if upgrade {
        websocket::say(fields);
    } else if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Makes an answer's fields those that the client gets.
pub(crate) fn to_client(fields: &mut HeaderMap, mapping: &Mapping<'_>) {
    strip_hop_by_hop(fields);
    // An alternative service would lead the browser past the guard (RFC 7838).
    fields.remove(header::ALT_SVC);
    strip_named(fields, |name| name.starts_with("vestibule-"));
    mapping.answer(fields);
    cookies::to_client(fields, mapping);
}

fn strip_hop_by_hop(fields: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    remove_all(fields, &HOP_BY_HOP);
    for name in nominated {
        fields.remove(name);
    }
}

/// Removes the fields of all these names, of which there is hardly ever one: looking through what is there costs less than asking
/// for each.
pub(crate) fn remove_all(fields: &mut HeaderMap, names: &[HeaderName]) {
    let there: Vec<HeaderName> = fields.keys().filter(|name| names.contains(name)).cloned().collect();
    for name in there {
        fields.remove(name);
    }
}

fn strip_forged(fields: &mut HeaderMap, method: &Method) {
    let safe = method.is_safe();
    strip_named(fields, |name| is_forged(name) || safe && overrides_method(name));
}

fn is_forged(name: &str) -> bool {
    let may_be = name.bytes().next().is_some_and(|first| FORGED_INITIALS.contains(&first));
    may_be && (FORGED.contains(&name) || FORGED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)))
}

/// Takes away the fields whose name, with `_` read as `-`, is one that `bad` says.
fn strip_named(fields: &mut HeaderMap, bad: impl Fn(&str) -> bool) {
    let is_bad = |name: &HeaderName| {
        let name = name.as_str();
        if name.contains('_') { bad(&name.replace('_', "-")) } else { bad(name) }
    };
    let names: Vec<HeaderName> = fields.keys().filter(|name| is_bad(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

fn takes_trailers(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Tells who asks: `Forwarded` (RFC 7239), what came before it, and the user's name.
fn tell(fields: &mut HeaderMap, caller: &Caller<'_>) {
    let Caller { address, user, outer_host, outer_scheme, .. } = caller;
    let (open, close) = if address.0.is_ipv4() { ("", "") } else { ("\"[", "]\"") };
    // One text, of which all values are parts.
    let mut text = String::with_capacity(TOLD + outer_host.len() + user.as_str().len());
    text.extend(["for=", open]);
    let address = appended(&mut text, |text| append_address(text, address.0));
    text.extend([close, ";host=\""]);
    let host = appended(&mut text, |text| text.push_str(outer_host));
    text.push_str("\";proto=");
    let scheme = appended(&mut text, |text| text.push_str(outer_scheme));
    let user = appended(&mut text, |text| text.push_str(user.as_str()));
    let text = Bytes::from(text);
    let forwarded = 0..scheme.end;
    let told = [
        (header::FORWARDED, forwarded),
        (X_FORWARDED_FOR, address),
        (X_FORWARDED_HOST, host),
        (X_FORWARDED_PROTO, scheme),
        (USER_FIELD, user),
    ];
    fields.reserve(told.len());
    for (name, part) in told {
        // None of them holds what a field can't: the host has been checked when the request came in.
        if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(part)) {
            fields.insert(name, value);
        }
    }
}

/// Where in a text stands what `append` appends to it.
fn appended(text: &mut String, append: impl FnOnce(&mut String)) -> Range<usize> {
    let start = text.len();
    append(text);
    start..text.len()
}

/// An address as it is written everywhere, without the library's detours for widths and bases.
fn append_address(text: &mut String, address: IpAddr) {
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => append_segments(text, address.segments()),
        IpAddr::V4(_) | IpAddr::V6(_) => text.push_str(&address.to_string()),
    }
}

/// RFC 5952 section 4: no zeros before a number, `::` for the first of the longest runs of zeros.
fn append_segments(text: &mut String, segments: [u16; 8]) {
    let (mut start, mut len, mut zeros) = (segments.len(), 1, 0);
    for (nth, segment) in segments.iter().enumerate() {
        zeros = if *segment == 0 { zeros + 1 } else { 0 };
        if zeros > len {
            (start, len) = (nth + 1 - zeros, zeros);
        }
    }
    for (nth, segment) in segments.iter().enumerate() {
        if nth == start {
            text.push_str("::");
        }
        if (start..start + len).contains(&nth) {
            continue;
        }
        if nth > 0 && nth != start + len {
            text.push(':');
        }
        let digits = 4_u32.saturating_sub(segment.leading_zeros() / 4).max(1);
        let digit = |place| char::from_digit(u32::from(segment >> (4 * place)) & 0xf, 16);
        text.extend((0..digits).rev().filter_map(digit));
    }
}

impl<'a> Caller<'a> {
    /// What the client knows the application by.
    pub(crate) fn outer(&self) -> Origin<'a> {
        Origin { scheme: self.outer_scheme, host: self.outer_host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Base;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        fields
    }

    fn sent(method: Method, upgrade: bool, lines: &[(&str, &str)]) -> HeaderMap {
        let (user, app) = (UserName::new("alice").unwrap(), AppName::new("orders").unwrap());
        let caller = Caller {
            address: LogicalAddress("fd00::7".parse().unwrap()),
            user: &user,
            app: &app,
            outer_host: "orders.localhost:8080",
            outer_scheme: "http",
        };
        let bases = [Base::parse("http://10.0.0.8:8000").unwrap()];
        let mapping = Mapping { outer: caller.outer(), bases: &bases, nth: 0, host_is_outer: true };
        let mut fields = fields(lines);
        to_upstream(&mut fields, &method, upgrade, &caller, &mapping);
        fields
    }

    fn got(lines: &[(&str, &str)]) -> HeaderMap {
        let bases = [Base::parse("http://10.0.0.8:8000").unwrap()];
        let outer = Origin { scheme: "http", host: "orders.localhost:8080" };
        let mut fields = fields(lines);
        to_client(&mut fields, &Mapping { outer, bases: &bases, nth: 0, host_is_outer: true });
        fields
    }

    #[test]
    fn the_upstream_is_told_who_asks_by_the_guard_alone() {
        let lies = [
            ("Forwarded", "for=1.1.1.1"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("X-Forwarded-Port", "1"),
            ("X-Real-IP", "1.1.1.1"),
            ("Vestibule-User", "root"),
            ("vestibule_user", "root"),
            ("vestibule-page", "token"),
            ("Proxy", "http://evil.example"),
            ("X-Original-URL", "/admin"),
            ("Accept", "*/*"),
        ];
        let told = sent(Method::GET, false, &lies);
        let mut lines: Vec<_> =
            told.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        let expected = [
            "accept: */*",
            "forwarded: for=\"[fd00::7]\";host=\"orders.localhost:8080\";proto=http",
            "host: orders.localhost:8080",
            "vestibule-user: alice",
            "x-forwarded-for: fd00::7",
            "x-forwarded-host: orders.localhost:8080",
            "x-forwarded-proto: http",
        ];
        assert_eq!(lines, expected);
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_everywhere(bits in any::<u128>(), zeros in any::<u8>(), small in any::<u8>()) {
            let v6 = |bits: u128| {
                let place = |mask: u8, nth: usize| mask >> nth & 1 == 1;
                let segments = Ipv6Addr::from(bits).segments();
                let segment = |nth| match segments[nth] {
                    _ if place(zeros, nth) => 0,
                    segment if place(small, nth) => segment >> (4 * (nth % 4)),
                    segment => segment,
                };
                Ipv6Addr::from(std::array::from_fn::<u16, 8, _>(segment))
            };
            let v4 = Ipv4Addr::from_bits(bits as u32);
            for address in [v6(bits).into(), v4.into(), v4.to_ipv6_mapped().into(), Ipv6Addr::UNSPECIFIED.into()] {
                let mut text = String::new();
                append_address(&mut text, address);
                prop_assert_eq!(text, address.to_string());
            }
        }
    }

    #[test]
    fn no_forgery_begins_with_another_letter() {
        let all = FORGED.iter().chain(&FORGED_BEGINNINGS);
        assert!(all.copied().all(|name| FORGED_INITIALS.contains(&name.as_bytes()[0])));
    }

    #[test]
    fn what_speaks_of_the_connection_stays_on_it() {
        let lines = [
            ("Connection", "keep-alive, X-Mine, Cookie, vestibule-user"),
            ("Keep-Alive", "timeout=5"),
            ("X-Mine", "1"),
            ("Cookie", "a=b"),
            ("TE", "gzip, trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Expect", "100-continue"),
            ("Proxy-Authorization", "Basic x"),
        ];
        let passed = sent(Method::POST, false, &lines);
        for gone in ["keep-alive", "x-mine", "transfer-encoding", "upgrade", "expect", "proxy-authorization"] {
            assert!(!passed.contains_key(gone), "{gone}");
        }
        assert_eq!(passed["te"], "trailers");
        assert_eq!(passed["cookie"], "a=b");
        assert_eq!(passed["vestibule-user"], "alice");
        let asked = sent(Method::GET, true, &[("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")]);
        assert_eq!(
            (&asked["connection"], &asked["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
    }

    #[test]
    fn a_read_claims_no_other_method() {
        for name in ["x-http-method-override", "x_http_method_override", "x-http_method"] {
            assert!(!sent(Method::GET, false, &[(name, "DELETE")]).contains_key(name));
            assert!(sent(Method::POST, false, &[(name, "DELETE")]).contains_key(name));
        }
    }

    #[test]
    fn an_answer_leads_nobody_past_the_guard() {
        let answer = got(&[
            ("Alt-Svc", "h3=\":443\""),
            ("Connection", "close"),
            ("Vestibule-Refused", "signed-off"),
            ("ETag", "\"1\""),
        ]);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
    }
}
