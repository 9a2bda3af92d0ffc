//! The body of a command. A small one is read whole before anything else. A large one streams to the application while its digest
//! is taken, and its end is held back: an application can't act on a request whose end it hasn't got. Where it could be one that
//! was given before, it is read to its end first.

use super::content::{Content, START};
use crate::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Bodies up to so many bytes are read whole.
pub(super) const WHOLE: usize = START;
/// The most bytes in which the first [`START`] of a content may stand, boundaries and all: no form has parts as small as that.
const START_WITHIN: usize = 4 * START;
/// Bodies up to so many bytes are kept while they are compared.
const COMPARED: usize = 16 << 20;
/// What all of them may take together, in pieces of [`PIECE`].
static ROOM: Semaphore = Semaphore::const_new((128 << 20) / PIECE);
const PIECE: usize = 1 << 20;
/// At least so many bytes at the end of a larger one are held back.
const TAIL: usize = 16 << 10;
/// How long an application that has answered already may leave a piece of the rest untaken.
const LINGER: Duration = Duration::from_secs(2);
/// How long it may go on answering then.
const ANSWERING: Duration = Duration::from_secs(60);

/// A command's body.
pub(super) enum Part {
    /// All of it, and the digest of its content.
    Whole(Bytes, [u8; 32]),
    /// More than [`WHOLE`].
    Stream(Box<Held>),
}

/// A large body, of which the beginning has been read.
pub(super) struct Held {
    start: Bytes,
    rest: Body,
    content: Content,
    /// The digest of the beginning of its content.
    begins: [u8; 32],
}

/// Lets the end go. Dropped before that, the application never gets it and sees a broken request.
pub(super) struct Decide {
    tell: oneshot::Sender<()>,
    answered: CancellationToken,
}

impl Decide {
    /// The application has answered: what it does not take of the rest is read without it, for the digest.
    pub(super) fn answered(&self) {
        self.answered.cancel();
    }

    pub(super) fn send(self) {
        // Nobody waits when the application has broken off.
        let _ = self.tell.send(());
    }
}

