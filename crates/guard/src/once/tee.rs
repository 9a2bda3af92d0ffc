//! Passing an answer on while a copy of it is kept for repeats.

use super::answer::{StoredAnswer, headers_size};
use super::running::{Answer, Running};
use crate::{Body, BodyError, Stamp, fault};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How an answer that was passed on has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Captured {
    /// It came whole, whether or not its client stayed to the end.
    Whole,
    /// The application broke off in the middle.
    Broken,
    /// Its client left, and the rest was not read: too large to keep, or too slow.
    Left,
}

impl StoredAnswer {
    /// Passes the application's answer on as it comes. When it has come whole, or broke off, `finished` is called once: the place
    /// for the audit log; then the command is settled by [`Running::answered`], and only then the last byte is passed on. In this
    /// order a crash leaves no command that is neither in the audit log nor told as [interrupted](super::Interrupted).
    ///
    /// A client that leaves early doesn't end it: the rest is read for those who repeat the command, as long as it stays within
    /// the limit and [`OnceSettings::patience`](super::OnceSettings::patience).
    ///
    /// To be given the answer as the application sent it, before it is rewritten: a repeat is a new page with a token of its own.
    pub fn tee(
        response: Response<Body>,
        running: Running,
        clock: impl Fn() -> Stamp + Send + 'static,
        finished: impl FnOnce(Captured) + Send + 'static,
    ) -> Response<Body> {
        fault::point("upstream-status");
        let (parts, body) = response.into_parts();
        let mut copy = Copy {
            status: parts.status,
            headers: parts.headers.clone(),
            size: headers_size(&parts.headers),
            kept: Vec::new(),
            running: Some(running),
            large: false,
            clock: Box::new(clock),
            finished: Some(Box::new(finished)),
        };
        if body.is_end_stream() {
            copy.finish(Captured::Whole);
        }
        Response::from_parts(parts, Tee { body, copy: Some(copy) }.boxed_unsync())
    }
}

struct Tee {
    body: Body,
    /// `None` once it is left to a task of its own.
    copy: Option<Copy>,
}

struct Copy {
    status: StatusCode,
    headers: HeaderMap,
    kept: Vec<Bytes>,
    size: usize,
    /// `None` once the command is settled.
    running: Option<Running>,
    /// It has grown beyond what is kept; those who wait were told.
    large: bool,
    clock: Box<dyn Fn() -> Stamp + Send>,
    /// `None` once it was called.
    finished: Option<Box<dyn FnOnce(Captured) + Send>>,
}

impl Copy {
    fn take(&mut self, data: &Bytes) {
        let Some(running) = self.running.as_ref().filter(|_| !self.large) else { return };
        self.size += data.len();
        if self.size <= running.answer_limit() {
            self.kept.push(data.clone());
        } else {
            self.large = true;
            self.kept.clear();
            running.tell_early(self.status.as_u16(), (self.clock)());
        }
    }

    fn finish(&mut self, end: Captured) {
        let Some((finished, running)) = self.finished.take().zip(self.running.take()) else { return };
        fault::point("tee-whole");
        finished(end);
        let answer = if end == Captured::Whole && !self.large {
            Answer::Stored(StoredAnswer::new(self.status, &self.headers, self.kept.concat().into()))
        } else {
            Answer::StatusOnly(self.status.as_u16())
        };
        running.answered(answer, (self.clock)());
    }

    /// What one frame, or the end, means for the copy.
    fn see(&mut self, frame: Option<&Result<Frame<Bytes>, BodyError>>, last: bool) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.take(data);
                }
                if last {
                    self.finish(Captured::Whole);
                }
            }
            Some(Err(_)) => self.finish(Captured::Broken),
            None => self.finish(Captured::Whole),
        }
    }

    /// Reads on after the client has left.
    async fn drain(mut self, mut body: Body) {
        let Some(patience) = self.running.as_ref().map(Running::patience) else { return };
        let reading = async {
            while self.running.is_some() && !self.large {
                let frame = body.frame().await;
                self.see(frame.as_ref(), body.is_end_stream());
            }
        };
        // Out of patience is settled below like what grew too large.
        let _ = tokio::time::timeout(patience, reading).await;
        self.finish(Captured::Left);
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &polled {
            let last = self.body.is_end_stream();
            if let Some(copy) = &mut self.copy {
                copy.see(frame.as_ref(), last);
            }
            fault::point("tee-part");
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let Some(mut copy) = self.copy.take().filter(|copy| copy.running.is_some()) else { return };
        let body = std::mem::take(&mut self.body);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(copy.drain(body))),
            Err(_) => copy.finish(Captured::Left),
        }
    }
}
