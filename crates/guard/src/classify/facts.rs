//! What is known of a request before it is judged.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, ORIGIN, REFERER};
use hyper::http::request::Parts;
use serde::{Deserialize, Serialize};
use vestibule_policy::web::{NormalPath, PathPattern, PathTrick, is_safe_method};

use super::fetch::{FetchFacts, Site, only};
use super::refusal::Refusal;
use crate::names::Proof;
use crate::websocket;

/// Headers by which a client asks a framework to read one method as another; `-` and `_` are the same to many frameworks.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

const PURPOSE: HeaderName = HeaderName::from_static("purpose");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const X_MOZ: HeaderName = HeaderName::from_static("x-moz");

/// The methods that a request asks the application to read instead of its own, one for each header that says so.
pub fn method_overrides(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.keys().filter(|name| overrides_method(name.as_str())).filter_map(|name| only(headers, name))
}

/// Whether a header of this name, in small letters, asks for another method than the request has.
pub(crate) fn overrides_method(name: &str) -> bool {
    let with_dashes = || name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    // Hardly any field begins like these.
    name.starts_with('x') && OVERRIDES.iter().any(|header| with_dashes().eq(header.bytes()))
}

/// All that a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a str,
    /// The method that `X-HTTP-Method-Override` and its likes ask the application to read instead.
    pub method_override: Option<&'a str>,
    /// The path, if everybody reads it alike.
    pub path: Result<&'a NormalPath, PathTrick>,
    /// Fetch metadata.
    pub fetch: FetchFacts,
    /// The header `Origin`, as sent; `null` among its values.
    pub origin: Option<&'a str>,
    /// The origin of the header `Referer` ([`origin_of`]).
    pub referer_origin: Option<&'a str>,
    /// The application's own origin as browsers write it: `https://orders.example`, `http://orders.localhost:8080`.
    pub own_origin: &'a str,
    /// Whether it asks for a WebSocket.
    pub upgrade: bool,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Whether the header `Accept` names `text/html`: browsers do so whenever a page or frame moves.
    pub accepts_html: bool,
    /// Whether it is a prefetch or prerender (`Sec-Purpose`, `Purpose`, `X-Moz`).
    pub purpose_prefetch: bool,
    /// What the session was begun with; of a request without a session, what it could be begun with.
    pub proof: Proof,
    /// Whether there is a session.
    pub session: bool,
    /// The page's token.
    pub token: TokenState,
    /// The application's rules.
    pub app: &'a AppRules,
}

/// What became of the search for a page's token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenState {
    /// There is none, neither in header and query nor in a body that could carry one.
    None,
    /// None in header and query; it may stand in the body, which has not been read yet
    /// (`BodyKind::of` in [`carried`](crate::carried) said so).
    InBody,
    /// It opens for this session.
    Good,
    /// In its stand there is what this session has got for proving itself afresh, for this very address: good for one read.
    Entered,
    /// It doesn't, and this is what to say.
    Bad(Refusal),
}

/// How one application is guarded.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppRules {
    /// How strictly.
    pub mode: Mode,
    /// Where other sites may send requests: SAML assertion consumers, `form_post` answers, web hooks.
    pub entry_points: Vec<EntryPoint>,
    /// Paths where a GET changes something, so that it is a command.
    pub get_commands: Vec<PathPattern>,
    /// Paths where reads need a token although the application isn't strict (`reads = "token"`).
    pub strict_paths: Vec<PathPattern>,
}

/// How strictly an application is guarded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Commands need a token, reads a session.
    #[default]
    Standard,
    /// Reads need a token too.
    Strict,
    /// Everything is measured, and nothing refused but what has no session.
    Observe,
}

/// A request that may come from elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryPoint {
    /// Its method; `GET` is HEAD too.
    pub method: String,
    /// Its paths.
    pub path: PathPattern,
}

impl<'a> Facts<'a> {
    /// The facts that stand in a request's own head; what else there is to know comes beside it.
    pub fn of(
        head: &'a Parts,
        path: Result<&'a NormalPath, PathTrick>,
        own_origin: &'a str,
        (proof, session): (Proof, bool),
        token: TokenState,
        app: &'a AppRules,
    ) -> Self {
        let said = |name: &HeaderName| only(&head.headers, name);
        Self {
            method: head.method.as_str(),
            method_override: method_overrides(&head.headers).next(),
            path,
            fetch: FetchFacts::of(&head.headers),
            origin: said(&ORIGIN),
            referer_origin: referer_origin(&head.headers),
            own_origin,
            upgrade: asks_for_websocket(head),
            content_type: said(&CONTENT_TYPE),
            accepts_html: head.headers.get(ACCEPT).is_some_and(|value| names(value.as_bytes(), b"text/html")),
            purpose_prefetch: is_prefetch(&head.headers),
            proof,
            session,
            token,
            app,
        }
    }

