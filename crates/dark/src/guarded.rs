//! The socket as quinn sees it: behind a guard that looks at each datagram before quinn does, and at each destination
//! before the kernel does.

use std::fmt::Debug;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::counters::{Counters, CountersSnapshot};
use crate::wire::Wire;

/// How many batches one poll reads at most if nothing in them is for quinn. Then other tasks have their turn: a flood takes
/// its share of the processor and no more. A batch is 32 datagrams.
const BATCHES_PER_POLL: usize = 4;

/// Who decides what passes.
pub(crate) trait Guard: Debug + Send + Sync + 'static {
    /// Whether quinn may see this datagram. Counts what becomes of it. Must not allocate, log or wait.
    fn admits(&self, meta: &RecvMeta, datagram: &[u8], now: Instant, counted: &mut CountersSnapshot) -> bool;

    /// Whether a datagram may go to this address.
    fn may_reach(&self, to: SocketAddr, now: Instant) -> bool;
}

/// A socket and its guard.
#[derive(Debug)]
pub(crate) struct Guarded<G> {
    pub(crate) wire: Wire,
    pub(crate) guard: G,
    pub(crate) counters: Counters,
}

impl<G: Guard> Guarded<G> {
    pub(crate) fn new(wire: Wire, guard: G) -> Self {
        Self { wire, guard, counters: Counters::default() }
    }

    /// Takes out of a batch what quinn may not see; how many buffers are left, all of them at the front.
    fn sift(&self, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let now = Instant::now();
        let mut counted = CountersSnapshot::default();
        let mut kept = 0;
        for at in 0..metas.len().min(bufs.len()) {
            let meta = metas[at];
            let len = self.sift_one(&mut bufs[at], &meta, now, &mut counted);
            if len > 0 {
                bufs.swap(kept, at);
                metas[kept] = RecvMeta { len, ..meta };
                kept += 1;
            }
        }
        self.counters.add(&counted);
        kept
    }

    /// The same for one buffer, which holds several datagrams of one source where the kernel has joined them: all of
    /// `stride` bytes but the last, which may be shorter. They close ranks, so that this stays true. The bytes left.
    fn sift_one(&self, buf: &mut [u8], meta: &RecvMeta, now: Instant, counted: &mut CountersSnapshot) -> usize {
        let len = meta.len.min(buf.len());
        if len == 0 {
            counted.received += 1;
            counted.foreign += 1;
            return 0;
        }
        let stride = if meta.stride == 0 { len } else { meta.stride };
        let mut kept = 0;
        for start in (0..len).step_by(stride) {
            let end = len.min(start + stride);
            counted.received += 1;
            if self.guard.admits(meta, &buf[start..end], now, counted) {
                buf.copy_within(start..end, kept);
                kept += end - start;
            }
        }
        kept
    }
}

impl<G: Guard> AsyncUdpSocket for Guarded<G> {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.wire.poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let datagrams = transmit.contents.len().div_ceil(segment) as u64;
        let mut counted = CountersSnapshot::default();
        if !self.guard.may_reach(transmit.destination, Instant::now()) {
            counted.blocked_out = datagrams;
        } else {
            match self.wire.transmit(transmit) {
                Ok(()) => counted.sent = datagrams,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // QUIC takes it for lost on the way; a probe larger than the path is lost on purpose.
                Err(_) => counted.send_failed = datagrams,
            }
        }
        self.counters.add(&counted);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..BATCHES_PER_POLL {
            ready!(self.wire.poll_readable(cx))?;
            match self.wire.receive(bufs, metas) {
                Ok(received) => {
                    let kept = self.sift(bufs, &mut metas[..received]);
                    if kept > 0 {
                        return Poll::Ready(Ok(kept));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_passing(&error) => {
                    self.counters.add(&CountersSnapshot { receive_errors: 1, ..Default::default() });
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.wire.max_transmit_segments()
    }

    /// One: quinn makes its buffers this many times the largest payload that it accepts, which for our endpoints is the
    /// largest there is ([`endpoint_config`](crate::quiet::endpoint_config)), and joined datagrams don't exceed that.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.wire.may_fragment()
    }
}

/// Whether the socket goes on after this error: it reports what became of an earlier datagram, or a lack that passes. quinn
/// would take any error for the end.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, OutOfMemory,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | OutOfMemory
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::KernelFilter;

    /// Admits datagrams that begin with an even byte.
    #[derive(Debug)]
    struct Even;

    impl Guard for Even {
        fn admits(&self, _: &RecvMeta, datagram: &[u8], _: Instant, counted: &mut CountersSnapshot) -> bool {
            let even = datagram[0].is_multiple_of(2);
            counted.quic_passed += u64::from(even);
            even
        }

        fn may_reach(&self, _: SocketAddr, _: Instant) -> bool {
            true
        }
    }

    fn guarded() -> Guarded<Even> {
        let wire = Wire::bind("127.0.0.1:0".parse().unwrap(), KernelFilter::Off).unwrap();
        Guarded::new(wire, Even)
    }

    fn datagrams_of(bufs: &[IoSliceMut<'_>], metas: &[RecvMeta]) -> Vec<Vec<u8>> {
        let joined = bufs.iter().zip(metas);
        joined.flat_map(|(buf, meta)| buf[..meta.len].chunks(meta.stride).map(<[u8]>::to_vec)).collect()
    }

    /// A batch: per buffer the stride, the first bytes of its datagrams, and the length of the last.
    fn batch() -> impl Strategy<Value = Vec<(usize, Vec<u8>, usize)>> {
        let buffer = (1..40usize, prop::collection::vec(any::<u8>(), 0..6))
            .prop_flat_map(|(stride, firsts)| (Just(stride), Just(firsts), 1..=stride));
        prop::collection::vec(buffer, 0..8)
    }

    #[test]
    fn sifting_keeps_what_is_admitted_in_order_and_whole() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        proptest!(|(batch in batch())| {
            let guarded = guarded();
            let mut expected = Vec::new();
            let (mut contents, mut metas) = (Vec::new(), Vec::new());
            for (stride, firsts, last) in &batch {
                let mut content = Vec::new();
                for (n, first) in firsts.iter().enumerate() {
                    let len = if n + 1 == firsts.len() { *last } else { *stride };
                    let mut datagram = vec![n as u8; len];
                    datagram[0] = *first;
                    content.extend_from_slice(&datagram);
                    if first.is_multiple_of(2) {
                        expected.push(datagram);
                    }
                }
                metas.push(RecvMeta { len: content.len(), stride: *stride, ..RecvMeta::default() });
                content.resize(256, 0xff);
                contents.push(content);
            }
            let mut bufs: Vec<_> = contents.iter_mut().map(|content| IoSliceMut::new(content)).collect();
            let kept = guarded.sift(&mut bufs, &mut metas);
            prop_assert_eq!(datagrams_of(&bufs[..kept], &metas[..kept]), expected.clone());
            let counted = guarded.counters.snapshot();
            let sent: usize = batch.iter().map(|(_, firsts, _)| firsts.len().max(1)).sum();
            prop_assert_eq!(counted.received, sent as u64);
            prop_assert_eq!(counted.quic_passed, expected.len() as u64);
        });
    }
}
