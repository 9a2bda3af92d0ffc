//! Devices that replace themselves.

use super::*;

async fn renew(directory: &Directory, device: DeviceId, number: u64) -> Result<Issued, DirectoryError> {
    directory.renew(device, T, &mut SeededEntropy::new(2_000_000 + number)).await.map(|(issued, _)| issued)
}

async fn register(directory: &Directory, invitation: DeviceId, number: u64) -> Result<DeviceId, EnrolError> {
    let new = new_device(number);
    let id = new.id;
    directory.register_device(invitation, new, T, &mut SeededEntropy::new(number)).await.map(|_| id)
}

async fn state(directory: &Directory, device: DeviceId) -> DeviceState {
    directory.device(&device).unwrap().unwrap().state
}

#[tokio::test]
async fn the_former_device_ends_with_the_confirmation_and_not_before() {
    let (root, directory) = directory();
    let old = enrol(&directory, "alice", 1).await;
    let session = log_in(&directory, "alice", old, 1).await.unwrap();
    let issued = renew(&directory, old, 1).await.unwrap();
    assert_eq!((issued.user.as_str(), issued.expires), ("alice", later(600)));
    let new = register(&directory, issued.id, 2).await.unwrap();
    assert_eq!(state(&directory, old).await, DeviceState::Active);
    assert!(directory.session(&session).unwrap().unwrap().ended.is_none());

    let before = directory.device(&old).unwrap().unwrap();
    let effects = directory.confirm_device(issued.id, new, later(5)).await.unwrap();
    let expected = [
        format!("CutDevice({old})"),
        format!("DeviceChanged({old})"),
        format!("WithdrawRow({})", before.digest),
        format!("DeviceChanged({})", issued.id),
        format!("DeviceChanged({new})"),
    ];
    assert_eq!(said(&effects)[..5], expected);
    assert_eq!(state(&directory, old).await, DeviceState::Revoked);
    assert_eq!(state(&directory, new).await, DeviceState::Active);
    let ended = directory.session(&session).unwrap().unwrap().ended;
    assert_eq!(ended, Some((later(5), EndReason::Revoked)));

    // Said twice, over a restart too: done already, and the same is carried out again.
    drop(directory);
    let directory = open_in(&root);
    let again = directory.confirm_device(issued.id, new, later(6)).await.unwrap();
    assert_eq!(said(&again), said(&effects));
    assert_eq!(
        renew(&directory, old, 2).await.err().map(|error| error.to_string().contains("can't be used")),
        Some(true)
    );
}

#[tokio::test]
async fn who_is_revoked_or_suspended_meanwhile_does_not_come_back_renewed() {
    let (_root, directory) = directory();
    let old = enrol(&directory, "alice", 1).await;
    let issued = renew(&directory, old, 1).await.unwrap();
    let new = register(&directory, issued.id, 2).await.unwrap();
    directory.revoke_device(old, T).await.unwrap();
    assert_eq!(directory.confirm_device(issued.id, new, T).await.err(), Some(EnrolError::Revoked));
    assert_eq!(register(&directory, issued.id, 3).await.err(), Some(EnrolError::Revoked));

    let other = enrol(&directory, "bert", 4).await;
    let issued = renew(&directory, other, 2).await.unwrap();
    directory.suspend_user(name("bert"), T).await.unwrap();
    assert_eq!(register(&directory, issued.id, 5).await.err(), Some(EnrolError::UserSuspended));
    assert!(renew(&directory, other, 3).await.is_err());
    assert!(matches!(renew(&directory, DeviceId::new([9; 16]), 4).await, Err(DirectoryError::NotFound { .. })));
}

#[tokio::test]
async fn a_device_has_one_open_renewal() {
    let (_root, directory) = directory();
    let old = enrol(&directory, "alice", 1).await;
    let first = renew(&directory, old, 1).await.unwrap();
    register(&directory, first.id, 2).await.unwrap();
    let (second, effects) = directory.renew(old, T, &mut SeededEntropy::new(77)).await.unwrap();
    assert_eq!(said(&effects)[0], format!("CutDevice({})", first.id));
    assert_eq!(register(&directory, first.id, 3).await.err(), Some(EnrolError::Revoked));
    let new = register(&directory, second.id, 4).await.unwrap();
    directory.confirm_device(second.id, new, T).await.unwrap();
    assert_eq!(directory.devices(None).await.unwrap().len(), 2, "the first one's registration is forgotten");
}

#[tokio::test]
async fn a_user_with_all_devices_allowed_may_renew_each_of_them() {
    let (_root, directory) = directory();
    let mut last = None;
    for number in 0..u64::from(super::super::user::DEVICES_PER_USER) {
        last = Some(enrol(&directory, "alice", number).await);
    }
    let further = invite(&directory, "alice", 900).await.id;
    assert_eq!(register(&directory, further, 900).await.err(), Some(EnrolError::TooManyDevices));
    let issued = renew(&directory, last.unwrap(), 1).await.unwrap();
    let new = register(&directory, issued.id, 901).await.unwrap();
    directory.confirm_device(issued.id, new, T).await.unwrap();
}
