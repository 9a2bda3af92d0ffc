//! Commands too large to be held: they stream to the application as they come, and nothing of them goes there twice.

use super::hold::Held;
use super::{BROKEN, PATIENCE, refusal_of};
use crate::audit::AuditOutcome;
use crate::classify::Refusal;
use crate::once::{About, Beginning, Begun, ClaimName, Claimed, Extent, Running};
use crate::sessions::Live;
use crate::settings::OncePer;
use crate::upstream::UpstreamError;
use crate::visit::refuse::of_body;
use crate::visit::{Shown, Visit};
use crate::{Body, BodyError};
use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Request, Response};
use std::pin::pin;
use std::sync::Arc;

/// What lets the beginning of a command go to the application.
enum Right {
    /// It could be none that was given before; its end will tell its name.
    Begun(Begun),
    /// Whatever its content, it has its name.
    Named(Running),
}

/// What is to become of a command, by what is known of it before it has come.
enum Course {
    /// It streams.
    Stream(Box<Right>),
    /// Its content is compared first.
    Compare,
    /// It is answered as it is, and no more of it is needed.
    Answer(Box<Response<Body>>),
}

impl Visit {
    /// A large body streams to the application while its digest is taken; its end is held back until the claim stands.
    pub(super) async fn large(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shown: &Shown,
        about: About,
        request: Request<Box<Held>>,
        named: Vec<String>,
    ) -> Response<Body> {
        let empty = without_body(&request);
        let start = self.named(live, shown, &empty, Some(request.body().begins())).start();
        let extent = extent_of(&request);
        let course = match self.place.app.settings.once {
            OncePer::Body => self.course((start, extent), &about, &empty).await,
            OncePer::Form => self.course_by_form(live, shown, &about, &empty).await,
        };
        match course {
            Course::Stream(right) => self.streamed(live, shown, about, request, (*right, empty, named)).await,
            Course::Compare => self.compared(live, shown, about, request, (empty, named)).await,
            Course::Answer(answer) => {
                // Whoever sends all before reading anything would never see the answer; whoever breaks off wants none.
                let _ = request.into_body().read_away().await;
                *answer
            }
        }
    }