/// Reads a body as far as it is small.
///
/// # Errors
/// It broke off.
pub(super) async fn read(mut body: Body, mut content: Content) -> Result<Part, BodyError> {
    let mut start = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers of a request mean nothing to anybody here.
        let Ok(data) = frame?.into_data() else { continue };
        start.extend_from_slice(&data);
        content.write(&data);
        if let (Some(begins), true) = (content.start(), start.len() > WHOLE) {
            return Ok(Part::Stream(Box::new(Held { start: start.freeze(), rest: body, content, begins })));
        }
        if start.len() > START_WITHIN {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(Part::Whole(start.freeze(), content.digest()))
}

impl Held {
    /// What has been read so far.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The digest of the beginning of its content.
    pub(super) fn begins(&self) -> [u8; 32] {
        self.begins
    }

    /// Bytes of its boundary; 0 if it has none.
    pub(super) fn boundary(&self) -> usize {
        self.content.boundary()
    }

    /// Reads it to its end, for nothing.
    ///
    /// # Errors
    /// It broke off.
    pub(super) async fn read_away(mut self) -> Result<(), BodyError> {
        while let Some(data) = data_of(&mut self.rest).await {
            data?;
        }
        Ok(())
    }

    /// Reads it to its end: its digest, and all of it if it isn't too large to be kept.
    ///
    /// # Errors
    /// It broke off.
    pub(super) async fn read_on(mut self) -> Result<(Option<Kept>, [u8; 32]), BodyError> {
        let mut kept = Kept::new(self.start);
        while let Some(data) = data_of(&mut self.rest).await {
            let data = data?;
            self.content.write(&data);
            kept = kept.and_then(|kept| kept.with(&data));
        }
        Ok((kept, self.content.digest()))
    }

    /// The digest once all has come, the decision over the end, and the body for the application.
    pub(super) fn split(self) -> (impl Future<Output = Result<[u8; 32], BodyError>>, Decide, Body) {
        let (digested, digest) = oneshot::channel();
        let (tell, decided) = oneshot::channel();
        let (to, body) = mpsc::channel(1);
        let answered = CancellationToken::new();
        let onward = Onward { to, answered: answered.clone(), taken: true };
        tokio::spawn(self.pass(onward, digested, decided));
        let frames = futures_util::stream::unfold(body, async |mut body: mpsc::Receiver<_>| {
            let frame = body.recv().await?;
            Some((frame, body))
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(Box::pin(frames)));
        (async { digest.await.unwrap_or(Err(BodyError::Sender)) }, Decide { tell, answered }, body)
    }

    async fn pass(
        mut self,
        mut onward: Onward,
        digested: oneshot::Sender<Result<[u8; 32], BodyError>>,
        decided: oneshot::Receiver<()>,
    ) {
        let mut held = Tail::default();
        // The beginning has its place in the digest already.
        held.push(self.start);
        loop {
            while let Some(data) = held.beyond() {
                onward.send(data).await;
            }
            if digested.is_closed() {
                break;
            }
            match data_of(&mut self.rest).await {
                None => break,
                Some(Ok(data)) => {
                    self.content.write(&data);
                    held.push(data);
                }
                Some(Err(error)) => {
                    let _ = digested.send(Err(error));
                    return onward.break_off(error).await;
                }
            }
        }
        // Whatever happens: what is not whole must not look so.
        if digested.send(Ok(self.content.digest())).is_err() {
            return onward.break_off(BodyError::Sender).await;
        }
        match decided.await {
            Ok(()) => onward.finish(held).await,
            Err(_) => onward.break_off(BodyError::Stopped).await,
        }
    }
}

/// A body that is kept until it has been compared.
pub(super) struct Kept {
    bytes: BytesMut,
    room: SemaphorePermit<'static>,
}

impl Kept {
    fn new(start: Bytes) -> Option<Self> {
        let room = (start.len() <= COMPARED).then(|| ROOM.try_acquire_many(pieces(start.len())).ok())??;
        Some(Self { bytes: BytesMut::from(start), room })
    }

    /// With this behind it; `None` where it becomes too large, or too many others are kept.
    fn with(mut self, data: &[u8]) -> Option<Self> {
        let len = self.bytes.len() + data.len();
        if len > COMPARED {
            return None;
        }
        let more = pieces(len) - pieces(self.bytes.len());
        if more > 0 {
            self.room.merge(ROOM.try_acquire_many(more).ok()?);
        }
        self.bytes.extend_from_slice(data);
        Some(self)
    }

    /// The body, and its room, to be held as long as it is there.
    pub(super) fn into_parts(self) -> (Bytes, SemaphorePermit<'static>) {
        (self.bytes.freeze(), self.room)
    }
}

fn pieces(len: usize) -> u32 {
    u32::try_from(len.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

/// The way to the application.
struct Onward {
    to: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
    answered: CancellationToken,
    /// Whether it has taken everything so far.
    taken: bool,
}

impl Onward {
    async fn send(&mut self, data: Bytes) {
        if self.taken {
            let late = async {
                self.answered.cancelled().await;
                sleep(LINGER).await;
            };
            self.taken = tokio::select! {
                sent = self.to.send(Ok(Frame::data(data))) => sent.is_ok(),
                () = late => false,
            };
        }
    }

    async fn finish(mut self, held: Tail) {
        for data in held.pieces {
            self.send(data).await;
        }
        if !self.taken {
            // It has answered and wants no more: the request stays without its end until the answer has gone through.
            let _ = timeout(ANSWERING, self.to.closed()).await;
            self.break_off(BodyError::Sender).await;
        }
    }

    async fn break_off(self, error: BodyError) {
        // An application that takes nothing more is told by the end of its connection.
        let _ = timeout(LINGER, self.to.send(Err(error))).await;
    }
}

async fn data_of(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    loop {
        match body.frame().await?.map(Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The last bytes seen so far.
#[derive(Default)]
struct Tail {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Tail {
    fn push(&mut self, data: Bytes) {
        self.len += data.len();
        self.pieces.push_back(data);
    }

    /// What may leave: as much as leaves [`TAIL`] behind.
    fn beyond(&mut self) -> Option<Bytes> {
        let excess = self.len.checked_sub(TAIL).filter(|excess| *excess > 0)?;
        let first = self.pieces.front_mut()?;
        let data = first.split_to(first.len().min(excess));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        self.len -= data.len();
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderMap;

    fn plain() -> Content {
        Content::of(&HeaderMap::new())
    }

    fn digest_of(bytes: &[u8]) -> [u8; 32] {
        let mut content = plain();
        content.write(bytes);
        content.digest()
    }

    fn body_of(pieces: Vec<Bytes>) -> Body {
        let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
        BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn large() -> Vec<u8> {
        (0..3 * WHOLE).map(|n| (n / 7) as u8).collect()
    }

    async fn held(pieces: Vec<Bytes>) -> Held {
        match read(body_of(pieces), plain()).await.unwrap() {
            Part::Stream(held) => *held,
            Part::Whole(..) => panic!("it is large"),
        }
    }

    async fn arrived(mut body: Body) -> (Vec<u8>, Option<BodyError>) {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return (bytes, Some(error)),
            }
        }
        (bytes, None)
    }

    #[tokio::test]
    async fn a_small_body_is_whole_however_it_comes() {
        for pieces in
            [vec![], vec![Bytes::from_static(b"abc")], vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")]]
        {
            let all = pieces.concat();
            let Part::Whole(bytes, digest) = read(body_of(pieces), plain()).await.unwrap() else {
                panic!("it is small")
            };
            assert_eq!((bytes.as_ref(), digest), (all.as_slice(), digest_of(&all)));
        }
    }

    #[tokio::test]
    async fn the_end_of_a_large_one_waits_for_the_decision() {
        for piece in [1_000, 16 << 10, 300 << 10] {
            let bytes = large();
            let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
            let (digest, decide, mut body) = held(pieces).await.split();
            let reading = tokio::spawn(async move {
                let mut seen = 0;
                while seen < 3 * WHOLE - TAIL {
                    seen += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
                }
                assert_eq!(seen, 3 * WHOLE - TAIL);
                let more = tokio::time::timeout(std::time::Duration::from_millis(50), body.frame()).await;
                assert!(more.is_err(), "the end has left without a decision");
                body
            });
            assert_eq!(digest.await.unwrap(), digest_of(&bytes));
            let body = reading.await.unwrap();
            decide.send();
            let (end, error) = arrived(body).await;
            assert_eq!((end.as_slice(), error), (&bytes[3 * WHOLE - TAIL..], None));
        }
    }

    #[tokio::test]
    async fn what_is_stopped_never_arrives_whole() {
        let bytes = large();
        let (digest, decide, body) = held(vec![Bytes::from(bytes.clone())]).await.split();
        let reading = tokio::spawn(arrived(body));
        digest.await.unwrap();
        drop(decide);
        let (seen, error) = reading.await.unwrap();
        assert_eq!((seen.len(), error), (bytes.len() - TAIL, Some(BodyError::Stopped)));
    }

    #[tokio::test]
    async fn what_is_compared_is_kept_whole_or_not_at_all() {
        let bytes = large();
        let pieces = || bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
        let (kept, digest) = held(pieces()).await.read_on().await.unwrap();
        let (whole, room) = kept.unwrap().into_parts();
        assert_eq!((&whole[..], digest), (&bytes[..], digest_of(&bytes)));
        let much = vec![b'x'; COMPARED + 1];
        let (kept, digest) = held(vec![Bytes::from(much.clone())]).await.read_on().await.unwrap();
        assert!(kept.is_none() && digest == digest_of(&much), "its digest all the same");
        // Others keep as much as there is room for.
        let all = ROOM.acquire_many(u32::try_from(ROOM.available_permits()).unwrap()).await.unwrap();
        assert!(held(pieces()).await.read_on().await.unwrap().0.is_none());
        drop((all, room));
        assert!(held(pieces()).await.read_on().await.unwrap().0.is_some());
    }

    #[tokio::test]
    async fn parts_too_small_to_be_any_are_not_looked_through_for_ever() {
        let kind = hyper::header::HeaderValue::from_static("multipart/form-data; boundary=abcdefgh");
        let content = Content::of(&HeaderMap::from_iter([(hyper::header::CONTENT_TYPE, kind)]));
        let boundaries = Bytes::from(b"abcdefgh".repeat(START_WITHIN));
        assert!(matches!(read(body_of(vec![boundaries]), content).await, Err(BodyError::TooLarge)));
    }

    #[tokio::test]
    async fn a_sender_who_breaks_off_is_told_as_such() {
        let frames = vec![Ok(Frame::data(Bytes::from(large()))), Err(BodyError::TooSlow)];
        let body: Body = BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter(frames)));
        let Part::Stream(held) = read(body, plain()).await.unwrap() else { panic!("it is large") };
        let (digest, _decide, body) = held.split();
        let reading = tokio::spawn(arrived(body));
        assert_eq!(digest.await, Err(BodyError::TooSlow));
        assert_eq!(reading.await.unwrap().1, Some(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_nothing_that_looks_whole() {
        let (digest, decide, body) = held(vec![Bytes::from(large())]).await.split();
        drop(digest);
        drop(decide);
        let (seen, error) = arrived(body).await;
        assert!(seen.len() <= 3 * WHOLE - TAIL && error == Some(BodyError::Sender), "{} {error:?}", seen.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_that_has_answered_need_not_take_the_rest() {
        let bytes = large();
        let pieces = bytes.chunks(1_000).map(Bytes::copy_from_slice).collect();
        let (digest, decide, mut body) = held(pieces).await.split();
        let first = body.frame().await.unwrap().unwrap();
        decide.answered();
        assert_eq!(digest.await.unwrap(), digest_of(&bytes), "of all of it");
        decide.send();
        let (seen, error) = arrived(body).await;
        assert!(first.into_data().unwrap().len() + seen.len() < bytes.len());
        assert_eq!(error, Some(BodyError::Sender));
    }
}
