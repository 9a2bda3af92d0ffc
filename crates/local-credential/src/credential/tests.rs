//! Credentials as a whole: passwords and resealing here, other machines and damaged files below.

mod damage;
mod machines;
mod tpm;

use super::*;
use crate::file::ReadError;
use crate::testing::{PASSWORD, cheap, credential, machine, password, sealed, three_sources, user};
use proptest::prelude::*;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::hex::encode;
use vestibule_proto::key::PrivateKey;

use Source::{FilesystemId, MachineId, ProductUuid};

fn locked(fingerprint: &Fingerprint) -> Locked {
    Locked::parse(credential(fingerprint, cheap(10)).as_bytes()).unwrap()
}

/// The content of layer 1 as bytes, to compare by.
fn bytes(sealed: &Sealed) -> Vec<u8> {
    postcard::to_stdvec(sealed).unwrap()
}

#[test]
fn opens_with_machine_user_and_password() {
    let opened = locked(&three_sources()).open(&user("alice"), &password(PASSWORD), &three_sources()).unwrap();
    let keys = Seed::random(&mut SeededEntropy::new(2)).keys();
    assert_eq!(bytes(&opened.sealed), bytes(&sealed("alice")));
    assert!(*opened.keys.d_in.secret() == *keys.d_in.secret());
    assert_eq!(opened.keys.d_tls.spki(), keys.d_tls.spki());
    assert!(opened.keys.psk_g == keys.psk_g);
    assert_eq!(opened.missing, None);
}

#[test]
fn opens_at_the_cost_of_the_protocol() {
    let file = credential(&three_sources(), Params::default());
    let locked = Locked::parse(file.as_bytes()).unwrap();
    assert!(!locked.needs_raise());
    assert!(locked.open(&user("alice"), &password(PASSWORD), &three_sources()).is_ok());
}

#[test]
fn a_lower_cost_needs_a_raise() {
    assert!(locked(&three_sources()).needs_raise());
    assert_eq!(locked(&three_sources()).params(), cheap(10));
}

#[test]
fn a_wrong_password_is_refused_and_may_be_repeated() {
    let unlocked = locked(&three_sources()).unlock_device(&user("alice"), &three_sources()).unwrap();
    for wrong in ["tidal-lantern-95", "Tidal-lantern-94", "tidal-lantern-94 "] {
        assert_eq!(unlocked.unlock_password(&password(wrong)).err(), Some(OpenError::WrongPassword), "{wrong}");
    }
    assert!(unlocked.unlock_password(&password(PASSWORD)).is_ok());
}

/// T11: who holds the file, the fingerprint and a list of passwords keeps 2^-t of them, and can't tell which one is right.
#[test]
fn t11_survivors_of_the_typo_bits_are_as_many_as_chance_gives_and_all_alike() {
    const CANDIDATES: u32 = 10_000;
    for typo_bits in [2, 4, 7, 10] {
        let file = credential(&three_sources(), cheap(typo_bits));
        let unlocked = Locked::parse(file.as_bytes()).unwrap().unlock_device(&user("alice"), &three_sources()).unwrap();
        let candidates = (0..CANDIDATES).map(|number| password(&format!("candidate {number}")));
        let survivors: Vec<_> = candidates.filter_map(|candidate| unlocked.unlock_password(&candidate).ok()).collect();
        let chance = 0.5f64.powi(typo_bits.into());
        let expected = f64::from(CANDIDATES) * chance;
        let sigma = (expected * (1.0 - chance)).sqrt();
        let found = f64::from(u32::try_from(survivors.len()).unwrap());
        assert!((found - expected).abs() <= 4.0 * sigma, "t = {typo_bits}: {found}, expected {expected} ± 4 · {sigma}");
        survivors.iter().take(700).for_each(|survivor| assert_valid(&survivor.keys));
        assert_balanced(&survivors);
    }
}

fn assert_valid(keys: &InnerKeys) {
    let peer = PrivateKey::random(&mut SeededEntropy::new(9));
    assert!(keys.d_in.agree(&peer.public()).unwrap() == peer.agree(&keys.d_in.public()).unwrap());
    assert!(keys.d_tls.spki().verify(b"message", &keys.d_tls.sign(b"message")));
}

