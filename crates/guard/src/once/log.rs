//! The log of claims: one thread writes what is waiting and syncs it once for all (group commit).
//!
//! Why not the SQLite store: a claim's latency is one sync, and 32 of them at once must not cost 32 transactions. The example
//! `claim_cost` measures both on the disk at hand.

use super::record::{Header, Record, frame, framed_len};
use super::segment::{self, Segment};
use crate::{Stamp, fault};
use aws_lc_rs::rand;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use vestibule_store::{StoreError, StoreErrorKind, ensure_directory};

/// From this many in the last group on, a smaller one waits a little for company.
const COMPANY: usize = 4;
/// The longest that a group waits for company, whatever the disk.
const COMPANY_WAIT: Duration = Duration::from_millis(1);

/// Where a caller waits until its record is on the disk.
pub(crate) type Committed = oneshot::Receiver<Result<(), StoreError>>;

/// The log, with its thread; dropping it writes what is queued.
pub(crate) struct Log {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    /// Of these, how many somebody waits for.
    awaited: usize,
    /// Segments whose claims were all given before this have served.
    outdated: Option<Stamp>,
    closed: bool,
}

struct Item {
    payload: Vec<u8>,
    /// When the claim of a `Sent` was given: its segment is kept as long as that counts.
    given: Option<Stamp>,
    committed: Option<oneshot::Sender<Result<(), StoreError>>>,
}

impl Log {
    /// Reads what earlier runs wrote into `directory` (0700, created where missing), hands it to `replay` in order, and begins
    /// a segment of its own: what a crash left half written is never written over.
    ///
    /// # Errors
    /// The directory can't be used, or a segment is damaged ([`segment::read_all`]).
    pub(crate) fn open(directory: &Path, mut replay: impl FnMut(Record)) -> Result<Self, StoreError> {
        ensure_directory(directory)?;
        let mut older = VecDeque::new();
        let mut last = None;
        for read in segment::read_all(directory)? {
            last = Some((read.header.number, read.end));
            let latest = read.records.iter().filter_map(given).max();
            older.push_back(Closed { path: read.path, latest });
            read.records.into_iter().for_each(&mut replay);
        }
        let current = begin(directory, last)?;
        let writer =
            Writer { directory: directory.to_owned(), current, latest: None, older, spare: None, sync: Duration::ZERO };
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("claims".to_owned())
            .spawn(move || writer.run(&shared))
            .map_err(|error| StoreError::from_io(&error, directory))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Writes a record; what is returned tells when it is on the disk. The order of calls is the order in the log.
    pub(crate) fn commit(&self, record: &Record) -> Committed {
        let (committed, waiting) = oneshot::channel();
        match record.payload() {
            Some(payload) => self.put(Item { payload, given: given(record), committed: Some(committed) }),
            None => drop(committed.send(Err(StoreError::new(StoreErrorKind::Other, "a record is too large")))),
        }
        waiting
    }

    /// Writes a record that nobody waits for: it survives the process at once, and power loss with the next sync.
    pub(crate) fn note(&self, record: &Record) {
        if let Some(payload) = record.payload() {
            self.put(Item { payload, given: given(record), committed: None });
        }
    }

    /// Removes the segments all of whose claims were given before `stamp`.
    pub(crate) fn expire(&self, stamp: Stamp) {
        self.queue.lock().outdated = Some(stamp);
        self.queue.filled.notify_one();
    }

    fn put(&self, item: Item) {
        let mut waiting = self.queue.lock();
        waiting.awaited += usize::from(item.committed.is_some());
        waiting.items.push(item);
        drop(waiting);
        self.queue.filled.notify_one();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to report that its callers weren't told.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next group; `None` at the end. `last` came together last time, in a group that took `sync`.
    fn take(&self, last: usize, sync: Duration) -> Option<(Vec<Item>, Option<Stamp>)> {
        let idle = |waiting: &mut Waiting| waiting.items.is_empty() && waiting.outdated.is_none() && !waiting.closed;
        let mut waiting = self.filled.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if last >= COMPANY {
            waiting = self.wait_for_company(waiting, last, (sync / 2).min(COMPANY_WAIT));
        }
        waiting.awaited = 0;
        let group = std::mem::take(&mut waiting.items);
        let outdated = waiting.outdated.take();
        let ended = waiting.closed && group.is_empty() && outdated.is_none();
        (!ended).then_some((group, outdated))
    }

    /// Those of the last group come again about now: without a moment's patience the first of them would be synced alone and
    /// all the others wait for that.
    fn wait_for_company<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        last: usize,
        patience: Duration,
    ) -> MutexGuard<'a, Waiting> {
        let end = Instant::now() + patience;
        while waiting.awaited > 0 && waiting.awaited < last && !waiting.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting
    }
}

/// A segment that is full, or of an earlier run.
struct Closed {
    path: PathBuf,
    /// When the last of its claims was given.
    latest: Option<Stamp>,
}

