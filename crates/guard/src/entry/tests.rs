//! Proofs that hold, and all that don't.

use super::text::Opened;
use super::*;
use crate::token::Context;
use crate::{AppName, Binding, LogicalAddress, Stamp};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

const SECOND: Duration = Duration::from_secs(1);
const ORIGIN: &str = "http://orders.localhost:8080";
const START: Stamp = Stamp(1_800_000_000_000);

struct Browser {
    pair: EcdsaKeyPair,
    key: EntryKey,
}

impl Browser {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = EntryKey::from_bytes(pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Self { pair, key }
    }

    fn signs(&self, message: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(&SystemRandom::new(), message).unwrap())
    }
}

fn app(name: &str) -> AppName {
    AppName::new(name).unwrap()
}

fn context(app: &AppName) -> Context<'_> {
    let address = LogicalAddress("fd00::9".parse().unwrap());
    Context { address, binding: Binding([2; 32]), started: START, app }
}

fn entry(app: &AppName) -> Entry<'_> {
    Entry { context: context(app), origin: ORIGIN, target: "/orders/7?edit=1" }
}

/// Everything that an entry is made of, changed one by one.
fn others<'a>(own: &Entry<'a>, other_app: &'a AppName) -> Vec<Entry<'a>> {
    let of = |change: &dyn Fn(&mut Context<'a>)| {
        let mut context = own.context;
        change(&mut context);
        Entry { context, ..*own }
    };
    vec![
        of(&|context| context.app = other_app),
        of(&|context| context.binding = Binding([3; 32])),
        of(&|context| context.address = LogicalAddress("fd00::a".parse().unwrap())),
        of(&|context| context.started = Stamp(START.0 + 1)),
        Entry { origin: "http://orders.localhost:8081", ..*own },
        Entry { origin: "https://orders.localhost:8080", ..*own },
        Entry { target: "/orders/7", ..*own },
        Entry { target: "/orders/7?edit=1&", ..*own },
    ]
}

#[test]
fn a_proof_buys_one_read_of_one_address() {
    let (entries, browser, orders, wiki) = (Entries::new().unwrap(), Browser::new(), app("orders"), app("wiki"));
    let entry = entry(&orders);
    let challenge = entries.challenge(&entry);
    let signature = browser.signs(&entry.signed(&challenge));
    let admission = entries.prove(&entry, &browser.key, &challenge, &signature).unwrap();
    assert!(is_admission(&admission) && !is_admission(&challenge));
    for other in others(&entry, &wiki) {
        assert_eq!(entries.admit(&other, &admission), Err(EntryError::Foreign));
    }
    assert_eq!(entries.admit(&entry, &challenge), Err(EntryError::Malformed));
    assert_eq!(entries.admit(&entry, &admission), Ok(()));
    assert_eq!(entries.admit(&entry, &admission), Err(EntryError::Spent));
}

#[test]
fn a_proof_is_taken_once() {
    let (entries, browser, orders) = (Entries::new().unwrap(), Browser::new(), app("orders"));
    let entry = entry(&orders);
    let challenge = entries.challenge(&entry);
    let signatures = [(); 2].map(|()| browser.signs(&entry.signed(&challenge)));
    assert_ne!(signatures[0], signatures[1]);
    assert!(entries.prove(&entry, &browser.key, &challenge, &signatures[0]).is_ok());
    for signature in &signatures {
        assert_eq!(entries.prove(&entry, &browser.key, &challenge, signature), Err(EntryError::Spent));
    }
}

#[test]
fn a_proof_of_anything_else_is_none() {
    let (entries, browser, orders, wiki) = (Entries::new().unwrap(), Browser::new(), app("orders"), app("wiki"));
    let own = entry(&orders);
    let challenge = entries.challenge(&own);
    let signature = browser.signs(&own.signed(&challenge));
    for other in others(&own, &wiki) {
        // The challenge is another's, and so is the signature.
        assert_eq!(entries.prove(&other, &browser.key, &challenge, &signature), Err(EntryError::Foreign));
        let theirs = entries.challenge(&other);
        assert_eq!(entries.prove(&other, &browser.key, &theirs, &signature), Err(EntryError::Unsigned));
        let signature = browser.signs(&other.signed(&challenge));
        assert_eq!(entries.prove(&own, &browser.key, &challenge, &signature), Err(EntryError::Unsigned));
    }
    assert_eq!(entries.prove(&own, &Browser::new().key, &challenge, &signature), Err(EntryError::Unsigned));
    let restarted = Entries::new().unwrap();
    assert_eq!(restarted.prove(&own, &browser.key, &challenge, &signature), Err(EntryError::Foreign));
    assert!(entries.prove(&own, &browser.key, &challenge, &signature).is_ok(), "none of them used it up");
}

