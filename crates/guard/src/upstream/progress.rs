//! A request's body on its way to an upstream, watched.

use crate::{Body, BodyError};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What is known about a request's body that is under way.
#[derive(Clone)]
pub(super) struct Progress(Option<Arc<Mutex<State>>>);

struct State {
    last: Instant,
    failure: Option<BodyError>,
}

struct Watched {
    body: Body,
    state: Arc<Mutex<State>>,
}

impl Progress {
    /// The body, to be sent, and what is known about it; costs nothing where there is none.
    pub(super) fn watch(body: Body) -> (Body, Self) {
        if body.is_end_stream() {
            return (body, Self(None));
        }
        let state = Arc::new(Mutex::new(State { last: Instant::now(), failure: None }));
        (Watched { body, state: Arc::clone(&state) }.boxed_unsync(), Self(Some(state)))
    }

    /// Why the body broke off, if it did.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.0.as_ref().and_then(|state| lock(state).failure)
    }

    /// Completes when for so long after the call nothing of the body has been taken any more.
    pub(super) async fn stalled(&self, span: Duration) {
        let started = Instant::now();
        let last = || self.0.as_ref().map_or(started, |state| lock(state).last.max(started));
        let mut deadline = started + span;
        loop {
            sleep_until(deadline).await;
            deadline = last() + span;
            if deadline <= Instant::now() {
                return;
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(next) = &next {
            let mut state = lock(&self.state);
            state.last = Instant::now();
            state.failure = next.as_ref().and_then(|frame| frame.as_ref().err().copied());
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