    /// By how it begins, and by how much of it there is.
    async fn course(
        &self,
        (start, extent): (ClaimName, Extent),
        about: &About,
        empty: &Request<Option<Bytes>>,
    ) -> Course {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let waiting = match self.parts.once.begin(start, extent, about.clone(), self.now) {
                Ok(Beginning::First(begun)) => return self.begun(about, empty.headers(), *begun).await,
                Ok(Beginning::Alike) => return Course::Compare,
                Ok(Beginning::Waiting(waiting)) => waiting,
                Ok(Beginning::Unknown { at }) => {
                    self.audit(about, AuditOutcome::Repeated, None);
                    return Course::Answer(Box::new(self.outcome_unknown(empty.headers(), at)));
                }
                Err(error) => return Course::Answer(Box::new(self.cannot_claim(about, empty, &error))),
            };
            if tokio::time::timeout_at(deadline, waiting).await.is_err() {
                self.audit(about, AuditOutcome::Repeated, None);
                return Course::Answer(Box::new(self.outcome_unknown(empty.headers(), self.now)));
            }
        }
    }

    /// From here on its beginning may have taken effect.
    async fn begun(&self, about: &About, headers: &HeaderMap, begun: Begun) -> Course {
        match self.written(about, begun.sending()).await {
            Ok(()) => Course::Stream(Box::new(Right::Begun(begun))),
            Err(refusal) => Course::Answer(self.refuse_head(headers, refusal)),
        }
    }

    /// One for each form: its name is known before its content.
    async fn course_by_form(
        &self,
        live: &Arc<Live>,
        shown: &Shown,
        about: &About,
        empty: &Request<Option<Bytes>>,
    ) -> Course {
        let name = self.name(live, shown, empty, [0; 32]);
        match self.parts.once.claim(name, about.clone(), self.now).await {
            Ok(Claimed::First(running)) => match self.written(about, running.sending()).await {
                Ok(()) => Course::Stream(Box::new(Right::Named(running))),
                Err(refusal) => Course::Answer(self.refuse_head(empty.headers(), refusal)),
            },
            Ok(Claimed::Repeat(repeat)) => {
                Course::Answer(Box::new(self.repeated(live, about, name, repeat, empty.clone()).await))
            }
            Err(error) => Course::Answer(Box::new(self.cannot_claim(about, empty, &error))),
        }
    }

    /// It begins like one that has come to its end, and may be that one: the application gets nothing before this is known.
    async fn compared(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shown: &Shown,
        about: About,
        request: Request<Box<Held>>,
        (empty, named): (Request<Option<Bytes>>, Vec<String>),
    ) -> Response<Body> {
        let (head, held) = request.into_parts();
        let (kept, digest) = match held.read_on().await {
            Ok(read) => read,
            Err(error) => return self.broken_off(&about, empty.headers(), error),
        };
        if let Some(kept) = kept {
            let (bytes, _room) = kept.into_parts();
            return self.whole(live, shown, about, Request::from_parts(head, bytes), (digest, named)).await;
        }
        let name = self.name(live, shown, &empty, digest);
        match self.parts.once.claim(name, about.clone(), self.now).await {
            Ok(Claimed::Repeat(repeat)) => self.repeated(live, &about, name, repeat, empty).await,
            Ok(Claimed::First(running)) => {
                running.unsent();
                // It is another one, and gone. From another page it is told apart by the page.
                self.audit_refusal(&about, Refusal::ExpiredPage);
                *self.refuse_head(empty.headers(), Refusal::ExpiredPage)
            }
            Err(error) => self.cannot_claim(&about, &empty, &error),
        }
    }

    async fn streamed(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shown: &Shown,
        about: About,
        request: Request<Box<Held>>,
        (right, empty, named): (Right, Request<Option<Bytes>>, Vec<String>),
    ) -> Response<Body> {
        let headers = empty.headers();
        let (head, held) = request.into_parts();
        let (digested, decide, body) = held.split();
        let mut digested = pin!(digested);
        let mut sending = tokio::spawn({
            let (visit, live) = (self.clone(), live.clone());
            async move { visit.send(&live, Request::from_parts(head, body)).await }
        });
        let (early, digest) = tokio::select! {
            sent = &mut sending => match sent.unwrap_or(Err(BROKEN)) {
                // An answer to the half of it: nobody gets that before the claim stands.
                Ok(answer) => {
                    decide.answered();
                    (Some(answer), digested.await)
                }
                Err(error) => return self.not_taken(&about, headers, right, error),
            },
            digest = &mut digested => (None, digest),
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(error) => return self.broken_off_within(&about, headers, early, error),
        };
        let run = async {
            // Returning early leaves it undecided: the application never gets the end. One that has answered may have acted already.
            if early.is_none() {
                self.may_go(live, &about, &empty, &named)?;
            }
            let running = self.running(&about, right, self.name(live, shown, &empty, digest)).await?;
            decide.send();
            let sent = match early {
                Some(answer) => Ok(answer),
                None => sending.await.unwrap_or(Err(BROKEN)),
            };
            self.settle(about.clone(), running, sent)
        };
        let answer = run.await;
        self.answered(headers, answer)
    }

    /// Its content has come to its end: from here on it goes by its name.
    async fn running(&self, about: &About, right: Right, name: ClaimName) -> Result<Running, Refusal> {
        let begun = match right {
            Right::Named(running) => return Ok(running),
            Right::Begun(begun) => begun,
        };
        match self.parts.once.claim(name, about.clone(), self.now).await {
            Ok(Claimed::First(running)) => {
                self.written(about, running.sending_all(begun)).await?;
                Ok(running)
            }
            // Nothing that it could be was known as it began, and what began alike since has waited for it.
            Ok(Claimed::Repeat(_)) => Err(self.stopped(about, "it has been given meanwhile")),
            Err(error) => Err(self.stopped(about, &error.to_string())),
        }
    }

    /// The application has got the beginning of it, and will not get its end.
    fn stopped(&self, about: &About, why: &str) -> Refusal {
        tracing::error!(why, "a command was broken off within");
        self.audit(about, AuditOutcome::Unknown, None);
        Refusal::UnknownOutcome
    }

    /// No answer, and not all of the request: it was not carried out.
    fn not_taken(&self, about: &About, headers: &HeaderMap, right: Right, error: UpstreamError) -> Response<Body> {
        match right {
            Right::Begun(begun) if !error.sent => begun.unsent(),
            Right::Named(running) if !error.sent => running.unsent(),
            // Where it may have got the beginning, nobody knows what it has made of that.
            Right::Begun(_) | Right::Named(_) => {}
        }
        let sent = Err(error);
        self.tell(about, &sent);
        self.answered(headers, sent.map_err(|error| refusal_of(&error)))
    }

    /// The body broke off. Nobody knows what the application has made of its beginning; one that has answered may have acted.
    fn broken_off_within(
        &self,
        about: &About,
        headers: &HeaderMap,
        early: Option<Response<Body>>,
        error: BodyError,
    ) -> Response<Body> {
        let refusal = if early.is_some() { Refusal::UnknownOutcome } else { of_body(error) };
        self.audit(about, AuditOutcome::Unknown, early.map(|answer| answer.status()));
        *self.refuse_head(headers, refusal)
    }
}

/// How much of it there is.
fn extent_of(request: &Request<Box<Held>>) -> Extent {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Extent { length, boundary: u16::try_from(request.body().boundary()).unwrap_or(u16::MAX) }
}

/// The same request, its body apart.
fn without_body<B>(request: &Request<B>) -> Request<Option<Bytes>> {
    let mut empty = Request::new(None);
    *empty.method_mut() = request.method().clone();
    *empty.uri_mut() = request.uri().clone();
    *empty.headers_mut() = request.headers().clone();
    empty
}
