//! E1 and invitations.

use vestibule_proto::admission::DeviceKind;
use vestibule_proto::invitation::Invitation;

use super::*;

#[tokio::test]
async fn from_invitation_to_active_device() {
    let (root, directory) = directory();
    directory.add_user(name("alice"), &[], T).await.unwrap();
    let (issued, effects) = directory.invite(name("alice"), DAY, T, &mut SeededEntropy::new(1)).await.unwrap();
    let link = Invitation::from_link(&issued.link).unwrap();
    assert_eq!((link.user.as_str(), link.expires), ("alice", issued.expires));
    let keys = link.keys();
    assert_eq!(said(&effects), [format!("DeviceChanged({})", issued.id), format!("PublishRow({})", keys.knock.digest)]);

    // The link's keys are what the admission machine and the controller are told.
    let known = directory.admissible_device(&issued.id).unwrap().unwrap();
    assert_eq!(known.kind, DeviceKind::Invitation { expires: issued.expires, used: false });
    assert!(known.digest == keys.knock.digest && known.d_in == keys.d_in.public());
    assert!(known.psk_g == keys.psk_g && known.psk_r == keys.psk_r && !known.revoked);
    let rows = directory.published_rows().await.unwrap();
    assert!(rows.len() == 1 && rows[0].device_key == keys.knock.d_out.public() && rows[0].psk_c == keys.knock.psk_c);
    assert_eq!(directory.tls_key(&issued.id).unwrap(), Some(keys.d_tls.spki()));

    let new = new_device(5);
    let (id, d_out, d_in, d_tls) = (new.id, new.d_out, new.d_in, new.d_tls);
    let expected = login_digest(
        &Secret::new([2; 32]),
        &GatewayId::new([1; 16]),
        &FirstAuthentication {
            user: &name("alice"),
            d_in: &d_in,
            d_tls: &d_tls,
            record: &[7; 192],
            fingerprint_commitment: &new.fingerprint_commitment,
        },
    );
    let pending = directory.register_device(issued.id, new, T, &mut SeededEntropy::new(2)).await.unwrap();
    assert_eq!(pending.digest, expected);
    assert!(directory.admissible_device(&id).unwrap().is_none(), "a pending device is admitted nowhere");
    assert_eq!(directory.published_rows().await.unwrap().len(), 1);
    assert_eq!(directory.device(&id).unwrap().unwrap().state, DeviceState::Pending);

    let effects = directory.confirm_device(issued.id, id, later(1)).await.unwrap();
    let confirmed =
        [format!("DeviceChanged({})", issued.id), format!("DeviceChanged({id})"), format!("PublishRow({expected})")];
    assert_eq!(said(&effects), confirmed);
    let device = directory.device(&id).unwrap().unwrap();
    assert_eq!((device.state, device.user.as_str(), device.name.as_str()), (DeviceState::Active, "alice", "laptop 5"));
    assert!(device.d_out == d_out && device.psk_c == pending.psk_c && device.psk_r == pending.psk_r);
    assert_eq!(device.ksf, KsfParams::STANDARD);
    let known = directory.admissible_device(&issued.id).unwrap().unwrap();
    assert_eq!(known.kind, DeviceKind::Invitation { expires: issued.expires, used: true });
    assert_eq!(directory.admissible().await.unwrap().len(), 2);

    // Said twice (its answer was lost): done already. And it is still so after a restart.
    drop(directory);
    let directory = open_in(&root);
    assert_eq!(said(&directory.confirm_device(issued.id, id, later(2)).await.unwrap()), confirmed);
    assert_eq!(directory.published_rows().await.unwrap().len(), 2);
    use AuditKind::*;
    assert_eq!(audited(&directory).await, [UserAdded, InvitationIssued, EnrolmentStarted, DeviceEnrolled]);
}

