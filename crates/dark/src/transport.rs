//! How our QUIC connections behave on the wire.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use quinn::{Connection, MtuDiscoveryConfig, TransportConfig, VarInt};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// A client's session at its gateway: many streams, some of them fast.
    Session,
    /// A gateway's link to its controller: short messages.
    Link,
}

/// Streams that the peer may have open at a time at first; [`Allowance`](crate::Allowance) raises this as they are used.
/// QUIC keeps about 40 bytes for each stream that may be opened, opened or not, and its tables grow by doubling: with
/// the 16 unidirectional ones this fills 128 places, and an idle session pays for 5 KiB of them instead of 300.
pub const FIRST_STREAMS: u32 = 96;

/// Streams that a peer may have open at a time at most.
pub const STREAMS_LIMIT: u32 = 4096;

/// Unidirectional streams that the peer may have open at a time.
const UNI_STREAMS: u32 = 16;

/// The round-trip time assumed before the first is measured. A lost first packet is sent again after three times this, and
/// a tag lets packets pass for three seconds: at QUIC's usual 333 ms that would be one more try.
const ASSUMED_RTT: Duration = Duration::from_millis(150);

/// After this long without a word from the peer a connection is over.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A quiet connection says something this often, so that NATs keep its path open.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

const MIB: u32 = 1 << 20;

/// Bytes of DATAGRAM frames that wait to be read; they are read at once.
const DATAGRAMS_RECEIVED: usize = 1 << 20;

/// Bytes of DATAGRAM frames that wait to be sent: what more comes is dropped. A fifth of a second at 10 Mbit/s; QUIC sends them before
/// what its streams say.
const DATAGRAMS_SENT: usize = 256 << 10;

/// The transport parameters for a kind of connection. Windows are what a peer may make us keep in memory: what a reader is
/// slow to take is bounded by them, per stream and per connection.
#[must_use]
pub fn transport(kind: TransportKind) -> TransportConfig {
    let (stream_window, connection_window, datagrams) = match kind {
        // 1 Gbit/s over 60 ms for one stream, twice that for all.
        TransportKind::Session => (8 * MIB, 16 * MIB, true),
        TransportKind::Link => (MIB, 4 * MIB, false),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(FIRST_STREAMS.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(stream_window.into())
        .receive_window(connection_window.into())
        .send_window(connection_window.into())
        .datagram_receive_buffer_size(datagrams.then_some(DATAGRAMS_RECEIVED))
        .datagram_send_buffer_size(DATAGRAMS_SENT)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(ASSUMED_RTT)
        // The spin bit shows the round-trip time to everybody on the path.
        .allow_spin(false);
    config
}

/// Lets QUIC look for datagrams as large as the path to this peer may carry. On loopback a stream is two to three times as
/// fast with jumbo frames as with Ethernet's, and larger datagrams gain nothing (`examples/stream.rs`).
pub(crate) fn fit_to_path(config: &mut TransportConfig, peer: IpAddr) {
    let mut discovery = MtuDiscoveryConfig::default();
    match is_near(peer) {
        true => discovery.upper_bound(JUMBO).minimum_change(JUMBO_CHANGE),
        false => discovery.upper_bound(ETHERNET),
    };
    config.mtu_discovery_config(Some(discovery));
}

/// UDP payload of jumbo frames: 9000 bytes less 48 of IPv6 and UDP.
const JUMBO: u16 = 8_952;

/// The peer's address as people write it: IPv4 that a socket of IPv6 shows mapped is IPv4.
#[must_use]
pub fn peer_address(connection: &Connection) -> SocketAddr {
    let address = connection.remote_address();
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The search for jumbo frames ends when a step would be smaller than this. It halves what is left by each probe, and a probe is
/// all padding, which its receiver reads byte by byte: QUIC's usual 20 takes twice as many probes, for 3 % larger datagrams.
const JUMBO_CHANGE: u16 = 280;

/// The same of Ethernet's 1500. Nothing larger crosses the internet, and every probe that is lost takes a round trip.
const ETHERNET: u16 = 1_452;

/// Whether the peer is on this host or in a private network, where frames may be larger than Ethernet's.
fn is_near(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_near() {
        for near in
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"]
        {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["192.0.2.1", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
