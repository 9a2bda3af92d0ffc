//! Full and read-only file systems, on a small tmpfs of a mount namespace of its own (`unshare -rm`, no root needed).

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use vestibule_store::{Migration, Store, StoreError, StoreErrorKind, secret_file};

const SCHEMA: &[Migration] =
    &[Migration { name: "blobs", sql: "CREATE TABLE blob (n INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;" }];
const DIRECTORY: &str = "VESTIBULE_TEST_DIRECTORY";

/// Runs one of the ignored tests below with `DIRECTORY` on a tmpfs of `size`, after the shell commands `before`.
fn run_on_tmpfs(test: &str, size: &str, before: &str) {
    let root = tempfile::tempdir().unwrap();
    let script = format!(
        "set -e; mount -t tmpfs -o size={size},mode=0700 tmpfs \"${DIRECTORY}\"; {before}; \
         exec \"$0\" --exact {test} --ignored --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, root.path())
        .output()
        .expect("unshare is part of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

fn directory() -> PathBuf {
    PathBuf::from(std::env::var_os(DIRECTORY).expect("started by its parent"))
}

fn insert(store: &Store, n: i64, bytes: usize) -> Result<(), StoreError> {
    store.write_blocking(move |c| {
        c.execute("INSERT INTO blob VALUES (?1, zeroblob(?2))", (n, i64::try_from(bytes).unwrap()))?;
        Ok(())
    })
}

fn count(store: &Store) -> i64 {
    store.read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM blob", [], |row| row.get(0))?)).unwrap()
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_is_an_error_and_space_heals_it() {
    run_on_tmpfs("child_on_a_full_disk", "1m", "true");
}

#[test]
#[ignore = "the child process of the test above"]
fn child_on_a_full_disk() {
    let directory = directory();
    let store = Store::open(&directory.join("role.db"), SCHEMA).unwrap();
    insert(&store, 1, 10_000).unwrap();
    let ballast = directory.join("ballast");
    fill(&ballast);

    let error = insert(&store, 2, 300_000).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(count(&store), 1, "reading goes on");
    let refused = secret_file::write_new(&directory.join("key"), &[7; 10_000]).unwrap_err();
    assert_eq!(refused.trouble, secret_file::Trouble::Storage(StoreErrorKind::Full));
    assert!(!directory.join("key").exists());

    std::fs::remove_file(&ballast).unwrap();
    insert(&store, 3, 10_000).unwrap();
    drop(store);
    let store = Store::open(&directory.join("role.db"), SCHEMA).unwrap();
    assert_eq!(count(&store), 2);
}

#[test]
fn one_write_too_large_does_not_take_the_small_ones_with_it() {
    run_on_tmpfs("child_with_one_large_write_among_small_ones", "1500k", "true");
}

#[test]
#[ignore = "the child process of the test above"]
fn child_with_one_large_write_among_small_ones() {
    let directory = directory();
    let store = Store::open(&directory.join("role.db"), SCHEMA).unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..40)
            .map(|n| {
                let store = store.clone();
                scope.spawn(move || insert(&store, n, if n % 10 == 5 { 3_000_000 } else { 100 }))
            })
            .collect();
        for (n, waiting) in (0..).zip(waiting) {
            match waiting.join().unwrap() {
                Ok(()) => assert_ne!(n % 10, 5),
                Err(error) => assert_eq!((error.kind(), n % 10), (StoreErrorKind::Full, 5), "{n}: {error}"),
            }
        }
    });
    assert_eq!(count(&store), 36);
}

#[test]
fn a_full_disk_at_the_first_start_is_told() {
    run_on_tmpfs(
        "child_starting_on_a_full_disk",
        "200k",
        "head -c 1000000 /dev/zero > \"$VESTIBULE_TEST_DIRECTORY/ballast\" || true",
    );
}

#[test]
#[ignore = "the child process of the test above"]
fn child_starting_on_a_full_disk() {
    let error = Store::open(&directory().join("role.db"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
}

#[test]
fn a_read_only_file_system_is_told() {
    run_on_tmpfs("child_on_a_read_only_file_system", "1m", "mount -o remount,bind,ro \"$VESTIBULE_TEST_DIRECTORY\"");
}

#[test]
#[ignore = "the child process of the test above"]
fn child_on_a_read_only_file_system() {
    let path = directory().join("role.db");
    let error = Store::open(&path, SCHEMA).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    assert!(error.next_step().contains("mount"));
    let refused = secret_file::replace(&path, b"x").unwrap_err();
    assert_eq!(refused.trouble, secret_file::Trouble::Storage(StoreErrorKind::ReadOnly));
}

#[test]
fn an_existing_store_on_a_file_system_turned_read_only_is_told() {
    let before = "\"$0\" --exact child_that_makes_a_store --ignored >&2; \
                  mount -o remount,bind,ro \"$VESTIBULE_TEST_DIRECTORY\"";
    run_on_tmpfs("child_on_a_read_only_file_system", "1m", before);
}

#[test]
#[ignore = "the child process of the test above"]
fn child_that_makes_a_store() {
    let store = Store::open(&directory().join("role.db"), SCHEMA).unwrap();
    insert(&store, 1, 100).unwrap();
}
