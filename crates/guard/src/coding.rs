//! Content codings of bodies that are rewritten: taken off, put on again; and what a rewritten page's fields may still say.
//! Everything else passes as it is.

use crate::headers::remove_all;
use crate::{Body, BodyError};
use async_compression::tokio::write;
use async_compression::{Level, brotli, zstd};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{self, HeaderName, HeaderValue};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// What is held of a coder's output before it goes on.
const HELD: usize = 16 * 1024;
/// What a coded body may grow to: this many bytes, and this many times its own size. HTML hardly ever reaches 100; a bomb 1,000.
const FLOOR: u64 = 4 << 20;
const RATIO: u64 = 200;
/// The largest window of zstd that HTTP allows: 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// The windows used for encoding: 256 KiB.
const OWN_WINDOW: u8 = 18;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// None.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`, which is the zlib format.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// All that can be taken off and put on, the best first.
const KNOWN: [Coding; 4] = [Coding::Zstd, Coding::Brotli, Coding::Gzip, Coding::Deflate];

/// Fields that are true of the body as the upstream made it, and of no other.
const OF_THE_ORIGINAL: [HeaderName; 10] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_LENGTH,
    header::EXPIRES,
    header::AGE,
    header::CACHE_CONTROL,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Coding {
    /// The one coding of a body with these fields; `None` for one that can't be taken off, or several.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut values = fields.get_all(header::CONTENT_ENCODING).iter();
        match (values.next(), values.next()) {
            (None, _) => Some(Self::Identity),
            (Some(value), None) => Self::named(value.to_str().ok()?.trim()),
            (Some(_), Some(_)) => None,
        }
    }

    /// As fields name it; nothing for none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Brotli => Some("br"),
            Self::Zstd => Some("zstd"),
        }
    }

    fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("identity") {
            return Some(Self::Identity);
        }
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        KNOWN.into_iter().find(|coding| coding.name().is_some_and(|known| known.eq_ignore_ascii_case(name)))
    }
}

/// Prepares a request whose answer may have to be rewritten: the codings asked for become those that can be taken off. With
/// `document`, for a request that loads a page into a window or a frame, conditions and ranges go too: what the browser has may be
/// from before the guard, and a part of a page can't be rewritten.
pub fn prepare_for_rewrite(fields: &mut HeaderMap, document: bool) {
    let asked = fields.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let offers = |offer: &&str| {
        let name = offer.split(';').next().unwrap_or_default().trim();
        // "Any" would mean codings that are unknown here.
        Coding::named(name).is_some()
    };
    if fields.contains_key(header::ACCEPT_ENCODING) {
        let kept: Vec<&str> = asked.flat_map(|value| value.split(',')).map(str::trim).filter(offers).collect();
        let kept = kept.join(", ");
        let kept = if kept.is_empty() { "identity".to_owned() } else { kept };
        // Parts of valid values are valid.
        if let Ok(value) = HeaderValue::try_from(kept) {
            fields.insert(header::ACCEPT_ENCODING, value);
        }
    }
    if document {
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
            fields.remove(name);
        }
    }
}

/// Makes the fields of an answer those of its rewritten body: without validators, never kept by a shared cache, nor used again
/// unasked by the browser's.
pub fn rewritten(fields: &mut HeaderMap) {
    let stored = |value: &HeaderValue| value.to_str().is_ok_and(|text| !text.to_ascii_lowercase().contains("no-store"));
    let store = fields.get_all(header::CACHE_CONTROL).iter().all(stored);
    remove_all(fields, &OF_THE_ORIGINAL);
    let cache = if store { "private, no-cache" } else { "private, no-cache, no-store" };
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
}

/// The body without its coding. It breaks off with [`BodyError::Coding`] when that is damaged or cut short, with
/// [`BodyError::TooLarge`] when it grows beyond measure.
pub fn decoded(body: Body, coding: Coding) -> Body {
    let out = Sink::default();
    let sink = out.clone();
    let coder: Coder = match coding {
        Coding::Identity => return body,
        Coding::Gzip => Box::pin(write::GzipDecoder::new(sink)),
        Coding::Deflate => Box::pin(write::ZlibDecoder::new(sink)),
        Coding::Brotli => Box::pin(write::BrotliDecoder::new(sink)),
        Coding::Zstd => {
            let window = [zstd::DParameter::window_log_max(ZSTD_WINDOW)];
            Box::pin(write::ZstdDecoder::with_params(sink, &window))
        }
    };
    Coded::new(body, coder, out, true).boxed_unsync()
}

