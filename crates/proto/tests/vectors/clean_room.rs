//! A reader of the vectors that shares no code with the crate: written from `docs/protocol.md` over snow's own resolver and
//! the primitives. What it writes with the recorded ephemeral keys must be the recorded messages.

use std::net::SocketAddrV4;

use aws_lc_rs::{hkdf, hmac};
use blake2::digest::Mac;
use blake2::{Blake2s256, Blake2sMac, Digest, digest::consts::U16};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use snow::{Builder, HandshakeState};

use crate::documents::{Inner, Keys, KnockVectors, LoginVectors, TicketVectors};

pub(crate) fn check_knock(vectors: &KnockVectors) {
    check_header(vectors);
    check_macs(vectors);
    check_outer(vectors);
    check_inner(&vectors.keys, &vectors.inner);
    check_refusal(vectors);
    check_cookie(vectors);
    check_contents(vectors);
}

/// Header: type 1, version 1, zero 2, masked epoch 4, message id 8.
fn check_header(vectors: &KnockVectors) {
    let (k1, k6) = (bytes(&vectors.outer.k1), bytes(&vectors.outer.k6));
    assert_eq!(k1.len(), 1200);
    assert_eq!(k6.len(), 1200);
    assert_eq!(k1[..16], bytes(&vectors.outer.header));
    assert_eq!(k1[..4], [1, 1, 0, 0]);
    let mask = blake2s(&[&bytes(&vectors.keys.realm), &k1[48..80]]);
    let epoch: Vec<u8> = k1[4..8].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(epoch, vectors.outer.epoch.to_be_bytes());
    assert_eq!(u64::from(vectors.outer.epoch), vectors.outer.stamp_ms / 1000 / 64);
    assert_eq!(k1[8..16], bytes(&vectors.outer.message_id));
    assert_eq!(k6[..4], [2, 1, 0, 0]);
    assert_eq!(k6[4..16], k1[4..16]);
}

pub(crate) fn mac1_key(controller: &[u8], realm: &[u8]) -> [u8; 32] {
    blake2s(&[b"mac1", controller, realm])
}

pub(crate) fn cookie_key(controller: &[u8], realm: &[u8]) -> [u8; 32] {
    blake2s(&[b"cookie", controller, realm])
}

fn check_macs(vectors: &KnockVectors) {
    let (keys, k1) = (&vectors.keys, bytes(&vectors.outer.k1));
    let key = mac1_key(&bytes(&keys.controller_public), &bytes(&keys.realm));
    assert_eq!(key.as_slice(), bytes(&vectors.outer.mac1_key));
    assert_eq!(k1[16..32], blake2s_mac(&key, &[&k1[..16], &k1[48..80]]));
    let m_r_covers = &bytes(&vectors.inner.i1)[..176];
    assert_eq!(bytes(&vectors.inner.i1)[176..], blake2s_mac(&bytes(&keys.psk_r), &[m_r_covers]));
}

fn check_outer(vectors: &KnockVectors) {
    let (keys, outer) = (&vectors.keys, &vectors.outer);
    let (k1, k6) = (bytes(&outer.k1), bytes(&outer.k6));
    let prologue = [b"vestibule/1 outer", &k1[..48]].concat();
    assert_eq!(prologue, bytes(&outer.prologue));
    let name = "Noise_IKpsk0+psk2_25519_ChaChaPoly_BLAKE2s";
    let (realm, psk_c) = (array(&keys.realm), array(&keys.psk_c));

    let (device, controller_key) = (bytes(&keys.d_out_secret), bytes(&keys.controller_public));
    let mut client = start(name, &prologue, &device, &bytes(&outer.client_ephemeral_secret), |builder| {
        builder.remote_public_key(&controller_key)?.psk(0, &realm)?.psk(2, &psk_c)?.build_initiator()
    });
    let (secret, ephemeral) = (bytes(&keys.controller_secret), bytes(&outer.controller_ephemeral_secret));
    let mut controller =
        start(name, &prologue, &secret, &ephemeral, |builder| builder.psk(0, &realm)?.build_responder());

    assert_eq!(write(&mut client, &bytes(&outer.p1)), k1[48..]);
    assert_eq!(read(&mut controller, &k1[48..]), bytes(&outer.p1));
    assert_eq!(controller.get_remote_static().unwrap(), bytes(&keys.d_out_public));
    controller.set_psk(2, &psk_c).unwrap();
    assert_eq!(write(&mut controller, &bytes(&outer.p2)), k6[16..]);
    assert_eq!(read(&mut client, &k6[16..]), bytes(&outer.p2));
    for side in [client, controller] {
        assert_eq!(side.get_handshake_hash(), bytes(&outer.handshake_hash));
    }
}

