//! Bounds of what a client may send, and how slowly.

use crate::{Body, BodyError};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The most header fields of a head that the HTTP library reads without taking memory for it.
pub(crate) const LIBRARY_FIELDS: usize = 100;

/// Bounds of one connection from a client and of the requests on it (PAGEGUARD section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most bytes of a request's head; at least 8,192.
    pub header_bytes: usize,
    /// The most header fields of a request; any other number than the default's 100 costs memory for each head.
    pub headers: usize,
    /// The most bytes of a request's target (path and query).
    pub target: usize,
    /// How long a request's head may take from its first byte to its last, and a new connection until its first request.
    pub header_wait: Duration,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// The most bytes of a request's body.
    pub body: u64,
    /// How long a request's body may let itself be waited for: at one go, and altogether beyond what [`Self::body_slowest`] grants.
    pub body_wait: Duration,
    /// Bytes per second that a slow body has to bring; time in which the guard or the upstream did not read isn't counted.
    pub body_slowest: u64,
    /// How long a client may leave an answer untouched in its socket.
    pub write_wait: Duration,
    /// The most requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// How long requests that run may go on once the connection has been told to end.
    pub end_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            headers: LIBRARY_FIELDS,
            target: 16 * 1024,
            header_wait: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            body: 64 << 30,
            body_wait: Duration::from_secs(30),
            body_slowest: 256,
            write_wait: Duration::from_secs(300),
            streams: 128,
            end_wait: Duration::from_secs(10),
        }
    }
}

/// The body held to the bounds of `limits`: it breaks off with [`BodyError::TooLarge`] or [`BodyError::TooSlow`].
pub(crate) fn bounded<B>(body: B, limits: &Limits) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return nothing();
    }
    Bounded {
        body,
        left: limits.body,
        wait: limits.body_wait,
        slowest: limits.body_slowest.max(1),
        received: 0,
        waited: Duration::ZERO,
        since: None,
        alarm: None,
    }
    .boxed_unsync()
}

/// A body without a byte.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The body, broken off with [`BodyError::SessionEnded`] as soon as `ended` completes: downloads and event streams end with the
/// session that asked for them (step 7 of the cycle).
pub fn cut_when<E>(body: Body, ended: E) -> Body
where
    E: Future<Output = ()> + Send + 'static,
{
    cut(body, ended, false)
}

/// The same; `goes_on`: it is known not to have completed yet, so that a first piece that lies ready passes without a look.
pub(crate) fn cut<E>(body: Body, ended: E, goes_on: bool) -> Body
where
    E: Future<Output = ()> + Send + 'static,
{
    if body.is_end_stream() { body } else { Cut { body, ended: Some(Box::pin(ended)), goes_on }.boxed_unsync() }
}

struct Bounded<B> {
    body: B,
    left: u64,
    wait: Duration,
    slowest: u64,
    received: u64,
    /// How long its sender has been waited for, all in all.
    waited: Duration,
    /// Since when its sender is being waited for.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Bounded<B> {
    /// Called while nothing comes: whether that has gone on for too long.
    fn too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let (allowance, since) = (self.allowance(), self.since);
        let deadline = *self.since.get_or_insert_with(Instant::now) + allowance;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if since.is_none() {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx).is_ready()
    }

    fn allowance(&self) -> Duration {
        let earned = Duration::from_secs(self.received / self.slowest);
        (self.wait + earned).saturating_sub(self.waited).min(self.wait)
    }

    fn take(&mut self, data: &Bytes) -> Result<(), BodyError> {
        let length = data.len() as u64;
        self.received += length;
        self.left = self.left.checked_sub(length).ok_or(BodyError::TooLarge)?;
        Ok(())
    }
}

