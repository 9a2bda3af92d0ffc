//! Attacks on every decoder: any bytes, cut and stretched and altered messages, wrong keys, wrong versions, keys of low order.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::path::Path;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vestibule_proto::entropy::{Entropy, SeededEntropy};
use vestibule_proto::fuzzing::{ENTRIES, Parties};
use vestibule_proto::id::{GatewayId, LoginDigest};
use vestibule_proto::inner::{self, AwaitReady};
use vestibule_proto::key::{PrivateKey, Psk, Secret};
use vestibule_proto::outer::{self, AwaitGuidance, Mac1Key, Message, Unreadable};

/// One knock and its answers, and who awaits them.
struct Exchange {
    parties: Parties,
    mac1: Mac1Key,
    i1: [u8; 192],
    i2: [u8; 208],
    k1: Message,
    k6: Message,
    await_ready: AwaitReady,
    await_guidance: AwaitGuidance,
}

fn exchange() -> Exchange {
    let (parties, entropy) = (Parties::new(), &mut SeededEntropy::new(9));
    let (i1, await_ready) = parties.seal_inner(entropy);
    let (k1, await_guidance) = parties.seal_knock(i1, None, entropy);
    let (i2, _) = open_inner(&parties, &i1).unwrap().seal_ready(&parties.ready()).unwrap();
    let opened = open_knock(&parties, k1.as_slice()).unwrap();
    let (k6, _) = opened.seal_guidance(&parties.psk_c, &parties.guidance(i2)).unwrap();
    let mac1 = Mac1Key::new(&parties.pin.key, &parties.pin.realm);
    Exchange { parties, mac1, i1, i2, k1, k6, await_ready, await_guidance }
}

fn open_knock(parties: &Parties, k1: &[u8]) -> Result<outer::OpenedKnock, Unreadable> {
    outer::open_knock(&parties.controller, &parties.pin.realm, k1, &mut SeededEntropy::new(10))
}

fn open_inner(parties: &Parties, i1: &[u8; 192]) -> Result<inner::OpenedInner, Unreadable> {
    let Parties { gateway, g, d_in, psk_g, digest, .. } = parties;
    inner::open_inner(*gateway, g, &d_in.public(), psk_g, *digest, i1, &mut SeededEntropy::new(11))
}

/// Each copy of `message` in which one bit is the other one, and that bit's number.
fn flipped<const N: usize>(message: &[u8; N]) -> impl Iterator<Item = (usize, Box<[u8; N]>)> + '_ {
    (0..8 * N).map(|bit| {
        let mut altered = Box::new(*message);
        altered[bit / 8] ^= 1 << (bit % 8);
        (bit, altered)
    })
}

#[test]
fn k1_with_any_bit_flipped_is_refused() {
    let exchange = exchange();
    assert!(exchange.mac1.check(exchange.k1.as_slice()));
    for (bit, k1) in flipped(&exchange.k1) {
        assert!(open_knock(&exchange.parties, k1.as_slice()).is_err(), "bit {bit}");
        // mac1 covers header, mac1 itself and e; mac2 and the sealed rest are Noise's alone.
        let by_mac1 = matches!(bit / 8, 0..32 | 48..80);
        assert_eq!(!exchange.mac1.check(k1.as_slice()), by_mac1, "bit {bit}");
    }
}

#[test]
fn k6_with_any_bit_flipped_is_refused_and_the_wait_goes_on() {
    let mut exchange = exchange();
    for (bit, k6) in flipped(&exchange.k6) {
        assert!(exchange.await_guidance.open_guidance(k6.as_slice()).is_err(), "bit {bit}");
    }
    assert!(exchange.await_guidance.open_guidance(exchange.k6.as_slice()).is_ok());
}

#[test]
fn i1_with_any_bit_flipped_is_not_vouched_for_and_not_opened() {
    let Exchange { parties, i1, .. } = exchange();
    assert!(inner::vouched(&parties.psk_r, &i1));
    for (bit, altered) in flipped(&i1) {
        assert!(!inner::vouched(&parties.psk_r, &altered), "bit {bit}");
        let in_noise = bit < 8 * 176;
        assert_eq!(open_inner(&parties, &altered).is_err(), in_noise, "bit {bit}");
    }
}

#[test]
fn i2_with_any_bit_flipped_is_refused_and_the_wait_goes_on() {
    let mut exchange = exchange();
    for (bit, i2) in flipped(&exchange.i2) {
        assert!(exchange.await_ready.open_ready(&i2).is_err(), "bit {bit}");
    }
    assert!(exchange.await_ready.open_ready(&exchange.i2).is_ok());
}

