//! How quinn must be set up so that it never answers on its own account.

use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectionIdGenerator, EndpointConfig, ServerConfig, TransportConfig, ValidationTokenConfig};
use quinn_proto::{ConnectionId, InvalidCid};
use vestibule_proto::entropy::{self, SystemEntropy};

use crate::dial::DialError;
use crate::shape::{CID_LEN, QUIC_V1};
use crate::tcp::PACKET_MAX;
use crate::tls;

/// The largest UDP payload that there is (over IPv6). Buffers for receiving are made to hold it.
const PAYLOAD_LIMIT: u16 = 65_527;

/// First packets that may wait for the role to look at them.
const WAITING_CONTACTS: usize = 1024;

/// Bytes of the rest of a first flight that are kept for each of them: a few datagrams.
const WAITING_BYTES: u64 = 8 * 1024;

/// What all our endpoints have in common: one version, a fixed bit that is fixed, datagrams of any size, and connection
/// ids after which no unknown datagram is answered.
pub(crate) fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config
        .supported_versions(vec![QUIC_V1])
        .grease_quic_bit(false)
        .cid_generator(|| -> Box<dyn ConnectionIdGenerator> { Box::new(OurIds) })
        .max_udp_payload_size(PAYLOAD_LIMIT)
        .expect("the limit is within QUIC's range");
    config
}

/// The same for a connection over TCP, whose packets are no larger than [`PACKET_MAX`].
pub(crate) fn stream_endpoint_config() -> EndpointConfig {
    let mut config = endpoint_config();
    config.max_udp_payload_size(PACKET_MAX).expect("the limit is within QUIC's range");
    config
}

/// What a server answers a first contact with: no migration unless the role asks for it, no tokens that would
/// outlive the connection, and few bytes kept before the role has decided.
pub(crate) fn server_config(crypto: Arc<dyn quinn::crypto::ServerConfig>, transport: TransportConfig) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(crypto);
    let mut no_tokens = ValidationTokenConfig::default();
    no_tokens.sent(0);
    config
        .transport_config(Arc::new(transport))
        .validation_token_config(no_tokens)
        .migration(false)
        .max_incoming(WAITING_CONTACTS)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES * WAITING_CONTACTS as u64);
    config
}

/// What a client's endpoint has instead of no server configuration at all: with none, quinn answers an unexpected Initial
/// by a stateless reset; with one that has room for nobody, it says nothing.
pub(crate) fn nobody() -> Result<ServerConfig, DialError> {
    static CRYPTO: OnceLock<Arc<QuicServerConfig>> = OnceLock::new();
    let crypto = match CRYPTO.get() {
        Some(crypto) => Arc::clone(crypto),
        None => {
            let made = Arc::new(QuicServerConfig::try_from(tls::nobody()?)?);
            Arc::clone(CRYPTO.get_or_init(|| made))
        }
    };
    let mut config = server_config(crypto, TransportConfig::default());
    config.max_incoming(0);
    Ok(config)
}

/// Random connection ids of [`CID_LEN`] bytes. None that quinn doesn't know at the moment is held for one of ours: so it
/// sends no stateless reset, to nobody, ever.
#[derive(Debug)]
struct OurIds;

impl ConnectionIdGenerator for OurIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&entropy::bytes::<CID_LEN>(&mut SystemEntropy))
    }

    fn validate(&self, _: &ConnectionId) -> Result<(), InvalidCid> {
        Err(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
