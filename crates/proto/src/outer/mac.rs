//! mac1 and mac2: what lets the controller drop a datagram for the price of a hash.
//!
//! Both cover the header and the ephemeral key only, not the sealed rest as in WireGuard: the rest is Noise's to guard, and
//! a hash over all 1200 bytes would cost the controller more than a stranger pays for sending them.

use blake2::digest::consts::U16;
use blake2::{Blake2sMac, digest::Mac as _};
use subtle::ConstantTimeEq;

use super::{EPHEMERAL, MAC1, MAC2};
use crate::header::{self, HEADER_LEN, Kind, MESSAGE_LEN};
use crate::key::{self, PublicKey, RealmKey};

/// The key of mac1 at one controller: `BLAKE2s-256("mac1" ‖ C ‖ K_realm)`.
///
/// It is kept as the state of BLAKE2s after the key and the four bytes with which every K1 begins, so that a check is
/// a single compression. For use in the receive path of a socket: no allocation.
#[derive(Clone)]
pub struct Mac1Key {
    after_lead: Blake2sMac<U16>,
}

impl Mac1Key {
    /// The key for this controller and realm.
    #[must_use]
    pub fn new(controller: &PublicKey, realm: &RealmKey) -> Self {
        let key = key::blake2s_hash(&[b"mac1", controller.as_bytes(), realm.expose()]);
        let mut after_lead = key::blake2s_mac_state(&key);
        after_lead.update(&LEAD);
        Self { after_lead }
    }

    /// Whether `datagram` may be a K1: its length, type, version, and mac1. Says nothing about who sent it or when.
    #[must_use]
    pub fn check(&self, datagram: &[u8]) -> bool {
        datagram.len() == MESSAGE_LEN
            && datagram.starts_with(&LEAD)
            && self.mac1(datagram).ct_eq(&datagram[MAC1]).into()
    }

    /// mac1 of a K1 whose header and ephemeral are written.
    pub(super) fn mac1(&self, k1: &[u8]) -> [u8; 16] {
        let mut mac = self.after_lead.clone();
        mac.update(&k1[LEAD.len()..HEADER_LEN]);
        mac.update(&k1[EPHEMERAL]);
        mac.finalize().into_bytes().into()
    }
}

const LEAD: [u8; 4] = header::lead(Kind::Knock);

/// mac1 as it stands in a K1: names this datagram among all that passed [`Mac1Key::check`]. `None` for other lengths.
#[must_use]
pub fn mac1_of(k1: &[u8]) -> Option<[u8; 16]> {
    let k1: &[u8; MESSAGE_LEN] = k1.try_into().ok()?;
    k1[MAC1].try_into().ok()
}

/// Whether a K1 bears the mac2 of this cookie: its sender receives what is sent to the address that the cookie was made for.
#[must_use]
pub fn mac2_matches(k1: &[u8], cookie: &[u8; 16]) -> bool {
    k1.len() == MESSAGE_LEN && mac2(k1, cookie).ct_eq(&k1[MAC2]).into()
}

/// `BLAKE2s-128(cookie, header ‖ mac1 ‖ e)` of a K1 of which these are written.
pub(super) fn mac2(k1: &[u8], cookie: &[u8; 16]) -> [u8; 16] {
    key::blake2s_mac(cookie, &[&k1[..MAC1.end], &k1[EPHEMERAL]])
}
