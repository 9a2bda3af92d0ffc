//! The table of section 3, row by row. The headers are those that browsers are documented to send (Fetch Metadata, the Fetch and
//! HTML standards), written by hand: Chromium's and Firefox's own differ where a row says so. "plain" is plain HTTP to another
//! host than `localhost`, where neither sends fetch metadata.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};
use proptest::prelude::*;
use vestibule_policy::web::{NormalPath, PathPattern};

use super::*;
use crate::names::Proof;

const OWN: &str = "http://orders.localhost:8080";
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

const ADMIT: Outcome = Outcome::Admit { command: false, unseen: false };
const RUN: Outcome = Outcome::Admit { command: true, unseen: false };
const UNSEEN: Outcome = Outcome::Admit { command: false, unseen: true };
const NO_PAGE: Outcome = Outcome::Refuse(Refusal::NoPage);
const CROSS: Outcome = Outcome::Refuse(Refusal::CrossSite);
const SIGNED_OFF: Outcome = Outcome::Refuse(Refusal::SignedOff);
const AFRESH: Outcome = Outcome::ProveEntry { afresh: true, asks: false };
const ASKED_AFRESH: Outcome = Outcome::ProveEntry { afresh: true, asks: true };
const GO_ON: Outcome = Outcome::ProveEntry { afresh: false, asks: true };
const SIGN_IN: Outcome = Outcome::SignIn;

/// What is said of a request: bearing a good token; bearing none, in standard mode; in strict mode with a cookie; in strict mode
/// over the tunnel; without a session.
type Said = [Outcome; 5];

/// A command of the application's own pages.
const COMMAND: Said = [RUN, NO_PAGE, NO_PAGE, NO_PAGE, SIGNED_OFF];
/// The same, sent by a page that moves.
const FORM: Said = [RUN, NO_PAGE, NO_PAGE, NO_PAGE, SIGN_IN];
/// A page or frame that moves within the application, or from nowhere.
const MOVE: Said = [ADMIT, ADMIT, AFRESH, ADMIT, SIGN_IN];
/// A script that reads.
const CALL: Said = [ADMIT, ADMIT, NO_PAGE, NO_PAGE, SIGNED_OFF];
/// A part of a page.
const PIECE: Said = [ADMIT, ADMIT, ADMIT, ADMIT, SIGNED_OFF];
/// Refused wherever it comes in.
const STRANGER: Said = [CROSS; 5];

fn metadata(site: &str, mode: &str, dest: &str) -> String {
    format!("sec-fetch-site: {site}\nsec-fetch-mode: {mode}\nsec-fetch-dest: {dest}\n")
}

fn accept_html() -> String {
    format!("accept: {HTML}\n")
}

fn posted(kind: &str) -> String {
    format!("content-type: {kind}\norigin: {OWN}\nreferer: {OWN}/orders\n")
}

const FORM_TYPE: &str = "application/x-www-form-urlencoded";
const UPLOAD_TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundarytk4wPV7OHyUoVfYo";
const EVIL: &str = "origin: http://evil.example\nreferer: http://evil.example/\n";
const REFERER: &str = "referer: http://orders.localhost:8080/orders\n";

