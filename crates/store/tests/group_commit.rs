//! Many writers at once share transactions, and none of them sees the others' failures.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use vestibule_store::{Migration, Store, StoreError, StoreErrorKind};

const SCHEMA: &[Migration] =
    &[Migration { name: "numbers", sql: "CREATE TABLE number (n INTEGER PRIMARY KEY) STRICT;" }];

fn insert(c: &vestibule_store::rusqlite::Connection, n: i64) -> Result<(), StoreError> {
    c.execute("INSERT INTO number VALUES (?1)", [n])?;
    Ok(())
}

fn numbers(store: &Store) -> Vec<i64> {
    store
        .read(|c| {
            let mut query = c.prepare("SELECT n FROM number ORDER BY n")?;
            let rows = query.query_map([], |row| row.get(0))?;
            Ok::<_, StoreError>(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writes_share_few_commits_and_each_gets_its_own_answer() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("data/role.db"), SCHEMA).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1_000_i64 {
        let store = store.clone();
        // Every tenth one writes a number and then fails.
        tasks.spawn(async move {
            let outcome: Result<(), StoreError> = store
                .write(move |c| {
                    insert(c, n)?;
                    if n % 10 == 3 {
                        return Err(StoreError::new(StoreErrorKind::Other, format!("{n} changed its mind")));
                    }
                    Ok(())
                })
                .await;
            (n, outcome)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (n, outcome) = done.unwrap();
        match outcome {
            Ok(()) => assert_ne!(n % 10, 3),
            Err(error) => assert!(error.to_string().contains(&format!("({n} changed its mind)")), "{n}: {error}"),
        }
    }
    assert_eq!(numbers(&store), (0..1_000).filter(|n| n % 10 != 3).collect::<Vec<_>>());
    let stats = store.stats();
    assert_eq!((stats.closures, stats.apart), (1_000, 0));
    assert!(stats.commits < stats.closures / 4, "{stats:?}");
}

#[test]
fn a_lost_transaction_costs_only_the_write_that_lost_it() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("data/role.db"), SCHEMA).unwrap();
    std::thread::scope(|scope| {
        // Holds the writer until the others are queued behind it, so that they form one group.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let first = store.clone();
        scope.spawn(move || {
            first.write_blocking(move |c| {
                let _ = held.lock().unwrap().recv();
                insert(c, 0)
            })
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let waiting: Vec<_> = (1..=5)
            .map(|n| {
                let store = store.clone();
                scope.spawn(move || {
                    store.write_blocking(move |c| {
                        insert(c, n)?;
                        if n == 3 {
                            // What SQLite does by itself on a full disk in the middle of a statement.
                            c.execute_batch("ROLLBACK")?;
                            return Err(StoreError::new(StoreErrorKind::Full, "as if"));
                        }
                        Ok(())
                    })
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(100));
        release.send(()).unwrap();
        for (n, waiting) in (1..).zip(waiting) {
            let outcome = waiting.join().unwrap();
            assert_eq!(outcome.is_ok(), n != 3, "{n}: {outcome:?}");
        }
    });
    assert_eq!(numbers(&store), [0, 1, 2, 4, 5]);
    assert!(store.stats().apart >= 5, "{:?}", store.stats());
}

#[tokio::test]
async fn only_who_waits_for_the_disk_makes_a_group_wait() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("data/role.db"), SCHEMA).unwrap();
    for n in 0..3 {
        store.write_unsynced(move |c| insert(c, n)).await.unwrap();
    }
    assert_eq!((store.stats().commits, store.stats().unsynced), (3, 3));
    store.write(move |c| insert(c, 3)).await.unwrap();
    assert_eq!((store.stats().commits, store.stats().unsynced), (4, 3));
    store.write_unsynced(move |c| insert(c, 3)).await.unwrap_err();
    assert_eq!(numbers(&store), [0, 1, 2, 3]);
}