    /// Whether it is a command: its method, or the method it asks to be read as, is no safe one, or the application's rules
    /// say so of its path, where a WebSocket is one, too.
    pub fn is_command(&self) -> bool {
        !is_safe_method(self.method)
            || self.method_override.is_some_and(|method| !is_safe_method(method))
            || (matches!(self.method, "GET" | "HEAD") && self.is_at(&self.app.get_commands))
    }

    /// Whether the application lists it among its entry points.
    pub fn is_entry_point(&self) -> bool {
        let as_listed = |listed: &str| listed == self.method || (listed == "GET" && self.method == "HEAD");
        let Ok(path) = self.path else { return false };
        self.app.entry_points.iter().any(|entry| as_listed(&entry.method) && entry.path.matches(path))
    }

    /// Whether reads need a token here.
    pub fn is_strict(&self) -> bool {
        self.app.mode == Mode::Strict || self.is_at(&self.app.strict_paths)
    }

    /// Whether rules ask more of some paths, and this one can be read in several ways.
    pub fn hides_its_path(&self) -> bool {
        self.path.is_err() && !(self.app.get_commands.is_empty() && self.app.strict_paths.is_empty())
    }

    /// Where it comes from.
    pub(super) fn source(&self) -> Source {
        Source::of(self.fetch.site, self.origin, self.referer_origin, self.own_origin)
    }

    fn is_at(&self, patterns: &[PathPattern]) -> bool {
        self.path.is_ok_and(|path| patterns.iter().any(|pattern| pattern.may_match(path)))
    }
}

/// Whether a request with these fields says of itself that a page of `own_origin` sent it; one that says nothing does not.
pub(crate) fn is_from_own_page(fields: &HeaderMap, own_origin: &str) -> bool {
    Source::of(FetchFacts::of(fields).site, only(fields, &ORIGIN), referer_origin(fields), own_origin) == Source::Own
}

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A page of this application.
    Own,
    /// The person: a typed address, a bookmark.
    Direct,
    /// A page on a sibling host.
    Sibling,
    /// A page of another site.
    Foreign,
    /// Nothing says.
    Unsaid,
}

impl Source {
    fn of(site: Option<Site>, origin: Option<&str>, referer_origin: Option<&str>, own_origin: &str) -> Self {
        match site {
            Some(Site::SameOrigin) => Self::Own,
            Some(Site::None) => Self::Direct,
            Some(Site::SameSite) => Self::Sibling,
            Some(Site::CrossSite) => Self::Foreign,
            None => Self::by_origin(origin, referer_origin, own_origin),
        }
    }

    /// Without fetch metadata: Origin, then Referer. An opaque origin says nothing (a page that sends no referrer has it too).
    fn by_origin(origin: Option<&str>, referer_origin: Option<&str>, own_origin: &str) -> Self {
        match origin.filter(|origin| *origin != "null").or(referer_origin) {
            Some(origin) if origin.eq_ignore_ascii_case(own_origin) => Self::Own,
            Some(_) => Self::Foreign,
            None => Self::Unsaid,
        }
    }

    /// Whether something says that it comes from another origin.
    pub(super) fn is_elsewhere(self) -> bool {
        match self {
            Self::Sibling | Self::Foreign => true,
            Self::Own | Self::Direct | Self::Unsaid => false,
        }
    }
}

/// The origin of an address: `https://a.example:8443/b?c` → `https://a.example:8443`. Nothing for what has none, or hides a name
/// before an `@`.
pub fn origin_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())];
    let good = matches!(scheme, "http" | "https") && !authority.is_empty() && !authority.contains('@');
    good.then(|| &url[..scheme.len() + 3 + authority.len()])
}

/// RFC 6455 section 4.1, and RFC 8441 section 4 over HTTP/2.
fn asks_for_websocket(head: &Parts) -> bool {
    let connects =
        head.extensions.get::<hyper::ext::Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    websocket::is_asked(head) || (head.method == "CONNECT" && connects)
}

/// Empty where the header says something else than an address.
fn referer_origin(headers: &HeaderMap) -> Option<&str> {
    only(headers, &REFERER).map(|url| origin_of(url).unwrap_or_default())
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName, word| headers.get(name).is_some_and(|value| names(value.as_bytes(), word));
    [&SEC_PURPOSE, &PURPOSE, &X_MOZ].into_iter().any(|name| says(name, b"prefetch"))
}

/// Whether a list with parameters has this item.
fn names(list: &[u8], item: &[u8]) -> bool {
    list.split(|byte| matches!(byte, b',' | b';')).any(|part| part.trim_ascii().eq_ignore_ascii_case(item))
}
