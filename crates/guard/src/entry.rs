//! Entry proof: who comes to a strict application without a page shows that this is the browser in which somebody signed in
//! (PAGEGUARD section 3, `docs/protocol.md` section 12).
//!
//! At login the browser makes a key pair of which it can't give the private half away, and the session remembers the public half. At
//! an entry the guard gives out a [challenge](Entries::challenge); signed, it buys one [admission](Entries::admit): a read of the one
//! address that was asked for. Both are stateless texts under a key of this run of the guard; only those that were used are
//! remembered, and only for as long as they would be good.

mod key;
mod spent;
#[cfg(test)]
mod tests;
mod text;

pub use key::EntryKey;
pub(crate) use text::{Entry, fuzz_text, is_admission};

use aws_lc_rs::rand;
use spent::Spent;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use text::{Kind, NONCE_LEN, Sealer};
use thiserror::Error;
use vestibule_store::{StoreError, StoreErrorKind};

/// How long a challenge can be signed.
const CHALLENGE_LIFE: Duration = Duration::from_secs(60);
/// How long an admission waits for the read that it is good for.
const ADMISSION_LIFE: Duration = Duration::from_secs(30);
/// The longest address that is proven to, in bytes: those of browsers are far shorter.
pub(crate) const TARGET_LONGEST: usize = 8 << 10;

/// Why a proof or an admission is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum EntryError {
    /// Its form is wrong.
    #[error("it is no text of an entry")]
    Malformed,
    /// It was given to another session, application, origin, address or run of the guard, or altered.
    #[error("it was not given for this, or was altered")]
    Foreign,
    /// It is too old.
    #[error("it has expired")]
    Expired,
    /// The session's key has not signed it.
    #[error("the session's key has not signed it")]
    Unsigned,
    /// It was used before.
    #[error("it was used before")]
    Spent,
    /// More was used in the last minute than is remembered.
    #[error("there is no room to remember it")]
    Full,
}

/// What entries need while the guard runs.
pub(crate) struct Entries {
    sealer: Sealer,
    spent: Mutex<Spent>,
    /// Ages are counted from here: no clock that somebody sets makes an old text young.
    began: Instant,
}

impl Entries {
    /// Under a fresh key: what was given out before a restart is good for nothing.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn new() -> Result<Self, StoreError> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        rand::fill(secret.as_mut()).map_err(|_| StoreError::new(StoreErrorKind::Other, "no randomness"))?;
        Ok(Self { sealer: Sealer::new(&secret), spent: Mutex::default(), began: Instant::now() })
    }

    /// Something to sign for this entry.
    pub(crate) fn challenge(&self, entry: &Entry<'_>) -> String {
        self.sealer.seal(Kind::Challenge, entry, self.began.elapsed(), nonce())
    }

    /// Takes a signed challenge, once, and gives an admission for it.
    ///
    /// # Errors
    /// [`EntryError`].
    pub(crate) fn prove(
        &self,
        entry: &Entry<'_>,
        key: &EntryKey,
        challenge: &str,
        signature: &str,
    ) -> Result<String, EntryError> {
        let now = self.began.elapsed();
        self.prove_at(entry, key, (challenge, signature), now).map(|()| self.admission(entry))
    }

    /// A text that admits to one read of the entry's address, and to nothing else.
    pub(crate) fn admission(&self, entry: &Entry<'_>) -> String {
        self.sealer.seal(Kind::Admission, entry, self.began.elapsed(), nonce())
    }

    /// Takes an admission, once.
    ///
    /// # Errors
    /// [`EntryError`].
    pub(crate) fn admit(&self, entry: &Entry<'_>, admission: &str) -> Result<(), EntryError> {
        self.admit_at(entry, admission, self.began.elapsed())
    }

    fn prove_at(
        &self,
        entry: &Entry<'_>,
        key: &EntryKey,
        (challenge, signature): (&str, &str),
        now: Duration,
    ) -> Result<(), EntryError> {
        let opened = self.sealer.open(Kind::Challenge, entry, challenge)?;
        let end = still_good(opened.made, CHALLENGE_LIFE, now)?;
        if !key.has_signed(&entry.signed(challenge), signature) {
            return Err(EntryError::Unsigned);
        }
        // Last, so that only who has the key takes room.
        self.spend((end, opened.nonce), entry, now)
    }

    fn admit_at(&self, entry: &Entry<'_>, admission: &str, now: Duration) -> Result<(), EntryError> {
        let opened = self.sealer.open(Kind::Admission, entry, admission)?;
        let end = still_good(opened.made, ADMISSION_LIFE, now)?;
        self.spend((end, opened.nonce), entry, now)
    }

    fn spend(&self, once: (Duration, [u8; NONCE_LEN]), entry: &Entry<'_>, now: Duration) -> Result<(), EntryError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.spend(once, entry.session(), now)
    }
}

/// Until when.
fn still_good(made: Duration, life: Duration, now: Duration) -> Result<Duration, EntryError> {
    let end = made.saturating_add(life);
    if now < end { Ok(end) } else { Err(EntryError::Expired) }
}

/// # Panics
/// If the operating system gives no randomness.
fn nonce() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).expect("the operating system gives randomness");
    nonce
}