#[tokio::test]
async fn of_two_hosts_with_one_link_the_first_to_confirm_wins() {
    let (_root, directory) = directory();
    let invitation = invite(&directory, "alice", 1).await.id;
    let mut ids = Vec::new();
    for number in [1, 2] {
        let new = new_device(number);
        ids.push(new.id);
        directory.register_device(invitation, new, T, &mut SeededEntropy::new(number)).await.unwrap();
    }
    let confirm = |id: DeviceId| {
        let directory = directory.clone();
        tokio::spawn(async move { directory.confirm_device(invitation, id, T).await.map(|_| id) })
    };
    let (first, second) = (confirm(ids[0]), confirm(ids[1]));
    let outcomes = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.contains(&Err(EnrolError::Used)), "{outcomes:?}");
    let active: Vec<_> = directory.devices(None).await.unwrap();
    assert_eq!(active.len(), 1, "the other one's registration is forgotten");
    assert_eq!(Ok(active[0].id), outcomes.iter().find(|outcome| outcome.is_ok()).unwrap().clone());
    // And nobody begins again with it.
    let again = directory.register_device(invitation, new_device(3), T, &mut SeededEntropy::new(3)).await;
    assert_eq!(again.err(), Some(EnrolError::Used));
    assert_eq!(directory.usable_invitation(invitation, T).await.err(), Some(EnrolError::Used));
}

#[tokio::test]
async fn what_an_enrolment_is_refused_for() {
    let (_root, directory) = directory();
    let invitation = invite(&directory, "alice", 1).await.id;
    let mut entropy = SeededEntropy::new(1);

    let unknown = directory.register_device(DeviceId::new([9; 16]), new_device(1), T, &mut entropy).await;
    assert_eq!(unknown.err(), Some(EnrolError::Unknown));
    let late = invite(&directory, "alice", 3).await.id;
    let expired = directory.register_device(late, new_device(3), later(86_400), &mut entropy).await;
    assert_eq!(expired.err(), Some(EnrolError::Expired));

    // It expires between registration and confirmation.
    let (late, id) = (invite(&directory, "alice", 4).await.id, new_device(4).id);
    directory.register_device(late, new_device(4), later(86_399), &mut entropy).await.unwrap();
    assert_eq!(directory.confirm_device(late, id, later(86_400)).await.err(), Some(EnrolError::Expired));

    let id = new_device(1).id;
    directory.register_device(invitation, new_device(1), later(86_399), &mut entropy).await.unwrap();
    // Somebody else's invitation does not confirm it.
    let other = invite(&directory, "bob", 2).await.id;
    assert_eq!(directory.confirm_device(other, id, T).await.err(), Some(EnrolError::NotPending));

    // C13: a device key that is in use, by a device or by an invitation.
    let enrolled = enrol(&directory, "bob", 7).await;
    let stolen = NewDevice { d_out: directory.device(&enrolled).unwrap().unwrap().d_out, ..new_device(8) };
    let collision = directory.register_device(invitation, stolen, T, &mut entropy).await;
    assert_eq!(collision.err(), Some(EnrolError::Collision));

    directory.suspend_user(name("alice"), T).await.unwrap();
    assert_eq!(directory.confirm_device(invitation, id, T).await.err(), Some(EnrolError::UserSuspended));
    directory.resume_user(name("alice"), T).await.unwrap();
    directory.revoke_invitation(invitation, T).await.unwrap();
    assert_eq!(directory.confirm_device(invitation, id, T).await.err(), Some(EnrolError::Revoked));
    assert!(directory.device(&id).unwrap().is_none(), "what was pending under it is forgotten");
    for error in [EnrolError::Unknown, EnrolError::Used, EnrolError::Expired, EnrolError::Collision] {
        assert!(!error.to_string().is_empty());
        let _told = error.reason();
    }
}

#[tokio::test]
async fn pending_devices_are_few_and_do_not_stay() {
    let (_root, directory) = directory();
    let invitation = invite(&directory, "alice", 1).await.id;
    for number in 1..=10 {
        let at = later(number);
        directory.register_device(invitation, new_device(number), at, &mut SeededEntropy::new(number)).await.unwrap();
    }
    let pending: Vec<_> = directory.devices(None).await.unwrap().iter().map(|device| device.id).collect();
    assert_eq!(pending.len(), PENDING_PER_INVITATION as usize);
    assert!(pending.contains(&new_device(10).id) && !pending.contains(&new_device(6).id), "the oldest went");
    assert!(directory.forget_due(later(11 + PENDING_KEPT.as_secs())).await.unwrap().is_empty());
    assert!(directory.devices(None).await.unwrap().is_empty());
    // The invitation is as good as before.
    directory.usable_invitation(invitation, later(4_000)).await.unwrap();
}

