//! Connecting to a service's upstream.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use vestibule_proto::session::Reason;

/// How long an upstream may take to accept a connection, over all of its addresses together.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The errors by which Linux says that no more descriptors are to be had: for this process, for the whole system.
const OUT_OF_DESCRIPTORS: [i32; 2] = [24, 23];

/// Connects to `host:port`, trying each address of the name in turn.
///
/// # Errors
/// [`Reason::UpstreamHangs`] when nobody answers in time; [`Reason::UpstreamAway`] when the upstream refuses, can't be
/// reached, or its name is unknown; [`Reason::Busy`] when this gateway has no descriptor left.
pub(crate) async fn connect(upstream: &str, within: Duration) -> Result<TcpStream, Reason> {
    let deadline = Instant::now() + within;
    timeout_at(deadline, connect_any(upstream, deadline)).await.unwrap_or(Err(Reason::UpstreamHangs))
}

async fn connect_any(upstream: &str, deadline: Instant) -> Result<TcpStream, Reason> {
    let addresses = addresses(upstream).await?;
    let mut reason = Reason::UpstreamAway;
    for (nth, address) in addresses.iter().enumerate() {
        // An address that hangs leaves its fair share of the time to the ones behind it.
        let share = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - nth) as u32;
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Fails only on a socket that is gone already, which the first read tells.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => reason = reason_of(&error),
            Err(_) => reason = Reason::UpstreamHangs,
        }
    }
    Err(reason)
}

/// The addresses of `host:port`.
pub(crate) async fn addresses(upstream: &str) -> Result<Vec<SocketAddr>, Reason> {
    if let Ok(address) = upstream.parse() {
        return Ok(vec![address]);
    }
    let addresses: Vec<_> = lookup_host(upstream).await.map_err(|error| reason_of(&error))?.collect();
    if addresses.is_empty() { Err(Reason::UpstreamAway) } else { Ok(addresses) }
}

/// What to tell a client of an error on the way to an upstream.
pub(crate) fn reason_of(error: &io::Error) -> Reason {
    if error.kind() == io::ErrorKind::TimedOut {
        return Reason::UpstreamHangs;
    }
    match error.raw_os_error() {
        Some(code) if OUT_OF_DESCRIPTORS.contains(&code) => Reason::Busy,
        Some(_) | None => Reason::UpstreamAway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_upstream_by_address_and_by_name() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for upstream in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
            let stream = connect(&upstream, CONNECT_WITHIN).await.unwrap();
            assert!(stream.nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn one_that_refuses_or_is_unknown_is_away() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for upstream in [address.to_string(), "no-such-host.invalid:1".to_owned(), "no port".to_owned()] {
            assert_eq!(connect(&upstream, CONNECT_WITHIN).await.unwrap_err(), Reason::UpstreamAway, "{upstream}");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_answer_hangs() {
        // A full backlog: the kernel drops further SYNs.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _filling: Vec<_> = (0..4)
            .map(|_| {
                let filling = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                filling.set_nonblocking(true).unwrap();
                let _ = filling.connect(&address.into());
                filling
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let outcome = connect(&address.to_string(), Duration::from_millis(300)).await;
        assert_eq!(outcome.unwrap_err(), Reason::UpstreamHangs);
    }
}