fn rows() -> Vec<(&'static str, &'static str, String, Kind, Said)> {
    let html = accept_html;
    let own = |mode, dest| metadata("same-origin", mode, dest);
    let evil = |mode, dest| metadata("cross-site", mode, dest) + EVIL;
    vec![
        // Forms.
        ("form", "POST", own("navigate", "document") + &html() + &posted(FORM_TYPE), Kind::FormPost, FORM),
        (
            "form by script, Chromium",
            "POST",
            own("navigate", "document") + &html() + &posted(FORM_TYPE),
            Kind::FormPost,
            FORM,
        ),
        ("form into a frame", "POST", own("navigate", "iframe") + &html() + &posted(FORM_TYPE), Kind::FormPost, FORM),
        (
            "form, no-referrer page",
            "POST",
            own("navigate", "document") + &html() + "origin: null\n",
            Kind::FormPost,
            FORM,
        ),
        ("form, plain", "POST", html() + &posted(FORM_TYPE), Kind::FormPost, FORM),
        ("form, plain, only a referrer", "POST", html() + REFERER + "content-type: text/plain\n", Kind::FormPost, FORM),
        (
            "form, plain, no-referrer page",
            "POST",
            html() + "origin: null\ncontent-type: text/plain\n",
            Kind::FormPost,
            FORM,
        ),
        (
            "reload of a form's answer",
            "POST",
            metadata("none", "navigate", "document") + &html() + &posted(FORM_TYPE),
            Kind::FormPost,
            FORM,
        ),
        (
            "form through a service worker",
            "POST",
            own("same-origin", "empty") + &html() + &posted(FORM_TYPE),
            Kind::FormPost,
            FORM,
        ),
        // Uploads.
        ("upload", "POST", own("navigate", "document") + &html() + &posted(UPLOAD_TYPE), Kind::Upload, FORM),
        ("upload, plain", "POST", html() + &posted(UPLOAD_TYPE), Kind::Upload, FORM),
        // Scripts that write.
        (
            "fetch",
            "POST",
            own("cors", "empty") + &posted("application/json") + "accept: */*\n",
            Kind::ScriptCommand,
            COMMAND,
        ),
        (
            "fetch of a form",
            "POST",
            own("cors", "empty") + &posted(UPLOAD_TYPE) + "accept: */*\n",
            Kind::ScriptCommand,
            COMMAND,
        ),
        (
            "fetch of a form for HTML",
            "POST",
            own("cors", "empty") + &posted(FORM_TYPE) + &html(),
            Kind::ScriptCommand,
            COMMAND,
        ),
        ("XHR", "PUT", own("cors", "empty") + &posted("text/plain;charset=UTF-8"), Kind::ScriptCommand, COMMAND),
        ("DELETE", "DELETE", own("cors", "empty") + "accept: */*\n", Kind::ScriptCommand, COMMAND),
        ("WebDAV", "PROPFIND", own("cors", "empty"), Kind::ScriptCommand, COMMAND),
        ("fetch, plain", "POST", posted("text/plain;charset=UTF-8") + "accept: */*\n", Kind::ScriptCommand, COMMAND),
        ("no browser", "POST", "accept: */*\n".to_owned(), Kind::ScriptCommand, COMMAND),
        (
            "GET that is to be read as DELETE",
            "GET",
            own("cors", "empty") + "x-http-method-override: DELETE\n",
            Kind::ScriptRead,
            COMMAND,
        ),
        // Beacons, and what the browser sends by itself.
        ("beacon", "POST", own("no-cors", "empty") + &posted("text/plain;charset=UTF-8"), Kind::Beacon, COMMAND),
        ("beacon of a blob", "POST", own("cors", "empty") + &posted("application/json"), Kind::ScriptCommand, COMMAND),
        ("ping of a link", "POST", own("no-cors", "empty") + "content-type: text/ping\n", Kind::Report, COMMAND),
        (
            "report of a policy",
            "POST",
            own("no-cors", "report") + "content-type: application/csp-report\n",
            Kind::Report,
            COMMAND,
        ),
        // Scripts that read.
        ("fetch, read", "GET", own("cors", "empty") + REFERER + "accept: */*\n", Kind::ScriptRead, CALL),
        ("fetch for HTML (Turbo)", "GET", own("cors", "empty") + &html(), Kind::ScriptRead, CALL),
        ("EventSource", "GET", own("cors", "empty") + "accept: text/event-stream\n", Kind::ScriptRead, CALL),
        ("HEAD", "HEAD", own("cors", "empty"), Kind::ScriptRead, CALL),
        // Pages that move.
        ("link", "GET", own("navigate", "document") + &html() + "sec-fetch-user: ?1\n", Kind::Navigation, MOVE),
        ("form with GET into a frame", "GET", own("navigate", "iframe") + &html(), Kind::Navigation, MOVE),
        ("embedded", "GET", own("navigate", "embed") + &html(), Kind::Navigation, MOVE),
        ("typed address", "GET", metadata("none", "navigate", "document") + &html(), Kind::Navigation, MOVE),
        ("typed address, plain", "GET", html(), Kind::Navigation, MOVE),
        ("link, plain", "GET", html() + REFERER, Kind::Navigation, MOVE),
        ("link through a service worker", "GET", own("same-origin", "empty") + &html(), Kind::Navigation, MOVE),
        // Parts.
        ("image", "GET", own("no-cors", "image"), Kind::Part, PIECE),
        ("style", "GET", own("no-cors", "style") + "accept: text/css,*/*;q=0.1\n", Kind::Part, PIECE),
        ("module script", "GET", own("cors", "script"), Kind::Part, PIECE),
        ("worker", "GET", own("same-origin", "worker"), Kind::Part, PIECE),
        ("manifest", "GET", own("cors", "manifest"), Kind::Part, PIECE),
        ("video", "GET", own("no-cors", "video") + "range: bytes=0-\n", Kind::Part, PIECE),
        ("image through a service worker", "GET", own("no-cors", "empty"), Kind::Part, PIECE),
        ("image of a sibling", "GET", metadata("same-site", "no-cors", "image"), Kind::Part, PIECE),
        // WebSockets: Chromium sends no metadata, Firefox does.
        (
            "WebSocket, Chromium",
            "GET",
            format!("connection: upgrade\nupgrade: websocket\norigin: {OWN}\n"),
            Kind::WebSocket,
            [ADMIT, NO_PAGE, NO_PAGE, NO_PAGE, SIGNED_OFF],
        ),
        (
            "WebSocket, Firefox",
            "GET",
            own("websocket", "empty") + &format!("connection: upgrade\nupgrade: websocket\norigin: {OWN}\n"),
            Kind::WebSocket,
            [ADMIT, NO_PAGE, NO_PAGE, NO_PAGE, SIGNED_OFF],
        ),
        (
            "WebSocket from elsewhere",
            "GET",
            "connection: upgrade\nupgrade: websocket\norigin: http://evil.example\n".to_owned(),
            Kind::WebSocket,
            STRANGER,
        ),
        (
            "WebSocket from another port",
            "GET",
            "connection: upgrade\nupgrade: websocket\norigin: http://orders.localhost:8081\n".to_owned(),
            Kind::WebSocket,
            STRANGER,
        ),
        (
            "WebSocket from a sandbox",
            "GET",
            "connection: upgrade\nupgrade: websocket\norigin: null\n".to_owned(),
            Kind::WebSocket,
            STRANGER,
        ),
        (
            "WebSocket without origin",
            "GET",
            "connection: upgrade\nupgrade: websocket\n".to_owned(),
            Kind::WebSocket,
            STRANGER,
        ),
        // Elsewhere.
        ("form elsewhere", "POST", evil("navigate", "document") + &html(), Kind::CrossSite, STRANGER),
        (
            "form of a sibling",
            "POST",
            metadata("same-site", "navigate", "document") + &html(),
            Kind::CrossSite,
            STRANGER,
        ),
        ("form elsewhere, plain", "POST", html() + EVIL, Kind::CrossSite, STRANGER),
        ("fetch elsewhere", "POST", evil("no-cors", "empty"), Kind::CrossSite, STRANGER),
        ("site that is not known yet", "POST", metadata("same-planet", "cors", "empty"), Kind::CrossSite, STRANGER),
        ("site said twice", "POST", own("cors", "empty") + "sec-fetch-site: cross-site\n", Kind::CrossSite, STRANGER),
        ("script elsewhere that reads", "GET", evil("cors", "empty"), Kind::ScriptRead, STRANGER),
        ("script of a sibling that reads", "GET", metadata("same-site", "cors", "empty"), Kind::ScriptRead, STRANGER),
        ("image elsewhere", "GET", metadata("cross-site", "no-cors", "image"), Kind::Part, STRANGER),
        ("frame elsewhere", "GET", metadata("cross-site", "navigate", "iframe") + &html(), Kind::Navigation, STRANGER),
        (
            "link elsewhere",
            "GET",
            metadata("cross-site", "navigate", "document") + &html(),
            Kind::Navigation,
            [ADMIT, GO_ON, ASKED_AFRESH, GO_ON, SIGN_IN],
        ),
        (
            "link elsewhere, plain",
            "GET",
            html() + "referer: http://evil.example/\n",
            Kind::Navigation,
            [ADMIT, GO_ON, ASKED_AFRESH, GO_ON, SIGN_IN],
        ),
        // Before anybody asked.
        (
            "prefetch",
            "GET",
            own("no-cors", "empty") + "sec-purpose: prefetch\n",
            Kind::Prefetch,
            [UNSEEN, UNSEEN, NO_PAGE, UNSEEN, SIGNED_OFF],
        ),
        (
            "prerender",
            "GET",
            own("navigate", "document") + &html() + "sec-purpose: prefetch;prerender\n",
            Kind::Prefetch,
            [UNSEEN, UNSEEN, NO_PAGE, UNSEEN, SIGNED_OFF],
        ),
        (
            "prefetch elsewhere",
            "GET",
            metadata("cross-site", "no-cors", "empty") + "purpose: prefetch\n",
            Kind::Prefetch,
            STRANGER,
        ),
    ]
}

