//! Sessions over their whole life, and over restarts.

use super::*;
use crate::Serial;
use proptest::prelude::*;
use std::collections::HashSet;
use tokio::time::timeout;

const NOW: Stamp = Stamp(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn small_pool() -> SessionSettings {
    let pool = PoolSettings { network: Some("10.0.0.0/30".parse().unwrap()), ..PoolSettings::default() };
    SessionSettings { pool, ..SessionSettings::default() }
}

async fn open(root: &tempfile::TempDir, settings: SessionSettings, now: Stamp) -> Sessions {
    let store = crate::store::open(&root.path().join("data/guard.sqlite")).unwrap();
    Sessions::open(store, settings, now).await.unwrap()
}

async fn fresh(settings: SessionSettings) -> (tempfile::TempDir, Sessions) {
    let root = tempfile::tempdir().unwrap();
    let sessions = open(&root, settings, NOW).await;
    (root, sessions)
}

fn alice() -> Newcomer {
    Newcomer {
        user: UserName::new("alice").unwrap(),
        groups: vec!["clerks".to_owned()],
        device: Some("laptop".to_owned()),
        client: Some("192.0.2.7".parse().unwrap()),
        proof: Proof::Cookie,
        entry_key: None,
    }
}

fn named(user: &str, device: &str) -> Newcomer {
    Newcomer { user: UserName::new(user).unwrap(), device: Some(device.to_owned()), ..alice() }
}

fn binding(byte: u8) -> Binding {
    Binding([byte; 32])
}

async fn begin(sessions: &Sessions, byte: u8, now: Stamp) -> Result<Arc<Live>, BeginError> {
    sessions.begin(alice(), binding(byte), now).await
}

fn prefix(live: &Live) -> [u8; 8] {
    let IpAddr::V6(address) = live.session().address.0 else { panic!("of the default pool") };
    *address.octets().first_chunk().unwrap()
}

fn find(sessions: &Sessions, byte: u8, now: Stamp) -> Result<LogicalAddress, Gone> {
    sessions.find(&binding(byte), None, now).map(|live| live.session().address)
}

#[tokio::test]
async fn a_session_outlives_a_restart() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    assert_eq!(live.next_serial().await, Ok(Serial(1)));
    assert_eq!(live.next_serial().await, Ok(Serial(2)));
    assert!(live.session().address.to_string().starts_with("fd"));
    let before = live.session().clone();
    drop((live, sessions));

    let sessions = open(&root, SessionSettings::default(), NOW.after(MINUTE)).await;
    let live = sessions.find(&binding(1), None, NOW.after(MINUTE)).unwrap();
    assert!(*live.session() == before);
    assert_eq!(live.next_serial().await, Ok(Serial(1_025)));
    assert!(Arc::ptr_eq(&sessions.at(before.address).unwrap(), &live));
    assert_eq!(sessions.list().len(), 1);
    let other = begin(&sessions, 2, NOW.after(MINUTE)).await.unwrap();
    assert_eq!(prefix(&other), prefix(&live), "the network is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serials_are_given_once_to_many_at_once() {
    let (_root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let live = live.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..400 {
                    taken.push(live.next_serial().await.unwrap());
                }
                taken
            })
        })
        .collect();
    let mut all = HashSet::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), 3_200);
    assert_eq!(all.iter().max(), Some(&Serial(3_200)), "none is left out while nothing stops");
}

#[tokio::test]
async fn sign_off_ends_it_for_everybody_and_over_a_restart() {
    let (root, sessions) = fresh(small_pool()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    let (address, waiting) = (live.session().address, tokio::spawn(live.ended()));
    assert_eq!(sessions.sign_off(&binding(1), NOW).await, Ok(true));
    timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
    assert_eq!((live.has_ended(), live.why_ended()), (true, Some(Gone::SignedOff)));
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::SignedOff));
    assert!(sessions.at(address).is_none() && sessions.list().is_empty());
    assert_eq!(sessions.sign_off(&binding(1), NOW).await, Ok(false));
    assert_eq!(find(&sessions, 9, NOW), Err(Gone::Unknown));
    drop(sessions);

    let sessions = open(&root, small_pool(), NOW).await;
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::SignedOff));
    let other = begin(&sessions, 1, NOW).await.unwrap();
    assert_ne!(other.session().address, address, "it rests");
    assert_eq!(begin(&sessions, 2, NOW).await.unwrap_err(), BeginError::Exhausted(Exhausted));
    let next = begin(&sessions, 2, NOW.after(HOUR)).await.unwrap();
    assert_eq!(next.session().address, address);
    drop(sessions);

    let later = NOW.after(HOUR);
    let sessions = open(&root, small_pool(), later).await;
    assert_eq!(find(&sessions, 2, later), Ok(address), "whoever holds the address now, not who held it once");
    assert_eq!(find(&sessions, 1, later), Err(Gone::Idle), "what came after the sign-off counts");
}

