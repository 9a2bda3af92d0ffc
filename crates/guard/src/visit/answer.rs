//! What goes back (step 3): pages leave with a fresh token, everything else as it came.

use super::Visit;
use super::sign_in::own_path;
use crate::charset::{self, Charset};
use crate::classify::{Kind, Refusal, Verdict, is_part_type};
use crate::coding::{self, Coding};
use crate::csp::Admission;
use crate::headers::essence;
use crate::html::{PageRewriter, Plan, ScriptTag, rewrite_body};
use crate::path::target_of;
use crate::sessions::Live;
use crate::token::{Page, SealedGrants, source_of};
use crate::{Body, Caller, Proof, Serial, csp, pages, script};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use vestibule_policy::web::GrantSet;

/// What of a request its answer depends on.
pub(super) struct Asked {
    method: Method,
    path_and_query: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    verdict: Verdict,
    led: bool,
    /// What is granted to whoever asked, to be sealed in the page that answers.
    granted: GrantSet,
}

impl Asked {
    /// `led`: a page led here, or the browser has proven itself at the entry.
    pub(super) fn of(request: &Request<Body>, verdict: &Verdict, led: bool, granted: GrantSet) -> Self {
        let kept = [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::ACCEPT]
            .into_iter()
            .chain(["sec-fetch-dest", "sec-fetch-mode"].map(HeaderName::from_static));
        let field = |name: HeaderName| request.headers().get(&name).cloned().map(|value| (name, value));
        let fields = kept.filter_map(field).collect();
        Self {
            method: request.method().clone(),
            path_and_query: target_of(request.uri()).to_owned(),
            fields,
            verdict: *verdict,
            led,
            granted,
        }
    }

    /// Whether a worker is to run it: a page of its own. What it imports bears no token, and one that stands between all tabs and
    /// the network (a service worker) must stay byte for byte the same.
    fn is_worker(&self) -> bool {
        starts_worker(|name| self.said(name)) && self.method == Method::GET
    }

    fn said(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        value.to_str().ok()
    }

    /// Its fields, for a refusal.
    fn headers(&self) -> HeaderMap {
        self.fields.iter().cloned().collect()
    }

    /// Whether the answer is a page of its own; `false` for a fragment that a script fetched.
    fn is_whole_page(&self) -> bool {
        let said = |name| self.said(name);
        match (said("sec-fetch-mode"), said("sec-fetch-dest")) {
            (Some(mode), _) => mode == "navigate",
            (None, Some(dest)) => dest != "empty",
            (None, None) => said("accept").is_some_and(|accept| accept.contains("text/html")),
        }
    }
}

impl Visit {
    /// Who asks, as the application is told.
    pub(super) fn caller<'a>(&'a self, live: &'a Live) -> Caller<'a> {
        Caller {
            address: live.session().address,
            user: &live.session().user,
            app: &self.place.app.settings.name,
            outer_host: &self.place.host,
            outer_scheme: self.place.scheme,
        }
    }