fn check_inner(keys: &Keys, inner: &Inner) {
    let (i1, i2) = (bytes(&inner.i1), bytes(&inner.i2));
    assert_eq!((i1.len(), i2.len()), (192, 208));
    let prologue = [b"vestibule/1 inner", bytes(&keys.gateway_id).as_slice(), &bytes(&keys.digest)].concat();
    assert_eq!(prologue, bytes(&inner.prologue));
    let name = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
    let (psk_g, g_public, d_in_public) = (array(&keys.psk_g), bytes(&keys.g_public), bytes(&keys.d_in_public));

    let (secret, ephemeral) = (bytes(&keys.d_in_secret), bytes(&inner.client_ephemeral_secret));
    let mut client = start(name, &prologue, &secret, &ephemeral, |builder| {
        builder.remote_public_key(&g_public)?.psk(0, &psk_g)?.build_initiator()
    });
    let (secret, ephemeral) = (bytes(&keys.g_secret), bytes(&inner.gateway_ephemeral_secret));
    let mut gateway = start(name, &prologue, &secret, &ephemeral, |builder| {
        builder.remote_public_key(&d_in_public)?.psk(0, &psk_g)?.build_responder()
    });

    assert_eq!(write(&mut client, &bytes(&inner.i1_content)), i1[..176]);
    assert_eq!(read(&mut gateway, &i1[..176]), bytes(&inner.i1_content));
    assert_eq!(write(&mut gateway, &bytes(&inner.i2_content)), i2);
    assert_eq!(read(&mut client, &i2), bytes(&inner.i2_content));
    for side in [client, gateway] {
        assert_eq!(side.get_handshake_hash(), bytes(&inner.handshake_hash));
    }
}

fn check_refusal(vectors: &KnockVectors) {
    let (refusal, i1) = (&vectors.refusal, bytes(&vectors.inner.i1));
    let key = hkdf_sha256(b"", &bytes(&vectors.keys.psk_r), b"vestibule/1 refusal");
    assert_eq!(key.as_slice(), bytes(&refusal.key));
    assert_eq!(i1[176..], bytes(&refusal.associated_data));
    let sealed = bytes(&refusal.sealed);
    assert_eq!(sealed.len(), 208);
    assert_eq!(sealed[..24], bytes(&refusal.nonce));
    let content = open_xchacha(&key, &sealed, &i1[176..]);
    assert_eq!(content, bytes(&refusal.content));
    assert_eq!(content.len(), 168);
    assert_eq!(content[..8], [1, 6, 20, 14, 0, 0, 0, 60]);
    assert_eq!(&content[8..22], b"wrong password");
}

fn check_cookie(vectors: &KnockVectors) {
    let (cookie, keys, k1) = (&vectors.cookie, &vectors.keys, bytes(&vectors.outer.k1));
    assert_eq!(cookie.source, "192.0.2.7:40000");
    let source = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x9c, 0x40];
    assert_eq!(bytes(&cookie.cookie), blake2s_mac(&bytes(&cookie.controllers_secret), &[&source]));
    let key = cookie_key(&bytes(&keys.controller_public), &bytes(&keys.realm));
    assert_eq!(key.as_slice(), bytes(&cookie.key));
    let k2c = bytes(&cookie.k2c);
    assert_eq!(k2c.len(), 72);
    assert_eq!(k2c[..4], [3, 1, 0, 0]);
    assert_eq!(k2c[4..16], k1[4..16]);
    assert_eq!(k2c[16..40], bytes(&cookie.nonce));
    assert_eq!(bytes(&cookie.associated_data), k1[16..32]);
    assert_eq!(open_xchacha(&key, &k2c[16..], &k1[16..32]), bytes(&cookie.cookie));
    let mac2 = blake2s_mac(&bytes(&cookie.cookie), &[&k1[..32], &k1[48..80]]);
    assert_eq!(bytes(&cookie.mac2_with_cookie), mac2);
}

