//! What must not be forgotten about knocks, whatever happens: which were seen, and how many passwords were wrong.
//!
//! Both are on the disk before their method returns, so before anything is answered. Concurrent calls share an fsync.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use vestibule_proto::guess::{GuessCount, GuessPolicy, Verdict};
use vestibule_proto::id::{DeviceId, KnockId, Stamp, UserName};
use vestibule_store::StoreError;

use super::Directory;
use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{millis, stamp};
use super::error::{DirectoryError, What};

/// W: how far a knock's stamp may lie from the clock (PROTOCOL 3.5). What was seen is remembered for 2 W.
pub const W: Duration = Duration::from_secs(60);

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
        self.write(move |c| {
            let added = c
                .prepare_cached(
                    "INSERT INTO seen (device, knock_id, stamp)
                     SELECT id, ?2, ?3 FROM knocker WHERE id = ?1 AND seen_floor < ?3
                     ON CONFLICT DO NOTHING",
                )?
                .execute((device.as_bytes(), knock_id.as_bytes(), millis(stamp)))?;
            Ok(added == 1)
        })
        .await
    }

    /// Counts a wrong password that has shown already: a knock whose inner seal was wrong (C12). For an invitation the
    /// same counts the altered links.
    ///
    /// Errors: [`DirectoryError::NotFound`] for a device that is gone.
    pub async fn count_guess(&self, device: DeviceId, now: Stamp) -> Result<GuessCount, DirectoryError> {
        self.write(move |c| {
            let count = guesses(c, &device)?.ok_or_else(|| DirectoryError::not_found(What::Device, device))?;
            let count = count.counted(now);
            write_count(c, &device, count)?;
            let (kind, user) = whose(c, &device)?;
            tell(c, kind, user.as_ref(), &device, count, now)?;
            if count.count == guess_policy().limit {
                tell(c, AuditKind::DeviceSuspended, user.as_ref(), &device, count, now)?;
            }
            Ok(count)
        })
        .await
    }

    /// Counts a try *before* a login evaluates it (m12), if the device may have one now. Of tries that come at once each
    /// sees the others' counts.
    pub async fn begin_guess(&self, device: DeviceId, now: Stamp) -> Result<GuessAnswer, StoreError> {
        self.write(move |c| {
            let Some(count) = guesses(c, &device)? else { return Ok(GuessAnswer::Unknown) };
            let count = count.not_after(now);
            match guess_policy().verdict(count, now) {
                Verdict::Wait(wait) => return Ok(GuessAnswer::Wait(wait)),
                Verdict::Suspended => return Ok(GuessAnswer::Suspended),
                Verdict::Allowed => {}
            }
            let count = count.counted(now);
            write_count(c, &device, count)?;
            if count.count == guess_policy().limit {
                let (_, user) = whose(c, &device)?;
                tell(c, AuditKind::DeviceSuspended, user.as_ref(), &device, count, now)?;
            }
            Ok(GuessAnswer::Counted(CountedGuess { device, count }))
        })
        .await
    }

    /// The counted try was wrong: says so in the audit log. The count stands since [`begin_guess`](Self::begin_guess).
    pub async fn guess_was_wrong(&self, guess: CountedGuess, now: Stamp) -> Result<GuessCount, StoreError> {
        let CountedGuess { device, count } = guess;
        self.write(move |c| {
            let (kind, user) = whose(c, &device)?;
            tell(c, kind, user.as_ref(), &device, count, now)?;
            Ok(count)
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

fn write_count(c: &Connection, device: &DeviceId, count: GuessCount) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE knocker SET guesses = ?2, last_guess = ?3 WHERE id = ?1")?.execute((
        device.as_bytes(),
        count.count,
        millis(count.last),
    ))?;
    Ok(())
}

/// Whose device or invitation it is, and what a wrong password means there.
fn whose(c: &Connection, id: &DeviceId) -> Result<(AuditKind, Option<UserName>), StoreError> {
    let user_in = |table: &str| {
        c.prepare_cached(&format!("SELECT user FROM {table} WHERE id = ?1"))?
            .query_row([id.as_bytes()], |row| super::columns::user_name(row, 0))
            .optional()
    };
    match user_in("invitation")? {
        Some(user) => Ok((AuditKind::InvitationAltered, Some(user))),
        None => Ok((AuditKind::WrongPassword, user_in("device")?)),
    }
}

fn tell(
    c: &Connection,
    kind: AuditKind,
    user: Option<&UserName>,
    device: &DeviceId,
    count: GuessCount,
    now: Stamp,
) -> Result<(), StoreError> {
    let entry = AuditEntry::of(kind, now).device(device);
    let entry = entry.detail(format!("{} of {} tries used", count.count, guess_policy().limit));
    record(
        c,
        &match user {
            Some(user) => entry.user(user),
            None => entry,
        },
    )
}
