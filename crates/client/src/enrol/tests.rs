//! What is decided before the first packet.

use super::*;
use crate::error::Trouble;
use std::os::unix::fs::PermissionsExt;
use vestibule_local_credential::Source;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{GatewayId, LoginDigest};
use vestibule_proto::invitation::fresh_secrets;
use vestibule_proto::key::{RealmKey, SigningKey};

const PASSWORD: &str = "tidal-lantern-94";

fn invitation(seed: u64) -> Invitation {
    let entropy = &mut SeededEntropy::new(seed);
    let (outer_secret, inner_secret) = fresh_secrets(entropy);
    Invitation {
        format: 1,
        // Nobody is asked: every test ends before the first packet.
        controllers: vec!["127.0.0.1:9".to_owned()],
        controller_key: PrivateKey::random(entropy).public(),
        realm: RealmKey::random(entropy),
        gateway: GatewayId::random(entropy),
        gateway_name: "home".to_owned(),
        gateway_key: PrivateKey::random(entropy).public(),
        gateway_pins: vec![SigningKey::random(entropy).spki()],
        user: "alice".to_owned(),
        expires: Stamp::from_millis(u64::MAX),
        outer_secret,
        inner_secret,
    }
}

fn sources() -> Sources {
    Sources::fixed(&[(Source::MachineId, "m"), (Source::FilesystemId, "f")])
}

fn options(home: &Home) -> EnrolOptions {
    EnrolOptions {
        home: home.clone(),
        device_name: "laptop".to_owned(),
        sources: sources(),
        replace: false,
        // With so many typo bits no wrong password of a test passes by chance.
        stretching: Params::new(8, 1, 1, 32).unwrap(),
        tpm: TpmChoice::Auto,
    }
}

fn password(text: &str) -> Arc<Password> {
    Arc::new(Password::new(text).unwrap())
}

/// A credential for `invitation`'s gateway in its place.
fn enrolled(home: &Home, invitation: &Invitation) -> CredentialFile {
    let options = options(home);
    let prepared = Prepared::new(invitation, &options).unwrap();
    let entropy = &mut SeededEntropy::new(3);
    let enrolled = vestibule_proto::enrol::Enrolled {
        device: DeviceId::random(entropy),
        digest: LoginDigest::random(entropy),
        psk_c: Secret::random(entropy),
        psk_r: Secret::random(entropy),
        gateway_pins: Vec::new(),
        typo_bits: 10,
        version_floor: 1,
    };
    let secrets = Secrets::random();
    let new = NewCredential {
        sealed: prepared.sealed(Agreed { enrolled, awaits: None }, &secrets),
        seed: secrets.seed,
        tpm: prepared.tpm.path.clone(),
    };
    let credential =
        Credential::create(new, &password(PASSWORD), &prepared.fingerprint, options.stretching, entropy).unwrap();
    credential.save(&prepared.place.pending()).unwrap();
    prepared.place.take().unwrap();
    assert!(!prepared.place.pending().exists());
    prepared.place.file
}

#[tokio::test]
async fn weak_passwords_are_refused_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path().join("client"));
    for weak in ["short", "password123", "alice-alice-alice"] {
        let refused = enrol(&invitation(1), password(weak), &options(&home)).await.unwrap_err();
        assert!(matches!(refused, ClientError::WeakPassword { .. }), "{weak}: {refused:#}");
        assert_eq!(refused.exit_code(), 51);
    }
}

#[tokio::test]
async fn an_existing_credential_is_not_overwritten_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let file = enrolled(&home, &invitation(1));
    let before = std::fs::read(&file.path).unwrap();
    let refused = enrol(&invitation(1), password(PASSWORD), &options(&home)).await.unwrap_err();
    let exists = CredentialTrouble::Exists;
    assert_eq!(refused, ClientError::Credential { trouble: exists, path: file.path.display().to_string() });
    assert_eq!(std::fs::read(&file.path).unwrap(), before);
    assert!(check(&invitation(1), &EnrolOptions { replace: true, ..options(&home) }).is_ok());
}

