//! What of a message's head belongs to one hop only (RFC 9110 section 7.6.1).

use hyper::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what belongs to the hop that a message came over: `Connection`, whatever it names, and the fixed set.
///
/// Returns the protocol that the sender wants to change to, if `Connection` and `Upgrade` agree on one. Nothing is added:
/// no `Via` either, because common servers stop compressing when they see one, and this end is the person's own.
pub(super) fn strip_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named = connection_options(headers);
    let upgrade = headers.get(UPGRADE).filter(|_| named.contains(&UPGRADE)).cloned();
    // The body's framing is made anew by hyper on each side.
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    for name in named {
        headers.remove(name);
    }
    upgrade
}

/// Removes what the local server of this proxy has answered by itself already: `100 Continue` goes out when the body is asked for.
pub(super) fn strip_expectation(headers: &mut HeaderMap) {
    headers.remove(EXPECT);
}

/// Says on the next hop that the connection is to change to `protocol`.
pub(super) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The header names that `Connection` lists; what isn't a name is passed over.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|option| option.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_belongs_to_one_hop_goes() {
        let mut all = headers(&[
            ("host", "orders.localhost"),
            ("connection", "close, X-Secret , bad name"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("cookie", "a=1"),
        ]);
        assert_eq!(strip_hop(&mut all), None);
        assert_eq!(names(&all), ["host", "cookie"]);
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let mut both =
            headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "x")]);
        let protocol = strip_hop(&mut both).unwrap();
        assert_eq!(names(&both), ["sec-websocket-key"]);
        ask_upgrade(&mut both, protocol);
        assert_eq!(both[CONNECTION], "upgrade");
        assert_eq!(both[UPGRADE], "websocket");
        assert_eq!(strip_hop(&mut headers(&[("connection", "upgrade")])), None);
        assert_eq!(strip_hop(&mut headers(&[("upgrade", "websocket")])), None);
    }
}
