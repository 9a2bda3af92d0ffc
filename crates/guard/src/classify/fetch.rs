//! Fetch metadata: what a browser says about a request that no page can make it say.

use hyper::HeaderMap;
use hyper::header::HeaderName;

/// `Sec-Fetch-Site`.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// `Sec-Fetch-Mode`.
pub(crate) const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// `Sec-Fetch-Dest`.
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// `Sec-Fetch-User`.
const USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// The four headers of Fetch Metadata (W3C Working Draft), each absent where the browser sends none: over plain HTTP to other
/// hosts than `localhost`, and in Chromium on WebSocket handshakes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FetchFacts {
    /// `Sec-Fetch-Site`: where the request was made, in relation to us.
    pub site: Option<Site>,
    /// `Sec-Fetch-Mode`: how.
    pub mode: Option<FetchMode>,
    /// `Sec-Fetch-Dest`: what for. Service workers change it.
    pub dest: Option<Dest>,
    /// `Sec-Fetch-User`: a person did something that began it.
    pub user: bool,
}

/// The values of `Sec-Fetch-Site`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    /// A page of this very origin.
    SameOrigin,
    /// A page of a sibling host, or of another scheme or port.
    SameSite,
    /// A page of another site; also what this version does not know, or what was said twice.
    CrossSite,
    /// No page: a typed address, a bookmark.
    None,
}

/// The values of `Sec-Fetch-Mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchMode {
    /// A page or frame moves to another address.
    Navigate,
    /// A request that may only stay within its origin: workers, and service workers that navigate.
    SameOrigin,
    /// Parts of a page, beacons, reports.
    NoCors,
    /// `fetch`, XMLHttpRequest, EventSource, fonts, module scripts.
    Cors,
    /// A WebSocket handshake.
    WebSocket,
    /// Something that this version does not know.
    Other,
}

/// The values of `Sec-Fetch-Dest`, as far as they differ to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dest {
    /// A page in a tab of its own.
    Document,
    /// A page within a page: `iframe`, `frame`, `fencedframe`, `embed`, `object`.
    Frame,
    /// Nothing in particular: a script's call, or any request that went through a service worker.
    Empty,
    /// A part of a page: script, style, image, font, media, worker, manifest.
    Part,
    /// A report that the browser itself sends (Content-Security-Policy, Reporting API).
    Report,
    /// Something that this version does not know.
    Other,
}

impl FetchFacts {
    /// Reads the headers of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let said = |name: &HeaderName| only(headers, name);
        Self {
            site: said(&SITE).map(Site::read),
            mode: said(&MODE).map(FetchMode::read),
            dest: said(&DEST).map(Dest::read),
            user: said(&USER) == Some("?1"),
        }
    }
}

/// The one value of a header; empty when there are several, or when it isn't text: that is then no known value.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let alone = values.next().is_none();
    Some(if alone { first.to_str().unwrap_or_default() } else { "" })
}

impl Site {
    fn read(text: &str) -> Self {
        match text {
            "same-origin" => Self::SameOrigin,
            "same-site" => Self::SameSite,
            "none" => Self::None,
            _ => Self::CrossSite,
        }
    }
}

impl FetchMode {
    fn read(text: &str) -> Self {
        match text {
            "navigate" | "nested-navigate" => Self::Navigate,
            "same-origin" => Self::SameOrigin,
            "no-cors" => Self::NoCors,
            "cors" => Self::Cors,
            "websocket" => Self::WebSocket,
            _ => Self::Other,
        }
    }
}

impl Dest {
    fn read(text: &str) -> Self {
        match text {
            "document" => Self::Document,
            "iframe" | "frame" | "fencedframe" | "embed" | "object" | "nested-document" => Self::Frame,
            "empty" => Self::Empty,
            "audio" | "audioworklet" | "font" | "image" | "json" | "manifest" | "paintworklet" | "script"
            | "serviceworker" | "sharedworker" | "style" | "track" | "video" | "worker" | "xslt" => Self::Part,
            "report" => Self::Report,
            _ => Self::Other,
        }
    }
}
