//! T: one connection inside the session, as a QUIC stream of its own.

use crate::channel::{framed, lost};
use crate::error::ClientError;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use vestibule_dark::framed::{FramedError, read_frame_within, write_frame};
use vestibule_dark::splice::{SpliceEnd, splice, splice_io};
use vestibule_proto::session::{Open, Opened, Target, code};

/// The largest `Opened` that is read, in bytes.
const OPENED_LIMIT: usize = 1_024;
/// Most bytes that travel before the upstream is connected.
const EARLY_LEN: usize = 16 * 1024;

/// A connection to a service. Dropping it before both directions have ended resets it.
pub struct TunnelStream {
    halves: Halves,
    _counted: Counted,
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
            Target::Service(name) => name.to_string(),
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
            Opened::Connected => Ok(TunnelStream { halves: self.halves, _counted: self.counted }),
            Opened::Refused(reason) => {
                self.halves.give_up();
                Err(ClientError::from_open_reason(reason, &self.service))
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
        let Self { halves: Halves { mut send, recv }, _counted } = self;
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
        let Self { halves: Halves { send, recv }, _counted } = self;
        splice_io(input, output, send, recv).await
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.halves.recv), cx, buffer)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.halves.send), cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(&mut self.halves.send), cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.halves.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.halves.send), cx)
    }
}
