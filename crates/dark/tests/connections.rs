//! Who bears a tag and holds the right key comes in; everybody else is told no or nothing.
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, ConnectionId};
use support::{AT_LAST, Gateway, HERE, Relay, client_key, dial_with, key, server_key, server_tls, until};
use vestibule_dark::tls::{self, ALPN_LINK, ALPN_SESSION, ClientPins, peer_spki};
use vestibule_dark::{
    Allowance, CountersSnapshot, DialError, FIRST_STREAMS, Role, TransportKind, dial, exporter, transport,
};
use vestibule_door::{Command, Door};
use vestibule_proto::ticket::Tag;

#[tokio::test]
async fn a_tag_bearer_connects_and_both_know_each_other() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    assert_eq!(peer_spki(&both.client), Some(server_key().spki()));
    assert_eq!(peer_spki(&both.server), Some(client_key().spki()));
    both.echoes(b"hello").await;
    both.echoes(&vec![7; 300_000]).await;
    let counters = gateway.counters();
    assert_eq!(counters.contacts, 1);
    assert_eq!((counters.blocked_out, counters.quic_refused, counters.contacts_ignored), (0, 0, 0));
    assert!(counters.quic_passed > 10 && counters.sent > 10);
}

#[tokio::test]
async fn exporters_are_equal_on_both_sides_and_on_no_other_connection() {
    let gateway = Gateway::bind();
    let [one, other, ..] = gateway.admit();
    let (one, other) = (gateway.connected(one).await, gateway.connected(other).await);
    let of = |connection| exporter(connection).unwrap();
    assert_eq!(of(&one.client), of(&one.server));
    assert_eq!(of(&other.client), of(&other.server));
    assert_ne!(of(&one.client), of(&other.client));
}

#[tokio::test]
async fn every_first_packet_bears_the_tag() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let relay = Relay::to(gateway.address).await;
    let (dialled, contact) = tokio::join!(
        async { tokio::time::timeout(Duration::from_millis(200), dial_with(tag, relay.address)).await },
        gateway.contact(),
    );
    assert!(dialled.is_err(), "nobody has answered yet");
    let sent = relay.to_gateway.lock().unwrap().clone();
    assert!(sent.len() >= 2, "the hybrid ClientHello takes two datagrams");
    for datagram in &sent {
        assert_eq!(datagram[0] & 0xf0, 0xc0, "an Initial packet");
        assert!(datagram.len() >= 1200);
        assert_eq!((datagram[5], &datagram[6..26]), (20, tag.as_bytes().as_slice()));
    }
    assert_eq!(relay.to_client.lock().unwrap().len(), 0);
    assert_eq!(contact.ticket, tag.ticket());
    assert_eq!(contact.source, relay.source);
}

#[tokio::test]
async fn t06_a_server_with_another_key_is_refused() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let pins = [key(8).spki(), key(9).spki()];
    let transport = transport(TransportKind::Session);
    let (client, server) = (client_key(), client_key());
    let dialling = dial(HERE, gateway.address, tag, &client, &pins, ALPN_SESSION, transport);
    let (dialled, accepted) = tokio::join!(dialling, gateway.accept_one(&server));
    assert!(matches!(dialled, Err(DialError::WrongServer(_))), "{:?}", dialled.err());
    assert!(matches!(accepted, Err(ConnectionError::ConnectionClosed(_))));
}

#[tokio::test]
async fn any_of_several_pins_will_do() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let pins = [key(8).spki(), server_key().spki()];
    let (client, known) = (client_key(), client_key());
    let dialling = dial(HERE, gateway.address, tag, &client, &pins, ALPN_SESSION, transport(TransportKind::Link));
    let (dialled, accepted) = tokio::join!(dialling, gateway.accept_one(&known));
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn t06_a_client_with_another_key_is_refused() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let expected = key(8);
    let (dialled, accepted) = tokio::join!(dial_with(tag, gateway.address), gateway.accept_one(&expected));
    assert!(matches!(accepted, Err(ConnectionError::TransportError(_))), "{accepted:?}");
    // The client's half of the handshake may have ended before it was told.
    match dialled {
        Ok((_endpoint, connection)) => {
            let reason = tokio::time::timeout(AT_LAST, connection.closed()).await.unwrap();
            assert!(matches!(reason, ConnectionError::ConnectionClosed(_)), "{reason}");
        }
        Err(error) => assert!(matches!(error, DialError::Refused(_)), "{error}"),
    }
}

#[tokio::test]
async fn at_a_first_contact_any_key_will_do_and_is_told() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let accepting = async {
        let config = tls::server_config(&server_key(), ClientPins::AnyPresented, ALPN_SESSION).unwrap();
        gateway.contact().await.accept(config, transport(TransportKind::Link)).unwrap().await.unwrap()
    };
    let (dialled, server) = tokio::join!(dial_with(tag, gateway.address), accepting);
    assert!(dialled.is_ok());
    assert_eq!(peer_spki(&server), Some(client_key().spki()));
}

