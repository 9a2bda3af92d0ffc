//! T: one connection inside the session, as a QUIC stream of its own.

use crate::channel::{framed, lost};
use crate::direct::DirectStream;
use crate::error::ClientError;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use vestibule_dark::framed::{FramedError, read_frame_within, write_frame};
use vestibule_dark::splice::{SpliceEnd, SpliceOutcome, splice, splice_io};
use vestibule_proto::session::{OPENED_LIMIT, Open, Opened, Target, code};

/// Most bytes that travel before the upstream is connected.
const EARLY_LEN: usize = 16 * 1024;
/// What is copied at a time where the kernels carry, in bytes.
const COPY_LEN: usize = 64 * 1024;

/// A connection to a service. Dropping it before both directions have ended resets it.
pub struct TunnelStream {
    way: Way,
    _counted: Counted,
}

/// How the bytes travel.
enum Way {
    Tunnel(Halves),
    Direct(Box<DirectStream>),
}

struct Halves {
    send: SendStream,
    recv: RecvStream,
}

/// One of the open streams of a session.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose opening was asked for and not answered yet.
pub(crate) struct Opening {
    halves: Halves,
    service: String,
    counted: Counted,
}

impl Opening {
    /// Asks for a connection. The answer is awaited apart, by [`Opening::opened`] or [`Opening::join`].
    pub(crate) async fn ask(connection: &Connection, target: Target, counted: Counted) -> Result<Self, ClientError> {
        let (mut send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
        let service = match &target {
            Target::Service(name) | Target::Direct { service: name, .. } | Target::Udp(name) => name.to_string(),
            Target::Upstream(upstream) => upstream.clone(),
        };
        write_frame(&mut send, &Open { target }).await.map_err(|error| framed(&error))?;
        Ok(Self { halves: Halves { send, recv }, service, counted })
    }

    /// Waits until the upstream is connected.
    pub(crate) async fn opened(mut self) -> Result<TunnelStream, ClientError> {
        let answer = read_frame_within(&mut self.halves.recv, OPENED_LIMIT).await;
        self.told(answer)
    }

    /// Waits until the upstream is connected, while what `local` says travels ahead; then carries.
    pub(crate) async fn join(mut self, local: &TcpStream) -> Result<TunnelStream, ClientError> {
        let answer = self.halves.answer_while(local).await;
        self.told(answer)
    }

    fn told(mut self, answer: Result<Opened, FramedError>) -> Result<TunnelStream, ClientError> {
        match answer.map_err(|error| framed(&error))? {
            Opened::Connected => Ok(TunnelStream { way: Way::Tunnel(self.halves), _counted: self.counted }),
            Opened::Refused(reason) => {
                self.halves.give_up();
                Err(ClientError::from_open_reason(reason, &self.service))
            }
            Opened::Direct { .. } => {
                self.halves.give_up();
                Err(crate::channel::out_of_order())
            }
        }
    }
}

/// Sends what `local` has now, at most `ahead` bytes. Returns how many more may go.
async fn early(local: &TcpStream, send: &mut SendStream, ahead: usize) -> usize {
    let mut buffer = vec![0; ahead];
    match local.try_read(&mut buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ahead,
        Ok(0) | Err(_) => 0,
        Ok(length) => match send.write_all(&buffer[..length]).await {
            Ok(()) => ahead - length,
            Err(_) => 0,
        },
    }
}

impl Halves {
    /// The answer to an opening, while what `local` says is sent.
    async fn answer_while(&mut self, local: &TcpStream) -> Result<Opened, FramedError> {
        let Self { send, recv } = self;
        let mut answer = pin!(read_frame_within(recv, OPENED_LIMIT));
        let mut ahead = EARLY_LEN;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                // What ends or breaks here shows again as soon as the connection is carried.
                _ = local.readable(), if ahead > 0 => ahead = early(local, send, ahead).await,
            }
        }
    }

    fn give_up(&mut self) {
        // Either half may be closed already: then there is nothing left to tell.
        let _ = self.send.reset(VarInt::from_u32(code::DONE));
        let _ = self.recv.stop(VarInt::from_u32(code::DONE));
    }
}

impl TunnelStream {
    /// Carries a local TCP connection until both directions have ended; `head` goes first.
    pub(crate) async fn carry(self, local: TcpStream, head: &[u8]) -> Option<SpliceEnd> {
        let Self { way, _counted } = self;
        let Halves { mut send, recv } = match way {
            Way::Tunnel(halves) => halves,
            Way::Direct(stream) => return carry_direct(*stream, local, head).await,
        };
        if !head.is_empty() && send.write_all(head).await.is_err() {
            crate::tunnel::reset(&local);
            return None;
        }
        Some(splice(local, send, recv).await)
    }

    /// Carries anything else.
    pub(crate) async fn carry_io<I, O>(self, input: I, output: O) -> SpliceEnd
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin,
    {
        let Self { way, _counted } = self;
        match way {
            Way::Tunnel(Halves { send, recv }) => splice_io(input, output, send, recv).await,
            Way::Direct(stream) => copy(*stream, &mut tokio::io::join(input, output)).await,
        }
    }

    /// One that the kernels carry.
    pub(crate) fn direct(stream: DirectStream, counted: Counted) -> Self {
        Self { way: Way::Direct(Box::new(stream)), _counted: counted }
    }

    /// One that was opened in these halves.
    pub(crate) fn tunnelled(send: SendStream, recv: RecvStream, counted: Counted) -> Self {
        Self { way: Way::Tunnel(Halves { send, recv }), _counted: counted }
    }
}

async fn carry_direct(mut stream: DirectStream, mut local: TcpStream, head: &[u8]) -> Option<SpliceEnd> {
    if stream.write_all(head).await.is_err() {
        crate::tunnel::reset(&local);
        return None;
    }
    let end = copy(stream, &mut local).await;
    if end.outcome != SpliceOutcome::Finished {
        crate::tunnel::reset(&local);
    }
    Some(end)
}

/// Copies both ways until both directions have ended, or either side breaks.
async fn copy<L: AsyncRead + AsyncWrite + Unpin>(mut stream: DirectStream, local: &mut L) -> SpliceEnd {
    match tokio::io::copy_bidirectional_with_sizes(local, &mut stream, COPY_LEN, COPY_LEN).await {
        Ok((sent, received)) => {
            stream.close().await;
            SpliceEnd { sent, received, outcome: SpliceOutcome::Finished }
        }
        Err(_) => {
            stream.reset();
            SpliceEnd { sent: 0, received: 0, outcome: SpliceOutcome::PeerReset }
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Tunnel(halves) => AsyncRead::poll_read(Pin::new(&mut halves.recv), cx, buffer),
            Way::Direct(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Tunnel(halves) => AsyncWrite::poll_write(Pin::new(&mut halves.send), cx, bytes),
            Way::Direct(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Tunnel(halves) => AsyncWrite::poll_write_vectored(Pin::new(&mut halves.send), cx, slices),
            Way::Direct(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Tunnel(halves) => AsyncWrite::poll_flush(Pin::new(&mut halves.send), cx),
            Way::Direct(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Tunnel(halves) => AsyncWrite::poll_shutdown(Pin::new(&mut halves.send), cx),
            Way::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