/// The fields of P1, P2 and of what I1 and I2 seal, at their offsets.
fn check_contents(vectors: &KnockVectors) {
    let stamp = vectors.outer.stamp_ms.to_be_bytes();
    let digest = bytes(&vectors.keys.digest);
    let client = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x9c, 0x40];
    let gateway = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1, 0x01, 0xbb];

    let p1 = bytes(&vectors.outer.p1);
    assert_eq!(p1[..8], [0, 1, 0, 1, 0, 0, 0, 192]);
    assert_eq!(p1[8..40], digest);
    assert_eq!(p1[40..48], stamp);
    assert_eq!(&p1[48..64], b"one knock's name");
    assert_eq!(&p1[64..88], b"a challenge to be echoed");
    assert_eq!(p1[88..96], [0; 8]);
    assert_eq!(p1[96..288], bytes(&vectors.inner.i1));
    assert_eq!(p1[288..], [0; 768]);

    let p2 = bytes(&vectors.outer.p2);
    assert_eq!(p2[..8], [1, 0, 0, 208, 0, 0, 0x27, 0x10]);
    assert_eq!(p2[8..26], client);
    assert_eq!(p2[26..28], [0; 2]);
    assert_eq!(p2[28..36], 1_800_000_000_456u64.to_be_bytes());
    assert_eq!(p2[36..60], [0; 24]);
    assert_eq!(p2[60..78], gateway);
    assert_eq!(p2[78..156], [0; 78]);
    assert_eq!(p2[156..364], bytes(&vectors.inner.i2));
    assert_eq!(p2[364..], [0; 772]);

    let asked = bytes(&vectors.inner.i1_content);
    assert_eq!(asked[..8], [0, 1, 0, 1, 1, 0, 0, 0]);
    assert_eq!(asked[8..16], stamp);
    assert_eq!(&asked[16..32], b"one knock's name");
    assert_eq!(asked[32..64], digest);
    assert_eq!(asked[64..80], [0; 16]);
    assert_eq!(asked[80..98], client);
    assert_eq!(asked[116..], [0; 12]);

    let told = bytes(&vectors.inner.i2_content);
    assert_eq!(&told[..16], b"one knock's name");
    assert_eq!(&told[16..24], b"ticket 1");
    assert_eq!(&told[24..56], b"the secret that a ticket is of..");
    assert_eq!(told[56..60], [0x27, 0x10, 0, 0]);
    assert_eq!(told[60..78], client);
    assert_eq!(told[78..96], gateway);
    assert_eq!(told[122..144], [0; 22]);
    assert_eq!(told[144..152], 1_800_000_000_400u64.to_be_bytes());
    assert_eq!(told[152..], [0, 1, 0, 1, 0, 0, 0, 0]);
}

pub(crate) fn check_ticket(vectors: &TicketVectors) {
    let kd = hkdf_sha256(&bytes(&vectors.inner_hash), &bytes(&vectors.ticket_secret), b"vestibule/1 kd");
    assert_eq!(kd.as_slice(), bytes(&vectors.kd));
    let k_door = hkdf_expand(&kd, b"vestibule/1 door");
    let id = bytes(&vectors.ticket);
    assert_eq!(vectors.tags.len(), 12);
    for (n, tag) in (0u8..).zip(&vectors.tags) {
        let mac = blake2s_mac(&k_door, &[b"door", &id, &[n]]);
        assert_eq!(bytes(tag), [&id, &mac[..12]].concat(), "tag {n}");
    }
    check_moves(vectors, &kd);
}

/// R2: type 5, version 1, zero 3, length 20, tag 20, zero 38.
fn check_moves(vectors: &TicketVectors, kd: &[u8]) {
    let k_move = hkdf_sha256(&bytes(&vectors.exporter), kd, b"vestibule/1 move");
    for (number, tags) in (0u32..).zip(&vectors.moves) {
        let name = blake2s_mac(&k_move, &[b"name", &number.to_be_bytes()]);
        for (n, tag) in (0u8..).zip(tags) {
            let mac = blake2s_mac(&k_move, &[b"move", &name[..8], &[n]]);
            assert_eq!(bytes(tag), [&name[..8], &mac[..12]].concat(), "move {number}, tag {n}");
        }
    }
    let moved = bytes(&vectors.moved);
    assert_eq!((moved.len(), &moved[..6]), (64, [5, 1, 0, 0, 0, 20].as_slice()));
    assert_eq!(moved[6..26], bytes(&vectors.moves[0][0]));
    assert!(moved[26..].iter().all(|byte| *byte == 0));
    check_tag_datagrams(vectors);
}

