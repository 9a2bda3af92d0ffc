//! What is kept of an invitation, and for how long it holds.

use vestibule_proto::admission::{AdmissibleDevice, DeviceKind};
use vestibule_proto::invitation::Invitation;
use vestibule_proto::key::hkdf;

use super::*;

/// The bytes of the database and of whatever stands beside it.
fn on_disk(root: &tempfile::TempDir) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(root.path().join("data")).unwrap();
    files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect()
}

fn holds(files: &[(String, Vec<u8>)], wanted: &[u8]) -> bool {
    files.iter().any(|(_, bytes)| bytes.windows(wanted.len()).any(|window| window == wanted))
}

/// Nothing that a link holds alone: its secrets, the private keys that derive from them, its text.
fn must_hold_no_secret(root: &tempfile::TempDir, link: &str) {
    let files = on_disk(root);
    let invitation = Invitation::from_link(link).unwrap();
    let private = |secret: &Secret<16>, label| {
        let mut key = *hkdf::<32>(b"vestibule/1 invitation", &[secret.expose()], label).expose();
        let plain = key;
        // As X25519 clamps it.
        (key[0], key[31]) = (key[0] & 248, key[31] & 127 | 64);
        [plain, key]
    };
    let (outer, inner) = (&invitation.outer_secret, &invitation.inner_secret);
    let [d_out, d_in] = [private(outer, b"outer key".as_slice()), private(inner, b"inner key")];
    let [d_tls, _] = private(inner, b"tls key");
    // These are the right keys: the public halves are those that the gateway knows.
    assert_eq!(PrivateKey::from_bytes(Secret::new(d_out[0])).public(), invitation.keys().knock.d_out.public());
    assert_eq!(PrivateKey::from_bytes(Secret::new(d_in[0])).public(), invitation.keys().d_in.public());
    assert_eq!(SigningKey::from_seed(Secret::new(d_tls)).spki(), invitation.keys().d_tls.spki());
    for (what, wanted) in [
        ("the outer secret", outer.expose().as_slice()),
        ("the inner secret", inner.expose()),
        ("D_out", &d_out[0]),
        ("D_out, clamped", &d_out[1]),
        ("D_in", &d_in[0]),
        ("D_in, clamped", &d_in[1]),
        ("D_tls", &d_tls),
        ("the link", &link.as_bytes()[link.len() - 64..]),
    ] {
        assert!(!holds(&files, wanted), "{what} is on the disk");
    }
}

#[tokio::test]
async fn p3_a_stolen_database_enrols_nobody() {
    let (root, directory) = directory();
    let issued = invite(&directory, "alice", 1).await;
    let keys = Invitation::from_link(&issued.link).unwrap().keys();
    // The search finds what is there.
    let files = on_disk(&root);
    assert!(
        files.iter().any(|(name, _)| name.ends_with(".db")) && files.iter().any(|(name, _)| name.ends_with("-wal"))
    );
    for kept in [keys.d_in.public().as_bytes(), keys.knock.d_out.public().as_bytes(), keys.psk_g.expose()] {
        assert!(holds(&files, kept));
    }
    must_hold_no_secret(&root, &issued.link);

    // Neither while it is used, nor afterwards, nor once everything is in the database itself.
    let new = new_device(1);
    let id = new.id;
    directory.register_device(issued.id, new, T, &mut SeededEntropy::new(1)).await.unwrap();
    must_hold_no_secret(&root, &issued.link);
    directory.confirm_device(issued.id, id, T).await.unwrap();
    drop(directory);
    let directory = open_in(&root);
    must_hold_no_secret(&root, &issued.link);
    assert_eq!(directory.tls_key(&issued.id).unwrap(), Some(keys.d_tls.spki()), "it is recognised all the same");
}

/// How somebody finds out that an invitation has expired.
#[derive(Clone, Copy, Debug)]
enum Notice {
    Keeping,
    Knock,
    Arrival,
    Registration,
    Confirmation,
}

#[tokio::test]
async fn t25_an_expired_invitation_does_not_live_again_with_an_earlier_clock() {
    for notice in [Notice::Keeping, Notice::Knock, Notice::Arrival, Notice::Registration, Notice::Confirmation] {
        let (root, directory) = directory();
        let invitation = invite(&directory, "alice", 1).await.id;
        let (end, mut entropy) = (later(24 * 3_600), SeededEntropy::new(1));
        let pending = new_device(1).id;
        directory.register_device(invitation, new_device(1), T, &mut entropy).await.unwrap();
        match notice {
            Notice::Keeping => {
                let effects = directory.forget_due(end).await.unwrap();
                assert_eq!(said(&effects), [format!("DeviceChanged({invitation})")], "the admission machine is told");
                assert!(directory.forget_due(end).await.unwrap().is_empty(), "once");
            }
            Notice::Knock => directory.invitation_expired(invitation).await.unwrap(),
            Notice::Arrival => {
                let refused = directory.usable_invitation(invitation, end).await;
                assert_eq!(refused.err(), Some(EnrolError::Expired));
            }
            Notice::Registration => {
                let refused = directory.register_device(invitation, new_device(2), end, &mut entropy).await;
                assert_eq!(refused.err(), Some(EnrolError::Expired));
            }
            Notice::Confirmation => {
                let refused = directory.confirm_device(invitation, pending, end).await;
                assert_eq!(refused.err(), Some(EnrolError::Expired));
            }
        }
        // The clock falls back while the gateway is down.
        drop(directory);
        let directory = open_in(&root);
        directory.forget_due(later(1)).await.unwrap();
        assert_eq!(directory.invitation(&invitation).unwrap().unwrap().state, InvitationState::Expired, "{notice:?}");
        let again = directory.usable_invitation(invitation, later(1)).await;
        assert_eq!(again.err(), Some(EnrolError::Expired), "{notice:?}");
        let again = directory.register_device(invitation, new_device(3), later(1), &mut entropy).await;
        assert_eq!(again.err(), Some(EnrolError::Expired), "{notice:?}");
        let again = directory.confirm_device(invitation, pending, later(1)).await;
        assert_eq!(again.err(), Some(EnrolError::Expired), "{notice:?}");
        // The admission machine refuses it at any time, and the controller still knows it: who holds it is told why.
        let of_all = directory.admissible().await.unwrap();
        for known in [directory.admissible_device(&invitation).unwrap().unwrap(), of_all[0].clone()] {
            let AdmissibleDevice { kind: DeviceKind::Invitation { expires, used: false }, revoked: false, .. } = known
            else {
                panic!("{:?}", known.kind)
            };
            assert_eq!(expires, Stamp::default(), "{notice:?}");
        }
        assert_eq!(published(&directory).await.len(), 1);
        // Its owner may withdraw it as before.
        directory.revoke_invitation(invitation, later(1)).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_used_or_withdrawn_does_not_expire() {
    let (_root, directory) = directory();
    enrol(&directory, "alice", 1).await;
    let withdrawn = invite(&directory, "alice", 2).await.id;
    directory.revoke_invitation(withdrawn, T).await.unwrap();
    for invitation in directory.invitations().await.unwrap() {
        directory.invitation_expired(invitation.id).await.unwrap();
    }
    assert!(directory.forget_due(later(24 * 3_600)).await.unwrap().is_empty());
    let states: Vec<_> = directory.invitations().await.unwrap().iter().map(|invitation| invitation.state).collect();
    assert!(states.contains(&InvitationState::Used) && states.contains(&InvitationState::Revoked), "{states:?}");
}
