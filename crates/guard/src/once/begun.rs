//! A large command whose beginning is on its way to the application.

use super::name::ClaimName;
use super::record::{About, Record};
use super::starts::Extent;
use super::{Outcome, Shared};
use crate::{Stamp, fault};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use vestibule_store::StoreError;

/// Nothing is on the disk.
const CLAIMED: u8 = 0;
/// Its record may be on the disk; nothing was sent.
const COMMITTING: u8 = 1;
/// Its record is on the disk; its beginning may have been sent.
const SENDING: u8 = 2;
/// It has its own name, or was given back.
const SETTLED: u8 = 3;

/// The right to send the beginning of a large command. Its content is named at its end ([`super::Running::sending_all`]).
/// Dropped before that it is given back, or unknown where [`sending`](Self::sending) has returned.
#[must_use = "dropping it gives the command up"]
pub struct Begun {
    shared: Arc<Shared>,
    start: (ClaimName, Extent),
    key: ClaimName,
    about: About,
    given: Stamp,
    stage: AtomicU8,
}

impl Begun {
    pub(super) fn new(
        shared: Arc<Shared>,
        start: (ClaimName, Extent),
        key: ClaimName,
        about: About,
        given: Stamp,
    ) -> Self {
        Self { shared, start, key, about, given, stage: AtomicU8::new(CLAIMED) }
    }

    /// Puts the start on the disk. Until this has returned `Ok` the application must not have got a byte. Takes one sync of the
    /// disk, shared with all that wait for one.
    ///
    /// # Errors
    /// The disk refused: the request must not be sent.
    pub async fn sending(&self) -> Result<(), StoreError> {
        self.stage.store(COMMITTING, Ordering::Release);
        let (start, extent) = (self.start.0.0, self.start.1);
        let record = Record::Begun { start, extent, given: self.given, about: self.about.clone() };
        let committed = self.shared.log.commit(&record);
        fault::point("start-queued");
        committed.await.unwrap_or_else(|_| Err(super::running::stopped()))?;
        self.shared.lock().starts.sent(self.key);
        self.stage.store(SENDING, Ordering::Release);
        fault::point("start-sending");
        Ok(())
    }

    /// No byte of it reached the application: it is as if it had never come.
    pub fn unsent(self) {
        self.give_back();
    }

    /// What it is called in the log.
    pub(super) fn key(&self) -> ClaimName {
        self.key
    }

    /// Its content has a name, which stands on the disk.
    pub(super) fn whole(self, now: Stamp) {
        self.stage.store(SETTLED, Ordering::Release);
        let mut table = self.shared.lock();
        table.starts.whole(self.key, now);
        // Whoever waits asks again, and is told what it is now.
        table.tell(self.key, &Outcome::NotDone);
    }

    fn give_back(&self) {
        let stage = self.stage.swap(SETTLED, Ordering::AcqRel);
        let mut table = self.shared.lock();
        table.starts.give_back(self.key);
        if stage != CLAIMED {
            self.shared.log.note(&Record::Unsent { name: self.key.0 });
        }
        table.tell(self.key, &Outcome::NotDone);
    }

    fn give_up(&self) {
        self.stage.store(SETTLED, Ordering::Release);
        let mut table = self.shared.lock();
        table.starts.unknown(self.key);
        self.shared.log.note(&Record::Unknown { name: self.key.0 });
        table.tell(self.key, &Outcome::Unknown { at: self.given });
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        match self.stage.load(Ordering::Acquire) {
            SETTLED => {}
            SENDING => self.give_up(),
            _ => self.give_back(),
        }
    }
}
