//! Whether a connection is being used.

use crate::{Body, BodyError};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The requests of one connection, counted.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    running: usize,
    begun: bool,
    last: Instant,
}

/// A request that runs until this is dropped.
pub(super) struct Running(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { running: 0, begun: false, last: Instant::now() })))
    }

    pub(super) fn begin(&self) -> Running {
        let mut state = self.lock();
        state.begun = true;
        state.running += 1;
        Running(self.clone())
    }

    /// Completes when no request has run for `idle`, or none has come within `first`.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        loop {
            let deadline = {
                let state = self.lock();
                let span = if state.begun { idle } else { first };
                if state.running > 0 { Instant::now() + span } else { state.last + span }
            };
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// The body, with the request running until it has been sent or given up.
    pub(super) fn until_end_of(self, body: Body) -> Body {
        if body.is_end_stream() { body } else { Held { body, _running: self }.boxed_unsync() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        state.last = Instant::now();
    }
}

struct Held {
    body: Body,
    _running: Running,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
