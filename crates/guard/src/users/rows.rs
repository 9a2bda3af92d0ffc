//! Users and guesses on the disk.

use super::guesses::Guesses;
use super::{User, UserError};
use crate::{Stamp, UserName};
use aws_lc_rs::digest;
use rusqlite::{Connection, OptionalExtension as _};
use std::time::Duration;
use vestibule_store::{Store, StoreError, StoreErrorKind};

/// Guesses are counted by the digest of the name that was typed, whether it is a user's or not.
pub(crate) const SCHEMA: &str = "
CREATE TABLE user (
    name   TEXT PRIMARY KEY,
    groups TEXT NOT NULL,
    record TEXT NOT NULL,
    added  INTEGER NOT NULL
) STRICT;
CREATE TABLE guess (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  BLOB NOT NULL UNIQUE CHECK (length(name) = 32),
    count INTEGER NOT NULL,
    last  INTEGER NOT NULL
) STRICT;
CREATE INDEX guess_last ON guess (last);
";

/// No delay is that long: older guesses say nothing any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The most names with guesses. More than can be guessed at in the time of a delay.
const NAMES_MOST: u32 = 100_000;
/// How often the bound is looked after, in new names.
const BOUND_EVERY: i64 = 256;

/// Under which a name's guesses are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GuessKey([u8; 32]);

impl GuessKey {
    /// Of a name as it was typed: folded, since names are.
    pub(super) fn of(typed: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, typed.to_ascii_lowercase().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(digest.as_ref());
        Self(key)
    }
}

/// What a guess found.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Looked {
    /// It is too early; nothing was counted.
    Wait(Duration),
    /// Counted; there is no such user.
    Unknown,
    /// Counted; the user, and the record of the password.
    Found(User, String),
}

pub(super) async fn add(
    store: &Store,
    name: UserName,
    groups: Vec<String>,
    record: String,
    now: Stamp,
) -> Result<(), UserError> {
    let groups = text_of(&groups)?;
    let added = store
        .write(move |c| {
            let row = (name.as_str(), &groups, &record, number(now.0));
            Ok::<_, StoreError>(c.execute("INSERT OR IGNORE INTO user VALUES (?1, ?2, ?3, ?4)", row)?)
        })
        .await?;
    if added == 1 { Ok(()) } else { Err(UserError::Exists) }
}

pub(super) async fn remove(store: &Store, name: UserName) -> Result<(), UserError> {
    let removed =
        store.write(move |c| Ok::<_, StoreError>(c.execute("DELETE FROM user WHERE name = ?1", [name.as_str()])?));
    known(removed.await?)
}

pub(super) async fn set_record(store: &Store, name: UserName, record: String) -> Result<(), UserError> {
    let changed = store.write(move |c| {
        let row = (name.as_str(), &record);
        Ok::<_, StoreError>(c.execute("UPDATE user SET record = ?2 WHERE name = ?1", row)?)
    });
    known(changed.await?)
}

pub(super) async fn set_groups(store: &Store, name: UserName, groups: Vec<String>) -> Result<(), UserError> {
    let groups = text_of(&groups)?;
    let changed = store.write(move |c| {
        let row = (name.as_str(), &groups);
        Ok::<_, StoreError>(c.execute("UPDATE user SET groups = ?2 WHERE name = ?1", row)?)
    });
    known(changed.await?)
}

fn known(changed: usize) -> Result<(), UserError> {
    if changed == 1 { Ok(()) } else { Err(UserError::Unknown) }
}

pub(super) fn get(c: &Connection, name: &UserName) -> Result<Option<User>, StoreError> {
    Ok(with_record(c, name)?.map(|(user, _)| user))
}

pub(super) fn list(c: &Connection) -> Result<Vec<User>, StoreError> {
    let mut statement = c.prepare_cached("SELECT name, groups FROM user ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, groups): (String, String) = (row.get(0)?, row.get(1)?);
        let name = UserName::new(&name).map_err(|_| damaged())?;
        users.push(User { name, groups: groups_of(&groups)? });
    }
    Ok(users)
}

fn with_record(c: &Connection, name: &UserName) -> Result<Option<(User, String)>, StoreError> {
    let mut statement = c.prepare_cached("SELECT groups, record FROM user WHERE name = ?1")?;
    let row: Option<(String, String)> =
        statement.query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((groups, record)) = row else { return Ok(None) };
    Ok(Some((User { name: name.clone(), groups: groups_of(&groups)? }, record)))
}

