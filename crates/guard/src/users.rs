//! The users of a guard that runs alone: names, groups, passwords, and how often those may be guessed.
//!
//! A wrong password costs the same, and delays the same, whether there is such a user or not.

mod guesses;
mod password;
mod rows;

pub use password::{PASSWORD_LONGEST, PasswordError};
pub(crate) use rows::SCHEMA;

use crate::{Stamp, UserName};
use password::{Kdf, Password};
use rows::{GuessKey, Looked};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use vestibule_policy::InvalidGrant;
use vestibule_store::{Store, StoreError, StoreErrorKind};

/// So many logins may wait for their turn; further ones are turned away.
const WAITING_MOST: usize = 64;

/// What a password costs to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsersSettings {
    /// The memory of Argon2id, in KiB.
    pub memory_kib: u32,
    /// The passes of Argon2id.
    pub passes: u32,
    /// So many passwords are tried at the same time.
    pub at_once: usize,
}

impl Default for UsersSettings {
    /// 64 MiB, 3 passes (RFC 9106, the second recommendation, with one lane), two at a time.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, at_once: 2 }
    }
}

/// A user as everybody may know them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The name.
    pub name: UserName,
    /// The groups, sorted.
    pub groups: Vec<String>,
}

/// Why nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UserError {
    /// There is one of this name.
    #[error("there is a user of this name already")]
    Exists,
    /// There is none of this name.
    #[error("there is no user of this name")]
    Unknown,
    /// The password can't be one.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A group's name can't be one.
    #[error(transparent)]
    Group(#[from] InvalidGrant),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nobody was let in.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LoginError {
    /// The password is wrong, or there is no such user.
    #[error("user name or password is wrong")]
    Wrong,
    /// Too many were wrong: not before so much time has passed. Even the right one is not looked at.
    #[error("too many wrong passwords; try again in {} s", .0.as_secs() + 1)]
    Wait(Duration),
    /// Too many log in at the same time.
    #[error("too many log in at the same time")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The users.
pub struct Users {
    store: Store,
    kdf: Kdf,
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Users {
    /// The users in `store`.
    ///
    /// # Errors
    /// The settings are not ones that Argon2 takes.
    pub fn open(store: Store, settings: UsersSettings) -> Result<Self, StoreError> {
        let kdf = Kdf::new(settings.memory_kib, settings.passes).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Other, "memory and passes are not ones that Argon2 takes")
        })?;
        let turns = Semaphore::new(settings.at_once.max(1));
        Ok(Self { store, kdf, turns, waiting: AtomicUsize::new(0) })
    }

    /// Adds a user. Whether the password is a good one is for the caller to say.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn add(&self, name: &UserName, groups: &[String], password: &str, now: Stamp) -> Result<(), UserError> {
        let groups = checked(groups)?;
        let record = self.record(password).await?;
        rows::add(&self.store, name.clone(), groups, record, now).await
    }

    /// Removes a user. Sessions are for the caller to revoke.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn remove(&self, name: &UserName) -> Result<(), UserError> {
        rows::remove(&self.store, name.clone()).await
    }

    /// Gives a user another password, and forgives the wrong ones. Sessions go on.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn set_password(&self, name: &UserName, password: &str) -> Result<(), UserError> {
        let record = self.record(password).await?;
        rows::set_record(&self.store, name.clone(), record).await?;
        Ok(rows::forgive(&self.store, GuessKey::of(name.as_str())).await?)
    }

    /// Gives a user other groups. Sessions keep those that they began with.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn set_groups(&self, name: &UserName, groups: &[String]) -> Result<(), UserError> {
        rows::set_groups(&self.store, name.clone(), checked(groups)?).await
    }

    /// One user.
    ///
    /// # Errors
    /// The store failed.
    pub fn get(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        self.store.read(|c| rows::get(c, name))
    }

    /// All users, by name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self) -> Result<Vec<User>, StoreError> {
        self.store.read_apart(rows::list).await
    }

    /// Tries a password that somebody typed beside a name. The guess is counted on the disk before it is looked at, so that many at
    /// once are not more than they may be.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn verify(&self, name: &str, password: &str, now: Stamp) -> Result<User, LoginError> {
        let _turn = self.turn().await?;
        let key = GuessKey::of(name);
        let user = UserName::new(name).ok();
        let found = match rows::count_guess(&self.store, key, user, now).await? {
            Looked::Wait(wait) => return Err(LoginError::Wait(wait)),
            Looked::Unknown => None,
            Looked::Found(user, record) => Some((user, record)),
        };
        let (user, record) = found.unzip();
        let kdf = self.kdf.clone();
        // What can't be a password is tried as one all the same: as long, and as wrong.
        let password = Password::new(password).unwrap_or_default();
        let (right, renewed) = apart(move || kdf.verify(&password, record.as_deref())).await?;
        let Some(user) = user.filter(|_| right) else { return Err(LoginError::Wrong) };
        rows::forgive(&self.store, key).await?;
        if let Some(record) = renewed {
            // Somebody may have removed the user meanwhile: nothing to renew then.
            let _ = rows::set_record(&self.store, user.name.clone(), record).await;
        }
        Ok(user)
    }

    async fn record(&self, password: &str) -> Result<String, UserError> {
        let (kdf, password) = (self.kdf.clone(), Password::new(password)?);
        let record = apart(move || kdf.record(&password)).await?;
        record.ok_or_else(|| StoreError::new(StoreErrorKind::Other, "Argon2 gave no hash").into())
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, LoginError> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MOST {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(LoginError::Busy);
        }
        let _waits = Waits(&self.waiting);
        self.turns.acquire().await.map_err(|_| LoginError::Busy)
    }
}

/// Counts one less when it goes, also when the one who waited went away.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn checked(groups: &[String]) -> Result<Vec<String>, InvalidGrant> {
    let mut groups: Vec<String> =
        groups.iter().map(|group| vestibule_policy::check_group_name(group)).collect::<Result<_, _>>()?;
    groups.sort();
    groups.dedup();
    Ok(groups)
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let failed = |_| StoreError::new(StoreErrorKind::Other, "hashing a password panicked");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

#[cfg(test)]
mod tests;
