//! The seen-set and the counter of wrong passwords.

use std::collections::BTreeSet;

use vestibule_proto::admission::SEEN_KEPT;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::KnockId;

use super::*;

pub(super) fn knock(number: u64) -> KnockId {
    KnockId::random(&mut SeededEntropy::new(number))
}

#[tokio::test]
async fn a_knock_is_fresh_once_per_device_and_after_a_restart() {
    let (root, directory) = directory();
    let (alice, bob) = (enrol(&directory, "alice", 1).await, enrol(&directory, "bob", 2).await);
    assert!(directory.remember(alice, knock(1), T).await.unwrap());
    assert!(!directory.remember(alice, knock(1), T).await.unwrap());
    assert!(!directory.remember(alice, knock(1), later(5)).await.unwrap(), "whatever stamp it bears");
    assert!(directory.remember(bob, knock(1), T).await.unwrap());
    assert!(!directory.remember(DeviceId::new([9; 16]), knock(1), T).await.unwrap(), "of no device");
    drop(directory);
    let directory = open_in(&root);
    assert!(!directory.remember(alice, knock(1), T).await.unwrap());
    assert!(directory.remember(alice, knock(2), T).await.unwrap());
}

#[tokio::test]
async fn what_was_forgotten_is_never_fresh_again_even_if_the_clock_goes_back() {
    let (root, directory) = directory();
    let (alice, bob) = (enrol(&directory, "alice", 1).await, enrol(&directory, "bob", 2).await);
    assert!(directory.remember(alice, knock(1), T).await.unwrap());
    assert!(directory.remember(alice, knock(2), later(30)).await.unwrap());
    directory.forget_due(T.saturating_add(SEEN_KEPT)).await.unwrap();
    assert!(!directory.remember(alice, knock(1), T).await.unwrap(), "kept to the last moment");
    directory.forget_due(later(1).saturating_add(SEEN_KEPT)).await.unwrap();
    drop(directory);
    let directory = open_in(&root);
    // The clock was set back by an hour: the recording is in time again, and is not fresh.
    assert!(!directory.remember(alice, knock(1), T).await.unwrap());
    assert!(!directory.remember(alice, knock(3), T).await.unwrap());
    // The device itself stamps beyond what it was acknowledged, so it is not locked out; nor is anybody else.
    assert!(directory.remember(alice, knock(4), Stamp::from_millis(T.as_millis() + 1)).await.unwrap());
    assert!(!directory.remember(alice, knock(2), later(30)).await.unwrap());
    assert!(directory.remember(bob, knock(1), T).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_knocks_at_once_are_each_fresh_once() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let before = directory.store().stats().commits;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let directory = directory.clone();
        // Each knock comes twice, as from two paths.
        tasks.spawn(async move { (number / 2, directory.remember(device, knock(number / 2), T).await.unwrap()) });
    }
    let mut fresh = BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        let (number, was_fresh) = done.unwrap();
        assert!(!was_fresh || fresh.insert(number), "{number} was fresh twice");
    }
    assert_eq!(fresh.len(), 500);
    let commits = directory.store().stats().commits - before;
    assert!(commits < 500, "{commits} commits for 1,000 knocks");
}

