//! Statements over the tables of [`schema`](super::schema).

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};
use vestibule_proto::id::{GatewayId, LoginDigest, Stamp};
use vestibule_proto::key::{Psk, PublicKey, Spki};
use vestibule_proto::recognition::{Owner, Row};
use vestibule_store::{StoreError, StoreErrorKind};

use super::{GatewayRecord, RowsError};

/// All rows in force at `now`; a row that several gateways serve comes once for each of them. The ones with most owners
/// come first: a device key may stand under two digests, and whoever serves one must be known to serve the other.
pub(super) fn load(c: &Connection, now: Stamp) -> Result<Vec<Row>, StoreError> {
    let mut query = c.prepare_cached(
        "SELECT r.digest, r.device_key, r.psk_c, r.is_link, r.temporary_until, coalesce(l.last, 0), o.gateway
         FROM knock_row r JOIN row_owner o USING (digest) LEFT JOIN knock_last l USING (digest)
         WHERE r.temporary_until IS NULL OR r.temporary_until > ?1
         ORDER BY (SELECT count(*) FROM row_owner n WHERE n.digest = r.digest) DESC, r.digest, o.gateway",
    )?;
    let found = query.query_map([to_sql(now)], row_of)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn row_of(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let gateway = GatewayId::new(columns.get(6)?);
    let is_link: bool = columns.get(3)?;
    Ok(Row {
        digest: LoginDigest::new(columns.get(0)?),
        device_key: PublicKey::new(columns.get(1)?),
        psk_c: Psk::new(columns.get(2)?),
        owner: if is_link { Owner::Link(gateway) } else { Owner::Gateway(gateway) },
        temporary_until: columns.get::<_, Option<i64>>(4)?.map(from_sql),
        last: from_sql(columns.get(5)?),
    })
}

pub(super) fn gateways(c: &Connection) -> Result<Vec<GatewayRecord>, StoreError> {
    let mut query = c.prepare_cached(
        "SELECT g.id, g.name, g.spki,
                (SELECT max(r.temporary_until) FROM knock_row r JOIN row_owner o USING (digest)
                 WHERE o.gateway = g.id AND r.is_link = 1),
                (SELECT count(*) FROM knock_row r JOIN row_owner o USING (digest)
                 WHERE o.gateway = g.id AND r.is_link = 0)
         FROM gateway g ORDER BY g.name",
    )?;
    let found = query.query_map([], |columns| {
        Ok(GatewayRecord {
            id: GatewayId::new(columns.get(0)?),
            name: columns.get(1)?,
            spki: columns.get::<_, Option<[u8; 44]>>(2)?.and_then(|der| Spki::from_der(&der)),
            invited_until: columns.get::<_, Option<i64>>(3)?.map(from_sql),
            rows: columns.get::<_, i64>(4)?.unsigned_abs(),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn spki(c: &Connection, gateway: &GatewayId) -> Result<Option<Spki>, StoreError> {
    let found: Option<Option<[u8; 44]>> = c
        .prepare_cached("SELECT spki FROM gateway WHERE id = ?1")?
        .query_row([gateway.as_bytes()], |columns| columns.get(0))
        .optional()?;
    let Some(der) = found.flatten() else { return Ok(None) };
    let damaged = || StoreError::new(StoreErrorKind::Corrupt, format!("the key of gateway {gateway} is damaged"));
    Spki::from_der(&der).map(Some).ok_or_else(damaged)
}

pub(super) fn hand_over(c: &Connection, gateway: &GatewayId, from: &Spki, to: &Spki) -> Result<bool, StoreError> {
    let changed = "UPDATE gateway SET spki = ?3 WHERE id = ?1 AND spki = ?2";
    Ok(c.execute(changed, (gateway.as_bytes(), from.as_bytes(), to.as_bytes()))? == 1)
}

pub(super) fn must_be_known(c: &Connection, gateway: &GatewayId) -> Result<(), RowsError> {
    let known: bool = c
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM gateway WHERE id = ?1)")?
        .query_row([gateway.as_bytes()], |columns| columns.get(0))?;
    if known { Ok(()) } else { Err(RowsError::UnknownGateway(*gateway)) }
}

/// Makes an invited gateway and the temporary row for its first knock; one that has linked gets the temporary row beside its
/// own. True if an invitation that was not used made room.
pub(super) fn invite_gateway(c: &Connection, gateway: &GatewayId, name: &str, row: &Row) -> Result<bool, RowsError> {
    let called = "SELECT name FROM gateway WHERE id = ?1 AND spki IS NOT NULL";
    let called: Option<String> = c.query_row(called, [gateway.as_bytes()], |found| found.get(0)).optional()?;
    if let Some(called) = called {
        if called != name {
            return Err(RowsError::OtherName(called));
        }
        let unused = "DELETE FROM knock_row WHERE is_link = 1 AND temporary_until IS NOT NULL
                      AND digest IN (SELECT digest FROM row_owner WHERE gateway = ?1)";
        let replaced = c.execute(unused, [gateway.as_bytes()])? > 0;
        insert_link(c, gateway, row)?;
        return Ok(replaced);
    }
    let linked = "SELECT EXISTS (SELECT 1 FROM gateway WHERE name = ?1 AND spki IS NOT NULL)";
    if c.query_row(linked, [name], |found| found.get(0))? {
        return Err(RowsError::NameTaken(name.to_owned()));
    }
    let replaced = remove_gateway(c, name)?.is_some();
    // The id is free, or it was invited under another name and has never come.
    c.execute("DELETE FROM gateway WHERE id = ?1", [gateway.as_bytes()])?;
    forget_unserved(c)?;
    c.execute("INSERT INTO gateway (id, name) VALUES (?1, ?2)", (gateway.as_bytes(), name))?;
    insert_link(c, gateway, row)?;
    Ok(replaced)
}

/// Gives an invited gateway its lasting keys.
pub(super) fn register(c: &Connection, gateway: &GatewayId, spki: &Spki, row: &Row) -> Result<(), RowsError> {
    let invited = "UPDATE gateway SET spki = ?2 WHERE id = ?1 AND (spki IS NULL OR EXISTS (
                       SELECT 1 FROM knock_row r JOIN row_owner o USING (digest)
                       WHERE o.gateway = ?1 AND r.is_link = 1 AND r.temporary_until IS NOT NULL))";
    if c.execute(invited, (gateway.as_bytes(), spki.as_bytes()))? == 0 {
        return Err(RowsError::UnknownGateway(*gateway));
    }
    c.execute(
        "DELETE FROM knock_row WHERE is_link = 1 AND digest IN (SELECT digest FROM row_owner WHERE gateway = ?1)",
        [gateway.as_bytes()],
    )?;
    insert_link(c, gateway, row)
}

fn insert_link(c: &Connection, gateway: &GatewayId, row: &Row) -> Result<(), RowsError> {
    let taken = "SELECT EXISTS (SELECT 1 FROM knock_row WHERE digest = ?1 OR device_key = ?2)";
    if c.query_row(taken, (row.digest.as_bytes(), row.device_key.as_bytes()), |found| found.get(0))? {
        return Err(RowsError::Conflict(row.digest));
    }
    insert(c, row, true)?;
    own(c, gateway, &row.digest)
}

pub(super) fn remove_gateway(c: &Connection, name: &str) -> Result<Option<GatewayId>, StoreError> {
    let id: Option<[u8; 16]> =
        c.query_row("SELECT id FROM gateway WHERE name = ?1", [name], |columns| columns.get(0)).optional()?;
    let Some(id) = id else { return Ok(None) };
    c.execute("DELETE FROM gateway WHERE id = ?1", [id])?;
    forget_unserved(c)?;
    Ok(Some(GatewayId::new(id)))
}

/// A row that no gateway serves any more is forgotten, its key with it.
fn forget_unserved(c: &Connection) -> Result<(), StoreError> {
    c.execute("DELETE FROM knock_row WHERE digest NOT IN (SELECT digest FROM row_owner)", [])?;
    Ok(())
}

/// Makes `gateway` serve this row, by the rules that the recognition machine has too: the row of another owner is joined
/// with its keys only, and a device key stands under two digests of one owner at most.
pub(super) fn publish(c: &Connection, gateway: &GatewayId, row: &Row) -> Result<(), RowsError> {
    let conflict = Err(RowsError::Conflict(row.digest));
    if stands_elsewhere(c, gateway, row)? {
        return conflict;
    }
    match standing(c, gateway, row)? {
        None => insert(c, row, false)?,
        Some(Standing { is_link: true, .. }) => return conflict,
        Some(Standing { same_keys: true, .. }) => {}
        Some(Standing { others: 0, .. }) => {
            c.execute(
                "UPDATE knock_row SET device_key = ?2, psk_c = ?3 WHERE digest = ?1",
                (row.digest.as_bytes(), row.device_key.as_bytes(), row.psk_c.expose()),
            )?;
        }
        Some(_) => return conflict,
    }
    own(c, gateway, &row.digest)
}

/// What is on disk under a digest.
struct Standing {
    is_link: bool,
    same_keys: bool,
    /// Other gateways that serve it.
    others: u32,
}

fn standing(c: &Connection, gateway: &GatewayId, row: &Row) -> Result<Option<Standing>, RowsError> {
    let mut select = c.prepare_cached(
        "SELECT device_key, psk_c, is_link,
                (SELECT count(*) FROM row_owner o WHERE o.digest = r.digest AND o.gateway <> ?2)
         FROM knock_row r WHERE digest = ?1",
    )?;
    let found = select.query_row((row.digest.as_bytes(), gateway.as_bytes()), |columns| {
        Ok(Standing {
            same_keys: PublicKey::new(columns.get(0)?) == row.device_key && Psk::new(columns.get(1)?) == row.psk_c,
            is_link: columns.get(2)?,
            others: columns.get(3)?,
        })
    });
    Ok(found.optional()?)
}

/// Whether the row's device key stands under another digest that `gateway` doesn't serve.
fn stands_elsewhere(c: &Connection, gateway: &GatewayId, row: &Row) -> Result<bool, RowsError> {
    let mut select = c.prepare_cached(
        "SELECT EXISTS (
             SELECT 1 FROM knock_row r WHERE device_key = ?1 AND digest <> ?2
             AND (is_link = 1 OR NOT EXISTS
                  (SELECT 1 FROM row_owner o WHERE o.digest = r.digest AND o.gateway = ?3)))",
    )?;
    let wanted = (row.device_key.as_bytes(), row.digest.as_bytes(), gateway.as_bytes());
    Ok(select.query_row(wanted, |columns| columns.get(0))?)
}

fn insert(c: &Connection, row: &Row, is_link: bool) -> Result<(), RowsError> {
    c.prepare_cached(
        "INSERT INTO knock_row (digest, device_key, psk_c, is_link, temporary_until) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        row.digest.as_bytes(),
        row.device_key.as_bytes(),
        row.psk_c.expose(),
        is_link,
        row.temporary_until.map(to_sql),
    ))?;
    Ok(())
}

fn own(c: &Connection, gateway: &GatewayId, digest: &LoginDigest) -> Result<(), RowsError> {
    c.prepare_cached("INSERT INTO row_owner (digest, gateway) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((digest.as_bytes(), gateway.as_bytes()))?;
    Ok(())
}

/// Takes from `gateway` every device row that is not among `rows`.
pub(super) fn keep_only(c: &Connection, gateway: &GatewayId, rows: &[Row]) -> Result<(), StoreError> {
    let kept: BTreeSet<&LoginDigest> = rows.iter().map(|row| &row.digest).collect();
    let mut select = c.prepare_cached(
        "SELECT digest FROM row_owner JOIN knock_row USING (digest) WHERE gateway = ?1 AND is_link = 0",
    )?;
    let served: Vec<LoginDigest> = select
        .query_map([gateway.as_bytes()], |columns| columns.get(0).map(LoginDigest::new))?
        .collect::<Result<_, _>>()?;
    served.iter().filter(|digest| !kept.contains(digest)).try_for_each(|digest| withdraw(c, gateway, digest))
}

/// `gateway` no longer serves this device row; the row goes with the last gateway that does.
pub(super) fn withdraw(c: &Connection, gateway: &GatewayId, digest: &LoginDigest) -> Result<(), StoreError> {
    c.prepare_cached(
        "DELETE FROM row_owner WHERE digest = ?1 AND gateway = ?2
         AND EXISTS (SELECT 1 FROM knock_row r WHERE r.digest = ?1 AND r.is_link = 0)",
    )?
    .execute((digest.as_bytes(), gateway.as_bytes()))?;
    c.prepare_cached(
        "DELETE FROM knock_row WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM row_owner o WHERE o.digest = ?1)",
    )?
    .execute([digest.as_bytes()])?;
    Ok(())
}

pub(super) fn flush_last(c: &Connection, dirty: &[(LoginDigest, Stamp)]) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "INSERT INTO knock_last (digest, last) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
    )?;
    for (digest, last) in dirty {
        update.execute((digest.as_bytes(), to_sql(*last)))?;
    }
    Ok(())
}

fn to_sql(stamp: Stamp) -> i64 {
    i64::try_from(stamp.as_millis()).unwrap_or(i64::MAX)
}

fn from_sql(millis: i64) -> Stamp {
    Stamp::from_millis(u64::try_from(millis).unwrap_or(0))
}
