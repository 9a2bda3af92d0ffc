//! K2c, the cookie: under load the controller asks who knocks to show that it receives at its address (as WireGuard's 5.4.7).
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | header of K1, type 3 |
//! | 16..40 | nonce |
//! | 40..72 | the cookie, sealed: XChaCha20-Poly1305, 16 + 16, ad = mac1 of the K1 |

use std::net::{IpAddr, SocketAddr};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use super::mac::mac1_of;
use crate::entropy::{self, Entropy};
use crate::error::Unreadable;
use crate::header::{HEADER_LEN, Header, Kind};
use crate::key::{self, PublicKey, RealmKey, Secret};

/// Size of K2c in bytes.
pub const COOKIE_REPLY_LEN: usize = 72;

const NONCE: std::ops::Range<usize> = HEADER_LEN..40;

/// The cookie of an address under the controller's changing secret: `BLAKE2s-128(secret, IPv6 16 ‖ port 2)`.
#[must_use]
pub fn cookie_for(secret: &Secret<32>, source: SocketAddr) -> [u8; 16] {
    let ip = match source.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    key::blake2s_mac(secret.expose(), &[&ip.octets(), &source.port().to_be_bytes()])
}

/// K2c in answer to `k1`, with the cookie of its source. For the caller to have checked: that mac1 is right and new and the
/// epoch current, else a recording would be answered (PROTOCOL C6).
///
/// # Errors
/// [`Unreadable::Form`] if `k1` has not the form of a K1.
pub fn seal_cookie(
    controller: &PublicKey,
    realm: &RealmKey,
    k1: &[u8],
    cookie: &[u8; 16],
    entropy: &mut dyn Entropy,
) -> Result<[u8; COOKIE_REPLY_LEN], Unreadable> {
    let header = Header::read(Kind::Knock, k1).ok_or(Unreadable::Form)?;
    let mac1 = mac1_of(k1).ok_or(Unreadable::Form)?;
    let nonce: [u8; 24] = entropy::bytes(entropy);
    let sealed = cipher(&cookie_key(controller, realm))
        .encrypt(&nonce.into(), Payload { msg: cookie, aad: &mac1 })
        .map_err(|_| Unreadable::Form)?;
    let mut reply = [0; COOKIE_REPLY_LEN];
    reply[..HEADER_LEN].copy_from_slice(&header.answer(Kind::Cookie).to_bytes());
    reply[NONCE].copy_from_slice(&nonce);
    reply[NONCE.end..].copy_from_slice(&sealed);
    Ok(reply)
}

/// The cookie in a K2c that answers the K1 with this header and mac1.
pub(super) fn open_cookie(
    key: &Secret<32>,
    header: &Header,
    mac1: &[u8; 16],
    reply: &[u8],
) -> Result<[u8; 16], Unreadable> {
    if reply.len() != COOKIE_REPLY_LEN || !reply.starts_with(&header.answer(Kind::Cookie).to_bytes()) {
        return Err(Unreadable::Form);
    }
    let nonce: [u8; 24] = reply[NONCE].try_into().map_err(|_| Unreadable::Form)?;
    let cookie = cipher(key)
        .decrypt(&nonce.into(), Payload { msg: &reply[NONCE.end..], aad: mac1 })
        .map_err(|_| Unreadable::Seal)?;
    cookie.try_into().map_err(|_| Unreadable::Content)
}

/// `BLAKE2s-256("cookie" ‖ C ‖ K_realm)`.
pub(super) fn cookie_key(controller: &PublicKey, realm: &RealmKey) -> Secret<32> {
    Secret::new(key::blake2s_hash(&[b"cookie", controller.as_bytes(), realm.expose()]))
}

fn cipher(key: &Secret<32>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}
