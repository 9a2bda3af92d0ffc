//! What must not be forgotten about knocks, whatever happens: which were seen, and how many passwords were wrong.
//!
//! Both are on the disk before their method returns, so before anything is answered. Concurrent calls share an fsync.

use std::net::SocketAddr;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use vestibule_proto::guess::{GuessCount, GuessPolicy, Verdict};
use vestibule_proto::id::{DeviceId, KnockId, Stamp};
use vestibule_store::StoreError;

use super::Directory;
use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{millis, stamp, user_name};
use super::error::{DirectoryError, What};

/// How often a password may be guessed at this gateway; the admission machine is to be given the same.
pub fn guess_policy() -> GuessPolicy {
    GuessPolicy::default()
}

/// A try at a device's password that is counted already: the licence to evaluate one. It is given back by beginning a
/// session with it; dropped, it stays counted.
#[derive(Debug, PartialEq, Eq)]
pub struct CountedGuess {
    device: DeviceId,
    count: GuessCount,
    from: SocketAddr,
}

impl CountedGuess {
    /// The device whose password may be evaluated once.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The count, this try included; for the admission machine too.
    pub fn count(&self) -> GuessCount {
        self.count
    }
}

/// Whether the next password of a device may be evaluated.
#[derive(Debug, PartialEq, Eq)]
pub enum GuessAnswer {
    /// It may: once.
    Counted(CountedGuess),
    /// Not before so much time has passed. Not counted.
    Wait(Duration),
    /// The device is suspended. Not counted.
    Suspended,
    /// There is no such device.
    Unknown,
}

impl Directory {
    /// The durable seen-set (m2): true if this device has never shown this knock before, and then it has now.
    ///
    /// False also for a stamp so old that the set may have forgotten it, and for a device that is gone.
    pub async fn remember(&self, device: DeviceId, knock_id: KnockId, stamp: Stamp) -> Result<bool, StoreError> {
        self.write(move |c| enter(c, device, knock_id, stamp)).await
    }

    /// Counts a wrong password that has shown already, a knock whose inner seal was wrong (C12), and says so in the audit
    /// log. It came from `from`, by the controller's word. For an invitation: an altered link, of which the admission machine
    /// tells the audit log.
    ///
    /// Errors: [`DirectoryError::NotFound`] for a device that is gone.
    pub async fn count_guess(
        &self,
        device: DeviceId,
        from: SocketAddr,
        now: Stamp,
    ) -> Result<GuessCount, DirectoryError> {
        self.write(move |c| {
            let count = guesses(c, &device)?.ok_or_else(|| DirectoryError::not_found(What::Device, device))?;
            let guess = CountedGuess { device, count: count.counted(now), from };
            write_count(c, &guess)?;
            tell(c, AuditKind::WrongPassword, &guess, now)?;
            tell_limit(c, &guess, now)?;
            Ok(guess.count)
        })
        .await
    }

    /// Counts a try *before* a login evaluates it (m12), if the device may have one now. Of tries that come at once each
    /// sees the others' counts. It comes from `from`.
    pub async fn begin_guess(&self, device: DeviceId, from: SocketAddr, now: Stamp) -> Result<GuessAnswer, StoreError> {
        self.write(move |c| {
            let Some(count) = guesses(c, &device)? else { return Ok(GuessAnswer::Unknown) };
            let count = count.not_after(now);
            match guess_policy().verdict(count, now) {
                Verdict::Wait(wait) => return Ok(GuessAnswer::Wait(wait)),
                Verdict::Suspended => return Ok(GuessAnswer::Suspended),
                Verdict::Allowed => {}
            }
            let guess = CountedGuess { device, count: count.counted(now), from };
            write_count(c, &guess)?;
            tell_limit(c, &guess, now)?;
            Ok(GuessAnswer::Counted(guess))
        })
        .await
    }

    /// The counted try was wrong: says so in the audit log. The count stands since [`begin_guess`](Self::begin_guess).
    pub async fn guess_was_wrong(&self, guess: CountedGuess, now: Stamp) -> Result<GuessCount, StoreError> {
        self.write(move |c| {
            tell(c, AuditKind::WrongPassword, &guess, now)?;
            Ok(guess.count)
        })
        .await
    }

    /// The wrong passwords of a device since its last login; `None` if it is gone.
    pub fn guesses(&self, device: &DeviceId) -> Result<Option<GuessCount>, StoreError> {
        self.look(|c| guesses(c, device))
    }

    /// Forgets the wrong passwords of a device. [`begin_session`](Self::begin_session) does this by itself.
    pub async fn clear_guesses(&self, device: DeviceId) -> Result<(), StoreError> {
        self.write(move |c| clear(c, &device)).await
    }
}

/// Enters a knock in the seen-set; false if it is not fresh.
pub(super) fn enter(c: &Connection, device: DeviceId, knock_id: KnockId, stamp: Stamp) -> Result<bool, StoreError> {
    let added = c
        .prepare_cached(
            "INSERT INTO seen (device, knock_id, stamp)
             SELECT id, ?2, ?3 FROM knocker WHERE id = ?1 AND seen_floor < ?3
             ON CONFLICT DO NOTHING",
        )?
        .execute((device.as_bytes(), knock_id.as_bytes(), millis(stamp)))?;
    Ok(added == 1)
}

pub(super) fn clear(c: &Connection, device: &DeviceId) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE knocker SET guesses = 0 WHERE id = ?1")?.execute([device.as_bytes()])?;
    Ok(())
}

/// The count in this column and the next one.
pub(super) fn guesses_of(row: &Row<'_>, column: usize) -> rusqlite::Result<GuessCount> {
    let count: i64 = row.get(column)?;
    Ok(GuessCount { count: u8::try_from(count).unwrap_or(u8::MAX), last: stamp(row, column + 1)? })
}

fn guesses(c: &Connection, device: &DeviceId) -> Result<Option<GuessCount>, StoreError> {
    let mut select = c.prepare_cached("SELECT guesses, last_guess FROM knocker WHERE id = ?1")?;
    Ok(select.query_row([device.as_bytes()], |row| guesses_of(row, 0)).optional()?)
}

fn write_count(c: &Connection, guess: &CountedGuess) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE knocker SET guesses = ?2, last_guess = ?3 WHERE id = ?1")?.execute((
        guess.device.as_bytes(),
        guess.count.count,
        millis(guess.count.last),
    ))?;
    Ok(())
}

/// The alarm at the limit, in the transaction that reaches it.
fn tell_limit(c: &Connection, guess: &CountedGuess, now: Stamp) -> Result<(), StoreError> {
    if guess.count.count == guess_policy().limit {
        tell(c, AuditKind::DeviceSuspended, guess, now)?;
    }
    Ok(())
}

fn tell(c: &Connection, kind: AuditKind, guess: &CountedGuess, now: Stamp) -> Result<(), StoreError> {
    let user = c
        .prepare_cached("SELECT user FROM device WHERE id = ?1")?
        .query_row([guess.device.as_bytes()], |row| user_name(row, 0))
        .optional()?;
    let Some(user) = user else { return Ok(()) };
    let detail = format!("{} of {} tries used", guess.count.count, guess_policy().limit);
    let entry = AuditEntry::of(kind, now).user(&user).device(&guess.device).address(guess.from);
    record(c, &entry.detail(detail))
}
