//! Schema steps: forward only, each in a transaction of its own, counted by SQLite's `user_version`.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{StoreError, StoreErrorKind};

/// One step of the schema. Its version is its position in the list, counted from 1; a published step never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What the step brings, for the log: a few words.
    pub name: &'static str,
    /// One or more SQL statements. They run once, in one transaction together with the new `user_version`.
    pub sql: &'static str,
}

/// Brings the file to the last version of `migrations`.
///
/// Errors: [`TooNew`](StoreErrorKind::TooNew) when the file is ahead of the list,
/// [`Corrupt`](StoreErrorKind::Corrupt) when it holds tables that are not ours.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[Migration]) -> Result<(), StoreError> {
    refuse_foreign(connection)?;
    // Each step asks for the version again inside its transaction: two processes may start at once.
    while step(connection, migrations)? {}
    Ok(())
}

fn step(connection: &mut Connection, migrations: &[Migration]) -> Result<bool, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    if version > migrations.len() {
        let detail = format!("schema {version}, this program knows up to {}", migrations.len());
        return Err(StoreError::new(StoreErrorKind::TooNew, detail));
    }
    let Some(migration) = migrations.get(version) else { return Ok(false) };
    transaction.execute_batch(migration.sql)?;
    let next = i64::try_from(version + 1).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", next)?;
    transaction.commit()?;
    tracing::info!(version = version + 1, name = migration.name, "schema step done");
    Ok(true)
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| StoreError::new(StoreErrorKind::Corrupt, format!("schema version {version}")))
}

fn refuse_foreign(connection: &Connection) -> Result<(), StoreError> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && version(connection)? == 0 {
        return Err(StoreError::new(StoreErrorKind::Corrupt, "tables of another program"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { name: "first", sql: "CREATE TABLE a (x INTEGER) STRICT;" };
    const SECOND: Migration =
        Migration { name: "second", sql: "ALTER TABLE a ADD COLUMN y TEXT; INSERT INTO a VALUES (1, 'b');" };
    const BROKEN: Migration = Migration { name: "broken", sql: "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);" };

    fn memory() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[test]
    fn steps_run_once_and_in_order() {
        let mut connection = memory();
        migrate(&mut connection, &[FIRST]).unwrap();
        migrate(&mut connection, &[FIRST, SECOND]).unwrap();
        migrate(&mut connection, &[FIRST, SECOND]).unwrap();
        let rows: i64 = connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, version(&connection).unwrap()), (1, 2));
    }

    #[test]
    fn a_failing_step_leaves_nothing_behind() {
        let mut connection = memory();
        migrate(&mut connection, &[FIRST]).unwrap();
        migrate(&mut connection, &[FIRST, BROKEN]).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        connection.query_row("SELECT * FROM b", [], |_| Ok(())).unwrap_err();
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let mut connection = memory();
        migrate(&mut connection, &[FIRST, SECOND]).unwrap();
        assert_eq!(migrate(&mut connection, &[FIRST]).unwrap_err().kind(), StoreErrorKind::TooNew);
        assert_eq!(version(&connection).unwrap(), 2);
    }

    #[test]
    fn a_database_of_somebody_else_is_refused() {
        let mut connection = memory();
        connection.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
        assert_eq!(migrate(&mut connection, &[FIRST]).unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
}
