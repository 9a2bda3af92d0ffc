//! Forms that are kept for their user: one that met an ended session, to be sent after login (form rescue, PAGEGUARD section 3),
//! and one that was given before, in case its user means it (section 5).
//!
//! A form is sealed under a key that only the page which offers it again holds: the store alone can't open it.

use crate::{AppName, Stamp, UserName};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;
use vestibule_store::{Store, StoreError, StoreErrorKind};
use zeroize::Zeroizing;

/// The largest body that is kept, in bytes.
pub(crate) const BODY_LIMIT: usize = 256 << 10;
/// How long a form is kept.
const KEEP: Duration = Duration::from_secs(3_600);
/// The most forms kept of one user; the oldest makes room.
const OF_ONE_USER: u32 = 16;
/// The most bytes kept in all; beyond it nothing more is kept.
const TOTAL: i64 = 64 << 20;
/// Bytes of the number under which the store finds a form.
const NUMBER: usize = 16;
/// Bytes of the key, which the store doesn't have.
const KEY: usize = 32;

pub(crate) const SCHEMA: &str = "
CREATE TABLE kept_form (
    number BLOB PRIMARY KEY CHECK (length(number) = 16),
    user   TEXT NOT NULL,
    app    TEXT NOT NULL,
    made   INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_form_by_user ON kept_form (user, made);
";

/// A request that is kept.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(crate) struct KeptForm {
    /// Its method.
    pub(crate) method: String,
    /// Its path and query, without a token.
    pub(crate) target: String,
    /// Its `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// Its body, without a token.
    pub(crate) body: Vec<u8>,
    /// The name of the claim that it met.
    pub(crate) claim: Option<[u8; 32]>,
}

/// Number and key of a kept form as text: 64 characters of base64url. Whoever has it, and is the form's user, can send it.
pub(crate) struct Ticket(Zeroizing<String>);

/// Why a form isn't kept.
#[derive(Debug, Error)]
pub(crate) enum NotKept {
    /// It is too large, or too much is kept already.
    #[error("there is no room for it")]
    NoRoom,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All of them.
pub(crate) struct KeptForms {
    store: Store,
}

impl Ticket {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeptForms {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Keeps a form for this user.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(crate) async fn keep(
        &self,
        form: &KeptForm,
        user: &UserName,
        app: &AppName,
        now: Stamp,
    ) -> Result<Ticket, NotKept> {
        if form.body.len() > BODY_LIMIT {
            return Err(NotKept::NoRoom);
        }
        let mut secret = Zeroizing::new([0; NUMBER + KEY]);
        rand::fill(secret.as_mut()).map_err(|_| no_randomness())?;
        let number: [u8; NUMBER] = secret[..NUMBER].try_into().map_err(|_| no_randomness())?;
        let sealed = seal(form, &secret[NUMBER..], user, app).ok_or(NotKept::NoRoom)?;
        let (user, app) = (user.to_string(), app.to_string());
        self.store.write(move |c| insert(c, number, &user, &app, &sealed, now)).await?;
        Ok(Ticket(Zeroizing::new(URL_SAFE_NO_PAD.encode(&secret[..]))))
    }

    /// The form of this ticket, if it is this user's, of this application, and still kept.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn find(
        &self,
        ticket: &str,
        user: &UserName,
        app: &AppName,
        now: Stamp,
    ) -> Result<Option<KeptForm>, StoreError> {
        let Some(secret) = read(ticket) else { return Ok(None) };
        let number: Vec<u8> = secret[..NUMBER].to_vec();
        let since = stored(now.before(KEEP));
        let sealed: Option<Vec<u8>> = self
            .store
            .read_apart(move |c| {
                let sql = "SELECT sealed FROM kept_form WHERE number = ?1 AND made >= ?2";
                Ok::<_, StoreError>(c.query_row(sql, (number, since), |row| row.get(0)).optional()?)
            })
            .await?;
        Ok(sealed.and_then(|sealed| open(sealed, &secret[NUMBER..], user, app)))
    }

    /// Throws one away.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn forget(&self, ticket: &str) -> Result<(), StoreError> {
        let Some(secret) = read(ticket) else { return Ok(()) };
        let number = secret[..NUMBER].to_vec();
        self.store
            .write(move |c| {
                c.execute("DELETE FROM kept_form WHERE number = ?1", [&number])?;
                Ok(())
            })
            .await
    }

    /// Throws away what has been kept long enough. To be called once in a while.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn sweep(&self, now: Stamp) -> Result<(), StoreError> {
        let before = stored(now.before(KEEP));
        self.store
            .write(move |c| {
                c.execute("DELETE FROM kept_form WHERE made < ?1", [before])?;
                Ok(())
            })
            .await
    }
}

