//! The PROXY protocol, version 2: who a connection is for, before its first byte.

use futures_util::FutureExt;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The signature, version and length that every header begins with.
const FIXED: usize = 16;
/// The most bytes that follow: addresses, and what a balancer may say about TLS.
const REST: usize = 2_048;

/// A trusted balancer's connection does not begin with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProxyProtocolError {
    /// It begins with something else.
    #[error("the connection does not begin with a PROXY protocol header of version 2")]
    Malformed,
    /// It ended, or said nothing in time.
    #[error("the connection's PROXY protocol header did not come")]
    Missing,
}

/// Reads the header with which a trusted balancer's connection begins, not a byte more, within `wait`. `None`: the balancer speaks
/// for itself (health check) or does not know.
///
/// To be called for connections from a balancer's address only, and for all of those: anybody else could claim to be anyone.
///
/// # Errors
/// There is none; the connection is to be closed.
pub async fn accept<I>(io: &mut I, wait: Duration) -> Result<Option<SocketAddr>, ProxyProtocolError>
where
    I: AsyncRead + Unpin,
{
    timeout(wait, read(io)).await.unwrap_or(Err(ProxyProtocolError::Missing))
}

async fn read<I: AsyncRead + Unpin>(io: &mut I) -> Result<Option<SocketAddr>, ProxyProtocolError> {
    let missing = |_: io::Error| ProxyProtocolError::Missing;
    let mut bytes = vec![0; FIXED];
    io.read_exact(&mut bytes).await.map_err(missing)?;
    let rest = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
    // Before the length is believed: that of anything else means nothing.
    if !bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || rest > REST {
        return Err(ProxyProtocolError::Malformed);
    }
    bytes.resize(FIXED + rest, 0);
    io.read_exact(&mut bytes[FIXED..]).await.map_err(missing)?;
    let config = ParseConfig { include_tlvs: false, allow_v1: false, ..ParseConfig::default() };
    let (header, _) = ProxyHeader::parse(&bytes, config).map_err(|_| ProxyProtocolError::Malformed)?;
    Ok(header.proxied_address().map(|addresses| addresses.source))
}

/// The header for a connection from `source` to `destination`; a v4 address beside a v6 one is written in v6 form.
pub(crate) fn header(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (source, destination) = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => (source, destination),
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
            (v6(source), v6(destination))
        }
    };
    let mut bytes = [0; 64];
    let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    // Its longest is 52 bytes.
    let length = header.encode_to_slice_v2(&mut bytes).unwrap_or_default();
    bytes[..length].to_vec()
}

fn v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Any bytes as a header.
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut rest = bytes;
    // All of it is there: reading never waits.
    if let Some(Ok(Some(source))) = read(&mut rest).now_or_never() {
        let written = header(source, source);
        assert!(matches!(read(&mut &written[..]).now_or_never(), Some(Ok(Some(again))) if again == source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_header_is_read_and_nothing_after_it() {
        for (source, destination) in [("10.0.0.1:5", "10.0.0.2:80"), ("[fd00::7]:0", "[fd00::8]:80")] {
            let mut bytes = header(source.parse().unwrap(), destination.parse().unwrap());
            bytes.extend_from_slice(b"GET /");
            let mut io = &bytes[..];
            assert_eq!(accept(&mut io, WAIT).await, Ok(Some(source.parse().unwrap())));
            assert_eq!(io, b"GET /");
        }
    }

    #[tokio::test]
    async fn families_are_not_mixed() {
        let bytes = header("[fd00::7]:0".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        assert_eq!(bytes[13], 0x21);
        assert_eq!(accept(&mut &bytes[..], WAIT).await, Ok(Some("[fd00::7]:0".parse().unwrap())));
    }

    #[tokio::test]
    async fn a_balancer_may_speak_for_itself() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
        assert_eq!(accept(&mut &local[..], WAIT).await, Ok(None));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let good = header("10.0.0.1:5".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        assert_eq!(accept(&mut &good[..20], WAIT).await, Err(ProxyProtocolError::Missing));
        let long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
        let version = b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c0123456789ab";
        let short = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\x0a\0\0\x01";
        let text = b"PROXY TCP4 10.0.0.1 10.0.0.2 5 80\r\n";
        for bad in [&long[..], version, short, text, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            assert_eq!(accept(&mut &bad[..], WAIT).await, Err(ProxyProtocolError::Malformed), "{bad:?}");
        }
        let (mut silent, _other) = tokio::io::duplex(1);
        assert_eq!(accept(&mut silent, WAIT).await, Err(ProxyProtocolError::Missing));
    }
}
