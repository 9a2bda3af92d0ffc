//! Sessions on the disk, as commands see and end them that run beside the guard, or without it.

use super::{Selector, Session, rows};
use crate::{LogicalAddress, Stamp};
use vestibule_store::{Store, StoreError};

/// Sessions that go on, with their last use, by address.
pub(crate) async fn going_on(store: &Store, now: Stamp) -> Result<Vec<(Session, Stamp)>, StoreError> {
    let rows = store.read_apart(move |c| rows::going_on(c, now)).await?;
    Ok(rows.into_iter().map(|row| (row.session, row.last_use)).collect())
}

/// Ends sessions; a running guard [follows](super::Sessions::follow).
pub(crate) async fn cut(store: &Store, selector: Selector, now: Stamp) -> Result<Vec<LogicalAddress>, StoreError> {
    store.write(move |c| rows::revoke(c, &selector, now)).await
}
