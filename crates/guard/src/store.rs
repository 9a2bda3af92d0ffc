//! The guard's one file: what of each module outlives a restart.

use crate::{sessions, token};
use std::path::Path;
use vestibule_store::{Migration, Store, StoreError};

/// Each module's tables, in the order in which they came to be: only ever appended to.
const MIGRATIONS: &[Migration] =
    &[Migration { name: "page keys", sql: token::SCHEMA }, Migration { name: "sessions", sql: sessions::SCHEMA }];

/// Opens the store, and makes it where there is none.
///
/// # Errors
/// [`StoreError`]: the file can't be used, and why.
pub fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, MIGRATIONS)
}
