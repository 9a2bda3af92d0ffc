//! TLS between parties that know each other: TLS 1.3, the hybrid group X25519MLKEM768 and no other, raw public keys on both
//! sides (RFC 7250) compared with pins, and nothing that outlives a connection: no tickets, no resumption, no early data,
//! no server name (PROTOCOL 3.4, TLS).

mod pins;

use std::sync::{Arc, LazyLock};

use quinn::rustls;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use vestibule_proto::key::{SigningKey, Spki};

use pins::{PinnedClients, PinnedServers};

/// What a client and its gateway say they speak (L1-L4, T, R1, E1).
pub const ALPN_SESSION: &[u8] = b"vestibule/1";

/// What a gateway and its controller say they speak (C1).
pub const ALPN_LINK: &[u8] = b"vestibule-link/1";

/// Whom a server lets finish the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientPins {
    /// Who proves to hold this key.
    Exact(Spki),
    /// Who proves to hold any Ed25519 key: for first contacts by an invitation alone. The caller reads the key from
    /// [`peer_spki`] and has to decide.
    AnyPresented,
}

/// The cryptography of all our connections: aws-lc-rs, cipher suites of TLS 1.3, the hybrid group alone. With nothing else to
/// be compatible with, a peer without it fails (PROTOCOL C11).
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            // The last one also protects QUIC's Initial packets and can't be left out.
            cipher_suites: vec![
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS13_AES_128_GCM_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768],
            ..aws_lc_rs::default_provider()
        })
    });
    PROVIDER.clone()
}

/// What a server is with this key, for these clients.
///
/// # Errors
/// If the library does not take our key; no known reason.
pub fn server_config(own: &SigningKey, clients: ClientPins, alpn: &[u8]) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(PinnedClients::new(clients)))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(own)?)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// What a server is that has no key and greets nobody.
///
/// # Errors
/// If the library does not take our protocol version; no known reason.
pub(crate) fn nobody() -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(NoKey)))
}

#[derive(Debug)]
struct NoKey;

impl ResolvesServerCert for NoKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// What a client is with this key, towards a server that holds one of these keys. Without any, it connects to nobody.
///
/// # Errors
/// If the library does not take our key; no known reason.
pub fn client_config(own: &SigningKey, server: &[Spki], alpn: &[u8]) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServers::new(server)))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(own)?)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// The key that the peer of an established connection proved to hold.
#[must_use]
pub fn peer_spki(connection: &quinn::Connection) -> Option<Spki> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match identity.as_slice() {
        [spki] => Spki::from_der(spki),
        _ => None,
    }
}

/// A connection could not give its exporter: its handshake is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has no exporter yet")]
pub struct NoExporter;

/// The 32 bytes to which a login on this connection is bound (PROTOCOL 3.4, key schedule): equal on both sides, and on no
/// other connection.
///
/// # Errors
/// [`NoExporter`]; never on a connection whose handshake has ended.
pub fn exporter(connection: &quinn::Connection) -> Result<[u8; 32], NoExporter> {
    let mut bytes = [0; 32];
    connection.export_keying_material(&mut bytes, b"EXPORTER-vestibule-login", b"").map_err(|_| NoExporter)?;
    Ok(bytes)
}

/// Our key as TLS presents it: for a raw public key the "certificate" is its SubjectPublicKeyInfo.
fn certified(own: &SigningKey) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let pkcs8 = own.pkcs8();
    // By its kind: the provider would try it as a key of RSA and of ECDSA first.
    let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(own.spki().as_bytes().to_vec())], signer)))
}