/// Among the secrets of many survivors each bit is set about half of the time: wrong seeds look like right ones.
fn assert_balanced(survivors: &[Opened]) {
    let set = |secret: &Secret<32>| secret.expose().iter().map(|byte| f64::from(byte.count_ones())).sum::<f64>();
    let ones: f64 = survivors.iter().map(|survivor| set(survivor.keys.d_in.secret()) + set(&survivor.keys.psk_g)).sum();
    let bits = 512.0 * f64::from(u32::try_from(survivors.len()).unwrap());
    assert!((ones - bits / 2.0).abs() <= 5.0 * (bits / 4.0).sqrt(), "{ones} of {bits}");
}

#[test]
fn without_typo_bits_every_password_gives_keys() {
    let file = credential(&three_sources(), cheap(0));
    let unlocked = Locked::parse(file.as_bytes()).unwrap().unlock_device(&user("alice"), &three_sources()).unwrap();
    for wrong in 0..100 {
        assert_valid(&unlocked.unlock_password(&password(&format!("wrong {wrong}"))).unwrap().keys);
    }
}

#[test]
fn two_files_of_one_person_share_no_random_part() {
    let make = |number| {
        let entropy = &mut SeededEntropy::new(number);
        let new = NewCredential { sealed: sealed("alice"), seed: Seed::random(entropy), tpm: None };
        Credential::create(new, &password(PASSWORD), &three_sources(), cheap(0), entropy).unwrap()
    };
    let (one, other) = (make(3), make(4));
    for (part, place) in [("salt1", 24..40), ("salt2", 40..56), ("layer 2", 56..88), ("slot", 94..142)] {
        assert_ne!(one.as_bytes()[place.clone()], other.as_bytes()[place], "{part}");
    }
}

#[test]
fn resealing_changes_layer_1_alone() {
    let file = credential(&three_sources(), cheap(10));
    let unlocked = Locked::parse(file.as_bytes()).unwrap().unlock_device(&user("alice"), &three_sources()).unwrap();
    let mut changed = unlocked.sealed().clone();
    changed.controllers = vec!["192.0.2.1:4433".to_owned()];
    changed.resume = None;
    let resealed = unlocked.reseal(changed, &mut SeededEntropy::new(5)).unwrap();
    assert_eq!(resealed.as_bytes()[14..289], file.as_bytes()[14..289], "all up to the nonce but the length");
    assert_ne!(resealed.as_bytes()[289..313], file.as_bytes()[289..313], "a fresh nonce");
    let opened = Locked::parse(resealed.as_bytes()).unwrap();
    let opened = opened.open(&user("alice"), &password(PASSWORD), &three_sources()).unwrap();
    assert_eq!(opened.sealed.controllers, ["192.0.2.1:4433"]);
    assert!(opened.sealed.resume.is_none());
}

#[test]
fn resealing_can_not_change_the_user() {
    let unlocked = locked(&three_sources()).unlock_device(&user("alice"), &three_sources()).unwrap();
    let refused = unlocked.reseal(sealed("bob"), &mut SeededEntropy::new(5)).err();
    assert_eq!(refused, Some(CreateError::Content("another user")));
}

#[test]
fn resealing_with_a_source_missing_keeps_all_slots() {
    let fewer = machine(&[(MachineId, "m"), (FilesystemId, "f")]);
    let unlocked = locked(&three_sources()).unlock_device(&user("alice"), &fewer).unwrap();
    let resealed = unlocked.reseal(unlocked.sealed().clone(), &mut SeededEntropy::new(5)).unwrap();
    let resealed = Locked::parse(resealed.as_bytes()).unwrap();
    assert_eq!(resealed.unlock_device(&user("alice"), &three_sources()).unwrap().missing(), None);
}

#[test]
fn content_out_of_bounds_is_not_sealed() {
    let mut sealed = sealed("alice");
    sealed.controllers.clear();
    let entropy = &mut SeededEntropy::new(2);
    let new = NewCredential { sealed, seed: Seed::random(entropy), tpm: None };
    let refused = Credential::create(new, &password(PASSWORD), &three_sources(), cheap(10), entropy).err();
    assert_eq!(refused, Some(CreateError::Content("controller addresses")));
}

