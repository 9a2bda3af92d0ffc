//! The floor of the seen-set: what lets a knock be written down without waiting for the disk.
//!
//! What a process wrote outlasts the process, synced or not; only with the machine itself does it go. So there stands on the
//! disk, synced, in which run of the machine the set was last written, and up to which stamp knocks may stand in it unsynced.
//! Started in another run of the machine, the gateway takes no stamp up to there for fresh: a knock that was lost with the
//! power is refused by its stamp instead. Knocks stamped beyond wait for the disk, and lift the floor's mark as they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use vestibule_proto::id::{DeviceId, KnockId, Stamp};
use vestibule_store::StoreError;

use super::Directory;
use super::columns::{millis, stamp};
use super::knocks::enter;

/// How far ahead of the clock the mark is set: after a failure of power nobody is admitted before the clock has passed it, so it
/// is no longer than a machine takes to start.
pub const MARK_AHEAD: Duration = Duration::from_secs(10);
/// The mark is lifted when less than this is left. A client's clock may be ahead by as much and still not wait for the disk.
const MARK_LEFT: Duration = Duration::from_secs(5);

/// What is known of the mark without asking the database.
#[derive(Default)]
pub(super) struct Floor {
    run: RwLock<Option<String>>,
    mark: AtomicU64,
}

impl Directory {
    /// Says in which run of the machine this is, before the first knock; `None`: that can't be told, and every knock waits for
    /// the disk. If the set was last written in another, stamps up to its mark are never fresh again.
    pub async fn begin_run(&self, run: Option<String>) -> Result<(), StoreError> {
        let now = run.clone();
        self.write(move |c| {
            let mark = c.query_row("SELECT run, until FROM seen_mark", [], |row| Ok((row.get(0)?, stamp(row, 1)?)));
            let mark: Option<(String, Stamp)> = mark.optional()?;
            let Some((former, until)) = mark.filter(|(former, _)| Some(former) != now.as_ref()) else { return Ok(()) };
            tracing::info!(former, "the machine has been started anew: recent stamps are not fresh any more");
            c.execute("UPDATE knocker SET seen_floor = max(seen_floor, ?1)", [millis(until)])?;
            c.execute("DELETE FROM seen_mark", [])?;
            Ok::<_, StoreError>(())
        })
        .await?;
        *self.floor.run.write().unwrap_or_else(PoisonError::into_inner) = run;
        Ok(())
    }

    /// As [`remember`](Self::remember): what this has called fresh once is never fresh again, whatever happens to the process or
    /// to the machine. It waits for the disk only when the mark must be lifted.
    pub async fn remember_soon(
        &self,
        device: DeviceId,
        knock_id: KnockId,
        stamp: Stamp,
        now: Stamp,
    ) -> Result<bool, StoreError> {
        if self.floor.may_cover(stamp, now) {
            let entered = self.store.write_unsynced(move |c| match covered(c, stamp)? {
                true => enter(c, device, knock_id, stamp).map(Some),
                false => Ok(None),
            });
            if let Some(fresh) = entered.await? {
                return Ok(fresh);
            }
        }
        let Some(run) = self.floor.run() else { return self.remember(device, knock_id, stamp).await };
        let until = now.saturating_add(MARK_AHEAD);
        let entered = self.write(move |c| {
            // This commit takes all to the disk that stands in the set unsynced: the mark may also be lowered.
            c.prepare_cached("REPLACE INTO seen_mark (one, run, until) VALUES (1, ?1, ?2)")?
                .execute((&run, millis(until)))?;
            enter(c, device, knock_id, stamp)
        });
        let fresh = entered.await?;
        self.floor.mark.store(until.as_millis(), Ordering::Relaxed);
        Ok(fresh)
    }
}

impl Floor {
    fn run(&self) -> Option<String> {
        self.run.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is worth asking; the database decides. A mark too far ahead, after the clock was set back, is to be lowered.
    fn may_cover(&self, stamp: Stamp, now: Stamp) -> bool {
        let mark = Stamp::from_millis(self.mark.load(Ordering::Relaxed));
        let (least, most) = (now.saturating_add(MARK_LEFT), now.saturating_add(MARK_AHEAD));
        stamp <= mark && least <= mark && mark <= most
    }
}

/// Whether the disk's mark stands at or above this stamp. Asked in the transaction that enters it, so that none comes between
/// that lowers the mark.
fn covered(c: &Connection, stamp: Stamp) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached("SELECT count(*) FROM seen_mark WHERE until >= ?1")?;
    Ok(select.query_row([millis(stamp)], |row| row.get::<_, i64>(0))? == 1)
}
