//! The guard's one file: what of each module outlives a restart.

use crate::{audit, coverage, kept, once, sessions, token, users};
use std::path::Path;
use vestibule_store::{Migration, Store, StoreError};

/// Each module's tables, in the order in which they came to be: only ever appended to.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "page keys", sql: token::SCHEMA },
    Migration { name: "sessions", sql: sessions::SCHEMA },
    Migration { name: "answers", sql: once::SCHEMA },
    Migration { name: "audit", sql: audit::SCHEMA },
    Migration { name: "users", sql: users::SCHEMA },
    Migration { name: "coverage", sql: coverage::SCHEMA },
    Migration { name: "kept forms", sql: kept::SCHEMA },
    Migration { name: "keys of browsers", sql: sessions::ENTRY_KEY },
];

/// Opens the store, and makes it where there is none.
///
/// # Errors
/// [`StoreError`]: the file can't be used, and why.
pub fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, MIGRATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_make_one_schema_and_only_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data/guard.sqlite");
        drop(open(&path).unwrap());
        let again = open(&path).unwrap();
        let version: i64 =
            again.read(|c| Ok::<_, StoreError>(c.query_row("PRAGMA user_version", [], |row| row.get(0))?)).unwrap();
        assert_eq!(usize::try_from(version), Ok(MIGRATIONS.len()));
        for table in ["page_key", "answer", "audit"] {
            let sql = format!("SELECT count(*) FROM {table}");
            assert_eq!(
                again.read(|c| Ok::<i64, StoreError>(c.query_row(&sql, [], |row| row.get(0))?)),
                Ok(0),
                "{table}"
            );
        }
    }
}
