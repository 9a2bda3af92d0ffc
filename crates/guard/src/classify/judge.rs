//! The judgement.

use super::facts::{Facts, Mode, Source, TokenState};
use super::fetch::Dest;
use super::kind::Kind;
use super::refusal::Refusal;
use crate::headers::essence;
use crate::names::Proof;

/// What [`judge`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The row of the table.
    pub kind: Kind,
    /// What the request needs there.
    pub needs: Needs,
    /// What is to be done.
    pub outcome: Outcome,
    /// What would be done if the application weren't only observed; otherwise the same as `outcome`.
    pub measured: Outcome,
}

/// What a request needs; a session and a grant it needs always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// The token.
    pub token: TokenNeed,
    /// Its `Origin` must be the application's own, letter by letter.
    pub origin: bool,
    /// It must be claimed before it takes effect: a command that a page offered.
    pub claim: bool,
    /// It was admitted where reads need a page without anything to show for it but the session, as part of a page or, of a bare
    /// browser, at an entry point: an answer that is no such part ([`is_part_type`]) is refused as [`Refusal::NoPage`].
    pub part: bool,
}

/// What a token is to a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TokenNeed {
    /// Nothing depends on it; checked and logged where present.
    Free,
    /// Without it the session must be proven afresh.
    Expected,
    /// Nothing goes without it.
    Required,
}

/// What is to be done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It goes on: to the grants, the claim, and the upstream.
    Admit {
        /// It is a command, and so stands in the audit log.
        command: bool,
        /// Nobody may ever see the page that it brings.
        unseen: bool,
    },
    /// The body may carry the token: it is looked for there, and the facts are judged again.
    LookInBody,
    /// It goes no further.
    Refuse(Refusal),
    /// An interstitial page stands in for the read that was asked for, and leads on to it with a token of its own.
    ProveEntry {
        /// The session must be proven afresh there.
        afresh: bool,
        /// Another site led here: the person is asked first.
        asks: bool,
    },
    /// Sign in first: a read's target is kept, a form that was posted is kept for its user.
    SignIn,
}

/// Judges a request: pure, total, and *no* unless a row of the table says yes.
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let kind = Kind::of(facts);
    let needs = needs(kind, facts);
    let measured = decide(kind, &needs, facts);
    let outcome = if facts.app.mode == Mode::Observe { let_by(measured, kind, facts) } else { measured };
    Verdict { kind, needs, outcome, measured }
}

/// Whether a type of content is one that pages are made of besides their text: what a thief of a cookie may see at most. Data
/// (JSON, CSV, PDF), text and pages are not. SVG is an image where a page shows it ([`Kind::Part`]), and runs no script there;
/// whatever else asks for it may make it a page in itself, and gets none.
pub fn is_part_type(content_type: &str, kind: Kind) -> bool {
    const OTHERS: [&str; 7] = [
        "application/javascript",
        "application/x-javascript",
        "application/ecmascript",
        "application/wasm",
        "application/manifest+json",
        "application/vnd.ms-fontobject",
        "application/font-woff",
    ];
    let essence = essence(content_type).to_ascii_lowercase();
    match essence.split_once('/') {
        Some(("image", what)) if what.starts_with("svg") => kind == Kind::Part,
        Some(("image" | "font" | "audio" | "video", _)) => true,
        Some(("text", what)) => matches!(what, "css" | "javascript" | "ecmascript" | "vtt"),
        Some(_) | None => OTHERS.contains(&essence.as_str()),
    }
}

fn needs(kind: Kind, facts: &Facts<'_>) -> Needs {
    let strict = facts.is_strict();
    let lifted = facts.is_entry_point();
    let token = match kind {
        Kind::EntryPoint if facts.is_command() => TokenNeed::Free,
        Kind::WebSocket if lifted => TokenNeed::Free,
        Kind::WebSocket => TokenNeed::Required,
        _ if facts.is_command() => TokenNeed::Required,
        Kind::ScriptRead if strict => TokenNeed::Required,
        Kind::Navigation | Kind::EntryPoint | Kind::Prefetch if strict => TokenNeed::Expected,
        Kind::FormPost
        | Kind::Upload
        | Kind::ScriptCommand
        | Kind::Beacon
        | Kind::Report
        | Kind::Navigation
        | Kind::ScriptRead
        | Kind::Part
        | Kind::CrossSite
        | Kind::EntryPoint
        | Kind::Prefetch => TokenNeed::Free,
    };
    let claim = facts.is_command() && token == TokenNeed::Required && facts.app.mode != Mode::Observe;
    let part = strict && token == TokenNeed::Free && is_bare(kind, facts);
    Needs { token, origin: kind == Kind::WebSocket, claim, part }
}