impl<B> HttpBody for Bounded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) else {
            return if this.too_slow(cx) { Poll::Ready(Some(Err(BodyError::TooSlow))) } else { Poll::Pending };
        };
        if let Some(since) = this.since.take() {
            this.waited += since.elapsed();
        }
        Poll::Ready(match next {
            None => None,
            Some(Err(_)) => Some(Err(BodyError::Sender)),
            Some(Ok(frame)) => Some(frame.data_ref().map_or(Ok(()), |data| this.take(data)).map(|()| frame)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Cut<E> {
    body: Body,
    /// Nothing once it has completed.
    ended: Option<Pin<Box<E>>>,
    /// Whether it goes on for the next piece, whatever happens.
    goes_on: bool,
}

impl<E: Future<Output = ()>> Cut<E> {
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ended.as_mut().is_some_and(|ended| ended.as_mut().poll(cx).is_ready()) {
            self.ended = None;
        }
        self.ended.is_none()
    }
}

impl<E: Future<Output = ()>> HttpBody for Cut<E> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = std::mem::take(&mut self.goes_on).then(|| Pin::new(&mut self.body).poll_frame(cx));
        match next {
            Some(Poll::Ready(_)) => next,
            _ if self.is_cut(cx) => Some(Poll::Ready(Some(Err(BodyError::SessionEnded)))),
            next => next,
        }
        .unwrap_or_else(|| Pin::new(&mut self.body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use std::convert::Infallible;
    use tokio::time::sleep;

    fn limits() -> Limits {
        Limits { body: 10, body_wait: Duration::from_secs(30), body_slowest: 1, ..Limits::default() }
    }

    /// Ten bytes at most, one by one, each after `gap`.
    fn drip(count: usize, gap: Duration) -> impl HttpBody<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
        let frames = stream::unfold(0, move |nth| async move {
            sleep(gap).await;
            (nth < count).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), nth + 1))
        });
        StreamBody::new(Box::pin(frames))
    }

    async fn outcome(body: Body) -> Result<usize, BodyError> {
        body.collect().await.map(|whole| whole.to_bytes().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_as_large_and_as_slow_as_allowed() {
        assert_eq!(outcome(bounded(Full::from("0123456789"), &limits())).await, Ok(10));
        assert_eq!(outcome(bounded(Full::from("0123456789a"), &limits())).await, Err(BodyError::TooLarge));
        assert_eq!(outcome(bounded(drip(10, Duration::from_secs(2)), &limits())).await, Ok(10));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_long_silence_nor_a_long_dripping_holds_a_connection() {
        let started = Instant::now();
        assert_eq!(outcome(bounded(drip(1, Duration::from_secs(31)), &limits())).await, Err(BodyError::TooSlow));
        assert_eq!(started.elapsed().as_secs(), 30);
        let started = Instant::now();
        assert_eq!(outcome(bounded(drip(10, Duration::from_secs(20)), &limits())).await, Err(BodyError::TooSlow));
        assert_eq!(started.elapsed().as_secs(), 31, "30 s, and one for the byte that came");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_with_the_session() {
        let endless = drip(usize::MAX, Duration::from_secs(1)).map_err(|never| match never {}).boxed_unsync();
        let started = Instant::now();
        assert_eq!(outcome(cut_when(endless, sleep(Duration::from_millis(5_500)))).await, Err(BodyError::SessionEnded));
        assert_eq!(started.elapsed().as_millis(), 5_500);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_session_when_only_its_first_piece_goes_unasked() {
        let body = || drip(3, Duration::ZERO).map_err(|never| match never {}).boxed_unsync();
        let mut over = cut(body(), std::future::ready(()), false);
        assert_eq!(over.frame().await.unwrap().err(), Some(BodyError::SessionEnded));
        let ready = |count| {
            let pieces = (0..count).map(|_| Ok(Frame::data(Bytes::from_static(b"x"))));
            BodyExt::boxed_unsync(StreamBody::new(stream::iter(pieces.collect::<Vec<_>>())))
        };
        let mut first = cut(ready(2), std::future::ready(()), true);
        assert!(first.frame().await.unwrap().is_ok());
        assert_eq!(first.frame().await.unwrap().err(), Some(BodyError::SessionEnded));
        let waiting = cut(
            drip(1, Duration::from_secs(9)).map_err(|never| match never {}).boxed_unsync(),
            sleep(Duration::from_secs(1)),
            true,
        );
        assert_eq!(outcome(waiting).await, Err(BodyError::SessionEnded));
    }
}
