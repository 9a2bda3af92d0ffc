//! Commands (step 6): claimed on the disk before the application can act, run once, answered to everybody who gave them.

mod content;
mod hold;
mod kept;
mod large;

pub(crate) use content::fuzz as fuzz_content;
pub(super) use kept::{RESULT, SEND};

use super::{Early, Shown, Visit, overrides};
use crate::audit::{AuditOutcome, Entry};
use crate::classify::Refusal;
use crate::guard::wall_clock;
use crate::once::{
    About, Answer, ClaimName, Claimed, CommandName, Done, OnceError, Outcome, Repeat, Running, StoredAnswer,
};
use crate::path::{NormalPath, target_of};
use crate::sessions::Live;
use crate::settings::OncePer;
use crate::upstream::{UpstreamError, UpstreamErrorKind};
use crate::visit::refuse::of_body;
use crate::{Body, BodyError, Serial, coding};
use bytes::Bytes;
use content::Content;
use hold::{Part, WHOLE};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use vestibule_store::StoreError;

/// How long a repeat waits for the first to be answered.
const PATIENCE: Duration = Duration::from_secs(120);
/// On an answer that was given before: when, in milliseconds since 1970.
const REPEATED: HeaderName = HeaderName::from_static("vestibule-repeated");

/// A task of the guard's own that did not come to its end: what it sent, nobody knows.
const BROKEN: UpstreamError = UpstreamError { kind: UpstreamErrorKind::Broken, sent: true };

impl Visit {
    /// Runs a command that bears a page's token, at most once.
    pub(super) async fn command(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shown: Shown,
        request: Request<Body>,
    ) -> Response<Body> {
        let headers = request.headers().clone();
        let about = self.about(live, Some(shown.page.serial), &request);
        let (head, body) = request.into_parts();
        match hold::read(body, Content::of(&headers)).await {
            Err(error) => self.broken_off(&about, &headers, error),
            Ok(Part::Whole(bytes, digest)) => {
                let request = Request::from_parts(head, bytes);
                let (request, other) = match self.substituted(live, request).await {
                    Ok(substituted) => substituted,
                    Err(answer) => return *answer,
                };
                let named = match self.check_named_methods(live, &shown, &request, request.body()) {
                    Ok(named) => named,
                    Err(refused) => return *refused,
                };
                self.whole(live, &shown, about, request, (other.unwrap_or(digest), named)).await
            }
            Ok(Part::Stream(body)) => {
                let (visit, live) = (self.clone(), live.clone());
                let request = Request::from_parts(head, body);
                let named = match self.check_named_methods(&live, &shown, &request, request.body().start()) {
                    Ok(named) => named,
                    Err(refused) => return *refused,
                };
                // Whoever goes away: what the application has begun to get has its line in the audit log.
                let run = tokio::spawn(async move { visit.large(&live, &shown, about, request, named).await });
                run.await.unwrap_or_else(|_| *self.refuse_head(&headers, Refusal::UnknownOutcome))
            }
        }
    }

    /// A method that stands in the body must be granted like the request's own. Gives them back.
    fn check_named_methods<B>(
        &self,
        live: &Live,
        shown: &Shown,
        request: &Request<B>,
        start: &[u8],
    ) -> Result<Vec<String>, Early> {
        let methods = overrides::of_body(request.headers(), start);
        if !methods.is_empty() {
            let path = NormalPath::from_request(request.uri().path());
            self.check_methods(live, Some(shown), request, &path, methods.iter().map(String::as_str), true)?;
        }
        Ok(methods)
    }

    /// A command that needs no claim: of an observed application, or at an entry point. It is sent as it is, and audited.
    pub(super) async fn unclaimed(
        self: &Arc<Self>,
        live: &Arc<Live>,
        serial: Option<Serial>,
        request: Request<Body>,
    ) -> Response<Body> {
        let about = self.about(live, serial, &request);
        let headers = request.headers().clone();
        let (visit, live) = (self.clone(), live.clone());
        // Whoever goes away: it may have taken effect, and stands in the audit log.
        let run = tokio::spawn(async move {
            let sent = visit.send(&live, request).await;
            visit.tell(&about, &sent);
            sent
        });
        let sent = run.await.unwrap_or(Err(BROKEN));
        self.answered(&headers, sent.map_err(|error| refusal_of(&error)))
    }

