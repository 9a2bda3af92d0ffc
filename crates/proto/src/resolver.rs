//! What snow computes Noise with: X25519 of aws-lc-rs, keys that are parsed once, and no randomness of its own.
//!
//! A handshake gets its ephemeral key from the caller, so that a test vector is the same in every run and the header can
//! depend on the ephemeral before the handshake starts (masked epoch). Snow asks for the public half of a static key
//! in every handshake; here it was computed when the key was loaded.

use std::sync::{Arc, OnceLock};

use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;

use crate::key::{LowOrderPoint, PrivateKey, PublicKey, Secret};

/// Resolver for one handshake: the static key it runs under and the ephemeral key it is to use.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) local: PrivateKey,
    pub(crate) ephemeral: Arc<Ephemeral>,
}

/// The ephemeral key of one handshake. Its public half is computed only when a message is written, or before by who has time
/// for it: a knock that is not answered need not pay for it.
pub(crate) struct Ephemeral {
    secret: Secret<32>,
    key: OnceLock<PrivateKey>,
    ahead: OnceLock<[(PublicKey, Secret<32>); 2]>,
}

impl Ephemeral {
    /// The key of this secret.
    pub(crate) fn of(secret: Secret<32>) -> Arc<Self> {
        Arc::new(Self { secret, key: OnceLock::new(), ahead: OnceLock::new() })
    }

    /// This key.
    pub(crate) fn from_key(key: PrivateKey) -> Arc<Self> {
        Arc::new(Self { secret: key.secret().clone(), key: key.into(), ahead: OnceLock::new() })
    }

    /// Agrees with both of these keys now, so that later it need not. Of a point of low order nothing is kept.
    pub(crate) fn agree_ahead(&self, peers: [PublicKey; 2]) {
        let key = self.key();
        if let [Ok(one), Ok(other)] = peers.map(|peer| key.agree(&peer).map(|shared| (peer, shared))) {
            let _ = self.ahead.set([one, other]);
        }
    }

    fn key(&self) -> &PrivateKey {
        self.key.get_or_init(|| PrivateKey::from_bytes(self.secret.clone()))
    }

    fn agree(&self, peer: &PublicKey) -> Result<Secret<32>, LowOrderPoint> {
        let ahead = self.ahead.get().and_then(|ahead| ahead.iter().find(|(known, _)| known == peer));
        ahead.map_or_else(|| self.key().agree(peer), |(_, shared)| Ok(shared.clone()))
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NoRandomness))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let x25519 = || X25519 { resolver: self.clone(), key: Key::None };
        (*choice == DHChoice::Curve25519).then(|| Box::new(x25519()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Nothing in a handshake may draw randomness by itself.
struct NoRandomness;

impl Random for NoRandomness {
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::Rng)
    }
}

/// One of the two key pairs that snow keeps per handshake; it becomes the static one by `set`, the ephemeral by `generate`.
struct X25519 {
    resolver: Resolver,
    key: Key,
}

enum Key {
    None,
    Static(PrivateKey),
    Ephemeral,
}

impl X25519 {
    fn pair(&self) -> Option<&PrivateKey> {
        match &self.key {
            Key::None => None,
            Key::Static(key) => Some(key),
            Key::Ephemeral => Some(self.resolver.ephemeral.key()),
        }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        let local = &self.resolver.local;
        let is_local: bool = local.secret().expose().as_slice().ct_eq(secret).into();
        let key = if is_local { Some(local.clone()) } else { parse(secret) };
        self.key = key.map_or(Key::None, Key::Static);
    }

    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        if matches!(self.key, Key::Ephemeral) {
            return Err(Error::Rng);
        }
        self.key = Key::Ephemeral;
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.pair().map_or(&[0; 32], |key| key.public_bytes())
    }

    fn privkey(&self) -> &[u8] {
        self.pair().map_or(&[0; 32], |key| key.secret().expose())
    }

    /// Fails for points of low order, whose result would be zero for every key (snow's own resolver lets them pass).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let peer: [u8; 32] = public.get(..32).and_then(|public| public.try_into().ok()).ok_or(Error::Dh)?;
        let peer = PublicKey::new(peer);
        let shared = match &self.key {
            Key::None => return Err(Error::Dh),
            Key::Static(key) => key.agree(&peer),
            Key::Ephemeral => self.resolver.ephemeral.agree(&peer),
        };
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared.map_err(|_| Error::Dh)?.expose());
        Ok(())
    }
}

fn parse(secret: &[u8]) -> Option<PrivateKey> {
    secret.try_into().ok().map(|secret| PrivateKey::from_bytes(Secret::new(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn dh() -> (Resolver, Box<dyn Dh>) {
        let mut entropy = SeededEntropy::new(1);
        let ephemeral = Ephemeral::of(Secret::random(&mut entropy));
        let resolver = Resolver { local: PrivateKey::random(&mut entropy), ephemeral };
        let dh = resolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        (resolver, dh)
    }

    #[test]
    fn the_ephemeral_is_the_one_given_and_is_given_once() {
        let (resolver, mut dh) = dh();
        dh.generate(&mut NoRandomness).unwrap();
        assert_eq!(dh.privkey(), resolver.ephemeral.secret.expose());
        assert_eq!(dh.pubkey(), PrivateKey::from_bytes(resolver.ephemeral.secret.clone()).public_bytes());
        assert_eq!(dh.generate(&mut NoRandomness), Err(Error::Rng));
    }

    #[test]
    fn agrees_like_snows_own_resolver() {
        let (resolver, mut ours) = dh();
        let mut theirs = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        for secret in [*resolver.local.secret().expose(), [7; 32]] {
            ours.set(&secret);
            theirs.set(&secret);
            assert_eq!(ours.pubkey(), theirs.pubkey());
            let (mut one, mut other) = ([0; 32], [0; 32]);
            let peer = resolver.ephemeral.key().public();
            ours.dh(peer.as_bytes(), &mut one).unwrap();
            theirs.dh(peer.as_bytes(), &mut other).unwrap();
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_was_agreed_ahead_is_what_is_agreed() {
        let peers = [2, 3].map(|seed| PrivateKey::random(&mut SeededEntropy::new(seed)).public());
        let stranger = PrivateKey::random(&mut SeededEntropy::new(4)).public();
        let agree = |ahead: bool| {
            let (resolver, mut dh) = dh();
            if ahead {
                resolver.ephemeral.agree_ahead(peers);
                assert!(resolver.ephemeral.ahead.get().is_some());
            }
            dh.generate(&mut NoRandomness).unwrap();
            [peers[1], stranger, peers[0]].map(|peer| {
                let mut shared = [0; 32];
                dh.dh(peer.as_bytes(), &mut shared).unwrap();
                shared
            })
        };
        assert_eq!(agree(true), agree(false));
        let (resolver, mut dh) = dh();
        resolver.ephemeral.agree_ahead([peers[0], PublicKey::new([0; 32])]);
        dh.generate(&mut NoRandomness).unwrap();
        assert_eq!(dh.dh(&[0; 32], &mut [0; 32]), Err(Error::Dh), "never by having been asked before");
    }

    #[test]
    fn refuses_what_agrees_on_zero() {
        let (resolver, mut dh) = dh();
        dh.set(resolver.local.secret().expose());
        assert_eq!(dh.dh(&[0; 32], &mut [0; 32]), Err(Error::Dh));
    }
}
