//! Sessions: from login to sign-off, expiry or revocation, across restarts of the gateway.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::{Deserialize, Serialize};
use vestibule_proto::id::{DeviceId, SessionId, Stamp, UserName};
use vestibule_proto::key::Secret;
use vestibule_proto::session::Reason;
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{damaged, device_id, millis, optional_stamp, parsed, session_id, stamp, user_name};
use super::device::{self, DeviceState};
use super::error::{DirectoryError, What};
use super::invitation::{InvitationState, invitation};
use super::knocks::{self, CountedGuess};
use super::{Directory, Effect, user};

/// A session to be.
pub struct NewSession {
    /// Its id, chosen by the gateway.
    pub id: SessionId,
    /// Who logged in.
    pub user: UserName,
    /// By it the client proves the session at a resumption.
    pub resume_secret: Secret<32>,
    /// From where the client came.
    pub address: SocketAddr,
    /// When it ends at the latest.
    pub expires: Stamp,
    /// How long it may stay unused.
    pub idle_limit: Duration,
    /// The protocol version that was negotiated: the device's floor from now on.
    pub version: u16,
}

/// A session, running or ended.
#[derive(Clone)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose session it is.
    pub user: UserName,
    /// On which device.
    pub device: DeviceId,
    /// Proves it at a resumption; `None` once it has ended.
    pub resume_secret: Option<Secret<32>>,
    /// From where the client came last.
    pub address: SocketAddr,
    /// When it began.
    pub created: Stamp,
    /// When it ends at the latest.
    pub expires: Stamp,
    /// How long it may stay unused.
    pub idle_limit: Duration,
    /// When it was used last, as far as written down.
    pub last_use: Stamp,
    /// When and why it ended.
    pub ended: Option<(Stamp, EndReason)>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Its user signed off.
    SignedOff,
    /// Its time was over.
    Expired,
    /// It was unused for too long.
    Idle,
    /// The owner revoked it, its device or its user.
    Revoked,
}

/// Why a session does not begin or go on. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is no such session for this device, or it has ended.
    #[error("no such session")]
    NoSession,
    /// The device was revoked, or isn't this user's.
    #[error("the device is revoked")]
    Revoked,
    /// The user is suspended.
    #[error("the user is suspended")]
    Suspended,
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SessionError {
    /// What the client is told inside the authenticated channel.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoSession => Reason::NoSession,
            Self::Revoked => Reason::Revoked,
            Self::Suspended => Reason::Suspended,
            Self::Store(_) => Reason::GatewayFault,
        }
    }
}

impl From<rusqlite::Error> for SessionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl EndReason {
    const ALL: [Self; 4] = [Self::SignedOff, Self::Expired, Self::Idle, Self::Revoked];