#[tokio::test]
async fn invitations_are_refused_bounded_and_forgotten() {
    let (_root, directory) = directory();
    let mut entropy = SeededEntropy::new(1);
    let missing = directory.invite(name("nobody"), DAY, T, &mut entropy).await.err().unwrap();
    assert_eq!(missing, DirectoryError::NotFound { what: What::User, name: "nobody".to_owned() });
    directory.add_user(name("alice"), &[], T).await.unwrap();
    for lifetime in [Duration::ZERO, Duration::from_millis(999), 91 * DAY] {
        let refused = directory.invite(name("alice"), lifetime, T, &mut entropy).await.err().unwrap();
        assert!(matches!(refused, DirectoryError::Invalid(_)), "{lifetime:?}");
    }
    for _ in 0..INVITATIONS_PER_USER {
        directory.invite(name("alice"), DAY, T, &mut entropy).await.unwrap();
    }
    let refused = directory.invite(name("alice"), DAY, T, &mut entropy).await.err().unwrap();
    assert!(matches!(refused, DirectoryError::Invalid(_)));
    // Expired ones no longer count, but are remembered for a week, so that whoever comes with one is told.
    directory.invite(name("alice"), DAY, later(86_400), &mut entropy).await.unwrap();
    let effects = directory.forget_due(T.saturating_add(8 * DAY)).await.unwrap();
    assert!(effects.iter().all(|effect| matches!(effect, Effect::DeviceChanged { .. })), "{effects:?}");
    assert_eq!(directory.invitations().await.unwrap().len(), INVITATIONS_PER_USER as usize + 1);
    let effects = directory.forget_due(T.saturating_add(8 * DAY + Duration::from_millis(1))).await.unwrap();
    let withdrawn = effects.iter().filter(|effect| matches!(effect, Effect::WithdrawRow(_))).count();
    assert_eq!((effects.len(), withdrawn), (2 * INVITATIONS_PER_USER as usize, INVITATIONS_PER_USER as usize));
    assert_eq!(directory.invitations().await.unwrap().len(), 1);
    assert_eq!(published(&directory).await.len(), 1);
}

#[tokio::test]
async fn a_gateway_without_controller_invites_nobody() {
    let root = tempfile::tempdir().unwrap();
    let identity = Identity { introduction: None, ..identity() };
    let directory = Directory::open(&root.path().join("data/gateway.db"), identity).unwrap();
    directory.add_user(name("alice"), &[], T).await.unwrap();
    let refused = directory.invite(name("alice"), DAY, T, &mut SeededEntropy::new(1)).await.err().unwrap();
    assert!(refused.to_string().contains("controller"), "{refused}");
}

/// Two invitations opened at once: the bound holds at the confirmation too.
#[tokio::test]
async fn devices_are_bounded_also_when_enrolments_meet() {
    let (_root, directory) = directory();
    for number in 1..u64::from(DEVICES_PER_USER) {
        enrol(&directory, "alice", number).await;
    }
    let mut waiting = Vec::new();
    for number in 100..102 {
        let (invitation, new) = (invite(&directory, "alice", number).await.id, new_device(number));
        let id = new.id;
        directory.register_device(invitation, new, T, &mut SeededEntropy::new(number)).await.unwrap();
        waiting.push((invitation, id));
    }
    let [(first, one), (second, other)] = waiting[..] else { panic!("two") };
    directory.confirm_device(first, one, T).await.unwrap();
    assert_eq!(directory.confirm_device(second, other, T).await.err(), Some(EnrolError::TooManyDevices));
    assert_eq!(directory.device(&other).unwrap().unwrap().state, DeviceState::Pending);
    directory.confirm_device(first, one, T).await.unwrap();
    // With room again the same invitation is as good as before.
    directory.revoke_device(one, T).await.unwrap();
    directory.confirm_device(second, other, T).await.unwrap();
}
