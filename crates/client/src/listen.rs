//! Local listeners: on loopback addresses only, for this user's programs only, bounded, and everything that they started ends
//! with them.

use crate::error::ClientError;
use crate::neighbours::Neighbours;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Local connections that one listener serves at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// How long to rest when nothing can be accepted (out of file descriptors, mostly).
const REST: Duration = Duration::from_millis(100);

/// Binds a listener on a loopback address: what it leads to is meant for this machine's person, not for the neighbours.
///
/// # Errors
/// [`ClientError::NotLoopback`], [`ClientError::Listen`].
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, ClientError> {
    if !address.ip().is_loopback() {
        return Err(ClientError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|error| ClientError::Listen { address, trouble: (&error).into() })
}

/// [`bind`] for datagrams.
///
/// # Errors
/// [`ClientError::NotLoopback`], [`ClientError::Listen`].
pub(crate) async fn bind_udp(address: SocketAddr) -> Result<UdpSocket, ClientError> {
    if !address.ip().is_loopback() {
        return Err(ClientError::NotLoopback { address });
    }
    UdpSocket::bind(address).await.map_err(|error| ClientError::Listen { address, trouble: (&error).into() })
}

/// Accepts and serves those that `neighbours` admits, until the future is dropped, which drops every connection's future too.
pub(crate) async fn serve<H, F>(listener: TcpListener, neighbours: Neighbours, handler: H)
where
    H: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                // Closed without a word.
                Ok((local, _)) if !neighbours.admit(&local) => {}
                Ok((local, _)) => {
                    // Small messages must not wait for each other; a socket that refuses this still works.
                    let _ = local.set_nodelay(true);
                    connections.spawn(handler(local));
                }
                Err(error) => rest_after(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a local connection");
    tokio::time::sleep(REST).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn only_loopback_addresses_are_bound() {
        for refused in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let address: SocketAddr = refused.parse().unwrap();
            assert_eq!(bind(address).await.unwrap_err(), ClientError::NotLoopback { address });
            assert_eq!(bind_udp(address).await.unwrap_err(), ClientError::NotLoopback { address });
        }
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap().local_addr().unwrap();
        let held = bind(taken).await.unwrap();
        assert!(matches!(bind(taken).await, Err(ClientError::Listen { address, .. }) if address == taken));
        drop(held);
    }

    #[tokio::test]
    async fn connections_end_with_their_listener() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Neighbours::refused(), |mut local| async move {
            local.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        serving.abort();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
        assert!(serving.await.unwrap_err().is_cancelled());
    }
}
