//! Every command at most once (PAGEGUARD §5): the first of a name runs, every repeat gets its answer or an honest word.
//!
//! The life of a command:
//! 1. [`Once::claim`] decides in memory who is the first of a name. Nothing is on the disk: a crash here forgets a command that
//!    was provably never sent, and the next one of that name runs.
//! 2. [`Running::sending`] puts it on the disk, many at once with one sync. Only after it returned may the request's last byte
//!    go to the application. A crash from here on leaves it "sent, outcome unknown".
//! 3. [`Running::answered`] (mostly by [`StoredAnswer::tee`]) tells those who wait and keeps the answer, sealed;
//!    [`Running::unsent`] gives the claim back when no byte reached the application; dropping it means that nobody knows.
//!
//! The content of a large command is known when its end has come, and its beginning is sent before: [`Once::begin`] decides by how
//! it starts, [`Begun::sending`] puts that on the disk before the application gets a byte, and [`Running::sending_all`] takes the
//! place of `sending`. What could be the same and comes meanwhile waits; what comes afterwards is compared before it is sent; one
//! that broke off is "sent, outcome unknown".
//!
//! A browser that gives a command twice breaks off the first request: what runs a command must not be dropped with the
//! connection of its client. Start it as a task of its own.

mod answer;
mod answers;
mod begun;
mod ledger;
mod log;
mod name;
mod record;
mod replay;
mod running;
mod segment;
mod starts;
mod tee;

pub use answer::{OnceKey, StoredAnswer};
pub(crate) use answers::SCHEMA;
pub use begun::Begun;
pub use name::{ActionId, ClaimName, CommandName, InvalidAction};
pub use record::About;
pub(crate) use record::fuzz as fuzz_record;
pub use running::{Answer, Running};
pub use starts::Extent;
pub use tee::Captured;

use crate::{LogicalAddress, Stamp, fault};
use answers::Answers;
use ledger::{Bounds, Decision, Ledger, Now};
use log::Log;
use record::Record;
use replay::Replay;
use starts::{Start, Starts};
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::oneshot;
use vestibule_store::{Store, StoreError};

/// The directory of the log, beside the store's file.
const DIRECTORY: &str = "claims";
/// Bytes of answers on their way into the store; beyond it an answer is not kept.
const FRESH_LIMIT: usize = 32 << 20;

/// What is kept, how long, and how much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnceSettings {
    /// How long an answer is kept for repeats.
    pub keep_answers: Duration,
    /// The largest answer that is kept, in bytes with its headers.
    pub answer_limit: usize,
    /// Bytes of all answers kept, sealed; the oldest make room.
    pub answers_limit: u64,
    /// How long a claim is kept: at least as long as a page can be used. Longer where a wall clock that was set may have made it
    /// look old, see [`Once::sweep`].
    pub keep_claims: Duration,
    /// Claims kept in all; further commands are refused. About 250 bytes of memory each.
    pub claims: usize,
    /// Claims kept of one user, of all sessions together; further commands of that user are refused.
    pub claims_per_user: usize,
    /// Claims kept of one logical address; its further commands are refused.
    pub claims_per_address: usize,
    /// Repeats that may wait for the answer of one command.
    pub waiting: usize,
    /// How long the rest of an answer is read for the repeats after its own client has left.
    pub patience: Duration,
}

/// Why a command was neither run nor recognised.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OnceError {
    /// Too many commands of this session, of this user, or of all, are remembered ([`OnceSettings::claims`]).
    #[error("too many commands are remembered")]
    TooManyClaims,
    /// Too many repeats wait for this command's answer ([`OnceSettings::waiting`]).
    #[error("too many repeats wait for this command")]
    TooManyWaiting,
    /// The disk refused, or what is on it is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The book of commands. Clones are handles of the same.
#[derive(Clone)]
pub struct Once {
    shared: Arc<Shared>,
}

/// Whether a command is the first of its name.
pub enum Claimed {
    /// It is: run it.
    First(Running),
    /// It isn't: it was given before.
    Repeat(Repeat),
}

/// Whether a large command may be sent as it comes.
pub enum Beginning {
    /// Nothing that it could be is known: it may.
    First(Box<Begun>),
    /// One that it could be is under way: ask again when this has come. Bound the wait; dropping it is fine.
    Waiting(Waiting),
    /// One that it could be has come to its end: this one is to be read to its end, and claimed, before any of it is sent.
    Alike,
    /// One that it could be began and never came to its end: nobody knows what became of it.
    Unknown {
        /// When it was given.
        at: Stamp,
    },
}

/// What there is for a repeat.
pub enum Repeat {
    /// The first still runs: its outcome, when it comes. Bound the wait; dropping it is fine.
    Waiting(Waiting),
    /// The first was answered.
    Done(Done),
    /// The first was sent and nobody knows what became of it.
    Unknown {
        /// When it was given.
        at: Stamp,
    },
}

