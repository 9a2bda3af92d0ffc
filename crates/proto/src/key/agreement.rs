//! X25519 (RFC 7748).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::Secret;
use crate::entropy::Entropy;
use crate::hex::{self, NotHex};

/// Most peers whose agreements a key keeps.
const KEPT: usize = 4_096;

/// An X25519 key pair. Making one costs a scalar multiplication for its public half, cloning one is cheap.
#[derive(Clone)]
pub struct PrivateKey {
    secret: Secret<32>,
    public: PublicKey,
    shared: Arc<Shared>,
}

/// What all clones of a key share; it erases itself with the last one.
struct Shared {
    /// The secret in aws-lc's own form.
    parsed: agreement::PrivateKey,
    /// Agreements with peers that come again: see [`PrivateKey::keep_agreement`].
    kept: RwLock<BTreeMap<PublicKey, Box<Secret<32>>>>,
}

impl PrivateKey {
    /// A fresh random key pair.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self::from_bytes(Secret::random(entropy))
    }

    /// The key pair of this secret; every 32 bytes are one (RFC 7748 fixes five of the bits when it is used).
    #[must_use]
    pub fn from_bytes(secret: Secret<32>) -> Self {
        let parsed = agreement::PrivateKey::from_private_key(&X25519, secret.expose())
            .expect("every 32 bytes are an X25519 private key");
        let computed = parsed.compute_public_key().expect("every X25519 private key has a public key");
        let mut public = PublicKey([0; 32]);
        public.0.copy_from_slice(computed.as_ref());
        Self { secret, public, shared: Arc::new(Shared { parsed, kept: RwLock::default() }) }
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The bytes of its public half.
    pub(crate) fn public_bytes(&self) -> &[u8; 32] {
        &self.public.0
    }

    /// Its secret half, for whoever stores it.
    #[must_use]
    pub fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    /// The secret shared with the owner of `peer`.
    ///
    /// # Errors
    /// [`LowOrderPoint`] where the result would be all zero whatever our key: `peer` is then nobody's honest key.
    pub fn agree(&self, peer: &PublicKey) -> Result<Secret<32>, LowOrderPoint> {
        match self.kept(peer) {
            Some(shared) => Ok(shared),
            None => self.compute(peer),
        }
    }

    /// Computes the secret shared with a lasting key, and keeps it with this one: every handshake between the two asks for the
    /// same again. Of 4,096 peers; then others make way.
    pub fn keep_agreement(&self, peer: &PublicKey) {
        if self.kept(peer).is_some() {
            return;
        }
        let Ok(shared) = self.compute(peer) else { return };
        let mut kept = self.shared.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_first();
        }
        kept.insert(*peer, Box::new(shared));
    }

    fn kept(&self, peer: &PublicKey) -> Option<Secret<32>> {
        self.shared.kept.read().unwrap_or_else(PoisonError::into_inner).get(peer).map(|shared| (**shared).clone())
    }

    fn compute(&self, peer: &PublicKey) -> Result<Secret<32>, LowOrderPoint> {
        let peer = UnparsedPublicKey::new(&X25519, peer.0);
        agreement::agree(&self.shared.parsed, peer, LowOrderPoint, |shared| {
            shared.try_into().map(Secret::new).map_err(|_| LowOrderPoint)
        })
    }
}

/// The agreement gives a constant: the peer's public key is a point of low order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the public key is a point of low order")]
pub struct LowOrderPoint;

/// An X25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The public key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        hex::decode(text).map(Self)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::bytes_serde::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::bytes_serde::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    /// RFC 7748, section 6.1.
    #[test]
    fn agrees_as_in_the_rfc() {
        let key = |text| PrivateKey::from_bytes(Secret::new(hex::decode(text).unwrap()));
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(alice.public().to_string(), public);
        let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        for agreed in [alice.agree(&bob.public()), bob.agree(&alice.public())] {
            assert_eq!(hex::encode(agreed.ok().unwrap().expose()), shared);
        }
    }

    #[test]
    fn a_kept_agreement_is_the_computed_one_and_they_are_bounded() {
        let entropy = &mut SeededEntropy::new(1);
        let (key, peer) = (PrivateKey::random(entropy), PrivateKey::random(entropy));
        let computed = key.agree(&peer.public()).ok().unwrap();
        key.clone().keep_agreement(&peer.public());
        assert!(key.kept(&peer.public()).is_some_and(|kept| kept == computed), "clones share them");
        assert!(key.agree(&peer.public()).is_ok_and(|kept| kept == computed));
        assert!(peer.agree(&key.public()).is_ok_and(|theirs| theirs == computed));
        let zero = PublicKey::new([0; 32]);
        key.keep_agreement(&zero);
        assert!(key.agree(&zero) == Err(LowOrderPoint));
        for number in 0..KEPT as u32 + 3 {
            let mut point = [9; 32];
            point[..4].copy_from_slice(&number.to_be_bytes());
            key.keep_agreement(&PublicKey::new(point));
        }
        assert_eq!(key.shared.kept.read().unwrap().len(), KEPT);
    }

    #[test]
    fn refuses_points_of_low_order() {
        let key = PrivateKey::random(&mut SeededEntropy::new(1));
        let of_order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        for point in ["00".repeat(32), format!("01{}", "00".repeat(31)), of_order_8.to_owned()] {
            assert!(key.agree(&point.parse().unwrap()) == Err(LowOrderPoint), "{point}");
        }
    }
}
