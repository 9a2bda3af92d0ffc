//! The audit log: what was entered can be asked for, over restarts and crashes, within its bounds.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::path::Path;
use std::time::Duration;
use vestibule_guard::{
    AppName, Audit, AuditOutcome, AuditQuery, AuditSettings, Entry, LogicalAddress, Serial, Stamp, UserName,
};

fn settings(root: &Path) -> AuditSettings {
    AuditSettings::at(root.join("guard/audit.jsonl"))
}

fn open(settings: &AuditSettings) -> Audit {
    let store = vestibule_guard::store::open(&settings.file.with_file_name("guard.sqlite")).unwrap();
    Audit::open(store, settings.clone()).unwrap()
}

fn entry(n: u64, user: &str, app: &str) -> Entry {
    Entry {
        at: Stamp(n),
        user: UserName::new(user).unwrap(),
        address: LogicalAddress("fd00::1".parse().unwrap()),
        app: AppName::new(app).unwrap(),
        serial: Some(Serial(n)),
        method: "POST".to_owned(),
        path: "/place".to_owned(),
        outcome: AuditOutcome::Done,
        status: Some(201),
        duration: Duration::from_millis(4),
    }
}

fn all() -> AuditQuery {
    AuditQuery { limit: 10_000, ..AuditQuery::default() }
}

#[tokio::test]
async fn entries_are_found_by_user_application_and_time_the_latest_first() {
    let root = tempfile::tempdir().unwrap();
    let audit = open(&settings(root.path()));
    let refused = Entry {
        outcome: AuditOutcome::Refused("not-permitted".to_owned()),
        serial: None,
        status: None,
        ..entry(4, "bob", "orders")
    };
    let given = [entry(1, "alice", "orders"), entry(2, "bob", "orders"), entry(3, "alice", "wiki"), refused];
    given.iter().for_each(|entry| audit.record(entry.clone()).unwrap());
    let found = audit.query(all()).await.unwrap();
    assert_eq!(found, given.iter().rev().cloned().collect::<Vec<_>>());
    let alice = AuditQuery { user: Some(UserName::new("alice").unwrap()), ..all() };
    assert_eq!(audit.query(alice.clone()).await.unwrap(), [given[2].clone(), given[0].clone()]);
    let both = AuditQuery { app: Some(AppName::new("orders").unwrap()), ..alice };
    assert_eq!(audit.query(both).await.unwrap(), [given[0].clone()]);
    let late = AuditQuery { since: Some(Stamp(2)), limit: 2, ..AuditQuery::default() };
    assert_eq!(audit.query(late).await.unwrap(), [given[3].clone(), given[2].clone()]);
}

#[tokio::test]
async fn a_line_says_what_it_means_and_nothing_more() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    open(&settings).record(entry(7, "alice", "orders")).unwrap();
    let line = std::fs::read_to_string(&settings.file).unwrap();
    let expected = r#"{"id":1,"at":7,"user":"alice","address":"fd00::1","app":"orders","serial":7,"method":"POST","path":"/place","outcome":"done","status":201,"milliseconds":4}"#;
    assert_eq!(line, format!("{expected}\n"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&settings.file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_a_crash_kept_from_the_store_is_taken_over_from_the_file() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    let audit = open(&settings);
    // No runtime: nothing goes to the store, as when the process is killed before its batch.
    (1..=3).for_each(|n| audit.record(entry(n, "alice", "orders")).unwrap());
    drop(audit);
    let torn = std::fs::read_to_string(&settings.file).unwrap() + r#"{"id":4,"at":4,"us"#;
    std::fs::write(&settings.file, torn).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        let audit = open(&settings);
        let found = runtime.block_on(audit.query(all())).unwrap();
        assert_eq!(found.iter().map(|e| e.at.0).collect::<Vec<_>>(), [3, 2, 1]);
    }
    let audit = open(&settings);
    audit.record(entry(5, "alice", "orders")).unwrap();
    assert_eq!(runtime.block_on(audit.query(all())).unwrap().len(), 4);
}

#[tokio::test]
async fn entries_reach_the_store_by_themselves() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    let audit = open(&settings);
    audit.record(entry(1, "alice", "orders")).unwrap();
    let store = vestibule_guard::store::open(&settings.file.with_file_name("guard.sqlite")).unwrap();
    for _ in 0..500 {
        let count = store.read(|c| {
            Ok::<i64, vestibule_store::StoreError>(c.query_row("SELECT count(*) FROM audit", [], |r| r.get(0))?)
        });
        if count.unwrap() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the entry stays out of the store");
}