#[tokio::test]
async fn it_ends_by_the_clock_and_by_idleness() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let (used, idle) = (begin(&sessions, 1, NOW).await.unwrap(), begin(&sessions, 2, NOW).await.unwrap());
    let mut now = NOW;
    while now < NOW.after(12 * HOUR).before(MINUTE) {
        now = now.after(20 * MINUTE);
        used.touch(now);
        sessions.sweep(now).await.unwrap();
    }
    assert_eq!(used.why_ended(), Some(Gone::Expired));
    assert_eq!(idle.why_ended(), Some(Gone::Idle));
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), now).await;
    assert_eq!((find(&sessions, 1, now), find(&sessions, 2, now)), (Err(Gone::Expired), Err(Gone::Idle)));
    let later = now.after(25 * HOUR);
    sessions.sweep(later).await.unwrap();
    assert_eq!(find(&sessions, 1, later), Err(Gone::Unknown));
}

#[tokio::test]
async fn deadlines_hold_without_a_sweep_and_are_told_in_time() {
    let (_root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    let end = NOW.after(30 * MINUTE);
    assert!(find(&sessions, 1, end.before(Duration::from_millis(1))).is_ok());
    sessions.sweep(end.before(Duration::from_secs(10))).await.unwrap();
    assert_eq!(sessions.poll_timeout(), end);
    assert_eq!(find(&sessions, 1, end), Err(Gone::Idle));
    assert!(live.has_ended());
}

#[tokio::test]
async fn the_last_use_outlives_a_restart_but_for_a_minute() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    live.touch(NOW.after(20 * MINUTE));
    live.touch(NOW);
    assert_eq!(live.last_use(), NOW.after(20 * MINUTE));
    sessions.sweep(NOW.after(21 * MINUTE)).await.unwrap();
    drop((live, sessions));
    let sessions = open(&root, SessionSettings::default(), NOW.after(49 * MINUTE)).await;
    assert!(find(&sessions, 1, NOW.after(49 * MINUTE)).is_ok());
    assert_eq!(find(&sessions, 1, NOW.after(50 * MINUTE)), Err(Gone::Idle));
}

#[tokio::test]
async fn another_client_address_is_refused_where_that_is_asked_for() {
    let bound = SessionSettings { bind_client_address: true, ..SessionSettings::default() };
    for (settings, refused) in [(bound, true), (SessionSettings::default(), false)] {
        let (_root, sessions) = fresh(settings).await;
        begin(&sessions, 1, NOW).await.unwrap();
        let from = |client: Option<&str>| {
            let client = client.map(|text| text.parse().unwrap());
            sessions.find(&binding(1), client, NOW).err()
        };
        assert_eq!(from(Some("192.0.2.7")), None);
        assert_eq!(from(Some("192.0.2.8")), refused.then_some(Gone::OtherClient));
        assert_eq!(from(None), refused.then_some(Gone::OtherClient));
        assert_eq!(from(Some("192.0.2.7")), None, "whoever stole the cookie does not end the session");
    }
}

