//! `kill -9` in the middle of writes: what was answered stays, what was not committed is gone.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vestibule_store::{Migration, Store, StoreError};

const SCHEMA: &[Migration] = &[Migration {
    name: "pairs",
    sql: "CREATE TABLE pair (n INTEGER NOT NULL, half INTEGER NOT NULL, UNIQUE (n, half)) STRICT;",
}];
const DIRECTORY: &str = "VESTIBULE_TEST_DIRECTORY";

fn open(directory: &Path) -> Store {
    Store::open(&directory.join("data/role.db"), SCHEMA).unwrap()
}

/// Writes pairs until it is killed and reports each that was answered. Every second lane does not wait for the disk.
#[test]
#[ignore = "the child process of the tests below"]
fn child_that_writes_pairs() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("started by its parent"));
    let store = open(&directory);
    let start = next(&store);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in (start + lane..).step_by(4) {
                    write_pair(store, n).unwrap();
                    // One write call per line: lines of several threads don't mix.
                    std::io::stdout().write_all(format!("answered {n}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

fn write_pair(store: &Store, n: i64) -> Result<(), StoreError> {
    let write = move |c: &vestibule_store::rusqlite::Connection| {
        c.execute("INSERT INTO pair VALUES (?1, 0)", [n])?;
        std::thread::sleep(std::time::Duration::from_micros(200));
        c.execute("INSERT INTO pair VALUES (?1, 1)", [n])?;
        Ok(())
    };
    if n % 2 == 0 {
        return store.write_blocking(write);
    }
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.write_unsynced(write))
}

fn next(store: &Store) -> i64 {
    query(store, "SELECT coalesce(max(n), -1) + 1 FROM pair")
}

fn query(store: &Store, sql: &'static str) -> i64 {
    store.read(|c| Ok::<_, StoreError>(c.query_row(sql, [], |row| row.get(0))?)).unwrap()
}

fn spawn(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_pairs", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn answered_writes_survive_kill_9_and_halves_do_not() {
    let root = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for round in 1..=8 {
        let mut child = spawn(root.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = answered.len() + 10 * round;
        while answered.len() < wanted {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            answered.extend(line.strip_prefix("answered ").and_then(|n| n.parse::<i64>().ok()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the child said between our decision and its death counts too.
        answered.extend(lines.map_while(Result::ok).filter_map(|l| l.strip_prefix("answered ")?.parse::<i64>().ok()));

        let store = open(root.path());
        let halves = query(&store, "SELECT count(*) FROM (SELECT n FROM pair GROUP BY n HAVING count(*) <> 2)");
        assert_eq!(halves, 0, "a pair is whole or absent");
        for n in &answered {
            let n = *n;
            let found: i64 = store
                .read(|c| {
                    Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM pair WHERE n = ?1", [n], |row| row.get(0))?)
                })
                .unwrap();
            assert_eq!(found, 2, "pair {n} was answered in or before round {round}");
        }
    }
}
