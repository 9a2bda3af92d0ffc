//! The guard's own pages (PAGEGUARD section 7): plain HTML, rendered here, in the browser's language. Where there is a
//! script, the page works without it.

mod render;
mod words;

pub(crate) use render::{Button, EntryPage, Login, Notice, Portal, PortalApp, PortalSession};
pub(crate) use words::Words;

use crate::body::Body;
use crate::classify::{MODE, Refusal};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

/// What libraries for scripts say of their calls.
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Everything below this path is the guard's own; no upstream sees it.
pub(crate) const OWN: &str = "/.vestibule/";
/// Applications, sessions, signing off.
pub(crate) const PORTAL_PATH: &str = "/.vestibule/";
/// The style sheet of the guard's pages.
pub(crate) const STYLE_PATH: &str = "/.vestibule/style.css";
/// POST: ends a session.
pub(crate) const SIGN_OFF_PATH: &str = "/.vestibule/sign-off";
/// GET and POST: signs in.
pub(crate) const LOGIN_PATH: &str = "/.vestibule/login";
/// GET, HEAD: whether the session lives.
pub(crate) const ALIVE_PATH: &str = "/.vestibule/alive";
/// POST: proves an entry.
pub(crate) const ENTRY_PATH: &str = "/.vestibule/entry";
/// The field of a form, and the parameter of a query, in which a page's token travels.
pub(crate) const PAGE_FIELD: &str = ".vestibule";
/// The field that says which kept form is meant.
pub(crate) const KEPT_FIELD: &str = ".vestibule-kept";
/// The field that says what to do with it.
pub(crate) const DO_FIELD: &str = ".vestibule-do";
/// On every refusal, so that scripts can tell it from the application's own answers; its value is [`Refusal::word`].
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("vestibule-refused");

const STYLE: &str = include_str!("../templates/style.css");
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const WITH_SCRIPT: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                           form-action 'self'; base-uri 'none'; frame-ancestors 'self'; \
                           require-trusted-types-for 'script'; trusted-types 'none'";

/// The style sheet.
pub(crate) fn style() -> Response<Body> {
    let mut response = Response::new(whole(STYLE));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A page of ours, never kept by anybody.
pub(crate) fn page(status: StatusCode, html: String) -> Response<Body> {
    let mut response = Response::new(whole(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(VARY, HeaderValue::from_static("accept-language"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The same with the script of these pages.
pub(crate) fn page_with_script(status: StatusCode, html: String) -> Response<Body> {
    let mut response = page(status, html);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(WITH_SCRIPT));
    response
}

/// What a refused request gets: a page where a person will read it, a problem document (RFC 9457) where a script will.
pub(crate) fn refusal(request: &HeaderMap, refusal: Refusal, notice: Notice<'_>) -> Response<Body> {
    let status = status(refusal);
    let mut response = if for_person(request) { page(status, notice.html()) } else { problem(status, &notice) };
    response.headers_mut().insert(REFUSED, HeaderValue::from_static(refusal.word()));
    response
}

fn problem(status: StatusCode, notice: &Notice<'_>) -> Response<Body> {
    let detail: Vec<&str> = std::iter::once(notice.meaning).chain(notice.details.iter().map(String::as_str)).collect();
    let document = serde_json::json!({
        "type": "about:blank",
        "title": notice.title,
        "status": status.as_u16(),
        "detail": detail.join(" "),
        "next": notice.next,
    });
    let mut response = json("application/problem+json", &document);
    *response.status_mut() = status;
    response
}

/// A document for a script, never kept by anybody.
pub(crate) fn json(kind: &'static str, document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(whole(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a person reads the answer: the browser navigates, or (where it doesn't tell) would rather have HTML.
pub(crate) fn for_person(request: &HeaderMap) -> bool {
    let text = |name: &HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    match text(&MODE) {
        Some(mode) => mode == "navigate",
        None => text(&REQUESTED_WITH).is_none() && text(&ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::SignedOff => StatusCode::UNAUTHORIZED,
        Refusal::OtherSession | Refusal::ExpiredPage | Refusal::NoPage | Refusal::NotPermitted | Refusal::CrossSite => {
            StatusCode::FORBIDDEN
        }
        Refusal::AlreadyDone | Refusal::UnknownOutcome => StatusCode::CONFLICT,
        Refusal::UpstreamDown => StatusCode::BAD_GATEWAY,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Malformed => StatusCode::BAD_REQUEST,
    }
}

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
