//! T: the copy loop between one local connection and one QUIC stream, the same at the gateway and at the client.
//!
//! What TCP can say passes through, both ways: bytes, half-close (FIN), and reset. Backpressure is the peers' own: nothing
//! is read that can't be written. While nothing flows a spliced connection holds no buffer: bytes are read into a buffer
//! that belongs to the worker thread, and from QUIC they come as they were received, without a copy.

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::{Sleep, sleep};
use vestibule_proto::session::code;

/// How much room there is, at least, for one read from a local connection, in bytes.
const READ_LEN: usize = 32 * 1024;

/// What a worker thread reads into, in bytes: longer reads are cut off its front without a copy.
const BLOCK_LEN: usize = 64 * 1024;

/// Reads shorter than this are copied, so that a small piece that waits for its acknowledgement holds no whole block.
const COPY_BELOW: usize = 8 * 1024;

/// How many chunks of received data are written by one system call.
const BURST: usize = 64;

/// How often a stream is looked at whose other direction has finished, while its data can't be written.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What became of a spliced connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpliceEnd {
    /// Bytes that went from the local connection into the stream.
    pub sent: u64,
    /// Bytes that went from the stream into the local connection.
    pub received: u64,
    /// How it ended.
    pub outcome: SpliceOutcome,
}

/// How a spliced connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpliceOutcome {
    /// Both directions were closed in order.
    Finished,
    /// The local connection was reset or failed; the peer was told by [`code::TCP_RESET`].
    LocalReset,
    /// The peer reset the stream or no longer takes data; a local TCP connection was reset.
    PeerReset,
    /// The QUIC connection is gone; a local TCP connection was reset.
    ConnectionLost,
}

/// Copies both ways between a TCP connection and a stream until both directions are closed, or either side breaks.
///
/// Half-close passes in each direction by itself. A TCP reset becomes `RESET_STREAM` and `STOP_SENDING` with
/// [`code::TCP_RESET`]; either of these from the peer, whatever the code, becomes a TCP reset (`SO_LINGER` 0). When the
/// future is dropped before its end, polled or not, both sides are reset: nobody takes a cut connection for a finished one.
///
/// A stream reset is seen also while the TCP peer takes no data: at once as long as the other direction is open, else within
/// [`PROBE_EVERY`]. A connection lost is then seen only as long as the other direction is open: a caller who knows of its end
/// by other means drops the future.
pub fn splice(tcp: TcpStream, send: SendStream, recv: RecvStream) -> impl Future<Output = SpliceEnd> + Send {
    let guarded = Spliced { tcp, streams: Streams { send, recv, finished: false } };
    async move {
        let mut spliced = guarded;
        let (mut sent, mut received) = (0, 0);
        let (reader, mut writer) = spliced.tcp.split();
        let outcome = run(reader, &mut writer, &mut spliced.streams, &mut sent, &mut received).await;
        spliced.streams.finished = outcome == SpliceOutcome::Finished;
        SpliceEnd { sent, received, outcome }
    }
}

/// [`splice`] for anything that isn't a socket: standard input and output, in-process pipes.
///
/// The end of `reader` finishes the stream; the end of the stream shuts `writer` down. What can't be reset is only shut:
/// the outcome tells the caller.
pub fn splice_io<R, W>(
    reader: R,
    mut writer: W,
    send: SendStream,
    recv: RecvStream,
) -> impl Future<Output = SpliceEnd> + Send
where
    R: AsyncRead + Send + Sync + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let guarded = Streams { send, recv, finished: false };
    async move {
        let mut streams = guarded;
        let (mut sent, mut received) = (0, 0);
        let outcome = run(Plain(reader), &mut writer, &mut streams, &mut sent, &mut received).await;
        streams.finished = outcome == SpliceOutcome::Finished;
        SpliceEnd { sent, received, outcome }
    }
}

/// Where local data come from, and how it shows that the local side is no more.
trait Local: Sync {
    /// What is read.
    type Reader: AsyncRead + Unpin;

    /// The reader.
    fn reader(&mut self) -> &mut Self::Reader;

    /// Completes when the local side is in error, also while nobody reads it.
    fn failed(&self) -> impl Future<Output = ()> + Send;
}

impl<'a> Local for ReadHalf<'a> {
    type Reader = ReadHalf<'a>;