    async fn whole(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shown: &Shown,
        about: About,
        request: Request<Bytes>,
        (digest, named): ([u8; 32], Vec<String>),
    ) -> Response<Body> {
        let name = self.name(live, shown, &request, digest);
        let running = match self.parts.once.claim(name, about.clone(), self.now).await {
            Ok(Claimed::First(running)) => running,
            Ok(Claimed::Repeat(repeat)) => {
                let request = request.map(|bytes| Some(bytes).filter(|bytes| bytes.len() <= WHOLE));
                return self.repeated(live, &about, name, repeat, request).await;
            }
            Err(error) => return self.cannot_claim(&about, &request, &error),
        };
        let headers = request.headers().clone();
        let (visit, live) = (self.clone(), live.clone());
        // From here on it runs to its end, whoever goes away: a browser that is clicked twice drops its first request.
        let run = tokio::spawn(async move {
            visit.may_go(&live, &about, &request, &named)?;
            visit.written(&about, running.sending()).await?;
            let sent = visit.send(&live, request.map(crate::pages::whole)).await;
            visit.settle(about, running, sent)
        });
        self.answered(&headers, run.await.unwrap_or(Err(Refusal::UnknownOutcome)))
    }

    /// The command may still be given, now that all of it has come; `named` are the methods that stand in its body.
    fn may_go<B>(&self, live: &Live, about: &About, request: &Request<B>, named: &[String]) -> Result<(), Refusal> {
        self.still_stands(live, request, named).inspect_err(|refusal| self.audit_refusal(about, *refusal))
    }

    /// The command stands on the disk, when `sending` has put it there.
    async fn written(
        &self,
        about: &About,
        sending: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), Refusal> {
        // Claims go with their session: after its end a repeat would pass for the first.
        if self.parts.sessions.at(about.address).is_none() {
            self.audit(about, AuditOutcome::NotSent, None);
            return Err(Refusal::SignedOff);
        }
        sending.await.map_err(|error| {
            tracing::error!(%error, "a command could not be written down, and was not sent");
            self.audit(about, AuditOutcome::NotSent, None);
            Refusal::UpstreamDown
        })
    }

    fn answered(&self, headers: &HeaderMap, answer: Result<Response<Body>, Refusal>) -> Response<Body> {
        answer.unwrap_or_else(|refusal| *self.refuse_head(headers, refusal))
    }

    async fn send(&self, live: &Arc<Live>, mut request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        coding::prepare_for_rewrite(request.headers_mut(), false);
        self.place.app.upstream.send(request, &self.caller(live), true).await
    }

