//! What snow computes Noise with: X25519 of aws-lc-rs, keys that are parsed once, and no randomness of its own.
//!
//! A handshake gets its ephemeral key from the caller, so that a test vector is the same in every run and the header can
//! depend on the ephemeral before the handshake starts (masked epoch). Snow asks for the public half of a static key
//! in every handshake; here it was computed when the key was loaded.

use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;

use crate::key::{PrivateKey, PublicKey, Secret};

/// Resolver for one handshake: the static key it runs under and the secret of the ephemeral key it is to use. The latter's
/// public half is computed only when a message is written: a knock that is not answered does not pay for it.
pub(crate) struct Resolver {
    pub(crate) local: PrivateKey,
    pub(crate) ephemeral: Secret<32>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NoRandomness))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let x25519 = || X25519 { local: self.local.clone(), ephemeral: Some(self.ephemeral.clone()), key: None };
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
    local: PrivateKey,
    ephemeral: Option<Secret<32>>,
    key: Option<PrivateKey>,
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
        let is_local: bool = self.local.secret().expose().as_slice().ct_eq(secret).into();
        self.key = if is_local { Some(self.local.clone()) } else { parse(secret) };
    }

    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        self.key = Some(PrivateKey::from_bytes(self.ephemeral.take().ok_or(Error::Rng)?));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.key.as_ref().map_or(&[0; 32], |key| key.public_bytes())
    }

    fn privkey(&self) -> &[u8] {
        self.key.as_ref().map_or(&[0; 32], |key| key.secret().expose())
    }

    /// Fails for points of low order, whose result would be zero for every key (snow's own resolver lets them pass).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let key = self.key.as_ref().ok_or(Error::Dh)?;
        let peer: [u8; 32] = public.get(..32).and_then(|public| public.try_into().ok()).ok_or(Error::Dh)?;
        let shared = key.agree(&PublicKey::new(peer)).map_err(|_| Error::Dh)?;
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared.expose());
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
        let resolver = Resolver { local: PrivateKey::random(&mut entropy), ephemeral: Secret::random(&mut entropy) };
        let dh = resolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        (resolver, dh)
    }

    #[test]
    fn the_ephemeral_is_the_one_given_and_is_given_once() {
        let (resolver, mut dh) = dh();
        dh.generate(&mut NoRandomness).unwrap();
        assert_eq!(dh.privkey(), resolver.ephemeral.expose());
        assert_eq!(dh.pubkey(), PrivateKey::from_bytes(resolver.ephemeral.clone()).public_bytes());
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
            let peer = PrivateKey::from_bytes(resolver.ephemeral.clone()).public();
            ours.dh(peer.as_bytes(), &mut one).unwrap();
            theirs.dh(peer.as_bytes(), &mut other).unwrap();
            assert_eq!(one, other);
        }
    }

    #[test]
    fn refuses_what_agrees_on_zero() {
        let (resolver, mut dh) = dh();
        dh.set(resolver.local.secret().expose());
        assert_eq!(dh.dh(&[0; 32], &mut [0; 32]), Err(Error::Dh));
    }
}