#[tokio::test]
async fn t06_a_client_that_speaks_another_protocol_is_refused() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let (client, pins) = (client_key(), [server_key().spki()]);
    let dialling = dial(HERE, gateway.address, tag, &client, &pins, ALPN_LINK, transport(TransportKind::Link));
    let (dialled, accepted) = tokio::join!(dialling, gateway.accept_one(&client));
    assert!(matches!(dialled, Err(DialError::Refused(_))), "{:?}", dialled.err());
    assert!(accepted.is_err());
}

/// A client configuration like ours, changed by `change`; its first packets bear `dcid`.
fn like_ours(dcid: &[u8], change: impl FnOnce(&mut rustls::crypto::CryptoProvider)) -> ClientConfig {
    let mut provider = (*tls::provider()).clone();
    change(&mut provider);
    let ours = tls::client_config(&client_key(), &[server_key().spki()], ALPN_SESSION).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(ours.client_auth_cert_resolver.clone());
    config.alpn_protocols = ours.alpn_protocols;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let dcid = ConnectionId::new(dcid);
    config.initial_dst_cid_provider(Arc::new(move || dcid));
    config
}

/// A client that would talk to anybody.
#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn t06_a_client_without_the_hybrid_group_is_refused() {
    for with_hybrid in [true, false] {
        let gateway = Gateway::bind();
        let [tag, ..] = gateway.admit();
        let config = like_ours(tag.as_bytes(), |provider| {
            if !with_hybrid {
                provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
            }
        });
        let endpoint = quinn::Endpoint::client(HERE).unwrap();
        let connecting = endpoint.connect_with(config, gateway.address, "vestibule.invalid").unwrap();
        let expected = client_key();
        let (connected, accepted) = tokio::join!(connecting, gateway.accept_one(&expected));
        assert_eq!(accepted.is_ok(), with_hybrid, "{accepted:?}");
        match connected {
            Ok(_) => assert!(with_hybrid),
            // It is told: it bore a tag.
            Err(error) => assert!(!with_hybrid && matches!(error, ConnectionError::ConnectionClosed(_)), "{error}"),
        }
    }
}

#[tokio::test]
async fn two_connections_at_once_do_not_mix() {
    let gateway = Gateway::bind();
    let ([one, ..], [other, ..]) = (gateway.admit(), gateway.admit());
    let (one, other) = (gateway.connected(one).await, gateway.connected(other).await);
    assert_eq!(gateway.door.live(), 2);
    tokio::join!(one.echoes(b"one"), other.echoes(b"other"));
    one.client.close(0u32.into(), b"");
    other.echoes(b"still here").await;
}

#[tokio::test]
async fn who_uses_many_streams_is_allowed_more() {
    const MANY: usize = FIRST_STREAMS as usize * 5;
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    let allowance = Allowance::new(&both.server);
    let accepting = async {
        let mut open = Vec::new();
        while open.len() < MANY {
            let (_send, mut recv) = both.server.accept_bi().await.unwrap();
            recv.read_exact(&mut [0]).await.unwrap();
            open.push((allowance.accepted(), _send, recv));
        }
    };
    let opening = async {
        let mut open = Vec::new();
        while open.len() < MANY {
            let (mut send, recv) = both.client.open_bi().await.unwrap();
            send.write_all(&[1]).await.unwrap();
            open.push((send, recv));
        }
        open
    };
    let all_open = tokio::time::timeout(AT_LAST, async { tokio::join!(opening, accepting) }).await;
    assert!(all_open.is_ok(), "more than the first allowance can be open at a time");
}

#[tokio::test]
async fn whose_connection_ended_is_a_stranger_again() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    let source = both.server.remote_address();
    assert!(gateway.door.is_live(source, Instant::now()));
    both.client.close(0u32.into(), b"");
    both.server.closed().await;
    drop(both);
    until("the source is not live", || !gateway.door.is_live(source, Instant::now())).await;
    assert_eq!(gateway.door.live(), 0);
}

#[tokio::test]
async fn a_refused_handshake_leaves_nobody_in() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let expected = key(8);
    let (_dialled, accepted) = tokio::join!(dial_with(tag, gateway.address), gateway.accept_one(&expected));
    assert!(accepted.is_err());
    until("nobody is live", || gateway.door.live() == 0).await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    drop(both.server);
    let reason = tokio::time::timeout(AT_LAST, both.client.closed()).await.unwrap();
    assert!(matches!(reason, ConnectionError::ApplicationClosed(_)), "{reason}");
    until("nobody is live", || gateway.door.live() == 0).await;
}

#[tokio::test]
async fn a_cut_source_hears_nothing_more() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    both.echoes(b"before").await;
    gateway.door.apply(&Command::Cut(both.server.remote_address()), Instant::now()).unwrap();
    let sent = gateway.counters().sent;
    let mut stream = both.server.open_uni().await.unwrap();
    stream.write_all(b"after").await.unwrap();
    gateway.until("the second lock holds", |counters| counters.blocked_out > 0).await;
    let mut from_client = both.client.open_uni().await.unwrap();
    from_client.write_all(b"after").await.unwrap();
    gateway.until("what it sends is refused", |counters| counters.quic_refused > 0).await;
    assert_eq!(gateway.counters().sent, sent);
}