#[tokio::test]
async fn files_and_rows_are_bounded() {
    let root = tempfile::tempdir().unwrap();
    let settings = AuditSettings {
        file_limit: 1_000,
        older_files: 2,
        rows: 10,
        keep: Duration::from_millis(15),
        ..settings(root.path())
    };
    let audit = open(&settings);
    for n in 1..=50 {
        audit.record(entry(n, "alice", "orders")).unwrap();
    }
    audit.flush().await.unwrap();
    let files = std::fs::read_dir(root.path().join("guard")).unwrap().map(|e| e.unwrap());
    let lines: Vec<u64> = files
        .filter(|e| e.file_name().to_str().unwrap().starts_with("audit.jsonl"))
        .map(|e| e.metadata().unwrap().len())
        .collect();
    assert!(lines.len() == 3 && lines.iter().all(|len| *len <= 1_000), "{lines:?}");
    let long = Entry { path: "ä".repeat(9_999), method: "M".repeat(99), ..entry(51, "alice", "orders") };
    audit.record(long).unwrap();
    let found = audit.query(all()).await.unwrap();
    assert_eq!((found[0].path.len(), found[0].method.len(), found.len()), (1_024, 32, 51));
    audit.sweep(Stamp(51)).await.unwrap();
    let left: Vec<u64> = audit.query(all()).await.unwrap().iter().map(|e| e.at.0).collect();
    assert_eq!(left, (42..=51).rev().collect::<Vec<_>>(), "ten rows");
    audit.sweep(Stamp(60)).await.unwrap();
    assert_eq!(audit.query(all()).await.unwrap().len(), 7, "45 and later");
}

#[tokio::test]
async fn refusals_beyond_so_many_a_minute_become_one_entry_and_push_nothing_out() {
    let root = tempfile::tempdir().unwrap();
    let settings = AuditSettings { refusals: 2, rows: 10, keep: Duration::from_secs(3_600), ..settings(root.path()) };
    let audit = open(&settings);
    let start = 1_000_000;
    let refused = |at: u64, address: &str| Entry {
        address: LogicalAddress(address.parse().unwrap()),
        outcome: AuditOutcome::Refused("no-page".to_owned()),
        ..entry(start + at, "alice", "orders")
    };
    audit.record(entry(start, "alice", "orders")).unwrap();
    for n in 1..=1_000 {
        audit.record(refused(n, "fd00::1")).unwrap();
    }
    audit.record(refused(1_000, "fd00::2")).unwrap();
    audit.record(entry(start + 1_001, "alice", "orders")).unwrap();
    let told = |entries: Vec<Entry>| -> Vec<String> {
        let word = |entry: Entry| match entry.outcome {
            AuditOutcome::Refused(word) => word,
            AuditOutcome::Done => "done".to_owned(),
            AuditOutcome::Repeated | AuditOutcome::NotSent | AuditOutcome::Unknown => panic!("nobody gave one"),
        };
        entries.into_iter().rev().map(word).collect()
    };
    let at_once = ["done", "no-page", "no-page", "no-page", "done"];
    assert_eq!(told(audit.query(all()).await.unwrap()), at_once, "each session has its own");
    audit.sweep(Stamp(start + 59_000)).await.unwrap();
    assert_eq!(told(audit.query(all()).await.unwrap()), at_once, "the minute goes on");
    audit.sweep(Stamp(start + 61_000)).await.unwrap();
    let later = ["done", "no-page", "no-page", "no-page", "done", "998-more"];
    assert_eq!(told(audit.query(all()).await.unwrap()), later);
    audit.record(refused(62_000, "fd00::1")).unwrap();
    assert_eq!(audit.query(all()).await.unwrap().len(), 7, "another minute");
}

#[tokio::test]
async fn repeats_beyond_so_many_a_minute_become_one_entry_beside_the_refusals() {
    let root = tempfile::tempdir().unwrap();
    let settings = AuditSettings { refusals: 2, keep: Duration::from_secs(3_600), ..settings(root.path()) };
    let audit = open(&settings);
    let start = 1_000_000;
    // What was asked for at once is entered in any order.
    let given = |n: u64, outcome: AuditOutcome| Entry { outcome, ..entry(start + 6 - n % 7, "alice", "orders") };
    for n in 0..500 {
        audit.record(given(n, AuditOutcome::Repeated)).unwrap();
        audit.record(given(n, AuditOutcome::Refused("no-page".to_owned()))).unwrap();
    }
    audit.record(given(0, AuditOutcome::Unknown)).unwrap();
    audit.sweep(Stamp(start + 61_000)).await.unwrap();
    let all = audit.query(all()).await.unwrap();
    let count = |outcome: &AuditOutcome| all.iter().filter(|entry| entry.outcome == *outcome).count();
    let word = |word: &str| AuditOutcome::Refused(word.to_owned());
    assert_eq!((count(&AuditOutcome::Repeated), count(&word("no-page")), count(&AuditOutcome::Unknown)), (2, 2, 1));
    assert_eq!((count(&word("498-more-repeats")), count(&word("498-more")), all.len()), (1, 1, 7));
}
