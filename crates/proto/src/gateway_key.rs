//! G_tls and its successors: how the parties of a gateway agree on which of its TLS keys counts (PROTOCOL 3.5, rotation).
//!
//! A device names, inside I1, the key that it expects of its gateway, and takes no other; the gateway presents that one, as long
//! as it counts. Inside a session it tells the device its present key, vouched for by what their knock agreed on: who has stolen
//! G_tls alone can plant none. The controller takes a new key by the word of the former one.

use crate::id::GatewayId;
use crate::key::{self, Secret, SigningKey, Spki};
use crate::ticket::Ticket;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// Which G_tls a device expects: the first 8 bytes of `SHA-256("vestibule/1 gateway key" ‖ SPKI 44)`. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyName([u8; KeyName::SIZE]);

impl KeyName {
    /// Size in bytes.
    pub const SIZE: usize = 8;

    /// The name of a key.
    #[must_use]
    pub fn of(spki: &Spki) -> Self {
        let digest = digest(&SHA256, &[LABEL.as_slice(), spki.as_bytes()].concat());
        let mut name = [0; Self::SIZE];
        name.copy_from_slice(&digest.as_ref()[..Self::SIZE]);
        // One key in 2^64 would be named as no key is.
        Self(if name == [0; Self::SIZE] { [1; Self::SIZE] } else { name })
    }

    pub(crate) const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What vouches for a key that a gateway tells on a connection: `HKDF-Expand(kd, "vestibule/1 gateway key")` of the admission
/// by which that connection came in. Device and gateway have it, no controller and nobody with G_tls alone.
#[derive(Clone)]
pub struct Voucher(Secret<32>);

impl Voucher {
    /// That of an admission.
    #[must_use]
    pub fn of(ticket: &Ticket) -> Self {
        Self(key::expand(&ticket.kd, LABEL))
    }

    /// The gateway's present key, for the device.
    #[must_use]
    pub fn vouch(&self, spki: Spki) -> NewKey {
        NewKey { spki, mac: self.mac(&spki) }
    }

    /// The key, if whoever has told it holds this voucher.
    #[must_use]
    pub fn check(&self, told: &NewKey) -> Option<Spki> {
        bool::from(self.mac(&told.spki).ct_eq(&told.mac)).then_some(told.spki)
    }

    fn mac(&self, spki: &Spki) -> [u8; 32] {
        key::hmac(self.0.expose(), &[spki.as_bytes()])
    }
}

/// A gateway's present key, as a device is told it in a session.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The key to expect from now on, in the place of the one before.
    pub spki: Spki,
    /// `HMAC-SHA-256(voucher, SPKI 44)`, 32 bytes.
    pub mac: [u8; 32],
}

/// A gateway's new key, as its controller is told it: by the key that it knows, and by the new one, over the same digest.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The key that the gateway's links and rows bear from now on.
    pub spki: Spki,
    /// 64 bytes, by the key that the controller knows.
    #[serde(with = "crate::bytes_serde")]
    pub by_former: [u8; 64],
    /// 64 bytes, by the new one.
    #[serde(with = "crate::bytes_serde")]
    pub by_present: [u8; 64],
}

impl HandOver {
    /// From `former` to `present`.
    #[must_use]
    pub fn sign(gateway: &GatewayId, former: &SigningKey, present: &SigningKey) -> Self {
        let digest = hand_over_digest(gateway, &former.spki(), &present.spki());
        Self { spki: present.spki(), by_former: former.sign(&digest), by_present: present.sign(&digest) }
    }

    /// Whether this gateway, known by `former`, says so.
    #[must_use]
    pub fn is_signed(&self, gateway: &GatewayId, former: &Spki) -> bool {
        let digest = hand_over_digest(gateway, former, &self.spki);
        former.verify(&digest, &self.by_former) && self.spki.verify(&digest, &self.by_present)
    }
}

const LABEL: &[u8; 23] = b"vestibule/1 gateway key";

/// `SHA-256("vestibule/1 hand over" ‖ gateway id 16 ‖ former SPKI 44 ‖ new SPKI 44)`.
fn hand_over_digest(gateway: &GatewayId, former: &Spki, present: &Spki) -> [u8; 32] {
    let said =
        [b"vestibule/1 hand over".as_slice(), gateway.as_bytes(), former.as_bytes(), present.as_bytes()].concat();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, &said).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::TicketId;

    fn key(number: u64) -> SigningKey {
        SigningKey::random(&mut SeededEntropy::new(number))
    }

    fn voucher(secret: u8) -> Voucher {
        Voucher::of(&Ticket::derive([1; 32], &Secret::new([secret; 32]), TicketId::new([7; 8])))
    }

    #[test]
    fn a_key_is_taken_from_who_holds_the_voucher_alone() {
        let (one, other) = (key(1).spki(), key(2).spki());
        let told = voucher(1).vouch(one);
        assert_eq!(voucher(1).check(&told), Some(one));
        assert_eq!(voucher(2).check(&told), None, "another connection's, or a thief's of G_tls");
        assert_eq!(voucher(1).check(&NewKey { spki: other, ..told }), None);
        for byte in 0..32 {
            let mut altered = told;
            altered.mac[byte] ^= 1;
            assert_eq!(voucher(1).check(&altered), None, "byte {byte}");
        }
    }

    #[test]
    fn a_hand_over_takes_both_keys_and_names_its_gateway() {
        let (gateway, former, present) = (GatewayId::new([3; 16]), key(1), key(2));
        let right = HandOver::sign(&gateway, &former, &present);
        assert!(right.is_signed(&gateway, &former.spki()));
        assert!(!right.is_signed(&GatewayId::new([4; 16]), &former.spki()), "another gateway's");
        assert!(!right.is_signed(&gateway, &key(3).spki()), "not by the key that is known");
        assert!(!right.is_signed(&gateway, &present.spki()), "nor by the new one itself");
        let thief = HandOver { by_former: right.by_former, ..HandOver::sign(&gateway, &former, &key(3)) };
        assert!(!thief.is_signed(&gateway, &former.spki()), "for another key");
        let no_proof = HandOver { by_present: key(3).sign(b"anything"), ..right };
        assert!(!no_proof.is_signed(&gateway, &former.spki()), "a key that the gateway does not hold");
    }

    #[test]
    fn names_tell_keys_apart() {
        assert_ne!(KeyName::of(&key(1).spki()), KeyName::of(&key(2).spki()));
        assert_eq!(KeyName::of(&key(1).spki()).to_string().len(), 16);
    }
}