struct Writer {
    directory: PathBuf,
    current: Segment,
    latest: Option<Stamp>,
    older: VecDeque<Closed>,
    /// Makes the file of the next segment.
    spare: Option<JoinHandle<()>>,
    /// How long the last sync took.
    sync: Duration,
}

impl Writer {
    fn run(mut self, queue: &Queue) {
        self.prepare_spare();
        let mut last = 0;
        while let Some((group, outdated)) = queue.take(last, self.sync) {
            last = group.iter().filter(|item| item.committed.is_some()).count();
            if !group.is_empty() {
                self.commit(group);
            }
            if let Some(stamp) = outdated {
                self.remove(stamp);
            }
        }
        self.join_spare();
    }

    fn commit(&mut self, group: Vec<Item>) {
        let outcome = self.write(&group);
        if let Err(error) = &outcome {
            tracing::error!(%error, records = group.len(), "claims could not be written");
        }
        for committed in group.into_iter().filter_map(|item| item.committed) {
            // Whoever stopped waiting has sent nothing.
            let _ = committed.send(outcome.clone());
        }
    }

    fn write(&mut self, group: &[Item]) -> Result<(), StoreError> {
        let mut rest = group;
        while !rest.is_empty() {
            let fitting = self.fitting(rest);
            if fitting == 0 {
                self.next_segment()?;
                continue;
            }
            let (now, later) = rest.split_at(fitting);
            self.write_here(now)?;
            rest = later;
        }
        Ok(())
    }

    /// How many of the first items fit into this segment.
    fn fitting(&self, items: &[Item]) -> usize {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += framed_len(&item.payload);
            self.current.has_room(bytes)
        };
        items.iter().take_while(fits).count()
    }

    fn write_here(&mut self, items: &[Item]) -> Result<(), StoreError> {
        let (id, end) = (self.current.header.id, self.current.end);
        let mut framed = Vec::new();
        items.iter().for_each(|item| frame(&id, end as u64, &item.payload, &mut framed));
        let outcome = self.write_and_sync(&framed, items.iter().any(|item| item.committed.is_some()));
        if let Err(error) = outcome {
            let error = StoreError::from_io(&error, &self.current.path);
            // After a failed sync nobody knows what this file holds (the kernel reports the loss once): no record is put
            // behind it, and only what stood before counts as known.
            self.current.end = end;
            self.next_segment()?;
            return Err(error);
        }
        self.latest = self.latest.max(items.iter().filter_map(|item| item.given).max());
        Ok(())
    }

    fn write_and_sync(&mut self, framed: &[u8], awaited: bool) -> std::io::Result<()> {
        self.current.write(framed)?;
        if !awaited {
            fault::point("once-noted");
            return Ok(());
        }
        fault::point("once-written");
        let begun = Instant::now();
        self.current.sync()?;
        self.sync = begun.elapsed();
        fault::point("once-synced");
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), StoreError> {
        self.join_spare();
        // What was written without a sync counts as known from the next header on.
        let before = if self.current.sync().is_ok() { self.current.end } else { 0 };
        let next = begin(&self.directory, Some((self.current.header.number, before)))?;
        let full = std::mem::replace(&mut self.current, next);
        self.older.push_back(Closed { path: full.path, latest: self.latest.take() });
        self.prepare_spare();
        Ok(())
    }

    fn remove(&mut self, outdated: Stamp) {
        while let Some(oldest) = self.older.front()
            && oldest.latest.is_none_or(|latest| latest < outdated)
        {
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                tracing::warn!(%error, path = %oldest.path.display(), "an outdated segment of claims stays");
                return;
            }
            self.older.pop_front();
        }
    }

    fn prepare_spare(&mut self) {
        let directory = self.directory.clone();
        let make = move || {
            if let Err(error) = segment::make_spare(&directory) {
                tracing::warn!(%error, "no segment for claims could be made beforehand");
            }
        };
        self.spare = std::thread::Builder::new().name("claims-spare".to_owned()).spawn(make).ok();
    }

    fn join_spare(&mut self) {
        if let Some(spare) = self.spare.take() {
            // Without a spare the segment is made when it is needed.
            let _ = spare.join();
        }
    }
}

/// Begins the segment after `last` (its number, and how far it is known to be good).
fn begin(directory: &Path, last: Option<(u64, usize)>) -> Result<Segment, StoreError> {
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| StoreError::new(StoreErrorKind::Other, "no randomness"))?;
    let header =
        Header { number: last.map_or(1, |(number, _)| number + 1), id, before: last.map_or(0, |(_, end)| end as u64) };
    Segment::begin(directory, header)
}

fn given(record: &Record) -> Option<Stamp> {
    match record {
        Record::Sent { given, .. } | Record::SentAll { given, .. } | Record::Begun { given, .. } => Some(*given),
        Record::Done { .. } | Record::Unsent { .. } | Record::Unknown { .. } => None,
    }
}