#[tokio::test]
async fn one_endpoint_takes_both_families() {
    let gateway = Gateway::bind_at("[::]:0".parse().unwrap(), Role::Gateway, true);
    for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let [tag, ..] = gateway.admit();
        let (from, to) = (from.parse().unwrap(), SocketAddr::new(to.parse().unwrap(), gateway.address.port()));
        let (client, pins) = (client_key(), [server_key().spki()]);
        let dialling = dial(from, to, tag, &client, &pins, ALPN_SESSION, transport(TransportKind::Session));
        let (dialled, accepted) = tokio::join!(dialling, gateway.accept_one(&client));
        let (endpoint, client) = dialled.unwrap();
        support::Both { endpoint, client, server: accepted.unwrap() }.echoes(b"hello").await;
    }
    assert_eq!(gateway.counters().blocked_out, 0);
}

#[tokio::test]
async fn a_closed_endpoint_lets_nobody_in_and_says_so_to_its_own() {
    let mut gateway = Gateway::bind();
    let [tag, late, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    gateway.dark.close().await;
    assert_eq!(gateway.knocks.recv().await, None);
    assert!(matches!(both.client.closed().await, ConnectionError::ApplicationClosed(_)));
    assert!(gateway.dark.accept().await.is_none());
    let sent = gateway.counters().sent;
    let refused = gateway.counters().quic_refused;
    let dialling = tokio::spawn(dial_with(late, gateway.address));
    gateway.until("the first packet is refused", |counters| counters.quic_refused > refused).await;
    assert_eq!(gateway.counters().sent, sent);
    dialling.abort();
}

#[tokio::test]
async fn an_ignored_contact_hears_nothing() {
    for dropped in [false, true] {
        let gateway = Gateway::bind();
        let [tag, ..] = gateway.admit();
        let dialling = tokio::spawn(dial_with(tag, gateway.address));
        let contact = gateway.contact().await;
        let source = contact.source;
        if dropped {
            drop(contact)
        } else {
            contact.ignore()
        }
        assert!(!gateway.door.is_live(source, Instant::now()));
        gateway.until("it tries again", |counters| counters.quic_refused > 0).await;
        let counters = gateway.counters();
        assert_eq!((counters.sent, counters.blocked_out, counters.contacts_ignored), (0, 0, 1));
        dialling.abort();
    }
}

/// Who is in, and would like a second connection without a tag for it.
#[tokio::test]
async fn a_second_connection_needs_a_tag_of_its_own() {
    let gateway = Gateway::bind();
    let [tag, second, ..] = gateway.admit();
    let both = gateway.connected(tag).await;
    let unknown = [tag.as_bytes().map(|byte| byte ^ 1).to_vec(), vec![9; 8]];
    let asked = gateway.contact();
    tokio::pin!(asked);
    for dcid in unknown {
        let config = like_ours(&dcid, |_| {});
        let mut connecting = both.endpoint.connect_with(config, gateway.address, "vestibule.invalid").unwrap();
        let before = gateway.counters();
        let turned_away = |now: &CountersSnapshot| {
            now.contacts_ignored + now.quic_refused > before.contacts_ignored + before.quic_refused
        };
        tokio::select! {
            contact = &mut asked => panic!("{contact:?} came in by {dcid:?}"),
            () = gateway.until("it is turned away", turned_away) => {}
        }
        // Without a word: a refusal would be here by now.
        let told = tokio::time::timeout(Duration::from_millis(100), &mut connecting).await;
        assert!(told.is_err(), "{told:?}");
        drop(connecting);
    }
    assert_eq!(gateway.counters().contacts, 1);
    // With a tag it may, from the same source.
    let config = like_ours(second.as_bytes(), |_| {});
    let connecting = both.endpoint.connect_with(config, gateway.address, "vestibule.invalid").unwrap();
    let contact = asked.await;
    assert_eq!(contact.ticket, second.ticket());
    let accepting = contact.accept(server_tls(&client_key()), transport(TransportKind::Session)).unwrap();
    let (connected, accepted) = tokio::join!(connecting, accepting);
    let second =
        support::Both { endpoint: both.endpoint.clone(), client: connected.unwrap(), server: accepted.unwrap() };
    second.echoes(b"second").await;
    second.client.close(0u32.into(), b"");
    second.server.closed().await;
    both.echoes(b"the first goes on").await;
}

#[tokio::test]
async fn without_a_tag_there_is_no_answer_at_all() {
    let gateway = Gateway::bind();
    gateway.admit();
    let dialling = tokio::spawn(dial_with(Tag::new([3; 20]), gateway.address));
    gateway.until("it knocked in vain", |counters| counters.quic_refused >= 2).await;
    assert_eq!(gateway.counters().sent, 0);
    dialling.abort();
}
