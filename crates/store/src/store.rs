//! The store: opening, writing in groups, reading.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::error::{StoreError, StoreErrorKind};
use crate::migration::{Migration, migrate};
use crate::private;
use crate::writer::{self, Counters, Job, Write};

/// How long a write waits for another process (an administration command) to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps: more than a role has. To prepare one takes longer than to run it.
const STATEMENTS: usize = 64;
/// Writes that may wait in the queue; further callers wait before it.
const QUEUE: usize = 1_024;
/// Read connections kept open between reads.
const READERS: usize = 4;

/// A SQLite file with one writer thread. Clones are handles of the same store; the last one to go ends the thread
/// after everything queued is written.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Closures taken from the queue.
    pub closures: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions of them that did not wait for the disk.
    pub unsynced: u64,
    /// Closures run a second time, alone, because their group's transaction failed.
    pub apart: u64,
}

impl Store {
    /// Opens or creates the file at `path` (0600; its directory is created 0700 where missing) and brings it to the
    /// last of `migrations`.
    ///
    /// Write-ahead log, `synchronous = FULL`: a committed write survives power loss. Freed pages are overwritten, so
    /// that a removed secret doesn't stay in the file.
    ///
    /// Errors: any [`StoreErrorKind`]; [`TooNew`](StoreErrorKind::TooNew) leaves the file untouched.
    pub fn open(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        let connection = open_for_writing(path, migrations).map_err(|error| error.at(path))?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let thread = {
            let (file, counters) = (path.to_owned(), Arc::clone(&counters));
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer::run(connection, queue, &file, &counters))
                .map_err(|error| StoreError::from_io(&error, path))?
        };
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                queue: Some(sender),
                thread: Some(thread),
                readers: Mutex::default(),
                counters,
            }),
        })
    }

    /// Runs `closure` in a transaction and returns its result after the commit is on the disk.
    ///
    /// Writes that wait at the same time share one transaction and one fsync, each in a savepoint of its own: an `Err`
    /// undoes this closure's changes and nobody else's. The closure may run a second time (after its first run was
    /// undone), so it must not hand anything outwards. Dropping the future doesn't take the write back.
    ///
    /// Errors: the closure's own, or a [`StoreError`] by `From`; on either nothing of it is written.
    pub async fn write<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnMut(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, waiting) = Write::new(closure);
        self.queue()?.send(Box::new(job)).await.map_err(|_| self.stopped())?;
        waiting.await.unwrap_or_else(|_| Err(self.stopped().into()))
    }

    /// [`write`](Self::write) that does not wait for the disk. It is committed: every later opening of the store sees it, also
    /// after this process was killed. But until a later [`write`](Self::write) that changes something has returned, a machine
    /// that stops may take it back; the store itself stays whole.
    ///
    /// Errors: as [`write`](Self::write).
    pub async fn write_unsynced<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnMut(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, waiting) = Write::new(closure);
        self.queue()?.send(Box::new(job.unsynced())).await.map_err(|_| self.stopped())?;
        waiting.await.unwrap_or_else(|_| Err(self.stopped().into()))
    }

    /// Removes the database at `path` and what SQLite keeps beside it, as far as that is there and may be removed. For one that has
    /// just been made and that nobody has open.
    pub fn discard(path: &Path) {
        for end in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            let _ = std::fs::remove_file(file);
        }
    }

    /// [`write`](Self::write) for a thread outside of the async runtime; panics inside of it.
    pub fn write_blocking<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnMut(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, waiting): (_, oneshot::Receiver<Result<T, E>>) = Write::new(closure);
        self.queue()?.blocking_send(Box::new(job)).map_err(|_| self.stopped())?;
        waiting.blocking_recv().unwrap_or_else(|_| Err(self.stopped().into()))
    }

    /// Runs `closure` on the calling thread against one consistent snapshot of what is committed.
    ///
    /// For look-ups by an index (tens of microseconds). From async code, long lists belong into
    /// [`read_apart`](Self::read_apart).
    pub fn read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E>,
        E: From<StoreError>,
    {
        let reader = self.take_reader()?;
        let outcome = {
            let snapshot = reader.unchecked_transaction().map_err(|error| StoreError::from(error).at(self.path()))?;
            closure(&snapshot)
        };
        self.keep_reader(reader);
        outcome
    }

    /// [`read`](Self::read) on the runtime's threads for blocking work.
    pub async fn read_apart<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || store.read(closure)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::new(StoreErrorKind::Other, "the read panicked").at(self.path()).into()),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Counters since the store was opened.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        Stats {
            closures: counters.closures.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            unsynced: counters.unsynced.load(Ordering::Relaxed),
            apart: counters.apart.load(Ordering::Relaxed),
        }
    }

    fn queue(&self) -> Result<&mpsc::Sender<Box<dyn Job>>, StoreError> {
        self.shared.queue.as_ref().ok_or_else(|| self.stopped())
    }

    fn stopped(&self) -> StoreError {
        StoreError::new(StoreErrorKind::Other, "the writer has stopped").at(self.path())
    }

    fn take_reader(&self) -> Result<Connection, StoreError> {
        let kept = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(reader) => Ok(reader),
            None => open_for_reading(self.path()).map_err(|error| StoreError::from(error).at(self.path())),
        }
    }

    fn keep_reader(&self, reader: Connection) {
        let mut readers = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(reader);
        }
    }
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// `None` only while the last handle goes.
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
    counters: Arc<Counters>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of the closures; it has nothing else to report.
            let _ = thread.join();
        }
    }
}