    fn reader(&mut self) -> &mut Self::Reader {
        self
    }

    async fn failed(&self) {
        // An error of the wait itself means that the runtime is going down, and the connection with it.
        let _ = self.ready(Interest::ERROR).await;
    }
}

/// A local side that has no errors but those of reading.
struct Plain<R>(R);

impl<R: AsyncRead + Sync + Unpin> Local for Plain<R> {
    type Reader = R;

    fn reader(&mut self) -> &mut R {
        &mut self.0
    }

    fn failed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// Why a direction broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Local,
    Peer,
    Connection,
}

/// The two halves of a stream, reset when dropped before both have finished.
struct Streams {
    send: SendStream,
    recv: RecvStream,
    finished: bool,
}

impl Drop for Streams {
    fn drop(&mut self) {
        if !self.finished {
            // Either half may be closed already: then there is nothing left to tell.
            let _ = self.send.reset(VarInt::from_u32(code::TCP_RESET));
            let _ = self.recv.stop(VarInt::from_u32(code::TCP_RESET));
        }
    }
}

/// A TCP connection and its stream; the TCP side is reset as well when dropped before the end.
struct Spliced {
    tcp: TcpStream,
    streams: Streams,
}

impl Drop for Spliced {
    fn drop(&mut self) {
        if !self.streams.finished {
            // Fails only on a socket that is gone already.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

async fn run<L: Local, W: AsyncWrite + Unpin>(
    local: L,
    writer: &mut W,
    streams: &mut Streams,
    sent: &mut u64,
    received: &mut u64,
) -> SpliceOutcome {
    let all_received = AtomicBool::new(false);
    let all_sent = AtomicBool::new(false);
    let mut outward = pin!(async {
        let local = outward(local, &mut streams.send, sent).await?;
        all_sent.store(true, Relaxed);
        if !all_received.load(Relaxed) {
            local.failed().await;
            return Err(Broken::Local);
        }
        Ok(())
    });
    let end = tokio::select! {
        biased;
        end = &mut outward => end,
        end = inward(writer, &mut streams.recv, received, &all_sent) => match end {
            Ok(()) if !all_sent.load(Relaxed) => {
                all_received.store(true, Relaxed);
                outward.await
            }
            end => end,
        },
    };
    match end {
        Ok(()) => SpliceOutcome::Finished,
        Err(Broken::Local) => SpliceOutcome::LocalReset,
        Err(Broken::Peer) => SpliceOutcome::PeerReset,
        Err(Broken::Connection) => SpliceOutcome::ConnectionLost,
    }
}

/// Local connection → stream, until the local side has no more.
async fn outward<L: Local>(mut local: L, send: &mut SendStream, count: &mut u64) -> Result<L, Broken> {
    let mut stopped = pin!(send.stopped());
    loop {
        let reader = local.reader();
        let data = poll_fn(|cx| match poll_local(reader, cx) {
            Poll::Ready(read) => Poll::Ready(read.map_err(|_| Broken::Local)),
            Poll::Pending => stopped.as_mut().poll(cx).map(|end| Err(end.map_or(Broken::Connection, |_| Broken::Peer))),
        });
        let Some(data) = data.await? else {
            // Fails only when the peer has stopped the stream meanwhile: it needs no end.
            let _ = send.finish();
            return Ok(local);
        };
        let length = data.len() as u64;
        tokio::select! {
            biased;
            written = send.write_chunk(data) => written.map_err(write_broken)?,
            () = local.failed() => return Err(Broken::Local),
        }
        *count += length;
    }
}

/// Whatever the local side has, `None` at its end. Takes no memory while there is nothing.
fn poll_local<R: AsyncRead + Unpin>(reader: &mut R, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
    thread_local! {
        static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.capacity() < READ_LEN {
            *scratch = BytesMut::with_capacity(BLOCK_LEN);
        }
        let length = ready!(pin!(reader.read_buf(scratch)).poll(cx))?;
        Poll::Ready(Ok(match length {
            0 => None,
            1..COPY_BELOW => {
                let data = Bytes::copy_from_slice(scratch);
                scratch.clear();
                Some(data)
            }
            _ => Some(scratch.split().freeze()),
        }))
    })
}

/// Stream → local connection, until the peer has no more. `alone`: nothing watches the peer from the other direction any more.
async fn inward<W: AsyncWrite + Unpin>(
    writer: &mut W,
    recv: &mut RecvStream,
    count: &mut u64,
    alone: &AtomicBool,
) -> Result<(), Broken> {
    let mut rest = Vec::new();
    let mut probe = None;
    let mut go_on = |cx: &mut Context<'_>| {
        let polled = poll_burst(writer, recv, &mut rest, count, cx);
        let stands_still = polled.is_pending() && !rest.is_empty();
        if stands_still && alone.load(Relaxed) { poll_reset(recv, &mut probe, cx) } else { polled }
    };
    while poll_fn(&mut go_on).await? {}
    poll_fn(|cx| Pin::new(&mut *writer).poll_shutdown(cx)).await.map_err(|_| Broken::Local)
}

/// Looks now and then whether the peer has reset a stream whose data wait to be written. A read of nothing tells a reset and
/// takes nothing; but only a read that finds nothing at all is woken by one.
fn poll_reset<T>(
    recv: &mut RecvStream,
    probe: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Broken>> {
    loop {
        ready!(probe.get_or_insert_with(|| Box::pin(sleep(PROBE_EVERY))).as_mut().poll(cx));
        *probe = None;
        if let Poll::Ready(Err(error)) = pin!(recv.read_chunk(0, true)).poll(cx) {
            return Poll::Ready(Err(read_broken(error)));
        }
    }
}

/// Writes what is left of the last burst, then one more. False at the end of the stream.
fn poll_burst<W: AsyncWrite + Unpin>(
    writer: &mut W,
    recv: &mut RecvStream,
    rest: &mut Vec<Bytes>,
    count: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, Broken>> {
    if !rest.is_empty() {
        let written = ready!(poll_write(writer, rest, count, cx))?;
        rest.drain(..written);
        if !rest.is_empty() {
            return Poll::Ready(Ok(true));
        }
        // An idle connection keeps nothing.
        *rest = Vec::new();
    }
    let mut burst = [const { Bytes::new() }; BURST];
    let read = match pin!(recv.read_chunks(&mut burst)).poll(cx) {
        Poll::Ready(read) => read.map_err(read_broken)?,
        Poll::Pending => {
            // Standard output keeps what is written until it is told that this is all for now.
            ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(|_| Broken::Local)?;
            return Poll::Pending;
        }
    };
    let Some(chunks) = read.and_then(|read| burst.get_mut(..read)) else {
        return Poll::Ready(Ok(false));
    };
    let written = match poll_write(writer, chunks, count, cx) {
        Poll::Ready(written) => written?,
        Poll::Pending => 0,
    };
    rest.extend(chunks[written..].iter_mut().map(std::mem::take));
    Poll::Ready(Ok(true))
}

/// One vectored write. Returns how many chunks are done with; a chunk that went in part keeps what is left of it.
fn poll_write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    chunks: &mut [Bytes],
    count: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Broken>> {
    let mut slices = [IoSlice::new(&[]); BURST];
    for (slice, chunk) in slices.iter_mut().zip(chunks.iter()) {
        *slice = IoSlice::new(chunk);
    }
    let slices = &slices[..chunks.len().min(BURST)];
    let mut length = ready!(Pin::new(writer).poll_write_vectored(cx, slices)).map_err(|_| Broken::Local)?;
    if length == 0 {
        return Poll::Ready(Err(Broken::Local));
    }
    *count += length as u64;
    for (done, chunk) in chunks.iter_mut().enumerate() {
        if length < chunk.len() {
            let _ = chunk.split_to(length);
            return Poll::Ready(Ok(done));
        }
        length -= chunk.len();
    }
    Poll::Ready(Ok(chunks.len()))
}

fn read_broken(error: ReadError) -> Broken {
    match error {
        ReadError::Reset(_) => Broken::Peer,
        ReadError::ConnectionLost(_) => Broken::Connection,
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => Broken::Local,
    }
}

fn write_broken(error: WriteError) -> Broken {
    match error {
        WriteError::Stopped(_) => Broken::Peer,
        WriteError::ConnectionLost(_) => Broken::Connection,
        WriteError::ClosedStream | WriteError::ZeroRttRejected => Broken::Local,
    }
}
