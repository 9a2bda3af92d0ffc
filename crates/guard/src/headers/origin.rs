//! Addresses in header fields, between the host that the browser knows and the one that the upstream knows.

use crate::upstream::Base;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

/// The query parameter in which a page token may travel; it never gets into an upstream's log.
const TOKEN_PARAMETER: &str = ".vestibule";

/// Fields of an answer that hold one address.
static ADDRESSES: [HeaderName; 3] = [header::LOCATION, header::CONTENT_LOCATION, header::ACCESS_CONTROL_ALLOW_ORIGIN];

/// Where WebDAV copies and moves to (RFC 4918 section 10.3).
pub(crate) const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// A scheme and a host with its port, where that isn't the scheme's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
}

/// How addresses are mapped for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping<'a> {
    pub(crate) outer: Origin<'a>,
    /// All addresses of the upstream; a redirect to any of them is one to the application.
    pub(crate) bases: &'a [Base],
    /// Which of them got the request.
    pub(crate) nth: usize,
    /// Whether the upstream is told the outer host as its own.
    pub(crate) host_is_outer: bool,
}

impl Origin<'_> {
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("https")
    }
}

impl Mapping<'_> {
    /// The address that got the request.
    pub(crate) fn base(&self) -> &Base {
        &self.bases[self.nth]
    }

    /// Maps a request's fields to what the upstream knows itself by, and takes page tokens out of `Referer`.
    pub(crate) fn request(&self, fields: &mut HeaderMap) {
        let host = if self.host_is_outer { self.outer.host } else { &self.base().authority };
        replace(fields, &header::HOST, |said| (said != host).then(|| host.to_owned()));
        if !fields.contains_key(header::HOST) {
            // A host of ours is a valid value: it was read from one, or from a checked address.
            if let Ok(host) = HeaderValue::from_str(host) {
                fields.insert(header::HOST, host);
            }
        }
        replace(fields, &header::REFERER, |text| {
            let clean = without_token(text);
            if self.host_is_outer { clean } else { self.inward(clean.as_deref().unwrap_or(text)).or(clean) }
        });
        if !self.host_is_outer {
            replace(fields, &header::ORIGIN, |text| self.inward(text));
            replace(fields, &DESTINATION, |text| self.inward(text));
        }
    }

    /// Maps an answer's fields to what the browser knows the application by.
    pub(crate) fn answer(&self, fields: &mut HeaderMap) {
        for name in &ADDRESSES {
            replace(fields, name, |text| self.outward(text));
        }
        replace(fields, &header::REFRESH, |text| self.refresh(text));
    }

    fn inward(&self, text: &str) -> Option<String> {
        let rest = after_origin(text, self.outer.scheme, self.outer.host)?;
        let Base { secure, authority, prefix, .. } = self.base();
        let scheme = if *secure { "https" } else { "http" };
        let prefix = if rest.is_empty() { "" } else { prefix.as_str() };
        Some(format!("{scheme}://{authority}{prefix}{rest}"))
    }

    /// An address of the upstream's (or the outer host under the wrong scheme) as the browser knows it.
    fn outward(&self, text: &str) -> Option<String> {
        let Origin { scheme, host } = self.outer;
        let of_base = |base: &Base| {
            let rest = ["http", "https"].iter().find_map(|scheme| after_origin(text, scheme, &base.authority))?;
            Some(without_prefix(rest, &base.prefix))
        };
        let of_outer = || ["http", "https"].iter().find_map(|scheme| after_origin(text, scheme, host));
        if let Some(rest) = self.bases.iter().find_map(of_base).or_else(of_outer) {
            return Some(format!("{scheme}://{host}{rest}"));
        }
        let inner = text.starts_with('/') && !text.starts_with("//");
        inner.then(|| without_prefix(text, &self.base().prefix).to_owned())
    }

    /// `5; url=ADDRESS`, quoted or not.
    fn refresh(&self, text: &str) -> Option<String> {
        let at = text.to_ascii_lowercase().find("url=")? + "url=".len();
        let (before, address) = text.split_at(at);
        let quoted = address.trim().trim_matches(['"', '\'']);
        Some(format!("{before}{}", self.outward(quoted)?))
    }
}

/// What follows `scheme://host` in an address; nothing when it has another origin.
pub(crate) fn after_origin<'t>(text: &'t str, scheme: &str, host: &str) -> Option<&'t str> {
    let rest = after(text, scheme)?.strip_prefix("://")?;
    let rest = after(rest, host)?;
    let own_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let rest = rest.strip_prefix(own_port).filter(|rest| ends_origin(rest)).unwrap_or(rest);
    ends_origin(rest).then_some(rest)
}

fn after<'t>(text: &'t str, beginning: &str) -> Option<&'t str> {
    let (first, rest) = text.split_at_checked(beginning.len())?;
    first.eq_ignore_ascii_case(beginning).then_some(rest)
}