#[tokio::test]
async fn the_owner_ends_sessions_by_address_user_device_or_all() {
    let (_root, sessions) = fresh(SessionSettings::default()).await;
    let mut live = Vec::new();
    for (byte, (user, device)) in [("alice", "a"), ("alice", "b"), ("bob", "b"), ("carol", "c")].into_iter().enumerate()
    {
        let binding = binding(u8::try_from(byte).unwrap());
        live.push(sessions.begin(named(user, device), binding, NOW).await.unwrap());
    }
    let left = async |selector: Selector| {
        let ended = sessions.revoke(&selector, NOW).await.unwrap();
        assert!(ended.iter().all(|live| live.why_ended() == Some(Gone::Revoked)));
        live.iter().map(|live| !live.has_ended()).collect::<Vec<_>>()
    };
    assert_eq!(left(Selector::User(UserName::new("bob").unwrap())).await, [true, true, false, true]);
    assert_eq!(left(Selector::Device("b".to_owned())).await, [true, false, false, true]);
    assert_eq!(left(Selector::Address(live[0].session().address)).await, [false, false, false, true]);
    assert_eq!(left(Selector::Address(live[0].session().address)).await, [false, false, false, true]);
    assert_eq!(left(Selector::All).await, [false; 4]);
    assert_eq!(find(&sessions, 3, NOW), Err(Gone::Revoked));
}

#[tokio::test]
async fn other_groups_hold_at_once_and_over_a_restart() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    let bob = sessions.begin(named("bob", "b"), binding(2), NOW).await.unwrap();
    assert_eq!(live.groups().as_ref(), ["clerks"]);
    sessions.set_groups(&live.session().user, &["managers".to_owned()]).await.unwrap();
    assert_eq!(live.groups().as_ref(), ["managers"]);
    assert_eq!(bob.groups().as_ref(), ["clerks"]);
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), NOW).await;
    assert_eq!(sessions.find(&binding(1), None, NOW).unwrap().groups().as_ref(), ["managers"]);
    assert_eq!(sessions.find(&binding(2), None, NOW).unwrap().groups().as_ref(), ["clerks"]);
}

#[tokio::test]
async fn rows_of_sessions_long_over_are_forgotten() {
    let (_root, sessions) = fresh(SessionSettings::default()).await;
    let rows = || sessions.store.read(rows::all).unwrap().len();
    begin(&sessions, 1, NOW).await.unwrap();
    sessions.sign_off(&binding(1), NOW).await.unwrap();
    for (hours, left) in [(1, 2), (24, 3), (25, 3), (48, 3)] {
        begin(&sessions, 1, NOW.after(hours * HOUR)).await.unwrap();
        sessions.sign_off(&binding(1), NOW.after(hours * HOUR)).await.unwrap();
        assert_eq!(rows(), left, "{hours}");
    }
}

#[tokio::test]
async fn one_session_for_a_client_and_so_many_in_all() {
    let (_root, sessions) = fresh(SessionSettings { limit: 2, ..SessionSettings::default() }).await;
    begin(&sessions, 1, NOW).await.unwrap();
    assert_eq!(begin(&sessions, 1, NOW).await.unwrap_err(), BeginError::Taken);
    begin(&sessions, 2, NOW).await.unwrap();
    assert_eq!(begin(&sessions, 3, NOW).await.unwrap_err(), BeginError::Full);
    let later = NOW.after(HOUR);
    begin(&sessions, 1, later).await.unwrap();
    sessions.sweep(later).await.unwrap();
    begin(&sessions, 3, later).await.unwrap();
}

#[tokio::test]
async fn of_too_many_sessions_of_a_user_the_one_unused_for_longest_gives_way() {
    let (_root, sessions) = fresh(SessionSettings { per_user: 2, ..SessionSettings::default() }).await;
    let first = begin(&sessions, 1, NOW).await.unwrap();
    let second = begin(&sessions, 2, NOW.after(MINUTE)).await.unwrap();
    sessions.begin(named("bob", "tablet"), binding(9), NOW).await.unwrap();
    first.touch(NOW.after(2 * MINUTE));
    let now = NOW.after(3 * MINUTE);
    begin(&sessions, 3, now).await.unwrap();
    assert!(second.has_ended() && !first.has_ended());
    assert_eq!(find(&sessions, 2, now), Err(Gone::Idle));
    assert!(find(&sessions, 1, now).is_ok() && find(&sessions, 3, now).is_ok());
    assert!(find(&sessions, 9, now).is_ok(), "another user's is not touched");
}

#[tokio::test]
async fn a_session_from_the_future_is_not_trusted() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    begin(&sessions, 1, NOW).await.unwrap();
    assert!(find(&sessions, 1, NOW.before(MINUTE)).is_ok());
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), NOW.before(HOUR)).await;
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::Expired));
}

