//! What tests of several modules share.

use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{DeviceId, GatewayId, LoginDigest, SessionId, Stamp, UserName};
use vestibule_proto::key::{PrivateKey, Secret, SigningKey};

use crate::credential::{Credential, NewCredential, Params, Resume, Sealed, Seed};
use crate::fingerprint::{Fingerprint, Source, Sources};
use crate::password::Password;

pub(crate) const PASSWORD: &str = "tidal-lantern-94";

/// The least that Argon2 can do.
pub(crate) fn cheap(typo_bits: u8) -> Params {
    Params::new(8, 1, 1, typo_bits).unwrap()
}

pub(crate) fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

pub(crate) fn machine(values: &[(Source, &str)]) -> Fingerprint {
    Fingerprint::gather(&Sources::fixed(values)).unwrap()
}

/// A machine with the three sources that exist today.
pub(crate) fn three_sources() -> Fingerprint {
    machine(&[(Source::MachineId, "m"), (Source::ProductUuid, "p"), (Source::FilesystemId, "f")])
}

pub(crate) fn sealed(name: &str) -> Sealed {
    let entropy = &mut SeededEntropy::new(1);
    Sealed {
        user: user(name),
        gateway: GatewayId::random(entropy),
        gateway_name: "home".to_owned(),
        device: DeviceId::random(entropy),
        device_name: "laptop".to_owned(),
        d_out: PrivateKey::random(entropy),
        psk_c: Secret::random(entropy),
        psk_r: Secret::random(entropy),
        realm: Secret::random(entropy),
        pepper: Secret::random(entropy),
        digest: LoginDigest::random(entropy),
        controller_key: PrivateKey::random(entropy).public(),
        gateway_key: PrivateKey::random(entropy).public(),
        gateway_pins: vec![SigningKey::random(entropy).spki()],
        controllers: vec!["controller.example:4433".to_owned(), "[2001:db8::1]:4433".to_owned()],
        version_floor: 1,
        fingerprint_salt: [3; 16],
        enrolled: Stamp::from_millis(1_800_000_000_000),
        resume: Some(Resume {
            session: SessionId::random(entropy),
            secret: Secret::random(entropy),
            expires: Stamp::from_millis(1_800_000_043_200),
        }),
        awaits: None,
        realm_epoch: 0,
    }
}

/// The credential of *alice* on the machine of `fingerprint`.
pub(crate) fn credential(fingerprint: &Fingerprint, params: Params) -> Credential {
    let entropy = &mut SeededEntropy::new(2);
    let new = NewCredential { sealed: sealed("alice"), seed: Seed::random(entropy), tpm: None };
    Credential::create(new, &password(PASSWORD), fingerprint, params, entropy).unwrap()
}