fn ends_origin(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

fn without_prefix<'t>(path: &'t str, prefix: &str) -> &'t str {
    match path.strip_prefix(prefix) {
        Some("") if !prefix.is_empty() => "/",
        Some(rest) if ends_origin(rest) => rest,
        Some(_) | None => path,
    }
}

/// The address without the parameter in which a token travels; nothing when there is none in it.
fn without_token(text: &str) -> Option<String> {
    let (path, query) = text.split_once('?')?;
    let is_token = |pair: &&str| pair.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case(TOKEN_PARAMETER));
    if !query.split('&').any(|pair| is_token(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

/// Replaces the values of a field that are text and for which `new` has something else.
fn replace(fields: &mut HeaderMap, name: &HeaderName, new: impl Fn(&str) -> Option<String>) {
    let hyper::http::header::Entry::Occupied(mut entry) = fields.entry(name) else {
        return;
    };
    for value in entry.iter_mut() {
        let text = value.to_str().ok().and_then(&new);
        if let Some(Ok(text)) = text.map(HeaderValue::try_from) {
            *value = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(of: &HeaderMap, name: &str) -> String {
        of.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn answered(upstream: &str, name: &'static str, value: &str) -> String {
        let bases = [Base::parse(upstream).unwrap(), Base::parse("http://second:81").unwrap()];
        let outer = Origin { scheme: "https", host: "orders.example" };
        let mut fields = HeaderMap::new();
        fields.insert(name, value.parse().unwrap());
        Mapping { outer, bases: &bases, nth: 0, host_is_outer: true }.answer(&mut fields);
        field(&fields, name)
    }

    fn asked(host_is_outer: bool, name: &'static str, value: &str) -> String {
        let bases = [Base::parse("http://up:8000/app").unwrap()];
        let outer = Origin { scheme: "https", host: "orders.example" };
        let mut fields = HeaderMap::new();
        fields.insert(name, value.parse().unwrap());
        Mapping { outer, bases: &bases, nth: 0, host_is_outer }.request(&mut fields);
        field(&fields, name)
    }

    #[test]
    fn a_redirect_stays_with_the_application() {
        let outward = |value| answered("http://up:8000", "location", value);
        assert_eq!(outward("http://up:8000/x?y#z"), "https://orders.example/x?y#z");
        assert_eq!(outward("HTTP://UP:8000"), "https://orders.example");
        assert_eq!(outward("http://second:81/x"), "https://orders.example/x");
        assert_eq!(outward("http://orders.example/x"), "https://orders.example/x", "it forgot about TLS");
        assert_eq!(outward("http://orders.example:80/x"), "https://orders.example/x");
        for alone in
            ["/x", "x", "//other/x", "http://up:80001/x", "http://up:8000.evil/", "https://other/", "http://up/"]
        {
            assert_eq!(outward(alone), alone);
        }
        assert_eq!(answered("http://up:8000", "refresh", "5; url=http://up:8000/x"), "5; url=https://orders.example/x");
        assert_eq!(answered("http://up:8000", "refresh", "0;URL='http://up:8000/x'"), "0;URL=https://orders.example/x");
        assert_eq!(answered("http://up:8000", "refresh", "5"), "5");
        assert_eq!(answered("http://up:8000", "access-control-allow-origin", "*"), "*");
    }

    #[test]
    fn an_address_below_a_path_is_mapped_to_the_root() {
        let outward = |value| answered("http://up:8000/app", "location", value);
        assert_eq!(outward("http://up:8000/app/x"), "https://orders.example/x");
        assert_eq!(outward("/app/x"), "/x");
        assert_eq!(outward("/app"), "/");
        assert_eq!(outward("/apple"), "/apple");
    }

    #[test]
    fn an_upstream_under_its_own_name_sees_itself() {
        assert_eq!(asked(false, "host", "orders.example"), "up:8000");
        assert_eq!(asked(false, "origin", "https://orders.example"), "http://up:8000");
        assert_eq!(asked(false, "origin", "https://evil.example"), "https://evil.example");
        assert_eq!(asked(false, "referer", "https://orders.example/x"), "http://up:8000/app/x");
        assert_eq!(asked(true, "host", "anything"), "orders.example");
        assert_eq!(asked(true, "origin", "https://orders.example"), "https://orders.example");
    }

    #[test]
    fn no_token_in_a_referer() {
        assert_eq!(asked(true, "referer", "https://orders.example/x?.vestibule=T"), "https://orders.example/x");
        assert_eq!(
            asked(true, "referer", "https://orders.example/x?a=1&.vestibule=T&b=2"),
            "https://orders.example/x?a=1&b=2"
        );
        assert_eq!(asked(false, "referer", "https://orders.example/x?.vestibule=T"), "http://up:8000/app/x");
        assert_eq!(
            asked(true, "referer", "https://orders.example/x?a=.vestibule"),
            "https://orders.example/x?a=.vestibule"
        );
    }
}
