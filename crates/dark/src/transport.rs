//! How our QUIC connections behave on the wire.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{MtuDiscoveryConfig, TransportConfig, VarInt};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// A client's session at its gateway: many streams, some of them fast.
    Session,
    /// A gateway's link to its controller: short messages.
    Link,
}

/// Streams that the peer may have open at a time.
pub const STREAMS_LIMIT: u32 = 4096;

/// After this long without a word from the peer a connection is over.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A quiet connection says something this often, so that NATs keep its path open.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

const MIB: u32 = 1 << 20;

/// The transport parameters for a kind of connection. Windows are what a peer may make us keep in memory: what a reader is
/// slow to take is bounded by them, per stream and per connection.
#[must_use]
pub fn transport(kind: TransportKind) -> TransportConfig {
    let (stream_window, connection_window) = match kind {
        // 1 Gbit/s over 60 ms for one stream, twice that for all.
        TransportKind::Session => (8 * MIB, 16 * MIB),
        TransportKind::Link => (MIB, 4 * MIB),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(STREAMS_LIMIT.into())
        .max_concurrent_uni_streams(STREAMS_LIMIT.into())
        .stream_receive_window(stream_window.into())
        .receive_window(connection_window.into())
        .send_window(connection_window.into())
        .datagram_receive_buffer_size(Some(MIB as usize))
        .datagram_send_buffer_size(MIB as usize)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .congestion_controller_factory(Arc::new(CubicConfig::default()))
        // The spin bit shows the round-trip time to everybody on the path.
        .allow_spin(false);
    config
}

/// Lets QUIC search for datagrams as large as the path to this peer may carry: on this host up to what the loopback
/// interface takes, elsewhere up to jumbo frames.
pub(crate) fn fit_to_path(config: &mut TransportConfig, peer: IpAddr) {
    let largest = if peer.to_canonical().is_loopback() { LOOPBACK_PAYLOAD } else { JUMBO_PAYLOAD };
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest);
    config.mtu_discovery_config(Some(discovery));
}

const LOOPBACK_PAYLOAD: u16 = 16_384;

/// 9000 bytes of frame less 48 of IPv6 and UDP.
const JUMBO_PAYLOAD: u16 = 8_952;
