//! T, as the local side sees it: what carries connections to services.
//!
//! Proxies, forwards and pipes are written against [`Tunnel`], so that they can be tried without a gateway.

use crate::error::ClientError;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use vestibule_dark::datagrams::LocalSide;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{ServiceInfo, Target};

/// What carries connections to services: a [`Client`](crate::Client) with its session, or a stand-in in tests.
pub trait Tunnel: Clone + Send + Sync + 'static {
    /// One connection to a service.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// What the user may use at this moment.
    fn services(&self) -> Arc<[ServiceInfo]>;

    /// Step T: opens one connection; returns when the upstream is connected.
    ///
    /// # Errors
    /// [`ClientError::NoService`], [`ClientError::UpstreamAway`], [`ClientError::UpstreamHangs`], [`ClientError::Busy`], or why there is
    /// no session to open it in.
    fn open(&self, target: Target) -> impl Future<Output = Result<Self::Stream, ClientError>> + Send;

    /// Carries bytes, half-close and reset both ways between a local connection and `stream` until both directions have ended.
    /// `head` was read from the local side already and goes first.
    fn carry(&self, local: TcpStream, head: Bytes, stream: Self::Stream) -> impl Future<Output = ()> + Send;

    /// [`Tunnel::carry`] for anything that isn't a TCP connection: `output` is shut down when the service has ended. Returns
    /// the bytes that went out and came in.
    ///
    /// # Errors
    /// When either side broke before both directions had ended.
    fn carry_io<I, O>(
        &self,
        stream: Self::Stream,
        input: I,
        output: O,
    ) -> impl Future<Output = io::Result<(u64, u64)>> + Send
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin;

    /// Step T for a UDP service: carries one flow of datagrams until it ends, by silence or by either side. What `local` has to say
    /// travels at once.
    ///
    /// # Errors
    /// As [`Tunnel::open`]; and when the connection below is lost.
    fn carry_datagrams<L: LocalSide>(
        &self,
        service: ServiceName,
        local: &L,
    ) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// [`Tunnel::open`] and [`Tunnel::carry`] in one. What the local side says meanwhile may travel before the upstream is
    /// connected: a client that speaks first saves a round trip.
    ///
    /// # Errors
    /// As [`Tunnel::open`]; the local connection was then reset.
    fn join(&self, local: TcpStream, target: Target) -> impl Future<Output = Result<(), ClientError>> + Send {
        async move {
            match self.open(target).await {
                Ok(stream) => {
                    self.carry(local, Bytes::new(), stream).await;
                    Ok(())
                }
                Err(error) => {
                    reset(&local);
                    Err(error)
                }
            }
        }
    }
}

/// Makes the end of a local connection a reset, so that nobody takes a connection that failed for one that ended.
pub(crate) fn reset(local: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = local.set_zero_linger();
}