fn insert(
    c: &rusqlite::Connection,
    number: [u8; NUMBER],
    user: &str,
    app: &str,
    sealed: &[u8],
    now: Stamp,
) -> Result<(), NotKept> {
    let sql = "DELETE FROM kept_form WHERE user = ?1 AND number NOT IN
               (SELECT number FROM kept_form WHERE user = ?1 ORDER BY made DESC LIMIT ?2)";
    c.execute(sql, (user, OF_ONE_USER - 1)).map_err(StoreError::from)?;
    let total: i64 = c
        .query_row("SELECT coalesce(sum(length(sealed)), 0) FROM kept_form", [], |row| row.get(0))
        .map_err(StoreError::from)?;
    if total > TOTAL {
        return Err(NotKept::NoRoom);
    }
    let sql = "INSERT INTO kept_form VALUES (?1, ?2, ?3, ?4, ?5)";
    c.execute(sql, (number, user, app, stored(now), sealed)).map_err(StoreError::from)?;
    Ok(())
}

fn stored(at: Stamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn no_randomness() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "no randomness")
}

fn read(ticket: &str) -> Option<Zeroizing<Vec<u8>>> {
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(ticket).ok()?);
    (secret.len() == NUMBER + KEY).then_some(secret)
}

/// The key serves once, so that one nonce is enough.
fn key(bytes: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn context(user: &UserName, app: &AppName) -> Aad<Vec<u8>> {
    Aad::from(format!("vestibule/1 kept form\0{user}\0{app}").into_bytes())
}

fn seal(form: &KeptForm, secret: &[u8], user: &UserName, app: &AppName) -> Option<Vec<u8>> {
    let mut sealed = postcard::to_stdvec(form).ok()?;
    key(secret)?.seal_in_place_append_tag(nonce(), context(user, app), &mut sealed).ok()?;
    Some(sealed)
}

fn open(mut sealed: Vec<u8>, secret: &[u8], user: &UserName, app: &AppName) -> Option<KeptForm> {
    let opened = key(secret)?.open_in_place(nonce(), context(user, app), &mut sealed).ok()?;
    postcard::from_bytes(opened).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_store::Migration;

    const NOW: Stamp = Stamp(1_800_000_000_000);

    fn forms() -> (tempfile::TempDir, KeptForms) {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(&dir.path().join("kept/kept.sqlite"), &[Migration { name: "kept", sql: SCHEMA }]).unwrap();
        (dir, KeptForms::new(store))
    }

    fn form(body: &[u8]) -> KeptForm {
        KeptForm {
            method: "POST".to_owned(),
            target: "/orders?x=1".to_owned(),
            content_type: Some("text/plain".to_owned()),
            body: body.to_vec(),
            claim: Some([7; 32]),
        }
    }

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    #[tokio::test]
    async fn it_is_its_users_alone() {
        let (_dir, forms) = forms();
        let ticket = forms.keep(&form(b"a=1"), &user("alice"), &app("orders"), NOW).await.unwrap();
        let find = async |ticket: &str, name: &str, app_name: &str| {
            forms.find(ticket, &user(name), &app(app_name), NOW).await.unwrap()
        };
        assert!(find(ticket.as_str(), "alice", "orders").await == Some(form(b"a=1")));
        assert!(find(ticket.as_str(), "bob", "orders").await.is_none());
        assert!(find(ticket.as_str(), "alice", "other").await.is_none());
        let mut altered = ticket.as_str().to_owned().into_bytes();
        altered[40] = if altered[40] == b'A' { b'B' } else { b'A' };
        assert!(find(std::str::from_utf8(&altered).unwrap(), "alice", "orders").await.is_none());
        for nonsense in ["", "x", "ä", &"A".repeat(64)] {
            assert!(find(nonsense, "alice", "orders").await.is_none());
        }
        forms.forget(ticket.as_str()).await.unwrap();
        assert!(find(ticket.as_str(), "alice", "orders").await.is_none());
    }

    #[tokio::test]
    async fn it_is_not_kept_for_ever() {
        let (_dir, forms) = forms();
        let ticket = forms.keep(&form(b""), &user("alice"), &app("orders"), NOW).await.unwrap();
        let later = NOW.after(KEEP).after(Duration::from_millis(1));
        assert!(forms.find(ticket.as_str(), &user("alice"), &app("orders"), later).await.unwrap().is_none());
        forms.sweep(later).await.unwrap();
        assert!(forms.find(ticket.as_str(), &user("alice"), &app("orders"), NOW).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_oldest_makes_room_and_the_largest_is_refused() {
        let (_dir, forms) = forms();
        let mut tickets = Vec::new();
        for n in 0..=OF_ONE_USER {
            let at = NOW.after(Duration::from_millis(u64::from(n)));
            tickets.push(forms.keep(&form(b""), &user("alice"), &app("orders"), at).await.unwrap());
        }
        let mut kept = Vec::new();
        for ticket in &tickets {
            kept.push(forms.find(ticket.as_str(), &user("alice"), &app("orders"), NOW).await.unwrap().is_some());
        }
        assert!(!kept[0]);
        assert!(kept[1..].iter().all(|kept| *kept));
        let large = form(&vec![0; BODY_LIMIT + 1]);
        assert!(matches!(forms.keep(&large, &user("alice"), &app("orders"), NOW).await, Err(NotKept::NoRoom)));
    }
}
