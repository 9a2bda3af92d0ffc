//! What a durable claim costs on the disk at hand, beside one bare `fdatasync` and beside the same record as a row of the SQLite
//! store. Rounds are interleaved; what is printed is the median over the rounds.
//!
//! `cargo run -p vestibule-guard --example claim_cost [DIRECTORY] [ROUNDS] [--json]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: a panic is its report")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vestibule_guard::{
    About, AppName, ClaimName, Claimed, LogicalAddress, Once, OnceKey, OnceSettings, Serial, Stamp, UserName,
};
use vestibule_store::{Migration, Store, StoreError};

const NAMES: [&str; 5] = ["bare fdatasync", "claim, 1", "claim, 32 waiting", "SQLite row, 1", "SQLite row, 32 waiting"];
const SINGLE: u64 = 300;
const MANY: u64 = 32;
const EACH_OF_MANY: u64 = 60;
const ROWS: &[Migration] = &[Migration {
    name: "claims",
    sql: "CREATE TABLE claims (name BLOB PRIMARY KEY, about TEXT) STRICT, WITHOUT ROWID;",
}];

/// Latency of one at a time in microseconds, and how many a second.
struct Measured {
    latency: f64,
    rate: f64,
}

#[tokio::main]
async fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--json");
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let rounds = arguments.next().map_or(5, |text| text.parse().unwrap());
    let root = tempfile::tempdir_in(parent).unwrap();
    let (once, sqlite) = (open_once(root.path()), open_sqlite(root.path()));
    let names = Arc::new(AtomicU64::new(0));
    let mut table: [Vec<Measured>; 5] = Default::default();
    for _ in 0..rounds {
        table[0].push(bare_sync(&root.path().join("bare")));
        table[1].push(run(1, SINGLE, &once, claim, &names).await);
        table[2].push(run(MANY, EACH_OF_MANY, &once, claim, &names).await);
        table[3].push(run(1, SINGLE, &sqlite, insert, &names).await);
        table[4].push(run(MANY, EACH_OF_MANY, &sqlite, insert, &names).await);
    }
    if json { as_json(&table) } else { report(&table) }
}

fn median(of: fn(&Measured) -> f64, row: &[Measured]) -> f64 {
    let mut all: Vec<f64> = row.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn as_json(table: &[Vec<Measured>; 5]) {
    let of = |row: &Vec<Measured>| serde_json::json!({ "us": median(|m| m.latency, row), "per_second": median(|m| m.rate, row) });
    let all: serde_json::Map<_, _> = NAMES.iter().zip(table).map(|(name, row)| ((*name).to_owned(), of(row))).collect();
    println!("{}", serde_json::Value::Object(all));
}

fn report(table: &[Vec<Measured>; 5]) {
    let sync = median(|m| m.latency, &table[0]);
    for (name, row) in NAMES.iter().zip(table) {
        let (latency, rate) = (median(|m| m.latency, row), median(|m| m.rate, row));
        println!("{name:24} p50 {latency:8.1} us ({:5.2} x one sync)  {rate:9.0}/s", latency / sync);
    }
    let rate = |row: usize| median(|m| m.rate, &table[row]);
    println!("claims, 32 waiting : 1 = {:.1} x; SQLite {:.1} x", rate(2) / rate(1), rate(4) / rate(3));
}

/// Overwrites bytes of a file that is placed on the disk already, one sync each.
fn bare_sync(path: &Path) -> Measured {
    let file = File::options().create(true).write(true).truncate(true).open(path).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let begun = Instant::now();
    let mut spans = Vec::new();
    for n in 0..SINGLE {
        let one = Instant::now();
        file.write_all_at(&[7; 150], n * 150).unwrap();
        file.sync_data().unwrap();
        spans.push(one.elapsed());
    }
    measured(spans, begun.elapsed())
}

async fn run<H, F>(tasks: u64, each: u64, handle: &H, one: fn(H, u64) -> F, names: &Arc<AtomicU64>) -> Measured
where
    H: Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let lanes = (0..tasks).map(|_| {
        let (handle, names) = (handle.clone(), Arc::clone(names));
        tokio::spawn(async move {
            let mut spans = Vec::new();
            for _ in 0..each {
                let begun = Instant::now();
                one(handle.clone(), names.fetch_add(1, Ordering::Relaxed)).await;
                spans.push(begun.elapsed());
            }
            spans
        })
    });
    let mut spans = Vec::new();
    for lane in lanes.collect::<Vec<_>>() {
        spans.extend(lane.await.unwrap());
    }
    measured(spans, begun.elapsed())
}

fn measured(mut spans: Vec<Duration>, whole: Duration) -> Measured {
    spans.sort();
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let rate = spans.len() as f64 / whole.as_secs_f64();
    Measured { latency: spans[spans.len() / 2].as_secs_f64() * 1e6, rate }
}

fn open_once(root: &Path) -> Once {
    let store = vestibule_guard::store::open(&root.join("guard/guard.sqlite")).unwrap();
    Once::open(store, OnceSettings::default(), OnceKey::new([1; 32])).unwrap().0
}

async fn claim(once: Once, n: u64) {
    let about = About {
        user: UserName::new("alice").unwrap(),
        address: LogicalAddress("fd00::17".parse().unwrap()),
        app: AppName::new("orders").unwrap(),
        serial: Serial(n),
        method: "POST".to_owned(),
        path: "/orders/place".to_owned(),
    };
    let Claimed::First(running) = once.claim(name(n), about, Stamp(n)).await.unwrap() else { panic!("given before") };
    running.sending().await.unwrap();
    running.answered(vestibule_guard::Answer::StatusOnly(204), Stamp(n));
}

fn open_sqlite(root: &Path) -> Store {
    Store::open(&root.join("sqlite/rows.sqlite"), ROWS).unwrap()
}

async fn insert(store: Store, n: u64) {
    let insert = move |c: &vestibule_store::rusqlite::Connection| {
        c.prepare_cached("INSERT INTO claims VALUES (?1, 'alice fd00::17 orders POST /orders/place')")?
            .execute([name(n).0])?;
        Ok::<_, StoreError>(())
    };
    store.write(insert).await.unwrap();
}

/// Spread as digests are.
fn name(n: u64) -> ClaimName {
    let mut name = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &n.to_be_bytes());
    name.copy_from_slice(digest.as_ref());
    ClaimName(name)
}