fn head(method: &str, headers: &str) -> Parts {
    let mut head = Request::builder().method(method).uri("/orders/7").body(()).unwrap().into_parts().0;
    for (name, value) in headers.lines().map(|line| line.split_once(": ").unwrap()) {
        head.headers.append(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    head
}

fn app(mode: Mode) -> AppRules {
    AppRules { mode, ..AppRules::default() }
}

fn patterns(text: &str) -> Vec<PathPattern> {
    vec![PathPattern::parse(text).unwrap()]
}

/// Judges a request for `/orders/7`.
fn verdict(head: &Parts, app: &AppRules, proof: Proof, session: bool, token: TokenState) -> Verdict {
    let path = NormalPath::from_request(head.uri.path());
    judge(&Facts::of(head, path.as_ref().map_err(|trick| *trick), OWN, (proof, session), token, app))
}

#[test]
fn every_row() {
    use TokenState::{Good, None};
    let (standard, strict) = (app(Mode::Standard), app(Mode::Strict));
    for (name, method, headers, kind, expected) in rows() {
        let head = head(method, &headers);
        let bare = verdict(&head, &standard, Proof::Cookie, true, None);
        assert_eq!(bare.kind, kind, "{name}");
        let said = [
            verdict(&head, &standard, Proof::Cookie, true, Good),
            bare,
            verdict(&head, &strict, Proof::Cookie, true, None),
            verdict(&head, &strict, Proof::Tunnel, true, None),
            verdict(&head, &standard, Proof::Cookie, false, None),
        ];
        assert_eq!(said.map(|verdict| verdict.outcome), expected, "{name}");
        assert_eq!(
            verdict(&head, &strict, Proof::Cookie, true, Good).outcome,
            expected[0],
            "{name}, strict with a token"
        );
    }
}

#[test]
fn every_kind_is_in_the_table_or_below() {
    let mut kinds: Vec<Kind> = rows().into_iter().map(|row| row.3).chain([Kind::EntryPoint]).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, Kind::ALL);
    assert!(Kind::ALL.into_iter().all(|kind| Kind::from_word(kind.word()) == Some(kind)));
    assert!(Refusal::ALL.into_iter().all(|refusal| Refusal::from_word(refusal.word()) == Some(refusal)));
}

#[test]
fn a_token_that_does_not_open_is_named_where_it_counts() {
    for (name, method, headers, _, expected) in rows() {
        for why in [Refusal::ExpiredPage, Refusal::OtherSession] {
            let said =
                verdict(&head(method, &headers), &app(Mode::Standard), Proof::Cookie, true, TokenState::Bad(why));
            let expected = if expected[1] == NO_PAGE { Outcome::Refuse(why) } else { expected[1] };
            assert_eq!(said.outcome, expected, "{name}");
        }
    }
}

/// What a session gets for proving itself afresh lets a page be read, and does not stand for a page anywhere else.
#[test]
fn a_proven_entry_is_a_read_and_nothing_else() {
    for (name, method, headers, kind, expected) in rows() {
        for (mode, at) in [(Mode::Standard, 1), (Mode::Strict, 2)] {
            let said = verdict(&head(method, &headers), &app(mode), Proof::Cookie, true, TokenState::Entered);
            let entered = matches!(expected[at], AFRESH | ASKED_AFRESH);
            assert_eq!(said.outcome, if entered { ADMIT } else { expected[at] }, "{name}");
            assert!(!entered || kind == Kind::Navigation, "{name}");
            assert!(!said.needs.claim || said.outcome != RUN, "{name}");
        }
    }
    let commands = AppRules { mode: Mode::Strict, get_commands: patterns("/orders/*"), ..AppRules::default() };
    let typed = head("GET", &metadata("none", "navigate", "document"));
    assert_eq!(verdict(&typed, &commands, Proof::Cookie, true, TokenState::Entered).outcome, NO_PAGE);
}

#[test]
fn the_body_is_looked_at_only_when_nothing_else_is_wrong() {
    for (name, method, headers, _, expected) in rows() {
        let said = verdict(&head(method, &headers), &app(Mode::Standard), Proof::Cookie, true, TokenState::InBody);
        let expected = if expected == STRANGER { CROSS } else { Outcome::LookInBody };
        assert_eq!(said.outcome, expected, "{name}");
        let stranger = verdict(&head(method, &headers), &app(Mode::Standard), Proof::Cookie, false, TokenState::InBody);
        assert_ne!(stranger.outcome, Outcome::LookInBody, "{name}");
    }
}

#[test]
fn only_commands_of_pages_are_claimed() {
    for (name, method, headers, _, expected) in rows() {
        let said = verdict(&head(method, &headers), &app(Mode::Standard), Proof::Cookie, true, TokenState::Good);
        assert_eq!(said.needs.claim && said.outcome == RUN, expected[0] == RUN, "{name}");
    }
}

#[test]
fn observing_refuses_nothing_that_has_a_session() {
    for (name, method, headers, _, expected) in rows() {
        let head = head(method, &headers);
        let said = verdict(&head, &app(Mode::Observe), Proof::Cookie, true, TokenState::None);
        assert!(matches!(said.outcome, Outcome::Admit { .. }), "{name}");
        assert_eq!(said.measured, expected[1], "{name}");
        assert!(!said.needs.claim, "{name}");
        let stranger = verdict(&head, &app(Mode::Observe), Proof::Cookie, false, TokenState::None);
        assert_eq!(stranger.outcome, expected[4], "{name}");
    }
}

#[test]
fn entry_points_let_in_what_they_name_and_nothing_else() {
    let entry = |method: &str| EntryPoint { method: method.to_owned(), path: PathPattern::parse("/orders/*").unwrap() };
    let app = AppRules { entry_points: vec![entry("POST"), entry("GET")], ..AppRules::default() };
    let none = TokenState::None;
    let saml = head("POST", &(metadata("cross-site", "navigate", "document") + EVIL + &accept_html()));
    let said = verdict(&saml, &app, Proof::Cookie, true, none);
    assert_eq!((said.kind, said.outcome, said.needs.claim), (Kind::EntryPoint, RUN, false));
    // The cookie stays at home when another site posts: the person comes back with it.
    assert_eq!(verdict(&saml, &app, Proof::Cookie, false, none).outcome, SIGN_IN);
    let link = head("GET", &metadata("cross-site", "navigate", "document"));
    assert_eq!(verdict(&link, &app, Proof::Cookie, true, none).outcome, ADMIT);
    let put = head("PUT", &(metadata("cross-site", "cors", "empty") + EVIL));
    assert_eq!(verdict(&put, &app, Proof::Cookie, true, none).outcome, CROSS);
    // A page's own command to such a path is claimed like any other.
    let own = head("POST", &(metadata("same-origin", "navigate", "document") + &posted(FORM_TYPE)));
    assert_eq!(verdict(&own, &app, Proof::Cookie, true, TokenState::InBody).outcome, Outcome::LookInBody);
    assert!(verdict(&own, &app, Proof::Cookie, true, TokenState::Good).needs.claim);
    // A handshake keeps its origin.
    let socket = head("GET", "connection: upgrade\nupgrade: websocket\norigin: http://evil.example\n");
    assert_eq!(verdict(&socket, &app, Proof::Cookie, true, none).outcome, CROSS);
    // Strict reads prove themselves here too.
    let strict = AppRules { mode: Mode::Strict, ..app };
    assert_eq!(verdict(&link, &strict, Proof::Cookie, true, none).outcome, ASKED_AFRESH);
}

#[test]
fn a_get_that_is_a_command_is_never_an_entry() {
    let app = AppRules { get_commands: patterns("/Orders/*"), ..AppRules::default() };
    for (headers, refused) in [
        (metadata("same-origin", "navigate", "document"), NO_PAGE),
        (metadata("none", "navigate", "document"), NO_PAGE),
        (metadata("same-origin", "cors", "empty"), NO_PAGE),
        (metadata("same-origin", "no-cors", "image"), NO_PAGE),
        (metadata("same-origin", "no-cors", "empty") + "sec-purpose: prefetch\n", NO_PAGE),
        (metadata("cross-site", "navigate", "document"), CROSS),
    ] {
        for method in ["GET", "HEAD"] {
            let said = verdict(&head(method, &headers), &app, Proof::Tunnel, true, TokenState::None);
            assert_eq!(said.outcome, refused, "{method} {headers}");
        }
    }
    let link = head("GET", &metadata("same-origin", "navigate", "document"));
    let said = verdict(&link, &app, Proof::Cookie, true, TokenState::Good);
    assert_eq!((said.outcome, said.needs.claim), (RUN, true));
    let prefetch = head("GET", &(metadata("same-origin", "no-cors", "empty") + "sec-purpose: prefetch\n"));
    assert_eq!(verdict(&prefetch, &app, Proof::Cookie, true, TokenState::Good).outcome, NO_PAGE);
}

#[test]
fn rules_of_paths_are_not_dodged_by_tricks() {
    let none = TokenState::None;
    let ruled = AppRules { strict_paths: patterns("/secret/**"), ..AppRules::default() };
    let mut read = head("GET", &metadata("same-origin", "cors", "empty"));
    for (path, rules, expected) in [
        ("/secret/a", &ruled, NO_PAGE),
        ("/SECRET./a", &ruled, NO_PAGE),
        ("/open", &ruled, ADMIT),
        ("/open/%2e%2e/secret/a", &ruled, Outcome::Refuse(Refusal::Malformed)),
        ("//secret/a", &ruled, Outcome::Refuse(Refusal::Malformed)),
        ("/open/%2e%2e/secret/a", &AppRules::default(), ADMIT),
    ] {
        read.uri = format!("http://orders.localhost{path}").parse().unwrap();
        assert_eq!(verdict(&read, rules, Proof::Cookie, true, none).outcome, expected, "{path}");
    }
}

#[test]
fn what_only_parts_of_pages_may_bring() {
    let image = head("GET", &metadata("same-origin", "no-cors", "image"));
    let strict = app(Mode::Strict);
    assert!(verdict(&image, &strict, Proof::Cookie, true, TokenState::None).needs.part);
    assert!(!verdict(&image, &strict, Proof::Cookie, true, TokenState::Good).needs.part);
    assert!(!verdict(&image, &app(Mode::Standard), Proof::Cookie, true, TokenState::None).needs.part);
    for good in
        ["image/png", "text/css; charset=utf-8", "Text/JavaScript", "font/woff2", "application/wasm", "video/mp4"]
    {
        assert!(is_part_type(good, Kind::Part) && is_part_type(good, Kind::Navigation), "{good}");
    }
    for svg in ["image/svg+xml", "Image/SVG+XML; charset=utf-8", "image/svg"] {
        assert!(is_part_type(svg, Kind::Part), "{svg}: an image of a page");
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Part) {
            assert!(!is_part_type(svg, kind), "{svg}: a page in itself, {kind}");
        }
    }
    for bad in [
        "text/html",
        "application/json",
        "application/pdf",
        "text/plain",
        "text/csv",
        "application/xhtml+xml",
        "",
        "image",
    ] {
        assert!(!is_part_type(bad, Kind::Part), "{bad}");
    }
}

