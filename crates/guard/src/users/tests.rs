//! Users from adding to removing, and who is let in.

use super::*;
use std::sync::Arc;

const NOW: Stamp = Stamp(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn users() -> (tempfile::TempDir, Users) {
    let root = tempfile::tempdir().unwrap();
    let users = again(&root);
    (root, users)
}

fn again(root: &tempfile::TempDir) -> Users {
    let store = crate::store::open(&root.path().join("data/guard.sqlite")).unwrap();
    Users::open(store, UsersSettings { memory_kib: 64, passes: 1, at_once: 2 }).unwrap()
}

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

async fn with_alice() -> (tempfile::TempDir, Users) {
    let (root, users) = users();
    users.add(&name("alice"), &["clerks".to_owned()], "right", NOW).await.unwrap();
    (root, users)
}

#[tokio::test]
async fn users_come_change_and_go() {
    let (root, users) = with_alice().await;
    let groups = ["Sales".to_owned(), "clerks".to_owned(), "sales".to_owned()];
    users.add(&name("bob"), &groups, "secret", NOW).await.unwrap();
    assert_eq!(users.add(&name("bob"), &[], "secret", NOW).await, Err(UserError::Exists));
    assert_eq!(users.add(&name("carol"), &[], "", NOW).await, Err(UserError::Password(PasswordError::Empty)));
    assert!(matches!(users.add(&name("carol"), &["a b".to_owned()], "x", NOW).await, Err(UserError::Group(_))));
    drop(users);

    let users = again(&root);
    let bob = User { name: name("bob"), groups: vec!["clerks".to_owned(), "sales".to_owned()] };
    assert_eq!(users.get(&name("bob")), Ok(Some(bob.clone())));
    let names: Vec<_> = users.list().await.unwrap().into_iter().map(|user| user.name.to_string()).collect();
    assert_eq!(names, ["alice", "bob"]);
    users.set_password(&name("bob"), "other").await.unwrap();
    users.set_groups(&name("bob"), &[]).await.unwrap();
    assert_eq!(users.verify("bob", "secret", NOW).await, Err(LoginError::Wrong));
    assert_eq!(users.verify("BOB", "other", NOW).await, Ok(User { groups: vec![], ..bob }));
    users.remove(&name("bob")).await.unwrap();
    assert_eq!(users.verify("bob", "other", NOW).await, Err(LoginError::Wrong));
    assert_eq!(users.get(&name("bob")), Ok(None));
    for gone in [
        users.remove(&name("bob")).await,
        users.set_password(&name("bob"), "x").await,
        users.set_groups(&name("bob"), &[]).await,
    ] {
        assert_eq!(gone, Err(UserError::Unknown));
    }
}

#[tokio::test]
async fn wrong_passwords_delay_over_restarts_and_the_right_one_forgives() {
    let (root, users) = with_alice().await;
    for _ in 0..4 {
        assert_eq!(users.verify("alice", "wrong", NOW).await, Err(LoginError::Wrong));
    }
    users.verify("alice", "right", NOW).await.unwrap();
    for _ in 0..5 {
        assert_eq!(users.verify("Alice", "wrong", NOW).await, Err(LoginError::Wrong));
    }
    drop(users);
    let users = again(&root);
    assert_eq!(users.verify("alice", "right", NOW).await, Err(LoginError::Wait(MINUTE)));
    assert_eq!(users.verify("alice", "wrong", NOW.after(MINUTE)).await, Err(LoginError::Wrong));
    assert_eq!(users.verify("alice", "right", NOW.after(2 * MINUTE)).await, Err(LoginError::Wait(MINUTE)));
    users.verify("alice", "right", NOW.after(3 * MINUTE)).await.unwrap();
    assert_eq!(users.verify("alice", "wrong", NOW.after(3 * MINUTE)).await, Err(LoginError::Wrong));
}

#[tokio::test]
async fn a_new_password_forgives_too() {
    let (_root, users) = with_alice().await;
    for _ in 0..5 {
        users.verify("alice", "wrong", NOW).await.unwrap_err();
    }
    users.set_password(&name("alice"), "other").await.unwrap();
    users.verify("alice", "other", NOW).await.unwrap();
}

#[tokio::test]
async fn who_is_no_user_gets_the_same_answers() {
    let (_root, users) = with_alice().await;
    for typed in ["nobody", "no/name", "", "alice "] {
        for _ in 0..5 {
            assert_eq!(users.verify(typed, "right", NOW).await, Err(LoginError::Wrong), "{typed:?}");
        }
        assert_eq!(users.verify(typed, "right", NOW).await, Err(LoginError::Wait(MINUTE)), "{typed:?}");
    }
    let long = "x".repeat(PASSWORD_LONGEST + 1);
    assert_eq!(users.verify("alice", &long, NOW).await, Err(LoginError::Wrong));
    assert_eq!(users.verify("alice", "", NOW).await, Err(LoginError::Wrong));
    users.verify("alice", "right", NOW).await.unwrap();
}

/// Many at once are as few as one after the other, and no more wait than may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_gain_nothing() {
    let (_root, users) = with_alice().await;
    let users = Arc::new(users);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move { users.verify("alice", "wrong", NOW).await })
        })
        .collect();
    let (mut wrong, mut early, mut busy) = (0, 0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Err(LoginError::Wrong) => wrong += 1,
            Err(LoginError::Wait(_)) => early += 1,
            Err(LoginError::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wrong, 5, "{early} too early, {busy} turned away");
    assert_eq!(wrong + early + busy, 200);
    assert_eq!(users.waiting.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn whoever_waits_and_goes_leaves_room() {
    let (_root, users) = with_alice().await;
    let held = users.turns.acquire_many(2).await.unwrap();
    {
        let verify = users.verify("alice", "right", NOW);
        assert!(tokio::time::timeout(Duration::from_millis(20), verify).await.is_err());
    }
    assert_eq!(users.waiting.load(Ordering::Acquire), 0);
    users.waiting.store(WAITING_MOST, Ordering::Release);
    assert_eq!(users.verify("alice", "right", NOW).await, Err(LoginError::Busy));
    users.waiting.store(0, Ordering::Release);
    drop(held);
    users.verify("alice", "right", NOW).await.unwrap();
}