/// D0: lead, tag, own address or zeros, a mac over all that, zeros.
fn check_tag_datagrams(vectors: &TicketVectors) {
    let k_d0 = hkdf_expand(&bytes(&vectors.kd).try_into().unwrap(), b"vestibule/1 d0");
    let own: SocketAddrV4 = vectors.own_address.parse().unwrap();
    let mapped = [&[0; 10][..], &[0xff; 2], &own.ip().octets(), &own.port().to_be_bytes()].concat();
    for (nth, address) in [mapped, vec![0; 18]].into_iter().enumerate() {
        let covered = [&[4, 1, 0, 0, 0, 20][..], &bytes(&vectors.tags[4 + nth]), &address].concat();
        let mac = blake2s_mac(&k_d0, &[&covered]);
        let expected = [covered, mac, vec![0; 4]].concat();
        assert_eq!((expected.len(), &expected), (64, &bytes(&vectors.tag_datagrams[nth])));
    }
}

pub(crate) fn check_login(vectors: &LoginVectors) {
    let message = [b"vestibule/1 password", vectors.password.as_bytes()].concat();
    assert_eq!(bytes(&vectors.password_input), hmac_sha256(&bytes(&vectors.pepper), &message));
    let identifier = [vectors.user.as_bytes(), &bytes(&vectors.device_id)].concat();
    assert_eq!(bytes(&vectors.credential_identifier), identifier);
    let version = vectors.version.to_be_bytes();
    let (exporter, hash, ticket) = (bytes(&vectors.exporter), bytes(&vectors.inner_hash), bytes(&vectors.ticket));
    let context = [b"vestibule/1 login".as_slice(), &version, &exporter, &hash, &ticket].concat();
    assert_eq!(bytes(&vectors.context), context);
    let lengths = [
        (&vectors.setup, 128),
        (&vectors.registration_request, 32),
        (&vectors.registration_response, 64),
        (&vectors.record, 192),
        (&vectors.ke1, 96),
        (&vectors.ke2, 320),
        (&vectors.ke3, 64),
        (&vectors.session_key, 64),
    ];
    for (field, length) in lengths {
        assert_eq!(bytes(field).len(), length);
    }
}

fn start(
    name: &str,
    prologue: &[u8],
    secret: &[u8],
    ephemeral: &[u8],
    build: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
) -> HandshakeState {
    let builder = Builder::new(name.parse().unwrap()).prologue(prologue).unwrap().local_private_key(secret).unwrap();
    build(builder.fixed_ephemeral_key_for_testing_only(ephemeral)).unwrap()
}

fn write(handshake: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 2000];
    let length = handshake.write_message(payload, &mut message).unwrap();
    message.truncate(length);
    message
}

fn read(handshake: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 2000];
    let length = handshake.read_message(message, &mut payload).unwrap();
    payload.truncate(length);
    payload
}

fn open_xchacha(key: &[u8; 32], nonce_and_sealed: &[u8], aad: &[u8]) -> Vec<u8> {
    let (nonce, msg) = nonce_and_sealed.split_at(24);
    XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), Payload { msg, aad }).unwrap()
}

fn blake2s(parts: &[&[u8]]) -> [u8; 32] {
    Blake2s256::digest(parts.concat()).into()
}

fn blake2s_mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).unwrap();
    mac.chain_update(parts.concat()).finalize().into_bytes().to_vec()
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; 32] {
    hkdf_fill(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm), info)
}

fn hkdf_expand(key: &[u8; 32], info: &[u8]) -> [u8; 32] {
    hkdf_fill(&hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key), info)
}

fn hkdf_fill(prk: &hkdf::Prk, info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    prk.expand(&[info], hkdf::HKDF_SHA256).unwrap().fill(&mut out).unwrap();
    out
}

fn array(text: &str) -> [u8; 32] {
    bytes(text).try_into().unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
