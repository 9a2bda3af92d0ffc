//! What is forgotten, and when. Called every minute by the running role, and at its start.

use std::time::Duration;

use rusqlite::Connection;
use vestibule_proto::admission::SEEN_KEPT;
use vestibule_proto::id::Stamp;
use vestibule_store::StoreError;

use super::columns::{device_id, digest, millis};
use super::session::{EndReason, end_where};
use super::{Directory, Effect};

/// How long audit entries are kept.
pub const AUDIT_KEPT: Duration = days(400);
/// How long an invitation is remembered after it has expired, so that whoever comes with it is told why.
pub const INVITATION_KEPT: Duration = days(7);
/// How long a device may stay pending.
pub const PENDING_KEPT: Duration = Duration::from_secs(3_600);
/// How far the last use that is written down may lag behind the real one, which the running role knows.
const TOUCH_DELAY: Duration = Duration::from_secs(120);
/// How long an ended session stays in the list.
pub const SESSION_KEPT: Duration = days(30);

const fn days(number: u64) -> Duration {
    Duration::from_secs(number * 24 * 3_600)
}

/// By which moments the directory forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The wall clock: what only hangs on how old a stamp is goes by it.
    pub wall: Stamp,
    /// The time by which the gateway forgets, see [`KeptTime`](super::KeptTime).
    pub kept: Stamp,
    /// Whether sessions that are over by the wall clock end. While the gateway runs it times them itself, by the monotonic
    /// clock: a wall clock that is set ahead ends nobody's session.
    pub sessions: bool,
}

impl Due {
    /// While the gateway runs.
    #[must_use]
    pub fn running(wall: Stamp, kept: Stamp) -> Self {
        Self { wall, kept, sessions: false }
    }

    /// At a start: who was away too long by the wall clock has no session any more.
    #[must_use]
    pub fn starting(wall: Stamp, kept: Stamp) -> Self {
        Self { wall, kept, sessions: true }
    }
}

impl From<Stamp> for Due {
    /// At a start with a clock that is right.
    fn from(now: Stamp) -> Self {
        Self::starting(now, now)
    }
}

impl Directory {
    /// Forgets what is due, and ends the invitations, and at a start the sessions, whose time is over.
    pub async fn forget_due(&self, due: impl Into<Due>) -> Result<Vec<Effect>, StoreError> {
        let Due { wall, kept, sessions: ends_sessions } = due.into();
        self.write(move |c| {
            seen(c, wall)?;
            pending(c, kept)?;
            audit(c, kept)?;
            let mut effects = if ends_sessions { sessions(c, wall)? } else { Vec::new() };
            forget_sessions(c, kept)?;
            effects.extend(invitations(c, kept)?);
            effects.extend(expired_invitations(c, kept)?);
            Ok(effects)
        })
        .await
    }
}

/// A stamp this old is refused by its age. Should the clock go back, what was forgotten must not become fresh again: the
/// floor stays behind.
fn seen(c: &Connection, now: Stamp) -> Result<(), StoreError> {
    let before = millis(now.saturating_sub(SEEN_KEPT));
    c.execute(
        "UPDATE knocker SET seen_floor = max(seen_floor, gone.highest)
         FROM (SELECT device, max(stamp) AS highest FROM seen WHERE stamp < ?1 GROUP BY device) AS gone
         WHERE knocker.id = gone.device",
        [before],
    )?;
    c.execute("DELETE FROM seen WHERE stamp < ?1", [before])?;
    Ok(())
}

fn pending(c: &Connection, now: Stamp) -> Result<(), StoreError> {
    c.execute(
        "DELETE FROM knocker WHERE id IN (SELECT id FROM device WHERE state = 'pending' AND created < ?1)",
        [millis(now.saturating_sub(PENDING_KEPT))],
    )?;
    Ok(())
}

fn audit(c: &Connection, now: Stamp) -> Result<(), StoreError> {
    c.execute("DELETE FROM audit WHERE time < ?1", [millis(now.saturating_sub(AUDIT_KEPT))])?;
    Ok(())
}

fn sessions(c: &Connection, now: Stamp) -> Result<Vec<Effect>, StoreError> {
    let expired = end_where(c, "expires <= ?1", [millis(now)], EndReason::Expired, now)?;
    let unused = [millis(now.saturating_sub(TOUCH_DELAY))];
    let idle = end_where(c, "last_use + idle_limit <= ?1", unused, EndReason::Idle, now)?;
    let expired = expired.into_iter().map(|id| Effect::CutSession(id, EndReason::Expired));
    Ok(expired.chain(idle.into_iter().map(|id| Effect::CutSession(id, EndReason::Idle))).collect())
}

fn forget_sessions(c: &Connection, now: Stamp) -> Result<(), StoreError> {
    c.execute("DELETE FROM session WHERE ended < ?1", [millis(now.saturating_sub(SESSION_KEPT))])?;
    Ok(())
}

fn invitations(c: &Connection, now: Stamp) -> Result<Vec<Effect>, StoreError> {
    let mut select =
        c.prepare_cached("SELECT i.id, k.digest FROM invitation i JOIN knocker k ON k.id = i.id WHERE i.expires < ?1")?;
    let due: Vec<_> = select
        .query_map([millis(now.saturating_sub(INVITATION_KEPT))], |row| Ok((device_id(row, 0)?, digest(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let mut effects = Vec::new();
    for (device, digest) in due {
        c.execute("DELETE FROM knocker WHERE id = ?1", [device.as_bytes()])?;
        effects.extend([Effect::DeviceChanged { device, digest }, Effect::WithdrawRow(digest)]);
    }
    Ok(effects)
}

/// What has expired stays so, should the clock go back: not only for those who ask before the next restart.
fn expired_invitations(c: &Connection, now: Stamp) -> Result<Vec<Effect>, StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE invitation SET state = 'expired' WHERE state = 'open' AND expires <= ?1
         RETURNING id, (SELECT digest FROM knocker WHERE knocker.id = invitation.id)",
    )?;
    let noticed = update.query_map([millis(now)], |row| {
        Ok(Effect::DeviceChanged { device: device_id(row, 0)?, digest: digest(row, 1)? })
    })?;
    Ok(noticed.collect::<Result<_, _>>()?)
}
