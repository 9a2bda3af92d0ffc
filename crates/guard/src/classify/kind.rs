//! The kinds of requests: the rows of the table.

use serde::{Deserialize, Serialize};
use std::fmt;
use vestibule_policy::web::is_safe_method;

use super::facts::{Facts, TokenState};
use super::fetch::{Dest, FetchMode};
use crate::headers::essence;

/// Which row of the table a request is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A form that is posted: by click, `submit()`, `requestSubmit()`, `formaction`, into a frame.
    FormPost,
    /// The same with files: `multipart/form-data`.
    Upload,
    /// A script's call with an unsafe method, `keepalive` among them.
    ScriptCommand,
    /// `sendBeacon`, and what looks like it: `fetch` without CORS.
    Beacon,
    /// What the browser itself sends and no page can give a token: reports (Content-Security-Policy), `<a ping>`.
    Report,
    /// A WebSocket handshake.
    WebSocket,
    /// A page or frame that moves: a link, a form with GET, a typed address, a redirect.
    Navigation,
    /// A script's call that reads; EventSource.
    ScriptRead,
    /// A part of a page.
    Part,
    /// A command from another site.
    CrossSite,
    /// From elsewhere, or without a page, where the application lists it.
    EntryPoint,
    /// A prefetch or prerender.
    Prefetch,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::FormPost,
        Self::Upload,
        Self::ScriptCommand,
        Self::Beacon,
        Self::Report,
        Self::WebSocket,
        Self::Navigation,
        Self::ScriptRead,
        Self::Part,
        Self::CrossSite,
        Self::EntryPoint,
        Self::Prefetch,
    ];

    /// Its word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::FormPost => "form",
            Self::Upload => "upload",
            Self::ScriptCommand => "script command",
            Self::Beacon => "beacon",
            Self::Report => "report",
            Self::WebSocket => "websocket",
            Self::Navigation => "navigation",
            Self::ScriptRead => "script read",
            Self::Part => "part",
            Self::CrossSite => "cross-site command",
            Self::EntryPoint => "entry point",
            Self::Prefetch => "prefetch",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The kind of a request.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        if facts.upgrade {
            return Self::WebSocket;
        }
        let elsewhere = facts.source().is_elsewhere();
        let pageless = matches!(facts.token, TokenState::None | TokenState::Entered | TokenState::Bad(_));
        let writes = facts.is_command();
        if facts.is_entry_point() && (elsewhere || (writes && pageless)) {
            return Self::EntryPoint;
        }
        match (is_safe_method(facts.method), writes && elsewhere) {
            (_, true) => Self::CrossSite,
            (true, false) => read(facts),
            (false, false) => write(facts),
        }
    }

    /// Whether its answer is looked at by a person, so that a page may stand for what was asked.
    pub fn shows_a_page(self) -> bool {
        match self {
            Self::FormPost | Self::Upload | Self::Navigation | Self::EntryPoint => true,
            Self::ScriptCommand
            | Self::Beacon
            | Self::Report
            | Self::WebSocket
            | Self::ScriptRead
            | Self::Part
            | Self::CrossSite
            | Self::Prefetch => false,
        }
    }
}

fn write(facts: &Facts<'_>) -> Kind {
    let form = if is_multipart(facts.content_type) { Kind::Upload } else { Kind::FormPost };
    match (facts.fetch.mode, facts.fetch.dest) {
        _ if facts.content_type == Some("text/ping") => Kind::Report,
        (_, Some(Dest::Report)) => Kind::Report,
        (Some(FetchMode::Navigate), _) => form,
        (Some(FetchMode::NoCors), _) => Kind::Beacon,
        // A service worker that passes a form on, or a browser that sends no fetch metadata.
        (Some(FetchMode::SameOrigin) | None, Some(Dest::Empty) | None)
            if facts.accepts_html && is_form(facts.content_type) =>
        {
            form
        }
        _ => Kind::ScriptCommand,
    }
}

fn read(facts: &Facts<'_>) -> Kind {
    if facts.purpose_prefetch {
        return Kind::Prefetch;
    }
    match (facts.fetch.mode, facts.fetch.dest) {
        (Some(FetchMode::Navigate), _) => Kind::Navigation,
        (_, Some(Dest::Part)) => Kind::Part,
        // A service worker that navigates, or a browser that sends no fetch metadata.
        (Some(FetchMode::SameOrigin) | None, Some(Dest::Empty) | None) if facts.accepts_html => Kind::Navigation,
        // A part of a page that went through a service worker.
        (Some(FetchMode::NoCors), _) => Kind::Part,
        (None, None) if facts.token == TokenState::None => Kind::Part,
        _ => Kind::ScriptRead,
    }
}

/// The three types that forms can have (HTML section 4.10.21.3).
fn is_form(content_type: Option<&str>) -> bool {
    let essence = essence(content_type.unwrap_or_default());
    let plain =
        ["application/x-www-form-urlencoded", "text/plain"].into_iter().any(|form| essence.eq_ignore_ascii_case(form));
    plain || is_multipart(content_type)
}

fn is_multipart(content_type: Option<&str>) -> bool {
    essence(content_type.unwrap_or_default()).eq_ignore_ascii_case("multipart/form-data")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