    /// A read: straight to the application.
    pub(super) async fn read(&self, live: &Arc<Live>, asked: &Asked, mut request: Request<Body>) -> Response<Body> {
        let said = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let document = pages::for_person(request.headers()) || starts_worker(said);
        coding::prepare_for_rewrite(request.headers_mut(), document);
        match self.place.app.upstream.send(request, &self.caller(live), false).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(app = %self.place.app.settings.name, %error, "no answer");
                *self.refuse_head(&asked.headers(), super::command::refusal_of(&error))
            }
        }
    }

    /// The answer as it leaves: cut when the session ends, and with a token where it is a page.
    pub(super) async fn outgoing(&self, live: &Arc<Live>, asked: &Asked, answer: Response<Body>) -> Response<Body> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS || answer.headers().contains_key(crate::pages::REFUSED) {
            return answer;
        }
        if asked.verdict.needs.part && (asked.verdict.kind == Kind::WebSocket || !is_part(&answer, asked.verdict.kind))
        {
            return self.apart(asked, answer);
        }
        let answer = self.leading_on(live, asked, answer);
        let answer = answer.map(|body| live.cut(body));
        let page = is_html(answer.headers()) || (self.may_be_led(asked) && is_script(&answer));
        if !page || !has_text(&answer) {
            return answer;
        }
        self.page(live, asked, answer).await
    }

    /// Whether a worker gets a token: where a page would be read as easily. Where reads need one, it takes a page to lead to it, or
    /// the device to stand for its user.
    fn may_be_led(&self, asked: &Asked) -> bool {
        asked.is_worker() && (!asked.verdict.needs.part || self.peer.proof() == Proof::Tunnel)
    }

    /// What is no part of a page goes to nobody who shows no page. A redirect leads on, and a part that is missing is missing as it is
    /// without the guard: both without their text. Whoever asked for a WebSocket gets no part either.
    fn apart(&self, asked: &Asked, answer: Response<Body>) -> Response<Body> {
        if answer.status().is_success() {
            return *self.refuse_head(&asked.headers(), Refusal::NoPage);
        }
        let (mut head, _) = answer.into_parts();
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::TRANSFER_ENCODING]
        {
            head.headers.remove(name);
        }
        Response::from_parts(head, pages::whole(""))
    }

    /// Where reads need a page, a redirect within the application leads on from the page that led to it.
    fn leading_on(&self, live: &Live, asked: &Asked, mut answer: Response<Body>) -> Response<Body> {
        let strict = !self.place.app.settings.strict.is_empty() && self.peer.proof() == Proof::Cookie;
        let reads = match answer.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => true,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => asked.method == Method::GET,
            _ => false,
        };
        if !(strict && reads && asked.led && asked.verdict.kind.shows_a_page()) {
            return answer;
        }
        let location = text(answer.headers(), header::LOCATION).and_then(|location| self.within(location));
        let Some(location) = location.map(|to| self.led_to(live, to)).and_then(|to| HeaderValue::try_from(to).ok())
        else {
            return answer;
        };
        answer.headers_mut().insert(header::LOCATION, location);
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// The path and query of an address within this application, as far as that can be seen without the page's own.
    fn within<'a>(&self, address: &'a str) -> Option<&'a str> {
        let path = address.strip_prefix(self.place.origin.as_str()).unwrap_or(address);
        (path == own_path(path) && !path.starts_with(pages::OWN)).then_some(path)
    }

    /// A page: with the next serial, sealed for this session.
    async fn page(&self, live: &Arc<Live>, asked: &Asked, answer: Response<Body>) -> Response<Body> {
        let serial = match live.next_serial().await {
            Ok(serial) => serial,
            Err(error) => {
                tracing::error!(%error, "no page can be numbered");
                return *self.refuse_head(&asked.headers(), Refusal::UpstreamDown);
            }
        };
        let (mut head, body) = answer.into_parts();
        let Some(coding) = Coding::of(&head.headers) else {
            tracing::warn!(path = asked.path_and_query, "a page in an unknown content coding passes as it is");
            return Response::from_parts(head, body);
        };
        coding::rewritten(&mut head.headers);
        if asked.method == Method::HEAD {
            return Response::from_parts(head, body);
        }
        let token = self.sealed(live, asked, serial);
        if !is_html(&head.headers) {
            let body = self.led(coding::decoded(body, coding), &token).await;
            return Response::from_parts(head, coding::encoded(body, coding));
        }
        let content_type = text(&head.headers, header::CONTENT_TYPE).map(str::to_owned);
        let (body, charset) = detected(coding::decoded(body, coding), content_type.as_deref()).await;
        let body = match charset {
            Charset::Rewritable(_) => rewrite_body(body, PageRewriter::of(self.plan(asked, token, &mut head.headers))),
            Charset::Opaque(encoding) => {
                tracing::info!(
                    path = asked.path_and_query,
                    encoding = encoding.name(),
                    "a page that can't be rewritten"
                );
                body
            }
        };
        Response::from_parts(head, coding::encoded(body, coding))
    }

    /// A worker's script, with what makes its requests bear the token before it.
    async fn led(&self, mut body: Body, token: &str) -> Body {
        let first = body.frame().await;
        let start = first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        let start = start.map_or(&[][..], |start| &start[..]);
        let before = script::worker::before(start, token, &self.place.app.settings.strict);
        let whole = futures_util::stream::iter(std::iter::once(Ok(Frame::data(Bytes::from(before)))).chain(first));
        BodyExt::boxed_unsync(StreamBody::new(whole.chain(BodyStream::new(body))))
    }

    fn sealed(&self, live: &Arc<Live>, asked: &Asked, serial: Serial) -> String {
        let session = live.session();
        let page = Page {
            user: session.user.clone(),
            serial,
            issued: self.now,
            source: source_of(asked.method.as_str(), &self.place.host, &asked.path_and_query),
            grants: SealedGrants::Inline(asked.granted.clone()),
        };
        self.parts.pages.seal(&page, &self.context(live)).into()
    }

    fn plan(&self, asked: &Asked, token: String, headers: &mut HeaderMap) -> Plan {
        let whole_page = asked.is_whole_page();
        Plan {
            token,
            script: if whole_page { self.script(headers) } else { None },
            forms: true,
            whole_page,
            own_origin: self.place.origin.clone(),
            reads: self.place.app.settings.strict.clone(),
            xml: is_xml(headers),
        }
    }

    /// The script, as far as the application's own policy can be made to let it run.
    fn script(&self, headers: &mut HeaderMap) -> Option<ScriptTag> {
        let policies = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().filter_map(|value| value.to_str().ok());
        let Admission { tag, policies } = csp::admit(&policies.collect::<Vec<_>>(), &self.place.origin);
        if let Some(policies) = policies {
            headers.remove(header::CONTENT_SECURITY_POLICY);
            // Made of values that were there: each is one again.
            for policy in policies.into_iter().filter_map(|policy| HeaderValue::try_from(policy).ok()) {
                headers.append(header::CONTENT_SECURITY_POLICY, policy);
            }
        }
        tag
    }
}