#[test]
fn origins_of_addresses() {
    for (url, origin) in [
        ("https://a.example:8443/b?c", Some("https://a.example:8443")),
        ("http://a", Some("http://a")),
        ("http://a?b", Some("http://a")),
        ("http://a@b/", None),
        ("http://", None),
        ("about:blank", None),
        ("ftp://a/", None),
    ] {
        assert_eq!(origin_of(url), origin, "{url}");
    }
}

#[test]
fn headers_are_read_whole_or_not_at_all() {
    let mut headers = HeaderMap::new();
    assert_eq!(FetchFacts::of(&headers), FetchFacts::default());
    headers.insert("sec-fetch-site", hyper::header::HeaderValue::from_bytes(b"same-origin\xff").unwrap());
    assert_eq!(FetchFacts::of(&headers).site, Some(Site::CrossSite));
}

fn headers() -> impl Strategy<Value = String> {
    let site = prop::option::of(prop::sample::select(vec!["same-origin", "same-site", "cross-site", "none", "x"]));
    let mode =
        prop::option::of(prop::sample::select(vec!["navigate", "same-origin", "no-cors", "cors", "websocket", "x"]));
    let dest = prop::option::of(prop::sample::select(vec!["document", "iframe", "empty", "image", "report", "x"]));
    let rest = prop::sample::select(vec![
        "",
        "connection: upgrade\nupgrade: websocket\n",
        "sec-purpose: prefetch\n",
        "content-type: text/plain\n",
        "accept: text/html\n",
    ]);
    let origin = prop::option::of(prop::sample::select(vec![OWN, "null", "http://evil.example"]));
    (site, mode, dest, origin, rest).prop_map(|(site, mode, dest, origin, rest)| {
        let line =
            |name: &str, value: Option<&str>| value.map(|value| format!("{name}: {value}\n")).unwrap_or_default();
        line("sec-fetch-site", site)
            + &line("sec-fetch-mode", mode)
            + &line("sec-fetch-dest", dest)
            + &line("origin", origin)
            + rest
    })
}