/// A file of version 1 with all that is needed to open it and all that comes out: it must open for ever. Whoever changes the
/// format on purpose makes a new version and a new vector.
#[test]
fn the_vector_of_version_1_is_reproduced() {
    let unlocked = locked(&three_sources()).unlock_device(&user("alice"), &three_sources()).unwrap();
    let stretched = layers::stretch(&password(PASSWORD), &unlocked.layout.salt2, cheap(10)).unwrap();
    let k2 = layers::k2(&stretched, &unlocked.layout.salt2, &unlocked.k1, None);
    let seed = layers::xor(&unlocked.layout.layer2, &k2);
    let keys = Seed::from_secret(seed.clone()).keys();
    let lines = [
        ("machine id", "m".to_owned()),
        ("product uuid", "p".to_owned()),
        ("filesystem id", "f".to_owned()),
        ("user", "alice".to_owned()),
        ("password", PASSWORD.to_owned()),
        ("file", encode(credential(&three_sources(), cheap(10)).as_bytes())),
        ("K1", encode(unlocked.k1.expose())),
        ("layer 1", encode(&unlocked.content.encode().unwrap())),
        ("K2", encode(k2.expose())),
        ("seed2", encode(seed.expose())),
        ("D_in secret", encode(keys.d_in.secret().expose())),
        ("D_tls seed", encode(keys.d_tls.seed().expose())),
        ("psk_g", encode(keys.psk_g.expose())),
        ("commitment", encode(&three_sources().commitment(&unlocked.sealed().fingerprint_salt))),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    assert_eq!(text, include_str!("../../tests/vectors/credential-v1.txt"), "computed and stored");
}

#[test]
fn messages_name_what_happened() {
    for (error, message) in [
        (
            OpenError::SourcesMissing { missing: vec![MachineId, FilesystemId] },
            "too little of this machine can be recognised: machine id, filesystem id not readable",
        ),
        (
            OpenError::SourceDiffers { which: ProductUuid },
            "the DMI product uuid of this machine is not the one that the local credential was made on",
        ),
        (
            OpenError::File(ReadError::TooOpen { mode: 0o644 }),
            "the file is open to others (mode 0644); it must be 0600",
        ),
        (
            OpenError::NewerVersion { version: 2 },
            "the local credential has format 2, made by a newer version of this program",
        ),
    ] {
        assert_eq!(error.to_string(), message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any sources, user, password and cost: opens with the same, and layer 1 does not open with another value.
    #[test]
    fn round_trip(
        values in prop::collection::btree_map(0usize..3, "[a-f0-9]{1,32}", 1..=3),
        other in "[a-f0-9]{1,32}",
        name in "[a-z][a-z0-9]{0,20}",
        secret in "\\PC{1,60}",
        memory in 8u32..64,
        passes in 1u32..4,
        typo_bits in 0u8..=32,
        seed in any::<u64>(),
    ) {
        let mut values: Vec<_> = values.iter().map(|(bit, value)| (Source::ALL[*bit], value.as_str())).collect();
        let entropy = &mut SeededEntropy::new(seed);
        let seed2 = Seed::random(entropy);
        let spki = seed2.keys().d_tls.spki();
        let params = Params::new(memory, passes, 1, typo_bits).unwrap();
        let new = NewCredential { sealed: sealed(&name), seed: seed2, tpm: None };
        let file = Credential::create(new, &password(&secret), &machine(&values), params, entropy).unwrap();
        let locked = Locked::parse(file.as_bytes()).unwrap();
        let opened = locked.open(&user(&name), &password(&secret), &machine(&values)).unwrap();
        prop_assert_eq!(opened.keys.d_tls.spki(), spki);
        prop_assert_eq!(bytes(&opened.sealed), bytes(&sealed(&name)));
        let differs = values[0].1 != other;
        values[0].1 = &other;
        prop_assert_eq!(locked.unlock_device(&user(&name), &machine(&values)).is_err(), differs);
    }
}
