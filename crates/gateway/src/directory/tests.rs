//! The directory against tables of cases, a simple model, and itself after a restart.

mod enrolment;
mod floor;
mod invitations;
mod knocks;
mod model;
mod owner;
mod renewals;
mod sessions;

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{DeviceId, GatewayId, Stamp};
use vestibule_proto::id::{SessionId, UserName};
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret, SigningKey};
use vestibule_proto::login::KsfParams;

use super::*;

const T: Stamp = Stamp::from_millis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn later(seconds: u64) -> Stamp {
    T.saturating_add(Duration::from_secs(seconds))
}

fn identity() -> Identity {
    let mut entropy = SeededEntropy::new(99);
    Identity {
        gateway: GatewayId::new([1; 16]),
        name: "home".to_owned(),
        k_lookup: Secret::new([2; 32]),
        introduction: Some(Introduction {
            controllers: vec!["127.0.0.1:4433".to_owned()],
            controller_key: PrivateKey::random(&mut entropy).public(),
            realm: RealmKey::random(&mut entropy),
            gateway_key: PrivateKey::random(&mut entropy).public(),
            gateway_pins: vec![SigningKey::random(&mut entropy).spki()],
        }),
    }
}

fn open_in(root: &tempfile::TempDir) -> Directory {
    Directory::open(&root.path().join("data/gateway.db"), identity()).unwrap()
}

fn directory() -> (tempfile::TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let directory = open_in(&root);
    (root, directory)
}

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn new_device(number: u64) -> NewDevice {
    let mut entropy = SeededEntropy::new(number);
    NewDevice {
        id: DeviceId::random(&mut entropy),
        name: format!("laptop {number}"),
        d_out: PrivateKey::random(&mut entropy).public(),
        d_in: PrivateKey::random(&mut entropy).public(),
        d_tls: SigningKey::random(&mut entropy).spki(),
        psk_g: Psk::random(&mut entropy),
        fingerprint_commitment: *Secret::<32>::random(&mut entropy).expose(),
        record: vec![7; 192],
        ksf: KsfParams::STANDARD,
        version_floor: 1,
        awaits: false,
    }
}

/// Adds the user where missing and issues an invitation that is good for a day.
async fn invite(directory: &Directory, user: &str, number: u64) -> Issued {
    match directory.add_user(name(user), &[], T).await {
        Ok(_) | Err(DirectoryError::Exists { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    directory.invite(name(user), DAY, T, &mut SeededEntropy::new(1_000_000 + number)).await.unwrap().0
}

/// A device of `user`, enrolled from the invitation on.
async fn enrol(directory: &Directory, user: &str, number: u64) -> DeviceId {
    let invitation = invite(directory, user, number).await.id;
    let new = new_device(number);
    let id = new.id;
    directory.register_device(invitation, new, T, &mut SeededEntropy::new(number)).await.unwrap();
    directory.confirm_device(invitation, id, T).await.unwrap();
    id
}

fn address() -> SocketAddr {
    "192.0.2.7:5000".parse().unwrap()
}

fn new_session(number: u8, user: &str) -> NewSession {
    NewSession {
        id: SessionId::new([number; 16]),
        user: name(user),
        resume_secret: Secret::new([number; 32]),
        address: address(),
        expires: later(3_600),
        idle_limit: Duration::from_secs(600),
        version: 1,
    }
}

/// Logs `user` in with the right password.
async fn log_in(directory: &Directory, user: &str, device: DeviceId, number: u8) -> Result<SessionId, SessionError> {
    let guess = counted(directory, device).await;
    let new = new_session(number, user);
    let id = new.id;
    directory.begin_session(new, guess, T).await.map(|()| id)
}

async fn counted(directory: &Directory, device: DeviceId) -> CountedGuess {
    let GuessAnswer::Counted(guess) = directory.begin_guess(device, address(), T).await.unwrap() else {
        panic!("not allowed")
    };
    guess
}

async fn audited(directory: &Directory) -> Vec<AuditKind> {
    let entries = directory.audit_entries(AuditQuery::default()).await.unwrap();
    entries.into_iter().map(|entry| entry.kind).collect()
}

fn said(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(|effect| format!("{effect:?}")).collect()
}

async fn published(directory: &Directory) -> Vec<vestibule_proto::id::LoginDigest> {
    let mut digests: Vec<_> = directory.published_rows().await.unwrap().into_iter().map(|row| row.digest).collect();
    digests.sort();
    digests
}