/// The body with a coding put on. What has come goes on as soon as nothing more is there at once.
pub fn encoded(body: Body, coding: Coding) -> Body {
    let out = Sink::default();
    let sink = out.clone();
    let coder: Coder = match coding {
        Coding::Identity => return body,
        Coding::Gzip => Box::pin(write::GzipEncoder::with_quality(sink, Level::Precise(4))),
        Coding::Deflate => Box::pin(write::ZlibEncoder::with_quality(sink, Level::Precise(4))),
        Coding::Brotli => {
            let parameters = brotli::EncoderParams::default().quality(Level::Precise(4));
            Box::pin(write::BrotliEncoder::with_params(sink, parameters.window_size(OWN_WINDOW.into())))
        }
        Coding::Zstd => {
            let window = [zstd::CParameter::window_log(OWN_WINDOW.into())];
            Box::pin(write::ZstdEncoder::with_quality_and_params(sink, Level::Precise(3), &window))
        }
    };
    Coded::new(body, coder, out, false).boxed_unsync()
}

type Coder = Pin<Box<dyn AsyncWrite + Send>>;

/// Where a coder writes to. When it is full it says so and wakes nobody: whoever asks empties it first.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<BytesMut>>);

struct Coded {
    body: Body,
    coder: Coder,
    out: Sink,
    input: Bytes,
    /// Something has been written since the last flush.
    dirty: bool,
    stage: Stage,
    bounded: bool,
    received: u64,
    given: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Ending,
    Ended,
}

/// What a step led to.
enum Step {
    On,
    /// The sink is to be emptied.
    Full,
    /// Nothing is there to go on with.
    Waiting,
}