/// A command that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// When.
    pub at: Stamp,
    /// With which HTTP status.
    pub status: u16,
    /// The answer, unless it was too large, broke off, or has made room for newer ones.
    pub answer: Option<Arc<StoredAnswer>>,
}

/// What became of a command that a repeat has waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Done(Done),
    /// It was sent and nobody knows what became of it.
    Unknown {
        /// When it was given.
        at: Stamp,
    },
    /// It could not be sent and has no effect; giving it again runs it.
    NotDone,
}

/// The outcome of a running command, to be awaited.
pub struct Waiting {
    told: oneshot::Receiver<Outcome>,
    given: Stamp,
}

/// A command that was sent before the process ended without its answer: to be entered in the audit log as unknown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interrupted {
    /// When it was given.
    pub given: Stamp,
    /// What it was.
    pub about: About,
    name: ClaimName,
}

struct Shared {
    settings: OnceSettings,
    key: OnceKey,
    answers: Answers,
    table: Mutex<Table>,
    log: Log,
    opened: Instant,
}

/// What changes together.
struct Table {
    ledger: Ledger,
    starts: Starts,
    waiting: HashMap<ClaimName, Vec<oneshot::Sender<Outcome>>>,
    /// Answers on their way into the store.
    fresh: HashMap<ClaimName, Arc<StoredAnswer>>,
    fresh_bytes: usize,
}

impl Default for OnceSettings {
    fn default() -> Self {
        Self {
            keep_answers: Duration::from_secs(24 * 3_600),
            answer_limit: 256 << 10,
            answers_limit: 256 << 20,
            keep_claims: Duration::from_secs(24 * 3_600),
            claims: 1_000_000,
            claims_per_user: 250_000,
            claims_per_address: 100_000,
            waiting: 1_000,
            patience: Duration::from_secs(60),
        }
    }
}

impl Once {
    /// Opens the book beside the store's file, and says which commands a crash has interrupted: they are told at every opening
    /// until [`acknowledge`](Self::acknowledge) has been called. Reads all claims in force and blocks meanwhile.
    ///
    /// # Errors
    /// The store or the log can't be read, or the log is damaged: then no command can be run until somebody has looked.
    pub fn open(store: Store, settings: OnceSettings, key: OnceKey) -> Result<(Self, Vec<Interrupted>), OnceError> {
        let bounds = Bounds {
            keep: settings.keep_claims,
            total: settings.claims,
            per_user: settings.claims_per_user,
            per_address: settings.claims_per_address,
        };
        let mut replay = Replay::new(bounds);
        let directory = store.path().parent().unwrap_or(Path::new(".")).join(DIRECTORY);
        let log = Log::open(&directory, |record| replay.take(record))?;
        let (ledger, starts, interrupted) = replay.end();
        let answers = Answers::open(store, settings.answers_limit)?;
        let table =
            Mutex::new(Table { ledger, starts, waiting: HashMap::new(), fresh: HashMap::new(), fresh_bytes: 0 });
        let shared = Shared { settings, key, answers, table, log, opened: Instant::now() };
        Ok((Self { shared: Arc::new(shared) }, interrupted))
    }

    /// A command of this name has come.
    ///
    /// # Errors
    /// There is no room for another ([`OnceError::TooManyClaims`], [`OnceError::TooManyWaiting`]).
    pub async fn claim(&self, name: ClaimName, about: About, now: Stamp) -> Result<Claimed, OnceError> {
        fault::point("once-named");
        let address = about.address;
        match self.shared.decide(name, &about, now)? {
            Decided::First => {
                fault::point("once-claimed");
                Ok(Claimed::First(Running::new(Arc::clone(&self.shared), name, about.bounded(), now)))
            }
            Decided::Wait(told) => Ok(Claimed::Repeat(Repeat::Waiting(Waiting { told, given: now }))),
            Decided::Unknown { at } => Ok(Claimed::Repeat(Repeat::Unknown { at })),
            Decided::Done(done, true) => {
                Ok(Claimed::Repeat(Repeat::Done(self.shared.fetch(done, name, address, now).await)))
            }
            Decided::Done(done, false) => Ok(Claimed::Repeat(Repeat::Done(done))),
        }
    }

    /// A large command has come whose content begins like this.
    ///
    /// # Errors
    /// There is no room for another ([`OnceError::TooManyClaims`], [`OnceError::TooManyWaiting`]).
    pub fn begin(&self, start: ClaimName, extent: Extent, about: About, now: Stamp) -> Result<Beginning, OnceError> {
        let mut table = self.shared.lock();
        let time = self.shared.time(now);
        let (key, found) = table.starts.begin((start, extent), &about.user, about.address, time);
        match found {
            Start::First => {
                drop(table);
                fault::point("start-claimed");
                let begun = Begun::new(Arc::clone(&self.shared), (start, extent), key, about.bounded(), now);
                Ok(Beginning::First(Box::new(begun)))
            }
            Start::Wait => {
                let told = table.wait(key, self.shared.settings.waiting)?;
                Ok(Beginning::Waiting(Waiting { told, given: now }))
            }
            Start::Alike => Ok(Beginning::Alike),
            Start::Unknown { at } => Ok(Beginning::Unknown { at }),
            Start::Full => Err(OnceError::TooManyClaims),
        }
    }

