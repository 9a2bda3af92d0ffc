//! A command that is being run.

use super::answer::StoredAnswer;
use super::begun::Begun;
use super::name::ClaimName;
use super::record::{About, Record};
use super::{Done, Outcome, Shared, Table};
use crate::{Stamp, fault};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use vestibule_store::StoreError;

/// Nothing is on the disk.
const CLAIMED: u8 = 0;
/// Its record may be on the disk; it was not sent.
const COMMITTING: u8 = 1;
/// Its record is on the disk; it may have been sent.
const SENDING: u8 = 2;
/// Its outcome is told.
const SETTLED: u8 = 3;

/// The right and the duty to run a command once. Dropped before [`sending`](Self::sending) has returned, the claim is given
/// back; dropped afterwards, its outcome is unknown.
#[must_use = "dropping it gives the claim up"]
pub struct Running {
    shared: Arc<Shared>,
    name: ClaimName,
    about: About,
    given: Stamp,
    stage: AtomicU8,
}

/// How a command was answered.
pub enum Answer {
    /// Whole, to be kept for repeats.
    Stored(StoredAnswer),
    /// With this HTTP status; the rest was too large to keep, or broke off.
    StatusOnly(u16),
}

impl Running {
    pub(super) fn new(shared: Arc<Shared>, name: ClaimName, about: About, given: Stamp) -> Self {
        Self { shared, name, about, given, stage: AtomicU8::new(CLAIMED) }
    }

    /// What is run.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// When it was given.
    pub fn given(&self) -> Stamp {
        self.given
    }

    /// Puts the command on the disk. Until this has returned `Ok` the application must not have got the request's last byte.
    /// Takes one sync of the disk, shared with all that wait for one.
    ///
    /// # Errors
    /// The disk refused: the request must not be sent.
    pub async fn sending(&self) -> Result<(), StoreError> {
        if self.stage.load(Ordering::Acquire) != CLAIMED {
            return Ok(());
        }
        self.stage.store(COMMITTING, Ordering::Release);
        let record = Record::Sent { name: self.name.0, given: self.given, about: self.about.clone() };
        let committed = self.shared.log.commit(&record);
        fault::point("once-queued");
        committed.await.unwrap_or_else(|_| Err(stopped()))?;
        self.shared.lock().ledger.sent(self.name);
        self.stage.store(SENDING, Ordering::Release);
        fault::point("once-sending");
        Ok(())
    }

    /// The same for a large command whose beginning was sent already: from now on it goes by its own name alone.
    ///
    /// # Errors
    /// The disk refused: the request must not be sent to its end. Its outcome is unknown.
    pub async fn sending_all(&self, begun: Begun) -> Result<(), StoreError> {
        self.stage.store(SENDING, Ordering::Release);
        let record =
            Record::SentAll { name: self.name.0, begun: begun.key().0, given: self.given, about: self.about.clone() };
        let committed = self.shared.log.commit(&record);
        fault::point("start-named");
        committed.await.unwrap_or_else(|_| Err(stopped()))?;
        self.shared.lock().ledger.sent(self.name);
        begun.whole(self.given);
        fault::point("start-whole");
        Ok(())
    }

    /// The application has answered: those who wait are told, and the answer is kept.
    pub fn answered(self, answer: Answer, now: Stamp) {
        let (status, answer) = match answer {
            Answer::Stored(answer) => (answer.status.as_u16(), Some(Arc::new(answer))),
            Answer::StatusOnly(status) => (status, None),
        };
        let kept = self.note_done(status, answer.clone(), now);
        fault::point("once-told");
        if let Some(answer) = answer.filter(|_| kept) {
            self.keep(answer, now);
        }
    }

    /// No byte of the request reached the application: the claim is given back, and whoever waits is told so.
    pub fn unsent(self) {
        self.give_back();
    }

    /// Says whether the answer is to be kept.
    fn note_done(&self, status: u16, answer: Option<Arc<StoredAnswer>>, now: Stamp) -> bool {
        self.stage.store(SETTLED, Ordering::Release);
        let mut table = self.shared.lock();
        let stored = answer.as_ref().is_some_and(|answer| table.keep_fresh(self.name, answer, &self.shared));
        table.ledger.done(self.name, now, status, stored);
        self.shared.log.note(&Record::Done { name: self.name.0, at: now, status, stored });
        fault::point("once-answered");
        table.tell(self.name, &Outcome::Done(Done { at: now, status, answer }));
        stored
    }

    fn keep(&self, answer: Arc<StoredAnswer>, now: Stamp) {
        let (shared, name, address) = (Arc::clone(&self.shared), self.name, self.about.address);
        let expires = now.after(shared.settings.keep_answers);
        let store = async move {
            if let Some(sealed) = answer.seal(&shared.key, address, name) {
                fault::point("answer-sealed");
                if let Err(error) = shared.answers.put(name, address, expires, sealed).await {
                    tracing::warn!(%error, "an answer could not be kept for repeats");
                }
                fault::point("answer-stored");
            }
            shared.lock().drop_fresh(name);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(store)),
            Err(_) => self.shared.lock().drop_fresh(self.name),
        }
    }

    fn give_back(&self) {
        let stage = self.stage.swap(SETTLED, Ordering::AcqRel);
        let mut table = self.shared.lock();
        table.ledger.give_back(self.name);
        if stage != CLAIMED {
            self.shared.log.note(&Record::Unsent { name: self.name.0 });
        }
        table.tell(self.name, &Outcome::NotDone);
    }

    fn give_up(&self) {
        self.stage.store(SETTLED, Ordering::Release);
        let mut table = self.shared.lock();
        table.ledger.unknown(self.name);
        self.shared.log.note(&Record::Unknown { name: self.name.0 });
        table.tell(self.name, &Outcome::Unknown { at: self.given });
    }

    /// Those who wait learn the status before the answer has come whole: it is too large to keep. On the disk the outcome stays
    /// open until [`answered`](Self::answered), so that a crash in between is told.
    pub(super) fn tell_early(&self, status: u16, now: Stamp) {
        let mut table = self.shared.lock();
        table.ledger.done(self.name, now, status, false);
        table.tell(self.name, &Outcome::Done(Done { at: now, status, answer: None }));
    }

    pub(super) fn answer_limit(&self) -> usize {
        self.shared.settings.answer_limit
    }

    pub(super) fn patience(&self) -> std::time::Duration {
        self.shared.settings.patience
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self.stage.load(Ordering::Acquire) {
            SETTLED => {}
            SENDING => self.give_up(),
            _ => self.give_back(),
        }
    }
}

impl Table {
    pub(super) fn tell(&mut self, name: ClaimName, outcome: &Outcome) {
        for waiting in self.waiting.remove(&name).unwrap_or_default() {
            // Whoever left doesn't want it any more.
            let _ = waiting.send(outcome.clone());
        }
    }

    fn keep_fresh(&mut self, name: ClaimName, answer: &Arc<StoredAnswer>, shared: &Shared) -> bool {
        let size = answer.size();
        if size > shared.settings.answer_limit || self.fresh_bytes + size > super::FRESH_LIMIT {
            return false;
        }
        self.fresh_bytes += size;
        self.fresh.insert(name, Arc::clone(answer));
        true
    }

    fn drop_fresh(&mut self, name: ClaimName) {
        if let Some(answer) = self.fresh.remove(&name) {
            self.fresh_bytes -= answer.size();
        }
    }
}

pub(super) fn stopped() -> StoreError {
    StoreError::new(vestibule_store::StoreErrorKind::Other, "the log of claims has stopped")
}
