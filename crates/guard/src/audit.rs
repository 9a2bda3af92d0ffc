//! The audit log: which command was given, by whom, from which page, and what became of it. Never bodies, queries or secrets.
//!
//! An entry is a line of JSON in a file first, by one system call, before its answer ends: it survives the process. The same
//! goes into the store in batches, to be asked for. What a crash kept from the store is taken over from the file at the next
//! start; what it kept from the file is known to the book of commands ([`crate::Interrupted`]).

mod entry;
mod lines;
mod quota;
mod table;

pub use entry::{AuditOutcome, AuditQuery, Entry};
pub(crate) use table::SCHEMA;

use crate::{Stamp, fault};
use lines::Lines;
use quota::Quota;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vestibule_store::{Store, StoreError};

/// How long an entry may be missing from the store, at most, while the store works.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// Entries kept in memory while the store doesn't take them; further ones are in the file alone until the next start.
const PENDING: usize = 8_192;

/// Where the audit log is and how much of it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditSettings {
    /// The file of JSON lines (0600); older ones are beside it as `NAME.1`, `NAME.2`…
    pub file: PathBuf,
    /// Bytes from which on a new file is begun.
    pub file_limit: u64,
    /// How many older files are kept.
    pub older_files: u32,
    /// How long entries can be asked for.
    pub keep: Duration,
    /// How many entries can be asked for, at most.
    pub rows: u64,
    /// How many refusals of one session within a minute are entered one by one, and how many repeats; those beyond become one
    /// entry each, a refusal whose word says how many there were (`123-more`, `123-more-repeats`).
    pub refusals: u32,
}

/// The audit log. Clones are handles of the same.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

struct Shared {
    settings: AuditSettings,
    store: Store,
    state: Mutex<State>,
    /// One batch at a time.
    batch: tokio::sync::Mutex<()>,
}

struct State {
    lines: Lines,
    quota: Quota,
    next: i64,
    pending: Vec<(i64, Entry)>,
    /// A batch is on its way.
    scheduled: bool,
}

impl AuditSettings {
    /// The usual bounds: files of 64 MiB, four older ones; 90 days and a million entries to ask for; 20 refusals and 20
    /// repeats a minute.
    pub fn at(file: PathBuf) -> Self {
        let keep = Duration::from_secs(90 * 24 * 3_600);
        Self { file, file_limit: 64 << 20, older_files: 4, keep, rows: 1_000_000, refusals: 20 }
    }
}

impl Audit {
    /// Opens the log. What the last run wrote to the file and not to the store goes there with the next batch. Blocks.
    ///
    /// # Errors
    /// The file or the store can't be used.
    pub fn open(store: Store, settings: AuditSettings) -> Result<Self, StoreError> {
        let known = store.read(table::last)?;
        let (lines, missed) = Lines::open(&settings, known)?;
        let next = missed.last().map_or(known, |(id, _)| *id) + 1;
        let quota = Quota::new(settings.refusals);
        let state = Mutex::new(State { lines, quota, next, pending: missed, scheduled: false });
        Ok(Self { shared: Arc::new(Shared { settings, store, state, batch: tokio::sync::Mutex::new(()) }) })
    }

    /// Enters a command: in the file when this returns (a few microseconds), in the store within half a second. Of too many
    /// refusals or repeats ([`AuditSettings::refusals`]) the number is entered when their minute is over.
    ///
    /// # Errors
    /// The file can't be written: nothing tells of this command but the log of the program.
    pub fn record(&self, entry: Entry) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        let due = state.quota.due(entry.at);
        let admitted = state.quota.admit(entry.bounded());
        due.into_iter().chain(admitted).try_for_each(|entry| self.enter(&mut state, entry))
    }

    fn enter(&self, state: &mut State, entry: Entry) -> Result<(), StoreError> {
        let id = state.next;
        state.lines.write(id, &entry)?;
        fault::point("audit-line");
        state.next += 1;
        if state.pending.len() < PENDING {
            state.pending.push((id, entry));
        }
        if !state.scheduled && self.schedule() {
            state.scheduled = true;
        }
        Ok(())
    }

    /// Puts what waits into the store now.
    ///
    /// # Errors
    /// The store refused; the entries wait on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush().await
    }

    /// Commands that fit the question, the latest first; those given just now among them.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn query(&self, query: AuditQuery) -> Result<Vec<Entry>, StoreError> {
        self.flush().await?;
        self::query(&self.shared.store, query).await
    }

    /// Removes entries that have outlived their time or number. To be called once in a while (every hour, say).
    ///
    /// # Errors
    /// The store refused; nothing but space is lost.
    pub async fn sweep(&self, now: Stamp) -> Result<(), StoreError> {
        {
            let mut state = self.shared.lock();
            let due = state.quota.due(now);
            due.into_iter().try_for_each(|entry| self.enter(&mut state, entry))?;
        }
        let (before, rows) = (now.before(self.shared.settings.keep), self.shared.settings.rows);
        self.shared.store.write(move |c| table::sweep(c, before, rows)).await
    }

    fn schedule(&self) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
        let shared = Arc::downgrade(&self.shared);
        runtime.spawn(async move {
            tokio::time::sleep(BATCH_TIME).await;
            let Some(shared) = shared.upgrade() else { return };
            shared.lock().scheduled = false;
            if let Err(error) = shared.flush().await {
                tracing::warn!(%error, "entries of the audit log wait for the store");
            }
        });
        true
    }
}

/// Commands in the store that fit the question, the latest first.
pub(crate) async fn query(store: &Store, query: AuditQuery) -> Result<Vec<Entry>, StoreError> {
    store.read_apart(move |c| table::query(c, &query)).await
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.batch.lock().await;
        let batch = self.lock().pending.clone();
        let Some(&(last, _)) = batch.last() else { return Ok(()) };
        self.store.write(move |c| table::insert(c, &batch)).await?;
        self.lock().pending.retain(|(id, _)| *id > last);
        Ok(())
    }
}
