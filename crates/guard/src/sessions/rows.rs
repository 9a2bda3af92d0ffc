//! Sessions on the disk.

use super::live::{Live, Session};
use super::{Gone, Network, Selector};
use crate::{Binding, EntryKey, LogicalAddress, Proof, Stamp, UserName};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashSet;
use vestibule_store::{Store, StoreError, StoreErrorKind};

/// A session that is over stays for as long as its address rests or its client may ask what became of it.
pub(crate) const SCHEMA: &str = "
CREATE TABLE session (
    id       BLOB PRIMARY KEY CHECK (length(id) = 16),
    binding  BLOB NOT NULL CHECK (length(binding) = 32),
    address  TEXT NOT NULL,
    user     TEXT NOT NULL,
    groups   TEXT NOT NULL,
    device   TEXT,
    client   TEXT,
    proof    TEXT NOT NULL CHECK (proof IN ('tunnel', 'cookie')),
    started  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    last_use INTEGER NOT NULL,
    serials  INTEGER NOT NULL,
    ended    INTEGER,
    why      TEXT CHECK ((why IS NULL) = (ended IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX session_binding ON session (binding) WHERE ended IS NULL;
CREATE UNIQUE INDEX session_address ON session (address) WHERE ended IS NULL;
CREATE INDEX session_ended ON session (ended) WHERE ended IS NOT NULL;
CREATE TABLE own_network (one INTEGER PRIMARY KEY CHECK (one = 1), network TEXT NOT NULL) STRICT;
";

/// The public key of the browser in which somebody signed in.
pub(crate) const ENTRY_KEY: &str = "
ALTER TABLE session ADD COLUMN entry_key BLOB CHECK (entry_key IS NULL OR length(entry_key) = 65);
";

/// Names a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId(pub(super) [u8; 16]);

/// A session as it is kept.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) id: SessionId,
    pub(super) session: Session,
    pub(super) last_use: Stamp,
    /// Serials below may have been given.
    pub(super) serials: u64,
    pub(super) ended: Option<(Stamp, Gone)>,
}

/// The end of a session.
#[derive(Clone)]
pub(super) struct End {
    pub(super) id: SessionId,
    pub(super) at: Stamp,
    pub(super) why: Gone,
}

impl Row {
    pub(super) fn of(live: &Live) -> Self {
        let (session, serials) = (live.session().clone(), live.reserved_serials());
        Self { id: live.id(), session, last_use: live.last_use(), serials, ended: None }
    }
}

/// The network drawn at the first start: `fresh`, if this is it.
pub(super) async fn own_network(store: &Store, fresh: Network) -> Result<Network, StoreError> {
    let text: String = store
        .write(move |c| {
            c.execute("INSERT OR IGNORE INTO own_network VALUES (1, ?1)", [fresh.to_string()])?;
            Ok::<_, StoreError>(c.query_row("SELECT network FROM own_network", [], |row| row.get(0))?)
        })
        .await?;
    text.parse().map_err(|_| damaged())
}

pub(super) async fn insert(store: &Store, row: Row) -> Result<(), StoreError> {
    store.write(move |c| insert_row(c, &row)).await
}

fn insert_row(c: &Connection, row: &Row) -> Result<(), StoreError> {
    let session = &row.session;
    let groups = serde_json::to_string(&session.groups).map_err(|_| damaged())?;
    c.prepare_cached(
        "INSERT INTO session (id, binding, address, user, groups, device, client, proof, started, expires, last_use, serials,
                              entry_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute((
        &row.id.0,
        &session.binding.0,
        session.address.to_string(),
        session.user.as_str(),
        groups,
        &session.device,
        session.client.map(|client| client.to_string()),
        word_of_proof(session.proof),
        number(session.started.0),
        number(session.expires.0),
        number(row.last_use.0),
        number(row.serials),
        session.entry_key.as_ref().map(|key| &key.as_bytes()[..]),
    ))?;
    Ok(())
}

/// Writes down that serials below `serials` may have been given.
pub(super) async fn reserve(store: &Store, id: SessionId, serials: u64) -> Result<(), StoreError> {
    let reserved = store
        .write(move |c| {
            let mut statement = c.prepare_cached("UPDATE session SET serials = ?2 WHERE id = ?1")?;
            Ok::<_, StoreError>(statement.execute((&id.0, number(serials)))?)
        })
        .await?;
    let missing = || StoreError::new(StoreErrorKind::Other, "the session is not written down");
    if reserved == 1 { Ok(()) } else { Err(missing()) }
}

pub(super) async fn touch(store: &Store, used: Vec<(SessionId, Stamp)>) -> Result<(), StoreError> {
    if used.is_empty() {
        return Ok(());
    }
    store
        .write(move |c| {
            let mut statement = c.prepare_cached("UPDATE session SET last_use = ?2 WHERE id = ?1")?;
            used.iter().try_for_each(|(id, at)| statement.execute((&id.0, number(at.0))).map(drop))?;
            Ok(())
        })
        .await
}

/// Writes ends down, of one session the first; and forgets sessions that ended before `forget`.
pub(super) async fn end(store: &Store, ends: Vec<End>, forget: Stamp) -> Result<(), StoreError> {
    store
        .write(move |c| {
            let mut statement =
                c.prepare_cached("UPDATE session SET ended = ?2, why = ?3 WHERE id = ?1 AND ended IS NULL")?;
            for End { id, at, why } in &ends {
                statement.execute((&id.0, number(at.0), word_of_end(*why)))?;
            }
            c.prepare_cached("DELETE FROM session WHERE ended < ?1")?.execute([number(forget.0)])?;
            Ok(())
        })
        .await
}

/// Those that go on and have not expired, by address.
pub(super) fn going_on(c: &Connection, now: Stamp) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = all(c)?.into_iter().take_while(|row| row.ended.is_none()).collect();
    rows.retain(|row| row.session.expires > now);
    rows.sort_by_key(|row| row.session.address);
    Ok(rows)
}

/// Ends rows in the owner's name; the sessions' addresses.
pub(super) fn revoke(c: &Connection, selector: &Selector, now: Stamp) -> Result<Vec<LogicalAddress>, StoreError> {
    let (column, value) = match selector {
        Selector::Address(address) => ("address", Some(address.to_string())),
        Selector::User(user) => ("user", Some(user.to_string())),
        Selector::Device(device) => ("device", Some(device.clone())),
        Selector::All => ("NULL", None),
    };
    let sql = format!(
        "UPDATE session SET ended = ?1, why = 'revoked' WHERE ended IS NULL AND expires > ?1 AND {column} IS ?2
         RETURNING address"
    );
    let mut statement = c.prepare(&sql)?;
    let rows = statement.query_map((number(now.0), value), |row| row.get::<_, String>(0))?;
    rows.map(|address| Ok(LogicalAddress(address?.parse().map_err(|_| damaged())?))).collect()
}

/// Those that were ended in the owner's name at `since` or later.
pub(super) fn revoked(c: &Connection, since: Stamp) -> Result<HashSet<SessionId>, StoreError> {
    let mut statement = c.prepare_cached("SELECT id FROM session WHERE ended >= ?1 AND why = 'revoked'")?;
    let ids = statement.query_map([number(since.0)], |row| row.get(0).map(SessionId))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(super) async fn set_groups(store: &Store, user: UserName, groups: Vec<String>) -> Result<(), StoreError> {
    let groups = serde_json::to_string(&groups).map_err(|_| damaged())?;
    store
        .write(move |c| {
            let row = (user.as_str(), &groups);
            Ok(c.execute("UPDATE session SET groups = ?2 WHERE user = ?1 AND ended IS NULL", row).map(drop)?)
        })
        .await
}

/// Who held the last session of this client that is over.
pub(super) fn last_user(c: &Connection, binding: &Binding) -> Result<Option<UserName>, StoreError> {
    let sql = "SELECT user FROM session WHERE binding = ?1 AND ended IS NOT NULL ORDER BY ended DESC LIMIT 1";
    let user: Option<String> = c.query_row(sql, [&binding.0[..]], |row| row.get(0)).optional()?;
    Ok(user.and_then(|user| UserName::new(&user).ok()))
}

/// Those that go on, and then those that are over, the last first.
pub(super) fn all(c: &Connection) -> Result<Vec<Row>, StoreError> {
    let mut statement = c.prepare_cached(
        "SELECT id, binding, address, user, groups, device, client, proof, started, expires, last_use, serials, ended, why,
                entry_key
         FROM session ORDER BY ended IS NOT NULL, ended DESC",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn read(row: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let text = |column: &str| row.get::<_, String>(column);
    let stamp = |column: &str| row.get::<_, i64>(column).map(|ms| Stamp(ms.unsigned_abs()));
    let client: Option<String> = row.get("client")?;
    let key: Option<[u8; 65]> = row.get("entry_key")?;
    let session = Session {
        address: LogicalAddress(text("address")?.parse().map_err(|_| damaged())?),
        binding: Binding(row.get("binding")?),
        user: UserName::new(&text("user")?).map_err(|_| damaged())?,
        groups: serde_json::from_str(&text("groups")?).map_err(|_| damaged())?,
        device: row.get("device")?,
        client: client.map(|client| client.parse()).transpose().map_err(|_| damaged())?,
        proof: proof_of_word(&text("proof")?),
        entry_key: key.map(|key| EntryKey::from_bytes(key).ok_or_else(damaged)).transpose()?,
        started: stamp("started")?,
        expires: stamp("expires")?,
    };
    let ended: Option<i64> = row.get("ended")?;
    let why: Option<String> = row.get("why")?;
    Ok(Row {
        id: SessionId(row.get("id")?),
        session,
        last_use: stamp("last_use")?,
        serials: row.get::<_, i64>("serials")?.unsigned_abs(),
        ended: ended.zip(why).map(|(at, why)| (Stamp(at.unsigned_abs()), end_of_word(&why))),
    })
}

fn damaged() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a session's row is damaged")
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn word_of_proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Tunnel => "tunnel",
        Proof::Cookie => "cookie",
    }
}

fn proof_of_word(word: &str) -> Proof {
    if word == "tunnel" { Proof::Tunnel } else { Proof::Cookie }
}

fn word_of_end(why: Gone) -> &'static str {
    match why {
        Gone::SignedOff => "signed off",
        Gone::Expired => "expired",
        Gone::Idle => "idle",
        Gone::Revoked => "revoked",
        Gone::Unknown | Gone::OtherClient => "unknown",
    }
}

fn end_of_word(word: &str) -> Gone {
    match word {
        "signed off" => Gone::SignedOff,
        "expired" => Gone::Expired,
        "idle" => Gone::Idle,
        "revoked" => Gone::Revoked,
        _ => Gone::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for why in [Gone::SignedOff, Gone::Expired, Gone::Idle, Gone::Revoked, Gone::Unknown] {
            assert_eq!(end_of_word(word_of_end(why)), why);
        }
        for proof in [Proof::Tunnel, Proof::Cookie] {
            assert_eq!(proof_of_word(word_of_proof(proof)), proof);
        }
    }
}
