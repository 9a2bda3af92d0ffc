//! The counts in the store.

use std::collections::HashMap;

use vestibule_store::rusqlite::{Connection, params};
use vestibule_store::{Store, StoreError};

use super::{Cell, Key, Showing};
use crate::classify::Kind;
use crate::names::AppName;
use crate::path::PathShape;

/// The table.
pub(crate) const SCHEMA: &str = "CREATE TABLE coverage (
    app TEXT NOT NULL, kind TEXT NOT NULL, showing TEXT NOT NULL, method TEXT NOT NULL, shape TEXT NOT NULL,
    page TEXT, element TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (app, kind, showing, method, shape)
) STRICT, WITHOUT ROWID;";

pub(super) type Row = (AppName, Key, Cell);

/// Writes whole counts, not what was added: written twice they stay right.
pub(super) async fn save(store: &Store, rows: Vec<Row>) -> Result<(), StoreError> {
    store.write(move |connection| rows.iter().try_for_each(|row| save_one(connection, row))).await
}

fn save_one(connection: &Connection, (app, key, cell): &Row) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO coverage VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
    statement.execute(params![
        app.as_str(),
        key.kind.word(),
        key.showing.word(),
        &*key.method,
        key.shape.as_str(),
        cell.page.as_ref().map(PathShape::as_str),
        cell.element,
        i64::try_from(cell.count).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

/// Rows that this version doesn't know are left out.
pub(super) fn load(store: &Store) -> Result<HashMap<AppName, HashMap<Key, Cell>>, StoreError> {
    store.read(|connection| {
        let mut cells: HashMap<AppName, HashMap<Key, Cell>> = HashMap::new();
        let mut statement =
            connection.prepare("SELECT app, kind, showing, method, shape, page, element, count FROM coverage")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let names = (AppName::new(&row.get::<_, String>(0)?), Kind::from_word(&row.get::<_, String>(1)?));
            let showing = Showing::from_word(&row.get::<_, String>(2)?);
            let ((Ok(app), Some(kind)), Some(showing)) = (names, showing) else { continue };
            let method = row.get::<_, String>(3)?.into();
            let key = Key { kind, showing, method, shape: PathShape::from_stored(row.get(4)?) };
            let page = row.get::<_, Option<String>>(5)?.map(PathShape::from_stored);
            let count = u64::try_from(row.get::<_, i64>(7)?).unwrap_or_default();
            cells.entry(app).or_default().insert(key, Cell { count, page, element: row.get(6)?, unsaved: false });
        }
        Ok(cells)
    })
}