#[test]
fn proofs_and_admissions_expire() {
    let (entries, browser, orders) = (Entries::new().unwrap(), Browser::new(), app("orders"));
    let entry = entry(&orders);
    let challenge = entries.sealer.seal(Kind::Challenge, &entry, 10 * SECOND, [1; NONCE_LEN]);
    let signature = browser.signs(&entry.signed(&challenge));
    let prove = |at| entries.prove_at(&entry, &browser.key, (&challenge, &signature), at);
    assert_eq!(prove(70 * SECOND), Err(EntryError::Expired));
    assert_eq!(prove(70 * SECOND - Duration::from_millis(1)), Ok(()));
    let admission = entries.sealer.seal(Kind::Admission, &entry, 70 * SECOND, [2; NONCE_LEN]);
    assert_eq!(entries.admit_at(&entry, &admission, 100 * SECOND), Err(EntryError::Expired));
    assert_eq!(entries.admit_at(&entry, &admission, 99 * SECOND), Ok(()));
}

#[test]
fn altered_and_cut_texts() {
    let (entries, browser, orders) = (Entries::new().unwrap(), Browser::new(), app("orders"));
    let entry = entry(&orders);
    let challenge = entries.challenge(&entry);
    let signature = browser.signs(&entry.signed(&challenge));
    let altered = |text: &str, at: usize, bit: u8| {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes[at] ^= 1 << bit;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    for bit in 0..8 {
        for at in 0..57 {
            let challenge = altered(&challenge, at, bit);
            // Signed by the right key, even.
            let signature = browser.signs(&entry.signed(&challenge));
            let said = entries.prove(&entry, &browser.key, &challenge, &signature);
            assert!(matches!(said, Err(EntryError::Foreign | EntryError::Malformed)), "{at} {bit}: {said:?}");
        }
        for at in 0..64 {
            let signature = altered(&signature, at, bit);
            assert_eq!(entries.prove(&entry, &browser.key, &challenge, &signature), Err(EntryError::Unsigned));
        }
    }
    for length in (0..challenge.len()).chain([challenge.len() + 1, 100_000]) {
        let cut: String = challenge.chars().chain(std::iter::repeat('A')).take(length).collect();
        assert_eq!(entries.prove(&entry, &browser.key, &cut, &signature), Err(EntryError::Malformed));
        let cut: String = signature.chars().chain(std::iter::repeat('A')).take(length).collect();
        if length != signature.len() {
            assert_eq!(entries.prove(&entry, &browser.key, &challenge, &cut), Err(EntryError::Unsigned));
        }
    }
}

#[test]
fn only_points_of_the_curve_are_keys() {
    let key = Browser::new().key;
    assert_eq!(EntryKey::read(&key.to_string()), Some(key));
    let mut bytes = *key.as_bytes();
    for (at, to) in [(0, 2), (0, 0), (64, bytes[64] ^ 1), (1, bytes[1] ^ 1)] {
        let mut off = bytes;
        off[at] = to;
        assert_eq!(EntryKey::from_bytes(off), None, "{at}");
    }
    bytes[1..].fill(0);
    assert_eq!(EntryKey::from_bytes(bytes), None);
    for text in ["", "A", &"A".repeat(87), &"A".repeat(100_000), &format!("{key}A"), &key.to_string()[1..], "ä"] {
        assert_eq!(EntryKey::read(text), None);
    }
}

#[derive(Deserialize)]
struct Vectors {
    entries: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    key: String,
    address: String,
    binding: String,
    started_ms: u64,
    app: String,
    origin: String,
    target: String,
    made_ms: u64,
    nonce: String,
    session: String,
    challenge: String,
    admission: String,
    signed: String,
    public_key: String,
    signature: String,
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// The files were made by another implementation, from `docs/protocol.md`.
#[test]
fn the_vectors() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors/entry_proof.json")).unwrap();
    assert_eq!(vectors.entries.len(), 2);
    for vector in &vectors.entries {
        let app = app(&vector.app);
        let context = Context {
            address: LogicalAddress(vector.address.parse().unwrap()),
            binding: Binding(unhex(&vector.binding)),
            started: Stamp(vector.started_ms),
            app: &app,
        };
        let entry = Entry { context, origin: &vector.origin, target: &vector.target };
        let (sealer, made) = (Sealer::new(&unhex(&vector.key)), Duration::from_millis(vector.made_ms));
        let nonce = unhex(&vector.nonce);
        assert_eq!(entry.session_text(), vector.session);
        for (kind, text) in [(Kind::Challenge, &vector.challenge), (Kind::Admission, &vector.admission)] {
            assert_eq!(sealer.seal(kind, &entry, made, nonce), *text);
            assert_eq!(sealer.open(kind, &entry, text), Ok(Opened { made, nonce }));
        }
        assert_eq!(entry.signed(&vector.challenge), vector.signed.as_bytes());
        let key = EntryKey::read(&vector.public_key).unwrap();
        assert!(key.has_signed(vector.signed.as_bytes(), &vector.signature));
        assert!(!key.has_signed(vector.signed.to_ascii_uppercase().as_bytes(), &vector.signature));
    }
}