/// Whether neither page nor proof of an entry comes with it, nor a device that stands for its user. Parts of pages are asked for
/// by pages, whoever shows them.
fn is_bare(kind: Kind, facts: &Facts<'_>) -> bool {
    match facts.token {
        TokenState::Good => false,
        TokenState::Entered => kind == Kind::Part,
        TokenState::None | TokenState::InBody | TokenState::Bad(_) => {
            kind == Kind::Part || (facts.proof == Proof::Cookie && facts.app.mode != Mode::Observe)
        }
    }
}

/// In the order in which a stranger learns least: what is wrong by itself, where it comes from, the session, the token.
fn decide(kind: Kind, needs: &Needs, facts: &Facts<'_>) -> Outcome {
    if facts.hides_its_path() {
        return Outcome::Refuse(Refusal::Malformed);
    }
    if !comes_from_where_it_may(kind, needs, facts) {
        return Outcome::Refuse(Refusal::CrossSite);
    }
    if !facts.session {
        return if kind.shows_a_page() { Outcome::SignIn } else { Outcome::Refuse(Refusal::SignedOff) };
    }
    by_token(kind, needs, facts)
}

fn comes_from_where_it_may(kind: Kind, needs: &Needs, facts: &Facts<'_>) -> bool {
    let source = facts.source();
    if needs.origin {
        return facts.origin.is_some_and(|origin| origin.eq_ignore_ascii_case(facts.own_origin));
    }
    match kind {
        Kind::EntryPoint => true,
        Kind::CrossSite => false,
        Kind::Part => source != Source::Foreign,
        // A link from elsewhere is stopped by the interstitial page, a frame elsewhere not even shown that.
        Kind::Navigation => !(source.is_elsewhere() && facts.fetch.dest == Some(Dest::Frame)),
        Kind::FormPost
        | Kind::Upload
        | Kind::ScriptCommand
        | Kind::Beacon
        | Kind::Report
        | Kind::WebSocket
        | Kind::ScriptRead
        | Kind::Prefetch => !source.is_elsewhere(),
    }
}

fn by_token(kind: Kind, needs: &Needs, facts: &Facts<'_>) -> Outcome {
    let admitted = Outcome::Admit { command: facts.is_command(), unseen: kind == Kind::Prefetch };
    if kind == Kind::Prefetch && facts.is_command() {
        return Outcome::Refuse(Refusal::NoPage);
    }
    let refusal = match (facts.token, needs.token) {
        (TokenState::InBody, _) => return Outcome::LookInBody,
        (TokenState::Good, _) => return admitted,
        // Who has proven himself afresh may read what he came for, and nothing else.
        (TokenState::Entered, TokenNeed::Expected) if kind != Kind::Prefetch => return admitted,
        (TokenState::None | TokenState::Entered | TokenState::Bad(_), TokenNeed::Free) => {
            return by_source(kind, facts, admitted);
        }
        (TokenState::None | TokenState::Entered, TokenNeed::Expected | TokenNeed::Required) => Refusal::NoPage,
        (TokenState::Bad(why), TokenNeed::Expected | TokenNeed::Required) => why,
    };
    match needs.token {
        TokenNeed::Expected => without_a_page(kind, facts, admitted, refusal),
        TokenNeed::Free | TokenNeed::Required => Outcome::Refuse(refusal),
    }
}

/// A link on another site leads in, but not without the person.
fn by_source(kind: Kind, facts: &Facts<'_>, admitted: Outcome) -> Outcome {
    let led_in = kind == Kind::Navigation && facts.source().is_elsewhere();
    if led_in { Outcome::ProveEntry { afresh: false, asks: true } } else { admitted }
}

/// A read where pages are needed, that comes from none: the session must be proven by more than a cookie.
fn without_a_page(kind: Kind, facts: &Facts<'_>, admitted: Outcome, refusal: Refusal) -> Outcome {
    match (facts.proof, kind) {
        (Proof::Tunnel, _) => by_source(kind, facts, admitted),
        (Proof::Cookie, Kind::Prefetch) => Outcome::Refuse(refusal),
        (Proof::Cookie, _) => Outcome::ProveEntry { afresh: true, asks: facts.source().is_elsewhere() },
    }
}

/// While an application is observed, only who has no session is stopped.
fn let_by(measured: Outcome, kind: Kind, facts: &Facts<'_>) -> Outcome {
    let admitted = Outcome::Admit { command: facts.is_command(), unseen: kind == Kind::Prefetch };
    match measured {
        Outcome::Admit { .. } | Outcome::LookInBody | Outcome::SignIn => measured,
        Outcome::Refuse(_) | Outcome::ProveEntry { .. } if facts.session => admitted,
        Outcome::Refuse(_) | Outcome::ProveEntry { .. } => measured,
    }
}