fn open_for_writing(path: &Path, migrations: &[Migration]) -> Result<Connection, StoreError> {
    private::ensure_directory(private::directory_of(path))?;
    private::ensure_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::new(StoreErrorKind::Other, format!("no write-ahead log here, journal mode {mode}")));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // The writer thread copies the log itself, after its answers.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    migrate(&mut connection, migrations)?;
    Ok(connection)
}

fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &[Migration] = &[Migration {
        name: "numbers",
        sql: "CREATE TABLE number (n INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;",
    }];

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("data/role.db"), SCHEMA).unwrap();
        (root, store)
    }

    fn insert(store: &Store, n: i64) -> Result<usize, StoreError> {
        store.write_blocking(move |c| Ok(c.execute("INSERT INTO number VALUES (?1, 'x')", [n])?))
    }

    fn count(store: &Store) -> i64 {
        store.read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM number", [], |row| row.get(0))?)).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back_by_the_next_opening() {
        let (root, store) = store();
        insert(&store, 1).unwrap();
        assert_eq!(count(&store), 1);
        drop(store);
        let again = Store::open(&root.path().join("data/role.db"), SCHEMA).unwrap();
        assert_eq!(count(&again), 1);
    }

    #[test]
    fn an_error_undoes_its_own_closure() {
        let (_root, store) = store();
        insert(&store, 1).unwrap();
        let failed: Result<(), StoreError> = store.write_blocking(|c| {
            c.execute("INSERT INTO number VALUES (2, 'x')", [])?;
            c.execute("INSERT INTO number VALUES (1, 'again')", [])?;
            Ok(())
        });
        failed.unwrap_err();
        assert_eq!(count(&store), 1);
    }

    #[test]
    fn a_panic_is_the_error_of_its_caller_alone() {
        let (_root, store) = store();
        let failed: Result<(), StoreError> = store.write_blocking(|c| {
            c.execute("INSERT INTO number VALUES (7, 'x')", [])?;
            panic!("of the caller")
        });
        assert!(failed.unwrap_err().to_string().contains("panicked"));
        insert(&store, 1).unwrap();
        assert_eq!(count(&store), 1);
    }

    #[test]
    fn a_read_sees_one_moment_and_cannot_write() {
        let (_root, store) = store();
        insert(&store, 1).unwrap();
        let (before, after): (i64, i64) = store
            .read(|c| {
                let count = || c.query_row("SELECT count(*) FROM number", [], |row| row.get(0));
                let before = count()?;
                insert(&store, 2)?;
                Ok::<_, StoreError>((before, count()?))
            })
            .unwrap();
        assert_eq!((before, after, count(&store)), (1, 1, 2));
        let refused =
            store.read(|c| Ok::<_, StoreError>(c.execute("INSERT INTO number VALUES (3, 'x')", [])?)).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::ReadOnly);
    }

    #[test]
    fn a_file_that_is_no_database_is_corrupt() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data/role.db");
        private::ensure_directory(private::directory_of(&path)).unwrap();
        private::ensure_file(&path).unwrap();
        std::fs::write(&path, vec![0x5a; 8192]).unwrap();
        assert_eq!(Store::open(&path, SCHEMA).unwrap_err().kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn a_newer_file_is_refused() {
        let (root, store) = store();
        drop(store);
        let error = Store::open(&root.path().join("data/role.db"), &[]).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooNew);
        assert!(error.to_string().contains("role.db"), "{error}");
    }

    #[test]
    fn all_files_are_0600() {
        use std::os::unix::fs::PermissionsExt;
        let (root, store) = store();
        insert(&store, 1).unwrap();
        let mut seen = 0;
        for entry in std::fs::read_dir(root.path().join("data")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            seen += 1;
        }
        assert_eq!(seen, 3, "database, log and shared memory");
    }

    #[test]
    fn a_held_file_is_busy_and_the_store_goes_on_afterwards() {
        let (root, store) = store();
        let mut other = Connection::open(root.path().join("data/role.db")).unwrap();
        let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        assert_eq!(insert(&store, 1).unwrap_err().kind(), StoreErrorKind::Busy);
        drop(held);
        insert(&store, 1).unwrap();
    }

    #[test]
    fn the_log_does_not_grow_without_bound() {
        let (root, store) = store();
        for n in 0..40 {
            store
                .write_blocking(move |c| {
                    Ok::<_, StoreError>(
                        c.execute("INSERT INTO number VALUES (?1, hex(randomblob(100000)))", [n]).map(drop)?,
                    )
                })
                .unwrap();
        }
        let log = std::fs::metadata(root.path().join("data/role.db-wal")).unwrap().len();
        // 40 × 200 kB went through it; the checkpoint lets it start over from 1,000 pages on.
        assert!(log < 6_000_000, "{log} bytes");
    }
}