#[tokio::test]
async fn guesses_count_until_a_login_and_suspend_at_the_limit() {
    let (root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    assert_eq!(directory.guesses(&device).unwrap(), Some(GuessCount::default()));
    for number in 1..=3 {
        let count = directory.count_guess(device, address(), later(number)).await.unwrap();
        assert_eq!((u64::from(count.count), count.last), (number, later(number)));
    }
    // The fourth is right: forgotten are all.
    let GuessAnswer::Counted(guess) = directory.begin_guess(device, address(), later(4)).await.unwrap() else {
        panic!("allowed")
    };
    assert_eq!(guess.count().count, 4);
    directory.begin_session(new_session(1, "alice"), guess, later(4)).await.unwrap();
    assert_eq!(directory.guesses(&device).unwrap().unwrap().count, 0);

    // Knocks and logins count together, across restarts, with the delays of the policy in between.
    drop(directory);
    let directory = open_in(&root);
    for number in 1..=20 {
        let now = later(number * 3_601);
        let count = if number % 2 == 0 {
            directory.count_guess(device, address(), now).await.unwrap()
        } else {
            let GuessAnswer::Counted(guess) = directory.begin_guess(device, address(), now).await.unwrap() else {
                panic!("try {number} is allowed")
            };
            if (5..20).contains(&number) {
                let at_once = directory.begin_guess(device, address(), now).await.unwrap();
                assert!(matches!(at_once, GuessAnswer::Wait(_)), "{number}: {at_once:?}");
            }
            directory.guess_was_wrong(guess, now).await.unwrap()
        };
        assert_eq!(u64::from(count.count), number);
    }
    assert_eq!(directory.begin_guess(device, address(), later(999_999)).await.unwrap(), GuessAnswer::Suspended);
    assert_eq!(directory.device(&device).unwrap().unwrap().state, DeviceState::Suspended);
    assert_eq!(directory.admissible_device(&device).unwrap().unwrap().guesses.count, 20);
    let audit = audited(&directory).await;
    assert_eq!(audit.iter().filter(|kind| **kind == AuditKind::DeviceSuspended).count(), 1, "one alarm");
    assert!(AuditKind::DeviceSuspended.is_alarm() && AuditKind::WrongPassword.is_alarm());

    let effects = directory.resume_device(device, later(1_000_000)).await.unwrap();
    assert_eq!(said(&effects), [format!("DeviceChanged({device})")]);
    assert_eq!(directory.device(&device).unwrap().unwrap().state, DeviceState::Active);
    assert_eq!(said(&directory.resume_device(device, T).await.unwrap()), [""; 0], "it may be used anyhow");
    directory.revoke_device(device, T).await.unwrap();
    directory.resume_device(device, T).await.unwrap_err();
}

#[tokio::test]
async fn of_tries_at_once_each_sees_the_others() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let directory = directory.clone();
        tasks.spawn(async move { directory.begin_guess(device, address(), T).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let counted = answers.iter().filter(|answer| matches!(answer, GuessAnswer::Counted(_))).count();
    assert_eq!(counted, 5, "the free ones");
    assert!(answers.iter().all(|answer| matches!(answer, GuessAnswer::Counted(_) | GuessAnswer::Wait(_))));
}

#[tokio::test]
async fn the_twentieth_try_may_still_be_the_right_one() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    for number in 1..=19 {
        directory.count_guess(device, address(), later(number)).await.unwrap();
    }
    let GuessAnswer::Counted(guess) = directory.begin_guess(device, address(), later(9_999)).await.unwrap() else {
        panic!("allowed")
    };
    assert_eq!(directory.begin_guess(device, address(), later(99_999)).await.unwrap(), GuessAnswer::Suspended);
    directory.begin_session(new_session(1, "alice"), guess, later(9_999)).await.unwrap();
    assert_eq!(directory.device(&device).unwrap().unwrap().state, DeviceState::Active);
}

#[tokio::test]
async fn an_altered_link_counts_against_its_invitation() {
    let (_root, directory) = directory();
    let invitation = invite(&directory, "alice", 1).await.id;
    assert_eq!(directory.count_guess(invitation, address(), T).await.unwrap().count, 1);
    assert_eq!(directory.invitation(&invitation).unwrap().unwrap().guesses.count, 1);
    assert_eq!(directory.admissible_device(&invitation).unwrap().unwrap().guesses.count, 1);
    let gone = directory.count_guess(DeviceId::new([9; 16]), address(), T).await.unwrap_err();
    assert!(matches!(gone, DirectoryError::NotFound { what: What::Device, .. }));
    assert_eq!(directory.begin_guess(DeviceId::new([9; 16]), address(), T).await.unwrap(), GuessAnswer::Unknown);
}

#[tokio::test]
async fn a_clock_set_back_costs_one_delay_and_not_more() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    for _ in 0..5 {
        directory.count_guess(device, address(), later(1_000_000)).await.unwrap();
    }
    assert_eq!(directory.begin_guess(device, address(), T).await.unwrap(), GuessAnswer::Wait(Duration::from_secs(60)));
}

#[tokio::test]
async fn the_audit_log_says_from_where_a_guess_came() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    let elsewhere: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
    directory.count_guess(device, address(), T).await.unwrap();
    let GuessAnswer::Counted(guess) = directory.begin_guess(device, elsewhere, T).await.unwrap() else {
        panic!("allowed")
    };
    directory.guess_was_wrong(guess, T).await.unwrap();
    let query = AuditQuery { kinds: vec![AuditKind::WrongPassword], ..AuditQuery::default() };
    let entries = directory.audit_entries(query).await.unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.address, entry.detail.as_str())).collect();
    assert_eq!(told, [(Some(address()), "1 of 20 tries used"), (Some(elsewhere), "2 of 20 tries used")]);
    assert!(entries.iter().all(|entry| entry.user == Some(name("alice")) && entry.device == Some(device)));
}