proptest! {
    #[test]
    fn whatever_it_says_of_itself(
        headers in headers(),
        method in prop::sample::select(vec!["GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"]),
        mode in prop::sample::select(vec![Mode::Standard, Mode::Strict]),
        proof in prop::sample::select(vec![Proof::Tunnel, Proof::Cookie]),
        session: bool,
    ) {
        let (head, app) = (head(method, &headers), app(mode));
        let none = verdict(&head, &app, proof, session, TokenState::None);
        let admitted = matches!(none.outcome, Outcome::Admit { .. });
        prop_assert!(!admitted || session, "nothing without a session");
        prop_assert!(!admitted || matches!(method, "GET" | "HEAD" | "OPTIONS"), "no command without a page");
        prop_assert!(!admitted || none.kind != Kind::WebSocket, "no WebSocket without a page");
        if mode == Mode::Strict && proof == Proof::Cookie && admitted {
            prop_assert!(none.needs.part, "a cookie alone reads nothing but parts of pages");
        }
        let good = verdict(&head, &app, proof, session, TokenState::Good);
        if matches!(good.outcome, Outcome::Admit { command: true, .. }) {
            prop_assert!(!headers.contains("site: cross-site") && !headers.contains("site: same-site") && good.needs.claim);
        }
        let expired = verdict(&head, &app, proof, session, TokenState::Bad(Refusal::ExpiredPage));
        let let_in = matches!(expired.outcome, Outcome::Admit { .. });
        prop_assert!(!let_in || admitted, "a bad token is no better than none");
    }
}
