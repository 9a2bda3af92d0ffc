//! The writer thread: takes what is waiting, runs it in one transaction, answers when that is on the disk (or, where its caller
//! need not wait for the disk, when it is committed).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::error::{StoreError, StoreErrorKind};

/// Writes that may share one transaction. More would make the first of them wait too long for its answer.
const GROUP: usize = 256;
/// Pages of 4 KiB in the write-ahead log from which they are copied into the database file.
const CHECKPOINT_PAGES: i64 = 1_000;

/// Counters shared with [`Store::stats`](crate::Store::stats).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) closures: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) unsynced: AtomicU64,
    pub(crate) apart: AtomicU64,
}

/// One write waiting for its turn.
pub(crate) trait Job: Send {
    /// Runs the closure and keeps its outcome; false: undo what it did. May run again after the transaction failed.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Whether its caller must not be answered before it is on the disk.
    fn is_synced(&self) -> bool;
    /// Hands the kept outcome to the waiting caller. Called after the commit.
    fn deliver(self: Box<Self>);
    /// Hands `error` to the waiting caller instead.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A [`Job`] made of a closure and the place where its caller waits.
pub(crate) struct Write<F, T, E> {
    closure: F,
    synced: bool,
    outcome: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Write<F, T, E> {
    pub(crate) fn new(closure: F) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (answer, waiting) = oneshot::channel();
        (Self { closure, synced: true, outcome: None, answer }, waiting)
    }

    /// The same, which need not wait for the disk.
    pub(crate) fn unsynced(self) -> Self {
        Self { synced: false, ..self }
    }
}

impl<F, T, E> Job for Write<F, T, E>
where
    F: FnMut(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // The writer serves everybody: a panic of one caller's closure is that caller's error.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.closure)(connection)))
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Other, "the write panicked").into()));
        self.outcome.insert(outcome).is_ok()
    }

    fn is_synced(&self) -> bool {
        self.synced
    }

    fn deliver(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(lost().into()));
        // A caller that stopped waiting doesn't need the answer; the write stands.
        let _ = self.answer.send(outcome);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.answer.send(Err(error.into()));
    }
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the transaction was undone")
}

/// Body of the writer thread: ends when the last handle of the store is gone and the queue is empty.
pub(crate) fn run(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    path: &Path,
    counters: &Counters,
) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        counters.closures.fetch_add(group.len() as u64, Ordering::Relaxed);
        commit_group(&mut connection, &mut group, path, counters);
        checkpoint(&connection);
    }
}

fn commit_group(connection: &mut Connection, group: &mut Vec<Box<dyn Job>>, path: &Path, counters: &Counters) {
    match transact(connection, group, counters) {
        Ok(()) => group.drain(..).for_each(|job| job.deliver()),
        // What fits alone may not fit together (a full disk), and an error that undid the whole transaction was caused
        // by one of them: each gets a transaction and an answer of its own.
        Err(Failed::Undone(_)) if group.len() > 1 => {
            group.drain(..).for_each(|job| commit_alone(connection, job, path, counters));
        }
        Err(Failed::NotBegun(error) | Failed::Undone(error)) => {
            let error = error.at(path);
            group.drain(..).for_each(|job| job.fail(error.clone()));
        }
        Err(Failed::ByJob) => group.drain(..).for_each(|job| job.deliver()),
    }
}

fn commit_alone(connection: &mut Connection, job: Box<dyn Job>, path: &Path, counters: &Counters) {
    counters.apart.fetch_add(1, Ordering::Relaxed);
    let mut alone = vec![job];
    commit_group(connection, &mut alone, path, counters);
}

enum Failed {
    /// No transaction could be had.
    NotBegun(StoreError),
    /// The transaction, or its commit, failed; nothing of it is on the disk.
    Undone(StoreError),
    /// The only job returned an error: there is nothing to commit.
    ByJob,
}

fn transact(connection: &mut Connection, group: &mut [Box<dyn Job>], counters: &Counters) -> Result<(), Failed> {
    let synced = group.iter().any(|job| job.is_synced());
    synchronous(connection, synced).map_err(|error| Failed::NotBegun(error.into()))?;
    let mut transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| Failed::NotBegun(error.into()))?;
    let undone = |error: rusqlite::Error| Failed::Undone(error.into());
    let alone = group.len() == 1;
    let mut anything = false;
    for job in group {
        let mut savepoint = transaction.savepoint().map_err(undone)?;
        let good = job.run(&savepoint);
        if !good && alone {
            return Err(Failed::ByJob);
        }
        // A full disk or an I/O error makes SQLite roll back everything, not the savepoint alone.
        if savepoint.is_autocommit() {
            return Err(Failed::Undone(lost()));
        }
        if !good {
            savepoint.rollback().map_err(undone)?;
        }
        savepoint.commit().map_err(undone)?;
        anything |= good;
    }
    if anything {
        transaction.commit().map_err(undone)?;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.unsynced.fetch_add(u64::from(!synced), Ordering::Relaxed);
    }
    Ok(())
}

/// Whether the next commit waits for the disk. A commit that does takes along all that were before it, and SQLite syncs in
/// either mode before it copies the log into the database file.
fn synchronous(connection: &Connection, synced: bool) -> rusqlite::Result<()> {
    let pragma = if synced { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
    connection.prepare_cached(pragma)?.execute([]).map(drop)
}

/// Copies the write-ahead log into the database file when it has grown. After the answers, so that nobody waits for it
/// but who comes next. A failure is no loss: the log stays and is tried again.
fn checkpoint(connection: &Connection) {
    // `NOOP` only counts: pages in the log, pages of them already copied.
    if !matches!(wal_checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)"), Ok((logged, copied)) if logged - copied >= CHECKPOINT_PAGES)
    {
        return;
    }
    if let Err(error) = wal_checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)") {
        tracing::warn!(%error, "the write-ahead log could not be copied into the database file yet");
    }
}

fn wal_checkpoint(connection: &Connection, pragma: &'static str) -> rusqlite::Result<(i64, i64)> {
    connection.prepare_cached(pragma)?.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}