/// Counts a guess, if it is not too early, and looks the user up.
pub(super) async fn count_guess(
    store: &Store,
    key: GuessKey,
    name: Option<UserName>,
    now: Stamp,
) -> Result<Looked, StoreError> {
    store
        .write(move |c| {
            let guesses = guesses(c, key)?;
            let counted = match guesses.unwrap_or(Guesses::NONE).guess(now) {
                Ok(counted) => counted,
                Err(wait) => return Ok(Looked::Wait(wait)),
            };
            write_guesses(c, key, counted, guesses.is_none())?;
            let user = name.as_ref().map(|name| with_record(c, name)).transpose()?.flatten();
            Ok(user.map_or(Looked::Unknown, |(user, record)| Looked::Found(user, record)))
        })
        .await
}

fn guesses(c: &Connection, key: GuessKey) -> Result<Option<Guesses>, StoreError> {
    let mut statement = c.prepare_cached("SELECT count, last FROM guess WHERE name = ?1")?;
    let guesses = |row: &rusqlite::Row<'_>| {
        let last: i64 = row.get(1)?;
        Ok(Guesses { count: row.get(0)?, last: Stamp(last.unsigned_abs()) })
    };
    Ok(statement.query_row([&key.0], guesses).optional()?)
}

fn write_guesses(c: &Connection, key: GuessKey, guesses: Guesses, new: bool) -> Result<(), StoreError> {
    c.prepare_cached(
        "INSERT INTO guess (name, count, last) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET count = excluded.count, last = excluded.last",
    )?
    .execute((&key.0, guesses.count, number(guesses.last.0)))?;
    if new {
        forget_old(c, guesses.last)?;
    }
    Ok(())
}

fn forget_old(c: &Connection, now: Stamp) -> Result<(), StoreError> {
    let bound = c.last_insert_rowid() % BOUND_EVERY == 0;
    c.prepare_cached("DELETE FROM guess WHERE last < ?1")?.execute([number(now.before(FORGOTTEN_AFTER).0)])?;
    if bound {
        let mut oldest = c.prepare_cached(
            "DELETE FROM guess WHERE id IN (SELECT id FROM guess ORDER BY last DESC LIMIT -1 OFFSET ?1)",
        )?;
        oldest.execute([NAMES_MOST])?;
    }
    Ok(())
}

/// Forgets the guesses of a name.
pub(super) async fn forgive(store: &Store, key: GuessKey) -> Result<(), StoreError> {
    store.write(move |c| Ok(c.execute("DELETE FROM guess WHERE name = ?1", [&key.0]).map(drop)?)).await
}

fn text_of(groups: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(groups).map_err(|_| damaged())
}

fn groups_of(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| damaged())
}

fn damaged() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a user's row is damaged")
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp(1_800_000_000_000);

    #[tokio::test]
    async fn guesses_are_forgotten_after_a_day_and_bounded() {
        let root = tempfile::tempdir().unwrap();
        let store = crate::store::open(&root.path().join("data/guard.sqlite")).unwrap();
        count_guess(&store, GuessKey::of("old"), None, NOW).await.unwrap();
        store
            .write(|c| {
                c.execute_batch(
                    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100300)
                     INSERT INTO guess (name, count, last) SELECT randomblob(32), 1, 1800000000000 + i FROM n;",
                )?;
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        let count = || -> i64 {
            let count =
                |c: &Connection| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM guess", [], |row| row.get(0))?);
            store.read(count).unwrap()
        };
        for n in 0..BOUND_EVERY {
            count_guess(&store, GuessKey::of(&n.to_string()), None, NOW.after(FORGOTTEN_AFTER)).await.unwrap();
        }
        assert!(count() <= i64::from(NAMES_MOST) + BOUND_EVERY, "{}", count());
        assert_eq!(store.read(|c| guesses(c, GuessKey::of("old"))).unwrap(), None);
        let later = NOW.after(3 * FORGOTTEN_AFTER);
        count_guess(&store, GuessKey::of("late"), None, later).await.unwrap();
        assert_eq!(count(), 1);
    }
}