    /// What became of a command that was sent: the answer streams to its giver and is kept for repeats.
    fn settle(
        self: &Arc<Self>,
        about: About,
        running: Running,
        sent: Result<Response<Body>, UpstreamError>,
    ) -> Result<Response<Body>, Refusal> {
        match sent {
            // A WebSocket: what is said there is nobody's answer to anything.
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.audit(&about, AuditOutcome::Done, Some(answer.status()));
                running.answered(Answer::StatusOnly(answer.status().as_u16()), wall_clock());
                Ok(answer)
            }
            Ok(answer) => {
                let (visit, status) = (self.clone(), answer.status());
                let finished = move |_| visit.audit(&about, AuditOutcome::Done, Some(status));
                Ok(StoredAnswer::tee(answer, running, wall_clock, finished))
            }
            Err(error) => {
                self.tell(&about, &Err(error));
                if error.sent {
                    drop(running)
                } else {
                    running.unsent()
                }
                Err(refusal_of(&error))
            }
        }
    }

    fn name<B>(&self, live: &Live, shown: &Shown, request: &Request<B>, digest: [u8; 32]) -> ClaimName {
        let body = match self.place.app.settings.once {
            OncePer::Body => Some(digest),
            OncePer::Form => None,
        };
        self.named(live, shown, request, body).digest()
    }

    /// All that names a command; `body` is the digest of its content, or of the beginning of it.
    fn named<'a, B>(
        &'a self,
        live: &'a Live,
        shown: &'a Shown,
        request: &'a Request<B>,
        body: Option<[u8; 32]>,
    ) -> CommandName<'a> {
        CommandName {
            binding: &live.session().binding,
            address: live.session().address,
            app: &self.place.app.settings.name,
            serial: shown.page.serial,
            action: &shown.action,
            method: request.method().as_str(),
            target: target_of(request.uri()),
            body,
        }
    }

    /// A command that was given before: whoever gave it again gets the first one's answer. A body too large to hold is none.
    async fn repeated(
        &self,
        live: &Arc<Live>,
        about: &About,
        name: ClaimName,
        repeat: Repeat,
        request: Request<Option<Bytes>>,
    ) -> Response<Body> {
        self.audit(about, AuditOutcome::Repeated, None);
        let outcome = match repeat {
            Repeat::Waiting(waiting) => {
                let waited = tokio::time::timeout(PATIENCE, waiting).await;
                match waited.unwrap_or(Outcome::Unknown { at: self.now }) {
                    // Given twice at once: its giver sees only this answer, and expects the command's.
                    Outcome::Done(Done { at, answer: Some(answer), .. }) => {
                        return handed_over(&answer.response(), at.0);
                    }
                    other @ (Outcome::Done(_) | Outcome::Unknown { .. } | Outcome::NotDone) => other,
                }
            }
            Repeat::Done(done) => Outcome::Done(done),
            Repeat::Unknown { at } => Outcome::Unknown { at },
        };
        match outcome {
            Outcome::Done(done) => self.receipt(live, name, &done, request).await,
            Outcome::Unknown { at } => self.outcome_unknown(request.headers(), at),
            Outcome::NotDone => *self.refuse_head(request.headers(), Refusal::UpstreamDown),
        }
    }

    fn broken_off(&self, about: &About, headers: &HeaderMap, error: BodyError) -> Response<Body> {
        let refusal = of_body(error);
        self.audit_refusal(about, refusal);
        *self.refuse_head(headers, refusal)
    }

    fn cannot_claim<B>(&self, about: &About, request: &Request<B>, error: &OnceError) -> Response<Body> {
        tracing::error!(%error, "a command could not be claimed, and was not sent");
        self.audit(about, AuditOutcome::NotSent, None);
        let mut answer = *self.refuse_head(request.headers(), Refusal::UpstreamDown);
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    }

    /// What the audit log and the book of commands are told.
    pub(super) fn about<B>(&self, live: &Live, serial: Option<Serial>, request: &Request<B>) -> About {
        self.about_head(live, serial, request.method(), request.uri().path())
    }

    pub(super) fn about_head(&self, live: &Live, serial: Option<Serial>, method: &Method, path: &str) -> About {
        About {
            user: live.session().user.clone(),
            address: live.session().address,
            app: self.place.app.settings.name.clone(),
            serial: serial.unwrap_or(Serial(0)),
            method: method.to_string(),
            path: path.to_owned(),
        }
    }

    fn tell(&self, about: &About, sent: &Result<Response<Body>, UpstreamError>) {
        match sent {
            Ok(answer) => self.audit(about, AuditOutcome::Done, Some(answer.status())),
            Err(error) if error.sent => self.audit(about, AuditOutcome::Unknown, None),
            Err(_) => self.audit(about, AuditOutcome::NotSent, None),
        }
    }

    pub(super) fn audit(&self, about: &About, outcome: AuditOutcome, status: Option<StatusCode>) {
        let entry = Entry {
            at: self.now,
            user: about.user.clone(),
            address: about.address,
            app: about.app.clone(),
            serial: (about.serial.0 > 0).then_some(about.serial),
            method: about.method.clone(),
            path: about.path.clone(),
            outcome,
            status: status.map(|status| status.as_u16()),
            duration: self.began.elapsed(),
        };
        if let Err(error) = self.parts.audit.record(entry) {
            tracing::error!(%error, "the audit log can't be written");
        }
    }
}

/// The first one's answer, marked.
pub(super) fn handed_over(answer: &Response<Bytes>, at: u64) -> Response<Body> {
    let mut answer = answer.clone().map(crate::pages::whole);
    answer.headers_mut().insert(REPEATED, HeaderValue::from(at));
    answer
}

/// What to say of an application that gave no answer.
pub(super) fn refusal_of(error: &UpstreamError) -> Refusal {
    match error.kind {
        UpstreamErrorKind::Request(error) => of_body(error),
        UpstreamErrorKind::Path => Refusal::Malformed,
        UpstreamErrorKind::Away
        | UpstreamErrorKind::Hangs
        | UpstreamErrorKind::Broken
        | UpstreamErrorKind::BadAnswer
        | UpstreamErrorKind::TooMany => {
            if error.sent {
                Refusal::UnknownOutcome
            } else {
                Refusal::UpstreamDown
            }
        }
    }
}