#[tokio::test]
async fn sessions_of_another_pool_end() {
    let (root, sessions) = fresh(small_pool()).await;
    begin(&sessions, 1, NOW).await.unwrap();
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), NOW).await;
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::Expired));
    assert!(sessions.list().is_empty());
}

#[tokio::test]
async fn a_failing_store_never_keeps_a_session_alive() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let live = begin(&sessions, 1, NOW).await.unwrap();
    let rename = |from: &str, to: &str| {
        let c = rusqlite::Connection::open(root.path().join("data/guard.sqlite")).unwrap();
        c.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    rename("session", "away");
    assert!(sessions.sign_off(&binding(1), NOW).await.is_err());
    assert!(live.has_ended());
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::SignedOff));
    assert!(matches!(begin(&sessions, 2, NOW).await, Err(BeginError::Store(_))));
    assert_eq!(find(&sessions, 2, NOW), Err(Gone::Unknown));
    rename("away", "session");
    sessions.sweep(NOW).await.unwrap();
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), NOW).await;
    assert_eq!(find(&sessions, 1, NOW), Err(Gone::SignedOff));
}

#[tokio::test]
async fn the_keeper_cuts_in_time() {
    let settings = SessionSettings { idle: Duration::from_millis(200), ..SessionSettings::default() };
    let (_root, sessions) = fresh(settings).await;
    let (sessions, start) = (Arc::new(sessions), tokio::time::Instant::now());
    let keeper = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.keep(|| NOW.after(start.elapsed())).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let live = begin(&sessions, 1, NOW.after(start.elapsed())).await.unwrap();
    timeout(Duration::from_secs(1), live.ended()).await.unwrap();
    assert_eq!(live.why_ended(), Some(Gone::Idle));
    keeper.abort();
}

#[tokio::test]
async fn what_a_command_beside_it_cuts_ends_in_the_running_guard() {
    let (root, sessions) = fresh(SessionSettings::default()).await;
    let beside = crate::store::open(&root.path().join("data/guard.sqlite")).unwrap();
    let one = begin(&sessions, 1, NOW).await.unwrap();
    let two = begin(&sessions, 2, NOW).await.unwrap();
    let other = sessions.begin(named("bob", "desk"), binding(3), NOW).await.unwrap();
    assert_eq!(going_on(&beside, NOW).await.unwrap().len(), 3);
    let first = Selector::Address(one.session().address);
    assert_eq!(cut(&beside, first.clone(), NOW).await, Ok(vec![one.session().address]));
    assert_eq!(cut(&beside, first, NOW).await, Ok(Vec::new()), "it has ended already");
    assert_eq!(sessions.follow(NOW).await.unwrap().len(), 1);
    assert_eq!((one.why_ended(), two.why_ended()), (Some(Gone::Revoked), None));
    cut(&beside, Selector::User(alice().user), NOW).await.unwrap();
    assert_eq!(sessions.follow(NOW).await.unwrap().len(), 1);
    assert_eq!((find(&sessions, 2, NOW), other.has_ended()), (Err(Gone::Revoked), false));
    assert_eq!(sessions.follow(NOW).await.unwrap().len(), 0, "once");
    cut(&beside, Selector::All, NOW).await.unwrap();
    drop(sessions);
    let sessions = open(&root, SessionSettings::default(), NOW).await;
    assert_eq!(find(&sessions, 3, NOW), Err(Gone::Revoked), "also when no guard ran");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However often the guard stops in between, and at whatever count.
    #[test]
    fn no_serial_is_given_twice(runs in prop::collection::vec(0..2_600_usize, 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (root, sessions) = fresh(SessionSettings::default()).await;
            begin(&sessions, 1, NOW).await.unwrap();
            drop(sessions);
            let mut last = Serial(0);
            for pages in runs {
                let sessions = open(&root, SessionSettings::default(), NOW).await;
                let live = sessions.find(&binding(1), None, NOW).unwrap();
                for _ in 0..pages {
                    let serial = live.next_serial().await.unwrap();
                    assert!(serial > last, "{serial} after {last}");
                    last = serial;
                }
            }
        });
    }
}
