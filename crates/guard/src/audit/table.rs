//! The entries in the store, to be asked for.

use super::entry::{AuditQuery, Entry};
use crate::Stamp;
use rusqlite::{Connection, params};
use vestibule_store::{StoreError, StoreErrorKind};

/// The tables of this module.
pub(crate) const SCHEMA: &str = "
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    -- Milliseconds since 1970.
    at INTEGER NOT NULL,
    user TEXT NOT NULL,
    app TEXT NOT NULL,
    -- The entry as it stands in the file of lines.
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_user ON audit (user, id);
CREATE INDEX audit_by_app ON audit (app, id);";

/// The most entries of one answer.
const MOST: usize = 10_000;

/// The number of the last entry; 0 when there is none.
pub(super) fn last(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?)
}

/// Adds entries; those already there stay as they are.
pub(super) fn insert(c: &Connection, batch: &[(i64, Entry)]) -> Result<(), StoreError> {
    let mut statement =
        c.prepare_cached("INSERT OR IGNORE INTO audit (id, at, user, app, entry) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (id, entry) in batch {
        let text = serde_json::to_string(entry).map_err(unreadable)?;
        statement.execute(params![id, whole(entry.at), entry.user.as_str(), entry.app.as_str(), text])?;
    }
    Ok(())
}

/// The latest that fit, the latest first.
pub(super) fn query(c: &Connection, query: &AuditQuery) -> Result<Vec<Entry>, StoreError> {
    let mut statement = c.prepare_cached(
        "SELECT entry FROM audit WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR app = ?2) AND at >= ?3
         ORDER BY id DESC LIMIT ?4",
    )?;
    let user = query.user.as_ref().map(crate::UserName::as_str);
    let app = query.app.as_ref().map(crate::AppName::as_str);
    let since = query.since.map_or(0, whole);
    let limit = i64::try_from(query.limit.min(MOST)).unwrap_or(0);
    let rows = statement.query_map(params![user, app, since, limit], |row| row.get::<_, String>(0))?;
    rows.map(|text| serde_json::from_str(&text?).map_err(unreadable)).collect()
}

/// Removes what is older than `before`, and the oldest beyond `rows`.
pub(super) fn sweep(c: &Connection, before: Stamp, rows: u64) -> Result<(), StoreError> {
    c.execute("DELETE FROM audit WHERE at < ?1", [whole(before)])?;
    // Numbers follow each other, so that the count needs no counting.
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    c.execute("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?1", [rows])?;
    Ok(())
}

fn whole(stamp: Stamp) -> i64 {
    i64::try_from(stamp.0).unwrap_or(i64::MAX)
}

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("an entry of the audit log: {error}"))
}