    /// The text form: `signed-off`, `expired`, `idle` or `revoked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedOff => "signed-off",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
        }
    }

    /// What the client is told.
    pub fn reason(self) -> Reason {
        match self {
            Self::SignedOff => Reason::SignedOff,
            Self::Expired => Reason::Expired,
            Self::Idle => Reason::Idle,
            Self::Revoked => Reason::Revoked,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl SessionRecord {
    /// Whether it may be used or resumed at `now`.
    pub fn lives(&self, now: Stamp) -> bool {
        self.ended.is_none() && self.over(now).is_none()
    }

    /// Why its time is over at `now`, if it is.
    pub fn over(&self, now: Stamp) -> Option<EndReason> {
        if now >= self.expires {
            return Some(EndReason::Expired);
        }
        (now >= self.last_use.saturating_add(self.idle_limit)).then_some(EndReason::Idle)
    }
}

impl Directory {
    /// The login succeeded: writes the session down and gives the counted try back, all in one transaction. To be called
    /// before the client is told.
    ///
    /// Errors: [`SessionError::Revoked`] or [`SessionError::Suspended`] if that happened while the login was under way.
    pub async fn begin_session(&self, new: NewSession, guess: CountedGuess, now: Stamp) -> Result<(), SessionError> {
        let device = guess.device();
        self.write(move |c| {
            in_good_standing(c, &new.user, &device)?;
            insert(c, &new, &device, now)?;
            knocks::clear(c, &device)?;
            seen(c, &device, new.version, now)?;
            let entry = AuditEntry::of(AuditKind::Login, now).user(&new.user).device(&device);
            record(c, &entry.session(&new.id).address(new.address))?;
            Ok(())
        })
        .await
    }

    /// A session of this device that has not ended. The caller still has to check the client's proof, and that the session's
    /// time is not over: the running role times its sessions itself, by the monotonic clock.
    ///
    /// Errors: see [`SessionError`].
    pub fn resumable(&self, id: &SessionId, device: &DeviceId) -> Result<SessionRecord, SessionError> {
        self.store().read(|c| resumable(c, id, device))
    }

    /// Whether this device, or whoever holds this invitation, may go on with what is under way.
    ///
    /// Errors: [`SessionError::Revoked`], [`SessionError::Suspended`], or the database can't be read.
    pub fn standing(&self, id: &DeviceId) -> Result<(), SessionError> {
        self.store().read(|c| {
            if let Some(device) = device::device(c, id)? {
                return in_good_standing(c, &device.user, id);
            }
            let invited = invitation(c, id)?.filter(|invited| invited.state != InvitationState::Revoked);
            user_in_good_standing(c, &invited.ok_or(SessionError::Revoked)?.user)
        })
    }

    /// The session goes on over a new connection: writes that down, if it still may, and from where and in which version
    /// the client came.
    ///
    /// Errors: see [`SessionError`].
    pub async fn resume_session(
        &self,
        id: SessionId,
        device: DeviceId,
        (address, version): (SocketAddr, u16),
        now: Stamp,
    ) -> Result<(), SessionError> {
        self.write(move |c| {
            let session = resumable(c, &id, &device)?;
            c.execute(
                "UPDATE session SET address = ?2, last_use = max(last_use, ?3) WHERE id = ?1",
                (id.as_bytes(), address.to_string(), millis(now)),
            )?;
            seen(c, &device, version, now)?;
            let entry = AuditEntry::of(AuditKind::SessionResumed, now).user(&session.user).device(&device);
            record(c, &entry.session(&id).address(address))?;
            Ok(())
        })
        .await
    }

    /// Writes down when sessions were used last. Every minute or so is enough; a time never goes back.
    pub async fn touch_sessions(&self, used: Vec<(SessionId, Stamp)>) -> Result<(), StoreError> {
        self.write(move |c| {
            let mut update =
                c.prepare_cached("UPDATE session SET last_use = max(last_use, ?2) WHERE id = ?1 AND ended IS NULL")?;
            for (id, last_use) in &used {
                update.execute((id.as_bytes(), millis(*last_use)))?;
            }
            Ok(())
        })
        .await
    }

    /// Ends a session for good. One that has ended already stays as it ended, without an effect.
    ///
    /// Errors: [`DirectoryError::NotFound`].
    pub async fn end_session(
        &self,
        id: SessionId,
        reason: EndReason,
        now: Stamp,
    ) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            session(c, &id)?.ok_or_else(|| DirectoryError::not_found(What::Session, id))?;
            let ended = end_where(c, "id = ?1", [id.as_bytes()], reason, now)?;
            Ok(ended.into_iter().map(|id| Effect::CutSession(id, reason)).collect())
        })
        .await
    }

    /// One session, running or ended.
    pub fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.look(|c| session(c, id))
    }

    /// The sessions that have not ended, oldest first; at a start: those that may be resumed.
    pub async fn live_sessions(&self, now: Stamp) -> Result<Vec<SessionRecord>, StoreError> {
        self.list(move |c| Ok(sessions(c, "ended IS NULL")?.into_iter().filter(|session| session.lives(now)).collect()))
            .await
    }

    /// All sessions that are remembered, oldest first.
    pub async fn all_sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        self.list(|c| sessions(c, "TRUE")).await
    }
}

/// Ends the running sessions for which `condition` holds and returns them. Their resume secrets are erased.
pub(super) fn end_where<P: Params>(
    c: &Connection,
    condition: &'static str,
    parameters: P,
    reason: EndReason,
    now: Stamp,
) -> Result<Vec<SessionId>, StoreError> {
    let sql = format!("SELECT id, user, device FROM session WHERE ended IS NULL AND ({condition})");
    let running: Vec<(SessionId, UserName, DeviceId)> = c
        .prepare_cached(&sql)?
        .query_map(parameters, |row| Ok((session_id(row, 0)?, user_name(row, 1)?, device_id(row, 2)?)))?
        .collect::<Result<_, _>>()?;
    let mut end = c.prepare_cached("UPDATE session SET ended = ?2, reason = ?3, resume_secret = NULL WHERE id = ?1")?;
    for (id, user, device) in &running {
        end.execute((id.as_bytes(), millis(now), reason.as_str()))?;
        let entry = AuditEntry::of(AuditKind::SessionEnded, now).user(user).device(device).session(id);
        record(c, &entry.detail(reason.as_str()))?;
    }
    Ok(running.into_iter().map(|(id, _, _)| id).collect())
}