impl Coded {
    fn new(body: Body, coder: Coder, out: Sink, bounded: bool) -> Self {
        let (input, stage) = (Bytes::new(), Stage::Open);
        Self { body, coder, out, input, dirty: false, stage, bounded, received: 0, given: 0 }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Step, BodyError> {
        if !self.input.is_empty() {
            return self.write(cx);
        }
        match self.stage {
            Stage::Open => self.read(cx),
            Stage::Ending => {
                let ended = self.coder.as_mut().poll_shutdown(cx);
                let step = done(ended)?;
                if matches!(step, Step::On) {
                    self.stage = Stage::Ended;
                }
                Ok(step)
            }
            Stage::Ended => Ok(Step::Full),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Step, BodyError> {
        match self.coder.as_mut().poll_write(cx, &self.input) {
            Poll::Pending => Ok(Step::Full),
            Poll::Ready(Ok(0) | Err(_)) => Err(BodyError::Coding),
            Poll::Ready(Ok(written)) => {
                self.input.advance(written);
                self.dirty = true;
                Ok(Step::On)
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Step, BodyError> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => self.stage = Stage::Ending,
            Poll::Ready(Some(frame)) => {
                // Trailers speak of the body as it was.
                self.input = frame?.into_data().unwrap_or_default();
                self.received += self.input.len() as u64;
            }
            Poll::Pending if self.dirty => {
                let step = done(self.coder.as_mut().poll_flush(cx))?;
                self.dirty = matches!(step, Step::Full);
                return Ok(if self.dirty { step } else { Step::Waiting });
            }
            Poll::Pending => return Ok(Step::Waiting),
        }
        Ok(Step::On)
    }

    /// What the sink holds, to go on; nothing when it is empty.
    fn emptied(&mut self) -> Option<Result<Bytes, BodyError>> {
        let out = self.out.lock().split().freeze();
        self.given += out.len() as u64;
        let bomb = self.bounded && self.given > FLOOR.max(self.received.saturating_mul(RATIO));
        (!out.is_empty()).then_some(if bomb { Err(BodyError::TooLarge) } else { Ok(out) })
    }
}

fn done(outcome: Poll<io::Result<()>>) -> Result<Step, BodyError> {
    match outcome {
        Poll::Pending => Ok(Step::Full),
        Poll::Ready(Ok(())) => Ok(Step::On),
        Poll::Ready(Err(_)) => Err(BodyError::Coding),
    }
}

impl HttpBody for Coded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let step = match this.step(cx) {
                Ok(step) => step,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            if matches!(step, Step::On) && this.out.lock().len() < HELD {
                continue;
            }
            return match this.emptied() {
                Some(out) => Poll::Ready(Some(out.map(Frame::data))),
                None if this.stage == Stage::Ended => Poll::Ready(None),
                // A coder that stops with nothing to show for it would stop for ever.
                None if !matches!(step, Step::Waiting) => Poll::Ready(Some(Err(BodyError::Coding))),
                None => Poll::Pending,
            };
        }
    }
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut held = self.lock();
        if held.len() >= HELD {
            return Poll::Pending;
        }
        held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::{Full, StreamBody};

    const CODINGS: [Coding; 5] = [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    fn body(bytes: impl Into<Bytes>) -> Body {
        Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
    }

    async fn whole(body: Body) -> Result<Bytes, BodyError> {
        body.collect().await.map(|whole| whole.to_bytes())
    }

    /// Something that compresses to about half.
    fn text() -> Vec<u8> {
        (0..200_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 28).to_string().into_bytes()).collect()
    }

    #[tokio::test]
    async fn what_is_put_on_is_taken_off() {
        for coding in CODINGS {
            for bytes in [Vec::new(), b"x".to_vec(), text()] {
                let coded = whole(encoded(body(bytes.clone()), coding)).await.unwrap();
                assert!(coding == Coding::Identity || coded.len() < bytes.len().max(100), "{coding:?}");
                assert!(whole(decoded(body(coded), coding)).await.unwrap() == bytes, "{coding:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_damaged_or_cut_short_is_no_whole_body() {
        for coding in &CODINGS[1..] {
            let coded = whole(encoded(body(text()), *coding)).await.unwrap();
            let cut = coded.slice(..coded.len() - 9);
            assert_eq!(whole(decoded(body(cut), *coding)).await, Err(BodyError::Coding), "{coding:?}");
            assert_eq!(whole(decoded(body("no coding at all"), *coding)).await, Err(BodyError::Coding), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_put_out() {
        for coding in &CODINGS[1..] {
            let zeros = stream::repeat(Bytes::from(vec![0; 64 * 1024])).take(1_024).map(|data| Ok(Frame::data(data)));
            let bomb = whole(encoded(StreamBody::new(zeros).boxed_unsync(), *coding)).await.unwrap();
            let mut decoded = decoded(body(bomb), *coding);
            let (mut total, mut largest) = (0, 0);
            let end = loop {
                match decoded.frame().await {
                    Some(Ok(frame)) => {
                        let length = frame.into_data().unwrap().len();
                        (total, largest) = (total + length, largest.max(length));
                    }
                    end => break end,
                }
            };
            assert!(matches!(end, Some(Err(BodyError::TooLarge))), "{coding:?}: {total}");
            assert!(total < 20 << 20 && largest <= 128 * 1024, "{coding:?}: {total}, {largest} at once");
        }
    }

    #[tokio::test]
    async fn what_has_come_goes_on_at_once() {
        for coding in CODINGS {
            let first = stream::once(async { Ok(Frame::data(Bytes::from("data: first\n\n"))) });
            let silent = StreamBody::new(Box::pin(first.chain(stream::pending()))).boxed_unsync();
            let mut through = decoded(encoded(silent, coding), coding);
            let mut got = Vec::new();
            while let Some(Some(Ok(frame))) = through.frame().now_or_never() {
                got.extend_from_slice(&frame.into_data().unwrap());
            }
            assert_eq!(got, b"data: first\n\n", "{coding:?}");
        }
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn codings_by_name() {
        assert_eq!(Coding::of(&fields(&[])), Some(Coding::Identity));
        assert_eq!(Coding::of(&fields(&[("content-encoding", "x-gzip")])), Some(Coding::Gzip));
        assert_eq!(Coding::of(&fields(&[("content-encoding", "BR")])), Some(Coding::Brotli));
        assert_eq!(Coding::of(&fields(&[("content-encoding", "gzip, gzip")])), None);
        assert_eq!(Coding::of(&fields(&[("content-encoding", "dcb")])), None);
    }

    #[test]
    fn only_what_can_be_taken_off_is_asked_for() {
        let asked = |text| {
            let mut fields = fields(&[("accept-encoding", text)]);
            prepare_for_rewrite(&mut fields, false);
            fields["accept-encoding"].to_str().unwrap().to_owned()
        };
        assert_eq!(asked("gzip, deflate, br, zstd, dcb, dcz"), "gzip, deflate, br, zstd");
        assert_eq!(asked("compress;q=0.5, gzip;q=1.0, *;q=0"), "gzip;q=1.0");
        assert_eq!(asked("dcb"), "identity");
        let mut none = HeaderMap::new();
        prepare_for_rewrite(&mut none, true);
        assert!(none.is_empty());
    }

    #[test]
    fn a_page_is_asked_for_whole_and_anew() {
        let lines =
            [("if-none-match", "\"1\""), ("if-modified-since", "x"), ("range", "bytes=0-1"), ("if-range", "\"1\"")];
        let mut part = fields(&lines);
        prepare_for_rewrite(&mut part, false);
        assert_eq!(part.len(), 4);
        prepare_for_rewrite(&mut part, true);
        assert!(part.is_empty());
    }

    #[test]
    fn a_rewritten_page_has_no_validators() {
        let lines = [
            ("etag", "\"1\""),
            ("last-modified", "x"),
            ("content-length", "5"),
            ("cache-control", "public, max-age=9"),
        ];
        let mut page = fields(&lines);
        rewritten(&mut page);
        assert_eq!(page, fields(&[("cache-control", "private, no-cache"), ("accept-ranges", "none")]));
        let mut secret = fields(&[("cache-control", "No-Store")]);
        rewritten(&mut secret);
        assert_eq!(secret["cache-control"], "private, no-cache, no-store");
    }
}