    /// The interrupted commands stand in the audit log: they need not be told again.
    pub fn acknowledge(&self, interrupted: &[Interrupted]) {
        for one in interrupted {
            self.shared.log.note(&Record::Unknown { name: one.name.0 });
        }
    }

    /// Removes what has outlived its time. To be called once in a while (every minute, say). `lives` tells of which logical
    /// addresses a session lives: as long as it does, its claims are forgotten only when they are outdated by the wall clock *and*
    /// by one that nobody sets, since a wall clock that is put right again may bring its pages back.
    ///
    /// # Errors
    /// The store refused; nothing but space is lost.
    pub async fn sweep(&self, now: Stamp, lives: impl Fn(LogicalAddress) -> bool) -> Result<(), OnceError> {
        let shared = &self.shared;
        let oldest = {
            let mut table = shared.lock();
            table.ledger.expire(shared.time(now), &lives);
            table.starts.expire(shared.time(now), &lives);
            table.ledger.oldest().into_iter().chain(table.starts.oldest()).min()
        };
        let outdated = now.before(shared.settings.keep_claims);
        shared.log.expire(oldest.map_or(outdated, |oldest| oldest.min(outdated)));
        Ok(shared.answers.expire(now).await?)
    }

    /// Makes room: what is settled of addresses whose session is over goes, as no page of theirs opens any more. Says how many.
    ///
    /// A command claimed after that may be a repeat: before [`Running::sending`] the caller makes sure that its session lives.
    pub fn release(&self, is_over: impl Fn(LogicalAddress) -> bool) -> usize {
        let mut table = self.shared.lock();
        table.starts.release(&is_over);
        table.ledger.release(&is_over)
    }

    /// Removes the answers kept for this address: its session has ended. Its claims go with [`release`](Self::release).
    ///
    /// # Errors
    /// The store refused: the answers stay, sealed and asked for by nobody, until they expire.
    pub async fn forget(&self, address: LogicalAddress) -> Result<(), OnceError> {
        Ok(self.shared.answers.forget(address).await?)
    }

    /// How many claims are remembered, and how many bytes of answers.
    pub fn size(&self) -> (usize, u64) {
        (self.shared.lock().ledger.len(), self.shared.answers.total())
    }
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let lost = Outcome::Unknown { at: self.given };
        Pin::new(&mut self.told).poll(context).map(|told| told.unwrap_or(lost))
    }
}

enum Decided {
    First,
    Wait(oneshot::Receiver<Outcome>),
    /// And whether the store may have its answer.
    Done(Done, bool),
    Unknown {
        at: Stamp,
    },
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self, wall: Stamp) -> Now {
        Now { wall, running: self.opened.elapsed() }
    }

    fn decide(&self, name: ClaimName, about: &About, now: Stamp) -> Result<Decided, OnceError> {
        let mut table = self.lock();
        match table.ledger.claim(name, &about.user, about.address, self.time(now)) {
            Decision::First => Ok(Decided::First),
            Decision::Wait => table.wait(name, self.settings.waiting).map(Decided::Wait),
            Decision::Unknown { at } => Ok(Decided::Unknown { at }),
            Decision::Full => Err(OnceError::TooManyClaims),
            Decision::Done { at, status, stored } => {
                let answer = table.fresh.get(&name).cloned();
                let in_store = stored && answer.is_none();
                Ok(Decided::Done(Done { at, status, answer }, in_store))
            }
        }
    }

    /// Adds the answer that the store has. One that doesn't open, or can't be read, is as good as none.
    async fn fetch(&self, done: Done, name: ClaimName, address: LogicalAddress, now: Stamp) -> Done {
        let sealed = self.answers.get(name, now).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a stored answer could not be read");
            None
        });
        let answer = sealed.and_then(|sealed| StoredAnswer::open(&sealed, &self.key, address, name).ok());
        Done { answer: answer.map(Arc::new), ..done }
    }
}

impl Table {
    fn wait(&mut self, name: ClaimName, most: usize) -> Result<oneshot::Receiver<Outcome>, OnceError> {
        let waiting = self.waiting.entry(name).or_default();
        if waiting.len() >= most {
            waiting.retain(|one| !one.is_closed());
        }
        if waiting.len() >= most {
            return Err(OnceError::TooManyWaiting);
        }
        let (tell, told) = oneshot::channel();
        waiting.push(tell);
        Ok(told)
    }
}

#[cfg(test)]
mod explored;
#[cfg(test)]
mod model;
