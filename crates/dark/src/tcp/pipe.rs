//! A TCP connection as quinn's socket: every packet goes to its other end, and comes from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, UdpPoller, VarInt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::frames::{From, Inward, LENGTH, NotOurs};

/// How long what was said last may take to leave, and the other end to say that it has heard enough.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Packets that quinn hands over at a time; it makes no more.
const BATCH: usize = 10;

/// What tells that a QUIC connection is over, and that the role has no use for it any more.
pub(super) type Ends = (oneshot::Receiver<()>, CancellationToken);

/// The socket.
#[derive(Debug)]
pub(super) struct Pipe(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    inward: Mutex<Inward>,
    outward: Mutex<Outward>,
    /// There is something left to write.
    left: Notify,
    /// The other end has gone, or says what it may not.
    gone: CancellationToken,
}

/// What the kernel did not take at once; at most one batch. Until it is gone, quinn waits.
#[derive(Debug, Default)]
struct Outward {
    left: Vec<u8>,
    written: usize,
    waiting: Vec<Waker>,
}

impl Pipe {
    /// Takes over a connection, on which what goes before the packets was said. `peer` is how quinn shall know the other end.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, from: From) -> io::Result<Self> {
        // What is written is whole; nothing is gained by waiting for more.
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        Ok(Self(Arc::new(Shared {
            stream,
            local,
            peer,
            inward: Mutex::new(Inward::new(from)),
            outward: Mutex::default(),
            left: Notify::new(),
            gone: CancellationToken::new(),
        })))
    }

    /// What must be done beside quinn: writes what the kernel did not take at once, and ends the QUIC connection when the TCP connection
    /// breaks and the TCP connection when the QUIC connection is over, soon after the role has no use for it, or when `closing` is.
    pub(super) fn attend(
        &self,
        endpoint: Endpoint,
        (over, ended): Ends,
        closing: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.0.clone();
        async move {
            // QUIC holds on to a connection for some round trips after its end, in which what the kernel has would still leave.
            let of_no_use = async {
                ended.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = shared.keep_writing() => endpoint.close(VarInt::from_u32(0), b""),
                () = shared.gone.cancelled() => endpoint.close(VarInt::from_u32(0), b""),
                _ = over => {}
                () = of_no_use => endpoint.close(VarInt::from_u32(0), b""),
                () = closing.cancelled() => {
                    endpoint.close(VarInt::from_u32(0), b"");
                    let said = async { tokio::join!(shared.keep_writing(), endpoint.wait_idle()) };
                    let _ = tokio::time::timeout(LAST_WORDS, said).await;
                }
            }
            drop(endpoint);
            shared.end().await;
        }
    }
}

impl Shared {
    /// Until the connection breaks.
    async fn keep_writing(&self) {
        while !self.gone.is_cancelled() {
            self.left.notified().await;
            self.flush().await;
        }
    }

    /// Writes what is left.
    async fn flush(&self) {
        while !self.outward().is_empty() {
            if self.stream.writable().await.is_err() {
                return self.break_off();
            }
            let mut outward = self.outward();
            let written = self.stream.try_write(&outward.left[outward.written..]);
            match written {
                Ok(count) if count > 0 => outward.take(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => {
                    outward.clear();
                    self.gone.cancel();
                }
            }
        }
    }

    /// Nothing more comes from us; what still comes is not read by anybody. A connection that is closed before its end was heard
    /// would be reset, and what was said last perhaps lost with it.
    async fn end(&self) {
        let ended = async {
            self.flush().await;
            let socket = socket2::SockRef::from(&self.stream);
            if socket.shutdown(std::net::Shutdown::Write).is_err() {
                return;
            }
            let mut nowhere = [0; 4096];
            while self.stream.readable().await.is_ok() {
                match self.stream.try_read(&mut nowhere) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        let socket = socket2::SockRef::from(&self.stream);
        let _ = match tokio::time::timeout(LAST_WORDS, ended).await {
            Ok(()) => socket.shutdown(std::net::Shutdown::Both),
            // What the other end has not taken by now it does not get any more: closing throws it away.
            Err(_) => socket.set_linger(Some(Duration::ZERO)),
        };
        self.break_off();
    }

    fn break_off(&self) {
        self.outward().clear();
        self.gone.cancel();
    }

    /// Hands on whole packets, one to a buffer; how many.
    fn hand_on(
        &self,
        inward: &mut Inward,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Result<usize, NotOurs> {
        let mut handed = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let Some(packet) = inward.packet()? else { break };
            let len = packet.len().min(buf.len());
            buf[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta { addr: self.peer, len, stride: len, ecn: None, dst_ip: None };
            handed += 1;
        }
        Ok(handed)
    }

    /// One read: how many bytes have come; 0 at the end.
    fn read(&self, inward: &mut Inward) -> io::Result<usize> {
        self.stream.try_read_buf(&mut inward.room())
    }

    fn outward(&self) -> MutexGuard<'_, Outward> {
        self.outward.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outward {
    fn is_empty(&self) -> bool {
        self.written >= self.left.len()
    }

    fn take(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.left.clear();
        self.written = 0;
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Keeps the rest of these, from which so many bytes were written.
    fn keep(&mut self, slices: &[IoSlice<'_>], mut written: usize) {
        for slice in slices {
            let skipped = written.min(slice.len());
            written -= skipped;
            self.left.extend_from_slice(&slice[skipped..]);
        }
    }
}

impl AsyncUdpSocket for Pipe {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller(self.0.clone()))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let shared = &self.0;
        let mut outward = shared.outward();
        if shared.gone.is_cancelled() {
            // QUIC takes it for lost on the way; soon it hears that there is none.
            return Ok(());
        }
        if !outward.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for batch in transmit.contents.chunks(segment * BATCH) {
            let mut lengths = [[0; LENGTH]; BATCH];
            for (length, packet) in lengths.iter_mut().zip(batch.chunks(segment)) {
                *length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
            }
            let mut slices = [IoSlice::new(&[]); 2 * BATCH];
            let mut count = 0;
            for (length, packet) in lengths.iter().zip(batch.chunks(segment)) {
                slices[count] = IoSlice::new(length);
                slices[count + 1] = IoSlice::new(packet);
                count += 2;
            }
            let slices = &slices[..count];
            let written = match outward.is_empty() {
                true => shared.stream.try_write_vectored(slices),
                false => Ok(0),
            };
            match written {
                Ok(written) => outward.keep(slices, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => outward.keep(slices, 0),
                Err(_) => {
                    shared.gone.cancel();
                    return Ok(());
                }
            }
        }
        if !outward.is_empty() {
            shared.left.notify_one();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let shared = &self.0;
        let mut inward = shared.inward.lock().unwrap_or_else(PoisonError::into_inner);
        while !shared.gone.is_cancelled() {
            match shared.hand_on(&mut inward, bufs, metas) {
                Ok(0) => {}
                Ok(handed) => return Poll::Ready(Ok(handed)),
                Err(NotOurs) => {
                    tracing::debug!(peer = %shared.peer, "a connection over TCP brought what is no packet of ours");
                    break;
                }
            }
            if ready!(shared.stream.poll_read_ready(cx)).is_err() {
                break;
            }
            match shared.read(&mut inward) {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => break,
            }
        }
        // Not an error, which quinn would log: who attends the connection ends it.
        shared.gone.cancel();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local)
    }

    fn max_transmit_segments(&self) -> usize {
        BATCH
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Tells one connection when packets are taken again.
#[derive(Debug)]
struct WritePoller(Arc<Shared>);

impl UdpPoller for WritePoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outward = self.0.outward();
        if outward.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !outward.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) {
            outward.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
