//! The keyring of a running guard: kept in its store, turned in time, shared by all requests.

use super::keyring::{KeyRecord, Keyring, KeyringSettings};
use super::{Context, NONCE_LEN, Page, PageToken, TokenError};
use crate::Stamp;
use aws_lc_rs::rand;
use rusqlite::{Connection, Row};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use vestibule_store::{Store, StoreError, StoreErrorKind};
use zeroize::Zeroizing;

/// A store that fails is not asked more often.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);
/// Clocks are looked at so often at least, since somebody may put them right.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The keys stand in the store as they are: who may read its file (0600) may read the sessions in it too.
pub(crate) const SCHEMA: &str = "
CREATE TABLE page_key (
    id     INTEGER PRIMARY KEY,
    made   INTEGER NOT NULL,
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;
";

/// Seals and opens pages, with keys that outlive a restart.
pub struct PageKeys {
    store: Store,
    ring: RwLock<Keyring>,
    turning: tokio::sync::Mutex<()>,
}

impl PageKeys {
    /// Takes the keys out of the store, and makes the first where there is none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn open(store: Store, settings: KeyringSettings, now: Stamp) -> Result<Self, StoreError> {
        let mut keys = store.read_apart(kept).await?;
        if keys.is_empty() {
            let first = fresh(1, now)?;
            write(&store, first.clone(), 1).await?;
            keys.push(first);
        }
        let (newest, older) = keys.split_first().ok_or_else(lost)?;
        let ring = RwLock::new(Keyring::new(settings, newest, older));
        let keys = Self { store, ring, turning: tokio::sync::Mutex::default() };
        keys.rotate_if_due(now).await?;
        Ok(keys)
    }

    /// Turns to a fresh key where that is due: to be called at [`poll_timeout`](Self::poll_timeout), early calls do nothing.
    ///
    /// # Errors
    /// The store failed: the old key goes on sealing.
    pub async fn rotate_if_due(&self, now: Stamp) -> Result<bool, StoreError> {
        let _one_at_a_time = self.turning.lock().await;
        if !self.ring().is_due(now) {
            return Ok(false);
        }
        let key = fresh(self.ring().next_id(), now)?;
        // First on the disk, so that no page is sealed with a key that a restart forgets; the rest of the old keys goes later.
        write(&self.store, key.clone(), 0).await?;
        let oldest = self.ring.write().unwrap_or_else(PoisonError::into_inner).rotate(&key);
        write(&self.store, key, oldest).await?;
        Ok(true)
    }

    /// When the next rotation is due.
    pub fn poll_timeout(&self) -> Stamp {
        self.ring().poll_timeout()
    }

    /// Turns whenever that is due, for ever. `clock` tells the time.
    pub async fn keep(&self, clock: impl Fn() -> Stamp) {
        loop {
            if let Err(error) = self.rotate_if_due(clock()).await {
                tracing::warn!(%error, "no fresh page key could be written down; the old one goes on sealing");
            }
            let wait = self.poll_timeout().since(clock()).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
            tokio::time::sleep(wait).await;
        }
    }

    /// Seals a page under a fresh nonce.
    ///
    /// # Panics
    /// If the operating system gives no randomness, or no memory.
    pub fn seal(&self, page: &Page, context: &Context<'_>) -> PageToken {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the operating system gives randomness");
        self.ring().seal(page, context, nonce)
    }

    /// Opens a token in the session and application of `context`.
    ///
    /// # Errors
    /// [`TokenError`]: it can't be used, whatever it is.
    pub fn open_token(&self, text: &str, context: &Context<'_>, now: Stamp) -> Result<Page, TokenError> {
        self.ring().open(text, context, now)
    }

    fn ring(&self) -> RwLockReadGuard<'_, Keyring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh(id: u32, made: Stamp) -> Result<KeyRecord, StoreError> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(secret.as_mut()).map_err(|_| StoreError::new(StoreErrorKind::Other, "no randomness"))?;
    Ok(KeyRecord { id, made, secret })
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a page key is damaged")
}

/// Newest first.
fn kept(c: &Connection) -> Result<Vec<KeyRecord>, StoreError> {
    let mut statement = c.prepare_cached("SELECT id, made, secret FROM page_key ORDER BY id DESC")?;
    let rows = statement.query_map([], record)?;
    rows.map(|row| Ok(row?)).collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let made: i64 = row.get(1)?;
    Ok(KeyRecord { id: row.get(0)?, made: Stamp(made.unsigned_abs()), secret: Zeroizing::new(row.get(2)?) })
}

/// Writes a key down, and forgets all before `oldest`.
async fn write(store: &Store, key: KeyRecord, oldest: u32) -> Result<(), StoreError> {
    store
        .write(move |c| {
            let made = i64::try_from(key.made.0).unwrap_or(i64::MAX);
            c.execute("INSERT OR IGNORE INTO page_key VALUES (?1, ?2, ?3)", (key.id, made, &*key.secret))?;
            c.execute("DELETE FROM page_key WHERE id < ?1", [oldest])?;
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AppName;
    use crate::token::tests::{context, page};

    const HOUR: Duration = Duration::from_secs(3_600);
    const SETTINGS: KeyringSettings = KeyringSettings { rotate_every: HOUR, page_lifetime: Duration::from_secs(7_200) };

    fn store(root: &tempfile::TempDir) -> Store {
        crate::store::open(&root.path().join("data/guard.sqlite")).unwrap()
    }

    fn ids(store: &Store) -> Vec<u32> {
        store.read(kept).unwrap().iter().map(|key| key.id).collect()
    }

    #[tokio::test]
    async fn pages_outlive_a_restart_and_keys_are_forgotten_in_time() {
        let root = tempfile::tempdir().unwrap();
        let start = Stamp(1_000_000_000_000);
        let app = AppName::new("orders").unwrap();
        let keys = PageKeys::open(store(&root), SETTINGS, start).await.unwrap();
        let old = keys.seal(&page(start), &context(&app));
        assert!(!keys.rotate_if_due(start.after(HOUR - Duration::from_millis(1))).await.unwrap());
        assert!(keys.rotate_if_due(start.after(HOUR)).await.unwrap());
        drop(keys);

        let keys = PageKeys::open(store(&root), SETTINGS, start.after(HOUR)).await.unwrap();
        assert_eq!(keys.open_token(old.as_str(), &context(&app), start.after(HOUR)), Ok(page(start)));
        assert_eq!(keys.poll_timeout(), start.after(2 * HOUR));
        assert_eq!(ids(&keys.store), [2, 1]);
        keys.rotate_if_due(start.after(3 * HOUR)).await.unwrap();
        assert_eq!(ids(&keys.store), [3, 2], "the first key's last page has expired");
        assert_eq!(keys.open_token(old.as_str(), &context(&app), start.after(3 * HOUR)), Err(TokenError::Expired));
    }
}