#[test]
fn other_lengths_are_refused_before_anything_is_computed() {
    let mut exchange = exchange();
    let stretched = |message: &Message| [message.as_slice(), &[0; 100]].concat();
    let (k1, k6) = (stretched(&exchange.k1), stretched(&exchange.k6));
    for length in (0..=1300).filter(|length| *length != 1200) {
        assert!(!exchange.mac1.check(&k1[..length]), "{length}");
        assert_eq!(open_knock(&exchange.parties, &k1[..length]).err(), Some(Unreadable::Form), "{length}");
        assert_eq!(exchange.await_guidance.open_guidance(&k6[..length]).err(), Some(Unreadable::Form), "{length}");
    }
    assert!(exchange.mac1.check(&k1[..1200]));
}

#[test]
fn t06_other_versions_and_types_are_no_knocks() {
    let exchange = exchange();
    for (position, value) in [(0, 0), (0, 2), (0, 3), (0, 4), (0, 0x41), (1, 0), (1, 2), (1, 255), (2, 1), (3, 1)] {
        let mut k1 = exchange.k1.clone();
        k1[position] = value;
        assert!(!exchange.mac1.check(k1.as_slice()));
        assert_eq!(open_knock(&exchange.parties, k1.as_slice()).err(), Some(Unreadable::Form), "{position} {value}");
    }
}

#[test]
fn t06_wrong_keys_open_nothing() {
    let Exchange { parties, i1, k1, k6, mut await_guidance, .. } = exchange();
    let (other, psk): (PrivateKey, Psk) = (PrivateKey::from_bytes(Secret::new([1; 32])), Secret::new([1; 32]));
    let outer =
        |key: &PrivateKey, realm: &Psk| outer::open_knock(key, realm, k1.as_slice(), &mut SeededEntropy::new(10)).err();
    assert_eq!(outer(&parties.controller, &parties.pin.realm), None);
    assert_eq!(outer(&other, &parties.pin.realm), Some(Unreadable::Seal));
    assert_eq!(outer(&parties.controller, &psk), Some(Unreadable::Seal));

    let inner = |gateway, g: &PrivateKey, device: &PrivateKey, psk_g: &Psk, digest| {
        inner::open_inner(gateway, g, &device.public(), psk_g, digest, &i1, &mut SeededEntropy::new(11)).err()
    };
    let Parties { gateway, g, d_in, psk_g, digest, .. } = &parties;
    assert_eq!(inner(*gateway, g, d_in, psk_g, *digest), None);
    assert_eq!(inner(GatewayId::new([1; 16]), g, d_in, psk_g, *digest), Some(Unreadable::Seal));
    assert_eq!(inner(*gateway, &other, d_in, psk_g, *digest), Some(Unreadable::Seal));
    assert_eq!(inner(*gateway, g, &other, psk_g, *digest), Some(Unreadable::Seal));
    assert_eq!(inner(*gateway, g, d_in, &psk, *digest), Some(Unreadable::Seal));
    assert_eq!(inner(*gateway, g, d_in, psk_g, LoginDigest::new([1; 32])), Some(Unreadable::Seal));
    assert!(!inner::vouched(&psk, &i1));

    // A controller without this device's psk_c can't answer it, nor one answer another knock.
    let (k6_of_other_psk, _) =
        open_knock(&parties, k1.as_slice()).unwrap().seal_guidance(&psk, &parties.guidance([0; 208])).unwrap();
    assert_eq!(await_guidance.open_guidance(k6_of_other_psk.as_slice()).err(), Some(Unreadable::Seal));
    let (_, mut other_wait) = parties.seal_knock(i1, None, &mut SeededEntropy::new(12));
    assert_eq!(other_wait.open_guidance(k6.as_slice()).err(), Some(Unreadable::Form));
}

/// A stranger who knows the realm key sends an ephemeral of low order: every agreement with it is zero, so he knows the
/// result without a key. Snow's own responder takes such a knock; ours must not.
mod low_order {
    use snow::params::{CipherChoice, DHChoice, HashChoice};
    use snow::resolvers::{CryptoResolver, DefaultResolver};
    use snow::types::{Cipher, Dh, Hash, Random};
    use snow::{Builder, Error};

    use super::*;

    struct Stranger;

    impl CryptoResolver for Stranger {
        fn resolve_rng(&self) -> Option<Box<dyn Random>> {
            DefaultResolver.resolve_rng()
        }

        fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
            Some(Box::new(StrangersDh { honest: DefaultResolver.resolve_dh(choice)?, is_zero: false }))
        }

        fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
            DefaultResolver.resolve_hash(choice)
        }

        fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
            DefaultResolver.resolve_cipher(choice)
        }
    }

    /// Honest as a static key; as an ephemeral the zero point, with which every agreement is zero.
    struct StrangersDh {
        honest: Box<dyn Dh>,
        is_zero: bool,
    }

    impl Dh for StrangersDh {
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
            self.honest.set(secret);
        }

        fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
            self.is_zero = true;
            Ok(())
        }

        fn pubkey(&self) -> &[u8] {
            if self.is_zero { &[0; 32] } else { self.honest.pubkey() }
        }

        fn privkey(&self) -> &[u8] {
            self.honest.privkey()
        }

        fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
            if self.is_zero {
                out[..32].fill(0);
                return Ok(());
            }
            self.honest.dh(public, out)
        }
    }

    const NAME: &str = "Noise_IKpsk0+psk2_25519_ChaChaPoly_BLAKE2s";

    #[test]
    fn an_ephemeral_of_low_order_is_refused() {
        let parties = Parties::new();
        let mut k1 = exchange().k1;
        k1[48..80].fill(0);
        let prologue = [b"vestibule/1 outer", &k1[..48]].concat();
        let p1 = parties.knock([0; 192]).to_bytes();
        Builder::with_resolver(NAME.parse().unwrap(), Box::new(Stranger))
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(parties.device.secret().expose()))
            .and_then(|builder| {
                builder.remote_public_key(parties.pin.key.as_bytes())?.psk(0, parties.pin.realm.expose())
            })
            .and_then(Builder::build_initiator)
            .and_then(|mut stranger| stranger.write_message(p1.as_slice(), &mut k1[48..]))
            .unwrap();

        let taken_by_snow = Builder::new(NAME.parse().unwrap())
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(parties.controller.secret().expose()))
            .and_then(|builder| builder.psk(0, parties.pin.realm.expose())?.build_responder())
            .and_then(|mut responder| responder.read_message(&k1[48..], &mut [0; 1056]));
        assert_eq!(taken_by_snow, Ok(1056));
        assert_eq!(open_knock(&parties, k1.as_slice()).err(), Some(Unreadable::Seal));
    }

    #[test]
    fn a_pin_of_low_order_seals_nothing() {
        let parties = Parties::new();
        let zero = vestibule_proto::key::PublicKey::new([0; 32]);
        let pin = outer::ControllerPin { key: zero, realm: parties.pin.realm.clone() };
        let (knock, entropy) = (parties.knock([0; 192]), &mut SeededEntropy::new(9));
        assert!(outer::seal_knock(&pin, &parties.device, &parties.psk_c, &knock, None, entropy).is_err());
    }
}

/// The corpus of the fuzzers: entry, bytes.
static CORPUS: LazyLock<Vec<(usize, Vec<u8>)>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut seeds = Vec::new();
    for (entry, (name, _)) in ENTRIES.iter().enumerate() {
        let files = std::fs::read_dir(folder.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        seeds.extend(files.map(|file| (entry, std::fs::read(file.unwrap().path()).unwrap())));
    }
    seeds
});

#[test]
fn every_decoder_survives_the_corpus() {
    for (entry, bytes) in CORPUS.iter() {
        ENTRIES[*entry].1(bytes);
    }
}

proptest! {
    #[test]
    fn every_decoder_survives_any_bytes(bytes in vec(any::<u8>(), 0..1400)) {
        for (_, entry) in ENTRIES {
            entry(&bytes);
        }
    }

    #[test]
    fn every_decoder_survives_altered_messages(
        seed in any::<Index>(),
        edits in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Index>(),
        tail in vec(any::<u8>(), 0..40),
    ) {
        let (entry, bytes) = seed.get(&CORPUS);
        let mut bytes = bytes.clone();
        for (position, value) in edits {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        ENTRIES[*entry].1(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        bytes.extend(tail);
        ENTRIES[*entry].1(&bytes);
    }

    #[test]
    fn what_a_stranger_sends_is_refused(seed in any::<u64>()) {
        let exchange = exchange();
        let mut junk = [0; 1200];
        SeededEntropy::new(seed).fill(&mut junk);
        junk[..4].copy_from_slice(&[1, 1, 0, 0]);
        prop_assert!(!exchange.mac1.check(&junk));
        prop_assert!(open_knock(&exchange.parties, &junk).is_err());
    }
}
