//! The UDP socket itself: how it is made, read in batches, and written to.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::UdpPoller;
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::ReusableBoxFuture;

use crate::filter;

/// Bytes of datagrams that may wait in the kernel in each direction, if it allows as much. One burst of a fast stream has
/// to fit, and what a flood brings while another task runs.
const KERNEL_BUFFER: usize = 4 << 20;

/// The largest UDP payload that goes over IPv4; over IPv6 it is 20 bytes more.
pub(crate) const PAYLOAD_MAX: usize = 65_507;

/// A UDP socket with segmentation and receive offload, where the kernel has them.
#[derive(Debug)]
pub(crate) struct Wire {
    io: Arc<UdpSocket>,
    state: UdpSocketState,
}

/// Which datagrams the kernel may drop unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelFilter {
    /// None.
    Off,
    /// All that no endpoint of ours ever sends; with or without knocks.
    On { knocks: bool },
}

impl Wire {
    /// Binds exactly the address given; the unspecified address of IPv6 takes IPv4 as well.
    pub(crate) fn bind(address: SocketAddr, kernel_filter: KernelFilter) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        if let KernelFilter::On { knocks } = kernel_filter
            && let Err(error) = filter::attach(&socket, knocks)
        {
            tracing::warn!(%address, %error, "the kernel takes no socket filter: junk is dropped in user space alone");
        }
        enlarge_buffers(&socket);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: Arc::new(UdpSocket::from_std(socket)?), state })
    }

    /// From now on the kernel takes datagrams from this peer alone; to others the port is one that nobody uses.
    pub(crate) fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        socket2::SockRef::from(&*self.io).connect(&peer.into())
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Whether the socket is bound to more than one address of this host.
    pub(crate) fn has_many_addresses(&self) -> bool {
        self.local_addr().is_ok_and(|address| address.ip().is_unspecified())
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(cx)
    }

    /// One batch, after [`Wire::poll_readable`]; `WouldBlock` when there is nothing.
    pub(crate) fn receive(&self, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || self.state.recv((&*self.io).into(), bufs, metas))
    }

    /// Sends what QUIC transmits; `WouldBlock` when the kernel has no room.
    pub(crate) fn transmit(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.in_pieces(transmit))
    }

    /// Sends one datagram of our own, now or never. `from` is the address that it must leave from.
    pub(crate) fn send(&self, to: SocketAddr, from: Option<IpAddr>, datagram: &[u8]) -> io::Result<()> {
        let transmit = Transmit { destination: to, ecn: None, contents: datagram, segment_size: None, src_ip: from };
        // Past the reactor: it may not have learnt yet that a fresh socket is writable.
        self.state.try_send((&*self.io).into(), &transmit)
    }

    /// The kernel takes up to 64 KiB and `max_gso_segments` at a time, QUIC gives ten datagrams of any size. When room runs
    /// out between two pieces QUIC sends all again, and its peer drops what it has seen.
    fn in_pieces(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let piece = piece_len(transmit, self.state.max_gso_segments());
        if piece >= transmit.contents.len() {
            return self.state.try_send((&*self.io).into(), transmit);
        }
        for contents in transmit.contents.chunks(piece) {
            self.state.try_send((&*self.io).into(), &Transmit { contents, ..transmit.clone() })?;
        }
        Ok(())
    }

    pub(crate) fn poller(&self) -> Pin<Box<dyn UdpPoller>> {
        let io = self.io.clone();
        Box::pin(WritePoller { waiting: ReusableBoxFuture::new(writable(io.clone())), io })
    }

    pub(crate) fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// How many bytes of it go to the kernel at a time: whole datagrams.
fn piece_len(transmit: &Transmit<'_>, max_segments: usize) -> usize {
    match transmit.segment_size {
        Some(segment) if segment > 0 => segment * (PAYLOAD_MAX / segment).clamp(1, max_segments.max(1)),
        _ => transmit.contents.len().max(1),
    }
}

/// With the privilege, past the system's limit; without it, up to the limit. Less is no error: it costs speed alone.
fn enlarge_buffers(socket: &Socket) {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
        if set_socket_recv_buffer_size_force(socket, KERNEL_BUFFER).is_ok()
            && set_socket_send_buffer_size_force(socket, KERNEL_BUFFER).is_ok()
        {
            return;
        }
    }
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
}

async fn writable(io: Arc<UdpSocket>) -> io::Result<()> {
    io.writable().await
}

/// Tells one connection when the socket takes datagrams again.
struct WritePoller {
    io: Arc<UdpSocket>,
    waiting: ReusableBoxFuture<'static, io::Result<()>>,
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.waiting.poll(cx);
        if result.is_ready() {
            let io = self.io.clone();
            self.waiting.set(writable(io));
        }
        result
    }
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritePoller").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmit(contents: &[u8], segment_size: Option<usize>) -> Transmit<'_> {
        let destination = SocketAddr::from(([127, 0, 0, 1], 9));
        Transmit { destination, ecn: None, contents, segment_size, src_ip: None }
    }

    #[test]
    fn pieces_are_whole_datagrams_that_the_kernel_takes() {
        let contents = vec![0; 10 * 16_000];
        assert_eq!(piece_len(&transmit(&contents, Some(16_000)), 64), 4 * 16_000);
        assert_eq!(piece_len(&transmit(&contents, Some(1452)), 64), 45 * 1452);
        assert_eq!(piece_len(&transmit(&contents, Some(1452)), 1), 1452, "without segmentation offload");
        assert_eq!(piece_len(&transmit(&contents, Some(100)), 64), 64 * 100);
        assert_eq!(piece_len(&transmit(&contents, Some(65_527)), 64), 65_527, "one datagram goes as it is");
        assert_eq!(piece_len(&transmit(&contents[..50], None), 64), 50);
    }

    #[tokio::test]
    async fn a_large_transmit_arrives_datagram_by_datagram() {
        let (from, to) = ["127.0.0.1:0", "127.0.0.1:0"]
            .map(|address| Wire::bind(address.parse().unwrap(), KernelFilter::Off).unwrap())
            .into();
        let contents: Vec<u8> = (0..10u8).flat_map(|n| vec![n; 16_000]).collect();
        from.io.writable().await.unwrap();
        let destination = to.local_addr().unwrap();
        from.transmit(&Transmit { destination, ..transmit(&contents, Some(16_000)) }).unwrap();
        let mut received = Vec::new();
        while received.len() < contents.len() {
            to.io.readable().await.unwrap();
            let mut buffer = vec![0; 1 << 16];
            let mut metas = [RecvMeta::default()];
            match to.receive(&mut [IoSliceMut::new(&mut buffer)], &mut metas) {
                Ok(_) => {
                    assert_eq!(metas[0].stride, 16_000);
                    received.extend_from_slice(&buffer[..metas[0].len]);
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(received, contents);
    }
}