const SELECT: &str = "
    SELECT id, user, device, resume_secret, address, created, expires, idle_limit, last_use, ended, reason FROM session";

fn session(c: &Connection, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let mut select = c.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    Ok(select.query_row([id.as_bytes()], session_of).optional()?)
}

fn sessions(c: &Connection, condition: &'static str) -> Result<Vec<SessionRecord>, StoreError> {
    let mut select = c.prepare_cached(&format!("{SELECT} WHERE {condition} ORDER BY created, id"))?;
    let found = select.query_map([], session_of)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn resumable(c: &Connection, id: &SessionId, device: &DeviceId) -> Result<SessionRecord, SessionError> {
    let is_right = |found: &SessionRecord| found.device == *device && found.ended.is_none();
    let session = session(c, id)?.filter(is_right).ok_or(SessionError::NoSession)?;
    in_good_standing(c, &session.user, device)?;
    Ok(session)
}

/// A suspended *device* still runs its sessions and may be counted right once more: what suspends it are wrong
/// passwords, and each try was licensed when it was counted.
fn in_good_standing(c: &Connection, name: &UserName, device: &DeviceId) -> Result<(), SessionError> {
    let device = device::device(c, device)?.filter(|device| device.user == *name).ok_or(SessionError::Revoked)?;
    match device.state {
        DeviceState::Active | DeviceState::Suspended => {}
        DeviceState::Pending | DeviceState::Waiting | DeviceState::Revoked => return Err(SessionError::Revoked),
    }
    user_in_good_standing(c, name)
}

fn user_in_good_standing(c: &Connection, name: &UserName) -> Result<(), SessionError> {
    let user = user::user(c, name)?.ok_or(SessionError::Revoked)?;
    if user.suspended { Err(SessionError::Suspended) } else { Ok(()) }
}

fn insert(c: &Connection, new: &NewSession, device: &DeviceId, now: Stamp) -> Result<(), SessionError> {
    c.execute(
        "INSERT INTO session (id, user, device, resume_secret, address, created, expires, idle_limit, last_use)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?6)",
        (
            new.id.as_bytes(),
            new.user.as_str(),
            device.as_bytes(),
            new.resume_secret.expose(),
            new.address.to_string(),
            millis(now),
            millis(new.expires),
            i64::try_from(new.idle_limit.as_millis()).unwrap_or(i64::MAX),
        ),
    )?;
    Ok(())
}

/// The device was here and has proved itself: never again a version below this one (PROTOCOL.md §3.5).
fn seen(c: &Connection, device: &DeviceId, version: u16, now: Stamp) -> Result<(), SessionError> {
    c.execute(
        "UPDATE device SET last_seen = ?2, version_floor = max(version_floor, ?3) WHERE id = ?1",
        (device.as_bytes(), millis(now), version),
    )?;
    Ok(())
}

fn session_of(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    let idle_limit: i64 = row.get(7)?;
    Ok(SessionRecord {
        id: session_id(row, 0)?,
        user: user_name(row, 1)?,
        device: device_id(row, 2)?,
        resume_secret: row.get::<_, Option<[u8; 32]>>(3)?.map(Secret::new),
        address: parsed(row, 4)?,
        created: stamp(row, 5)?,
        expires: stamp(row, 6)?,
        idle_limit: Duration::from_millis(idle_limit.unsigned_abs()),
        last_use: stamp(row, 8)?,
        ended: ended_of(row)?,
    })
}

fn ended_of(row: &Row<'_>) -> rusqlite::Result<Option<(Stamp, EndReason)>> {
    let Some(ended) = optional_stamp(row, 9)? else { return Ok(None) };
    let text: String = row.get(10)?;
    let reason = EndReason::ALL.into_iter().find(|reason| reason.as_str() == text);
    reason.map(|reason| Some((ended, reason))).ok_or_else(|| damaged(10, Type::Text, "unknown reason"))
}