#[test]
fn another_gateway_of_the_same_name_gets_its_own_place() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let first = enrolled(&home, &invitation(1));
    let second = enrolled(&home, &invitation(2));
    assert_eq!(first.name(), "alice@home");
    assert!(second.name().starts_with("alice@home-") && second.name().len() == first.name().len() + 9);
    assert_eq!(home.credentials().unwrap(), [first, second]);
}

#[test]
fn a_credential_opens_here_and_with_its_password_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = enrolled(&Home::new(directory.path()), &invitation(1));
    let recognised = local::recognise(&file, &sources()).unwrap();
    assert_eq!((recognised.sealed().user.as_str(), recognised.missing()), ("alice", None));
    let unlocked = recognised.unlock(&password(PASSWORD)).unwrap();
    assert!(unlocked.times.argon2id > std::time::Duration::ZERO);
    let trouble = |error: ClientError| {
        let ClientError::Credential { trouble, .. } = error else { panic!("{error:#}") };
        trouble
    };
    let wrong = recognised.unlock(&password("another-lantern-95")).err().unwrap();
    assert_eq!(trouble(wrong), CredentialTrouble::WrongPassword);
    let elsewhere = Sources::fixed(&[(Source::MachineId, "x"), (Source::FilesystemId, "y")]);
    assert_eq!(trouble(local::recognise(&file, &elsewhere).err().unwrap()), CredentialTrouble::OtherMachineOrUser);
    let other_user = CredentialFile { user: UserName::parse("bob").unwrap(), ..file.clone() };
    assert_eq!(
        trouble(local::recognise(&other_user, &sources()).err().unwrap()),
        CredentialTrouble::OtherMachineOrUser
    );
    let changed = Sources::fixed(&[(Source::MachineId, "m"), (Source::FilesystemId, "y")]);
    assert!(matches!(
        trouble(local::recognise(&file, &changed).err().unwrap()),
        CredentialTrouble::MachineChanged { .. }
    ));
    std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = trouble(local::recognise(&file, &sources()).err().unwrap());
    assert_eq!(open, CredentialTrouble::TooOpen { mode: 0o644 });
    std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let whole = std::fs::read(&file.path).unwrap();
    std::fs::write(&file.path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(trouble(local::recognise(&file, &sources()).err().unwrap()), CredentialTrouble::Damaged);
    std::fs::remove_file(&file.path).unwrap();
    assert_eq!(trouble(local::recognise(&file, &sources()).err().unwrap()), CredentialTrouble::Missing);
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), b"").unwrap();
    let blocked = Home::new(directory.path().join("file/client"));
    let refused = enrol(&invitation(1), password(PASSWORD), &options(&blocked)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Files { trouble: Trouble::Other { .. }, .. }), "{refused:?}");
    let home = Home::new(directory.path().join("client"));
    let nobody = EnrolOptions { sources: Sources::fixed(&[]), ..options(&home) };
    let refused = enrol(&invitation(1), password(PASSWORD), &nobody).await.unwrap_err();
    assert!(matches!(refused, ClientError::Credential { trouble: CredentialTrouble::NoFingerprint, .. }));
}

#[test]
fn links_that_are_none_are_told() {
    let link = invitation(1).to_link();
    assert!(read_link(&format!(" {link} \n")).is_ok());
    for (text, trouble) in [
        ("http://example.org", InvitationTrouble::NotOne),
        ("", InvitationTrouble::NotOne),
        (&link[..link.len() - 1], InvitationTrouble::Altered),
    ] {
        assert_eq!(read_link(text).err(), Some(ClientError::Invitation(trouble)), "{text}");
    }
}

#[test]
fn device_names_fit_into_tables() {
    assert_eq!(device_name(" my\x1b[2J laptop\n"), "my[2J laptop");
    assert_eq!(device_name("\t\n"), "device");
    assert_eq!(device_name(&"ü".repeat(100)).len(), DEVICE_NAME_LEN);
}
