//! Rewriting of a body as it streams.

use super::PageRewriter;
use crate::{Body, BodyError};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Rewrites a page as it comes: each piece leaves before the next is asked for, those into which nothing goes as they are.
pub fn rewrite_body(body: Body, rewriter: PageRewriter) -> Body {
    Rewritten { body, rewriter: Some(rewriter), trailers: None }.boxed_unsync()
}

struct Rewritten {
    body: Body,
    /// `None` when the end has been written.
    rewriter: Option<PageRewriter>,
    trailers: Option<Frame<Bytes>>,
}

impl hyper::body::Body for Rewritten {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while this.rewriter.is_some() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose() {
                Ok(frame) => frame,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            if let Some(bytes) = this.take(frame) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
        Poll::Ready(this.trailers.take().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.rewriter.is_none() && self.trailers.is_none()
    }
}

impl Rewritten {
    /// What leaves for this frame, where anything does.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Option<Bytes> {
        let mut out = Vec::new();
        match frame.map(Frame::into_data) {
            Some(Ok(piece)) => {
                if self.rewriter.as_mut()?.passes(&piece, &mut out) {
                    return Some(piece).filter(|piece| !piece.is_empty());
                }
            }
            Some(Err(trailers)) => {
                self.trailers = Some(trailers);
                self.rewriter.take()?.end(&mut out);
            }
            None => self.rewriter.take()?.end(&mut out),
        }
        Some(Bytes::from(out)).filter(|out| !out.is_empty())
    }
}