/// Looks at the beginning of a page, as far as it has come: its encoding may be said there.
async fn detected(mut body: Body, content_type: Option<&str>) -> (Body, Charset) {
    let Some(first) = body.frame().await else {
        return (body, charset::detect(content_type, &[]));
    };
    let start = first.as_ref().ok().and_then(Frame::data_ref);
    let charset = charset::detect(content_type, start.map_or(&[][..], |start| &start[..]));
    let whole = futures_util::stream::iter([first]).chain(BodyStream::new(body));
    (BodyExt::boxed_unsync(StreamBody::new(whole)), charset)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_html(headers: &HeaderMap) -> bool {
    is_kind(headers, "text/html") || is_xml(headers)
}

/// A script by its type (WHATWG MIME Sniffing, section 4.6), and all of it.
fn is_script(answer: &Response<Body>) -> bool {
    let kind = kind_of(answer.headers()).to_ascii_lowercase();
    let kind = kind.split_once('/').map(|(of, kind)| (of, kind.trim_start_matches("x-")));
    answer.status() == StatusCode::OK && matches!(kind, Some(("text" | "application", "javascript" | "ecmascript")))
}

/// Whether a request loads what a worker begins with, and not what it imports.
fn starts_worker<'a>(said: impl Fn(&'static str) -> Option<&'a str>) -> bool {
    matches!(said("sec-fetch-dest"), Some("worker" | "sharedworker")) && said("sec-fetch-mode") == Some("same-origin")
}

fn is_xml(headers: &HeaderMap) -> bool {
    is_kind(headers, "application/xhtml+xml")
}

fn is_part(answer: &Response<Body>, kind: Kind) -> bool {
    let bare = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    bare || is_part_type(text(answer.headers(), header::CONTENT_TYPE).unwrap_or_default(), kind)
}

fn has_text(answer: &Response<Body>) -> bool {
    let without = matches!(
        answer.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
    );
    !without && (!answer.body().is_end_stream() || answer.headers().contains_key(header::CONTENT_LENGTH))
}

fn is_kind(headers: &HeaderMap, kind: &str) -> bool {
    kind_of(headers).eq_ignore_ascii_case(kind)
}

fn kind_of(headers: &HeaderMap) -> &str {
    essence(text(headers, header::CONTENT_TYPE).unwrap_or_default())
}
