//! A guard's files, as commands use them that run beside the guard or without it: no word passes between the two but by what is
//! written down. A running guard looks for it twice a second.

use crate::coverage::{Coverage, Report};
use crate::guard::wall_clock;
use crate::sessions::{self, Selector, Session};
use crate::users::{Users, UsersSettings};
use crate::{AppName, AuditQuery, Entry, LogicalAddress, Stamp, audit, store};
use std::path::{Path, PathBuf};
use vestibule_store::{Store, StoreError};

/// The files of a guard.
pub struct Files {
    store: Store,
}

/// A session as it is written down.
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Who and where it is.
    pub session: Session,
    /// When it was last used; of a running guard's this may be a minute old.
    pub last_use: Stamp,
}

impl Files {
    /// Where a guard in `dir` keeps its store.
    #[must_use]
    pub fn store_in(dir: &Path) -> PathBuf {
        dir.join("guard.sqlite")
    }

    /// Opens the files of the guard in `dir`, and makes them where there are none.
    ///
    /// # Errors
    /// The store can't be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { store: store::open(&Self::store_in(dir))? })
    }

    /// The users.
    ///
    /// # Errors
    /// None of today's; see [`Users::open`].
    pub fn users(&self) -> Result<Users, StoreError> {
        Users::open(self.store.clone(), UsersSettings::default())
    }

    /// Sessions that have not ended, by logical address. One that was idle for too long stands here until the guard has seen to it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn sessions(&self) -> Result<Vec<Recorded>, StoreError> {
        let going_on = sessions::going_on(&self.store, wall_clock()).await?;
        Ok(going_on.into_iter().map(|(session, last_use)| Recorded { session, last_use }).collect())
    }

    /// Ends sessions in the owner's name. A running guard cuts what they have open within a second.
    ///
    /// # Errors
    /// The store can't be written: none has ended.
    pub async fn cut(&self, selector: Selector) -> Result<Vec<LogicalAddress>, StoreError> {
        sessions::cut(&self.store, selector, wall_clock()).await
    }

    /// What was counted of an application; of a running guard's the last seconds may be missing.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn coverage(&self, app: &AppName) -> Result<Report, StoreError> {
        Ok(Coverage::open(&self.store)?.report(app))
    }

    /// The applications of which anything was counted.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn counted(&self) -> Result<Vec<AppName>, StoreError> {
        Ok(Coverage::open(&self.store)?.apps())
    }

    /// Commands that were given, the latest first; of a running guard's those of the last half second may be missing.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn commands(&self, query: AuditQuery) -> Result<Vec<Entry>, StoreError> {
        audit::query(&self.store, query).await
    }
}
