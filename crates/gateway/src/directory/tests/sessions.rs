//! Sessions: begin, resume, end, and what outlives a restart.

use super::*;

#[tokio::test]
async fn a_session_is_begun_resumed_and_ended() {
    let (root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let id = log_in(&directory, "alice", device, 1).await.unwrap();
    assert_eq!(directory.device(&device).unwrap().unwrap().last_seen, Some(T));

    drop(directory);
    let directory = open_in(&root);
    let live = directory.live_sessions(later(599)).await.unwrap();
    assert_eq!(live.len(), 1, "it outlives the gateway");
    assert!(live[0].resume_secret == Some(Secret::new([1; 32])));
    assert!(directory.live_sessions(later(600)).await.unwrap().is_empty(), "but not its idle limit");

    directory.touch_sessions(vec![(id, later(300)), (SessionId::new([9; 16]), T)]).await.unwrap();
    directory.touch_sessions(vec![(id, later(200))]).await.unwrap();
    assert_eq!(directory.session(&id).unwrap().unwrap().last_use, later(300));
    directory.resumable(&id, &device).unwrap();
    let elsewhere: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
    directory.resume_session(id, device, (elsewhere, 1), later(400)).await.unwrap();
    let session = directory.session(&id).unwrap().unwrap();
    assert_eq!((session.last_use, session.address), (later(400), elsewhere));

    // Another device, another session.
    let other = enrol(&directory, "alice", 2).await;
    assert_eq!(directory.resumable(&id, &other).err(), Some(SessionError::NoSession));
    assert_eq!(directory.resumable(&SessionId::new([9; 16]), &device).err(), Some(SessionError::NoSession));

    let effects = directory.end_session(id, EndReason::SignedOff, later(500)).await.unwrap();
    assert_eq!(said(&effects), [format!("CutSession({id}, signed-off)")]);
    let ended = directory.session(&id).unwrap().unwrap();
    assert_eq!(ended.ended, Some((later(500), EndReason::SignedOff)));
    assert!(ended.resume_secret.is_none(), "the secret is gone from the disk");
    assert_eq!(directory.resumable(&id, &device).err(), Some(SessionError::NoSession));
    assert!(directory.end_session(id, EndReason::Revoked, later(502)).await.unwrap().is_empty(), "once is enough");
    assert_eq!(directory.session(&id).unwrap().unwrap().ended, Some((later(500), EndReason::SignedOff)));
    directory.end_session(SessionId::new([9; 16]), EndReason::Revoked, T).await.unwrap_err();
}

#[tokio::test]
async fn a_revocation_under_way_is_seen_by_the_login() {
    let (_root, directory) = directory();
    let (first, second) = (enrol(&directory, "alice", 1).await, enrol(&directory, "alice", 2).await);
    let (of_first, of_second) = (counted(&directory, first).await, counted(&directory, second).await);
    directory.revoke_device(first, T).await.unwrap();
    let refused = directory.begin_session(new_session(1, "alice"), of_first, T).await;
    assert_eq!(refused, Err(SessionError::Revoked));
    directory.suspend_user(name("alice"), T).await.unwrap();
    let refused = directory.begin_session(new_session(2, "alice"), of_second, T).await;
    assert_eq!(refused, Err(SessionError::Suspended));
    assert_eq!(directory.guesses(&second).unwrap().unwrap().count, 1, "nothing was given back");
    directory.resume_user(name("alice"), T).await.unwrap();
    directory.add_user(name("bob"), &[], T).await.unwrap();
    assert_eq!(log_in(&directory, "bob", second, 3).await, Err(SessionError::Revoked), "not bob's device");
    log_in(&directory, "alice", second, 4).await.unwrap();
    directory.remove_user(name("alice"), T).await.unwrap();
    assert_eq!(directory.begin_guess(second, address(), T).await.unwrap(), GuessAnswer::Unknown);
}

#[tokio::test]
async fn revocations_end_what_they_name_and_say_so() {
    let (_root, directory) = directory();
    let (laptop, phone) = (enrol(&directory, "alice", 1).await, enrol(&directory, "alice", 2).await);
    let bobs = enrol(&directory, "bob", 3).await;
    let on_laptop = log_in(&directory, "alice", laptop, 1).await.unwrap();
    let on_phone = log_in(&directory, "alice", phone, 2).await.unwrap();
    let of_bob = log_in(&directory, "bob", bobs, 3).await.unwrap();
    let digest = |id: &DeviceId| directory.device(id).unwrap().unwrap().digest;
    let live = async || -> Vec<_> { directory.live_sessions(T).await.unwrap().iter().map(|live| live.id).collect() };

    let effects = directory.revoke_device(laptop, T).await.unwrap();
    let laptop_digest = digest(&laptop);
    assert_eq!(
        said(&effects),
        [format!("CutDevice({laptop})"), format!("DeviceChanged({laptop})"), format!("WithdrawRow({laptop_digest})")]
    );
    assert_eq!(live().await, [on_phone, of_bob]);
    assert!(!published(&directory).await.contains(&laptop_digest));
    assert!(directory.admissible_device(&laptop).unwrap().unwrap().revoked, "refused with a reason meanwhile");
    assert_eq!(directory.session(&on_laptop).unwrap().unwrap().ended, Some((T, EndReason::Revoked)));
    assert_eq!(said(&directory.revoke_device(laptop, later(9)).await.unwrap()), said(&effects), "it is so already");
    assert_eq!(directory.session(&on_laptop).unwrap().unwrap().ended, Some((T, EndReason::Revoked)));

    let effects = said(&directory.suspend_user(name("alice"), T).await.unwrap());
    assert_eq!(effects[0], "CutUser(alice)");
    assert!(effects.contains(&format!("CutDevice({phone})")) && effects.contains(&format!("DeviceChanged({phone})")));
    assert!(!effects.iter().any(|effect| effect.starts_with("WithdrawRow")), "devices stay enrolled");
    assert!(!effects.iter().any(|effect| effect.contains(&bobs.to_string())));
    assert_eq!(live().await, [of_bob]);
    assert!(directory.admissible_device(&phone).unwrap().unwrap().revoked);
    directory.resume_user(name("alice"), T).await.unwrap();
    assert!(!directory.admissible_device(&phone).unwrap().unwrap().revoked);
    assert_eq!(directory.resumable(&on_phone, &phone).err(), Some(SessionError::NoSession), "it stays ended");

    let phone_digest = digest(&phone);
    let effects = said(&directory.remove_user(name("alice"), T).await.unwrap());
    assert!(effects.contains(&format!("WithdrawRow({phone_digest})")), "{effects:?}");
    assert!(directory.device(&phone).unwrap().is_none() && directory.admissible_device(&phone).unwrap().is_none());
    assert_eq!(live().await, [of_bob]);
    // A new alice inherits nothing.
    directory.add_user(name("alice"), &[], T).await.unwrap();
    assert!(directory.devices(Some(name("alice"))).await.unwrap().is_empty());
    let audit = audited(&directory).await;
    for kind in [AuditKind::DeviceRevoked, AuditKind::UserSuspended, AuditKind::UserRemoved, AuditKind::SessionEnded] {
        assert!(audit.contains(&kind), "{kind}");
    }
}

#[tokio::test]
async fn sessions_expire_and_are_forgotten_in_the_end() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let idle = log_in(&directory, "alice", device, 1).await.unwrap();
    let used = log_in(&directory, "alice", device, 2).await.unwrap();
    directory.touch_sessions(vec![(used, later(3_500))]).await.unwrap();
    assert!(directory.forget_due(later(719)).await.unwrap().is_empty(), "what was used last is written down late");
    assert_eq!(said(&directory.forget_due(later(720)).await.unwrap()), [format!("CutSession({idle}, idle)")]);
    assert_eq!(said(&directory.forget_due(later(3_600)).await.unwrap()), [format!("CutSession({used}, expired)")]);
    assert_eq!(directory.all_sessions().await.unwrap().len(), 2);
    directory.forget_due(later(3_601).saturating_add(SESSION_KEPT)).await.unwrap();
    assert!(directory.all_sessions().await.unwrap().is_empty());
}

