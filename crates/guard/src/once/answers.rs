//! Where the sealed answers are kept: bounded in number of bytes and in time, the oldest go first.

use super::name::ClaimName;
use crate::{LogicalAddress, Stamp};
use rusqlite::{Connection, OptionalExtension, Params, params};
use std::sync::atomic::{AtomicU64, Ordering};
use vestibule_store::{Store, StoreError};

/// The tables of this module.
pub(crate) const SCHEMA: &str = "
CREATE TABLE answer (
    -- In the order in which they came: the oldest go first.
    n INTEGER PRIMARY KEY,
    -- The claim that it answers.
    claim BLOB NOT NULL UNIQUE,
    -- The logical address whose claim it was.
    address TEXT NOT NULL,
    -- Milliseconds since 1970 after which it isn't handed out any more.
    expires INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX answer_by_address ON answer (address);
CREATE INDEX answer_by_expiry ON answer (expires);";

/// The answers in the store.
pub(crate) struct Answers {
    store: Store,
    /// Bytes of all sealed answers.
    total: AtomicU64,
    limit: u64,
}

impl Answers {
    /// # Errors
    /// The store can't be read.
    pub(crate) fn open(store: Store, limit: u64) -> Result<Self, StoreError> {
        let total = store.read(|c| {
            let sum = "SELECT coalesce(sum(length(sealed)), 0) FROM answer";
            Ok::<i64, StoreError>(c.query_row(sum, [], |row| row.get(0))?)
        })?;
        let total = u64::try_from(total).unwrap_or(0);
        Ok(Self { store, total: AtomicU64::new(total), limit })
    }

    /// Keeps an answer; the oldest make room for it.
    pub(crate) async fn put(
        &self,
        name: ClaimName,
        address: LogicalAddress,
        expires: Stamp,
        sealed: Vec<u8>,
    ) -> Result<(), StoreError> {
        let size = sealed.len() as u64;
        let excess = (self.total.fetch_add(size, Ordering::Relaxed) + size).saturating_sub(self.limit);
        let put = move |c: &Connection| {
            let freed = make_room(c, excess)?;
            c.prepare_cached(
                "INSERT OR REPLACE INTO answer (claim, address, expires, sealed) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![name.0, address.to_string(), whole(expires), sealed])?;
            Ok::<_, StoreError>(freed)
        };
        let outcome = self.store.write(put).await;
        self.shrink(outcome.as_ref().map_or(size, |freed| *freed));
        outcome.map(drop)
    }

    /// The sealed answer to a claim, unless it has expired or had to make room.
    pub(crate) async fn get(&self, name: ClaimName, now: Stamp) -> Result<Option<Vec<u8>>, StoreError> {
        let get = move |c: &Connection| {
            let mut statement = c.prepare_cached("SELECT sealed FROM answer WHERE claim = ?1 AND expires > ?2")?;
            Ok::<_, StoreError>(statement.query_row(params![name.0, whole(now)], |row| row.get(0)).optional()?)
        };
        self.store.read_apart(get).await
    }

    /// Removes what has expired.
    pub(crate) async fn expire(&self, now: Stamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM answer WHERE expires <= ?1 RETURNING length(sealed)";
        let freed = self.store.write(move |c| removed(c, sql, [whole(now)])).await?;
        self.shrink(freed);
        Ok(())
    }

    /// Removes all answers of an address: its session has ended.
    pub(crate) async fn forget(&self, address: LogicalAddress) -> Result<(), StoreError> {
        let sql = "DELETE FROM answer WHERE address = ?1 RETURNING length(sealed)";
        let freed = self.store.write(move |c| removed(c, sql, [address.to_string()])).await?;
        self.shrink(freed);
        Ok(())
    }

    /// Bytes of all sealed answers.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn shrink(&self, freed: u64) {
        let less = |total: u64| Some(total.saturating_sub(freed));
        let _ = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Removes the oldest answers until this many bytes are free; says how many became so.
fn make_room(c: &Connection, excess: u64) -> Result<u64, StoreError> {
    let mut freed = 0;
    while freed < excess {
        let oldest = "DELETE FROM answer WHERE n = (SELECT min(n) FROM answer) RETURNING length(sealed)";
        match removed(c, oldest, [])? {
            0 => break,
            size => freed += size,
        }
    }
    Ok(freed)
}

/// Runs a removal and adds up the sizes that it returns.
fn removed(c: &Connection, sql: &str, which: impl Params) -> Result<u64, StoreError> {
    let mut statement = c.prepare_cached(sql)?;
    let sizes = statement.query_map(which, |row| row.get::<_, i64>(0))?;
    let mut sum = 0;
    for size in sizes {
        sum += u64::try_from(size?).unwrap_or(0);
    }
    Ok(sum)
}

/// SQLite's whole numbers have a sign.
fn whole(stamp: Stamp) -> i64 {
    i64::try_from(stamp.0).unwrap_or(i64::MAX)
}
