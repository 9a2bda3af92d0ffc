//! A client's connection whose bytes are looked at before the library reads them.

use super::framing::{Framing, Wrong};
use crate::Limits;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Stops at the first byte that two readers could understand differently, and lets neither a head nor an answer take for ever.
pub(super) struct Strict<I> {
    io: I,
    framing: Framing,
    wrong: Option<Wronged>,
    head: Alarm,
    write: Alarm,
}

/// How a head ends.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What the library has been given since the first wrong byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wronged {
    Begun,
    Ended,
}

impl Wronged {
    fn next(self, buffer: &mut ReadBuf<'_>) -> Self {
        match self {
            // The library reads heads into buffers of kilobytes.
            Self::Begun if buffer.remaining() >= HEAD_END.len() => buffer.put_slice(HEAD_END),
            Self::Begun | Self::Ended => {}
        }
        Self::Ended
    }
}

impl<I> Strict<I> {
    pub(super) fn new(io: I, limits: &Limits) -> Self {
        // The library refuses what is too long as such (431), so it is to see it first.
        let longest = limits.header_bytes.saturating_mul(2);
        Self {
            io,
            framing: Framing::new(longest),
            wrong: None,
            head: Alarm::new(limits.header_wait),
            write: Alarm::new(limits.write_wait),
        }
    }

    /// Looks at what was read from `start` on. In place of the first wrong byte the library gets a NUL, which it refuses in any
    /// head and any chunk's size, with a 400 where an answer is possible; after that [`HEAD_END`], as it understands nothing
    /// before a head's end, and no more.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        if let Err(Wrong(at)) = self.framing.read(&buffer.filled()[start..]) {
            self.wrong = Some(Wronged::Begun);
            buffer.filled_mut()[start + at] = 0;
            buffer.set_filled(start + at + 1);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Strict<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(wronged) = this.wrong {
            this.wrong = Some(wronged.next(buffer));
            return Poll::Ready(Ok(()));
        }
        let start = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        if read.is_ready() {
            this.look(buffer, start);
        }
        if this.framing.in_head() && this.wrong.is_none() {
            ready_or_late(read, this.head.ring(cx))
        } else {
            this.head.stop();
            read
        }
    }
}

/// What was read, unless it comes too late.
fn ready_or_late(read: Poll<io::Result<()>>, late: bool) -> Poll<io::Result<()>> {
    if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
}

impl<I: AsyncWrite + Unpin> Strict<I> {
    /// A write's outcome, or that the client has not read for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write.stop();
            return outcome;
        }
        if self.write.ring(cx) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Strict<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_flush(cx);
        this.written(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_shutdown(cx);
        this.written(cx, outcome)
    }
}

/// Rings when it has been running for its span.
struct Alarm {
    span: Duration,
    running: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn new(span: Duration) -> Self {
        Self { span, running: false, sleep: None }
    }

    /// Starts it, unless it runs; whether it rings.
    fn ring(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = Instant::now() + self.span;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !std::mem::replace(&mut self.running, true) {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.running = false;
    }
}
