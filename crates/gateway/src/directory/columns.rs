//! Our types in columns, and back.

use rusqlite::Row;
use rusqlite::types::Type;
use vestibule_proto::id::{DeviceId, LoginDigest, ServiceName, SessionId, Stamp, UserName};
use vestibule_proto::key::{PublicKey, Secret, Spki};

/// Milliseconds since the epoch, as SQLite's signed integer.
pub(super) fn millis(stamp: Stamp) -> i64 {
    i64::try_from(stamp.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn stamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Stamp> {
    row.get(column).map(stamp_of)
}

pub(super) fn optional_stamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Stamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(stamp_of))
}

fn stamp_of(millis: i64) -> Stamp {
    Stamp::from_millis(u64::try_from(millis).unwrap_or(0))
}

pub(super) fn device_id(row: &Row<'_>, column: usize) -> rusqlite::Result<DeviceId> {
    row.get(column).map(DeviceId::new)
}

pub(super) fn optional_device_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DeviceId>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(DeviceId::new))
}

pub(super) fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    row.get(column).map(SessionId::new)
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<LoginDigest> {
    row.get(column).map(LoginDigest::new)
}

pub(super) fn public_key(row: &Row<'_>, column: usize) -> rusqlite::Result<PublicKey> {
    row.get(column).map(PublicKey::new)
}

pub(super) fn secret<const N: usize>(row: &Row<'_>, column: usize) -> rusqlite::Result<Secret<N>> {
    row.get(column).map(Secret::new)
}

pub(super) fn spki(row: &Row<'_>, column: usize) -> rusqlite::Result<Spki> {
    let der: [u8; 44] = row.get(column)?;
    Spki::from_der(&der).ok_or_else(|| damaged(column, Type::Blob, "not an Ed25519 key"))
}

pub(super) fn user_name(row: &Row<'_>, column: usize) -> rusqlite::Result<UserName> {
    parsed(row, column)
}

pub(super) fn service_name(row: &Row<'_>, column: usize) -> rusqlite::Result<ServiceName> {
    parsed(row, column)
}

/// A column whose text is the form that its type reads.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| damaged(column, Type::Text, &error.to_string()))
}

/// The error of a column that doesn't hold what we once wrote.
pub(super) fn damaged(column: usize, found: Type, why: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, found, why.into())
}