/// Set ahead for a while and back again: neither a session nor a line of the log is gone.
#[tokio::test]
async fn a_clock_that_jumps_ahead_ends_no_session_and_forgets_nothing() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let id = log_in(&directory, "alice", device, 1).await.unwrap();
    let invitation = invite(&directory, "alice", 2).await.id;
    let entries = audited(&directory).await;
    for ahead in [DAY, 30 * DAY, 3_650 * DAY] {
        let jumped = T.saturating_add(ahead);
        let effects = directory.forget_due(Due::running(jumped, later(60))).await.unwrap();
        assert!(effects.is_empty(), "{effects:?}");
        directory.resume_session(id, device, (address(), 1), jumped).await.unwrap();
    }
    directory.usable_invitation(invitation, later(120)).await.unwrap();
    assert_eq!(audited(&directory).await[..entries.len()], entries);
    assert_eq!(directory.all_sessions().await.unwrap().len(), 1);
    directory.end_session(id, EndReason::SignedOff, later(180)).await.unwrap();
    let kept = later(181).saturating_add(SESSION_KEPT);
    directory.forget_due(Due::running(T, kept)).await.unwrap();
    assert!(directory.all_sessions().await.unwrap().is_empty(), "what has passed is forgotten all the same");
}

/// A version that was spoken once is the least that is spoken from then on, also after a restart.
#[tokio::test]
async fn the_version_floor_rises_with_logins_and_resumptions_and_never_falls() {
    let (root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let floor = |directory: &Directory| directory.admissible_device(&device).unwrap().unwrap().version_floor;
    assert_eq!(floor(&directory), 1);
    let new = NewSession { version: 3, ..new_session(1, "alice") };
    let id = new.id;
    directory.begin_session(new, counted(&directory, device).await, T).await.unwrap();
    assert_eq!(floor(&directory), 3);
    directory.resume_session(id, device, (address(), 4), T).await.unwrap();
    directory.resume_session(id, device, (address(), 2), T).await.unwrap();
    drop(directory);
    assert_eq!(floor(&open_in(&root)), 4);
}
