//! The time by which a gateway forgets.
//!
//! What is forgotten is gone, and a wall clock that is set ahead for an hour and back again must not take the audit log with
//! it. So while the gateway runs this time goes on by the monotonic clock alone: each pruning forgets as much as has passed
//! since the last one. Only a start reads the wall clock, and believes it within bounds: a clock that is more than
//! [`BELIEVED`] past the newest entry of the audit log is not believed at all, and any other start forgets the oldest
//! [`CAUGHT_UP`] of the log at most. A gateway that was away for longer forgets later than it might, which costs some disk.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use vestibule_proto::id::{Now, Stamp};
use vestibule_store::StoreError;

use super::Directory;
use super::columns::optional_stamp;
use super::keeping::AUDIT_KEPT;

/// A clock that is further past the newest entry of the audit log is not believed.
pub const BELIEVED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// No start forgets more of the audit log than this, counted from its oldest entry.
pub const CAUGHT_UP: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The time by which a running gateway forgets.
#[derive(Clone, Copy, Debug)]
pub struct KeptTime {
    start: Now,
}

impl KeptTime {
    /// At a start. `audited`: the times of the oldest and the newest entry of the audit log.
    #[must_use]
    pub fn starting(now: Now, audited: Option<(Stamp, Stamp)>) -> Self {
        let wall = match audited {
            None => now.wall,
            Some((_, newest)) if now.wall > newest.saturating_add(BELIEVED) => newest,
            Some(_) => now.wall,
        };
        let bound = audited.map(|(oldest, _)| oldest.saturating_add(AUDIT_KEPT).saturating_add(CAUGHT_UP));
        Self { start: Now::new(now.mono, bound.map_or(wall, |bound| wall.min(bound))) }
    }

    /// The time at `now`, whatever became of the wall clock.
    #[must_use]
    pub fn read(&self, now: Instant) -> Stamp {
        self.start.wall.saturating_add(now.saturating_duration_since(self.start.mono))
    }
}

impl Directory {
    /// The time by which a gateway forgets that starts at `now`: to be asked before the start itself is audited.
    pub fn kept_time(&self, now: Now) -> Result<KeptTime, StoreError> {
        self.look(|c| Ok(KeptTime::starting(now, audited(c)?)))
    }
}

fn audited(c: &Connection) -> Result<Option<(Stamp, Stamp)>, StoreError> {
    let mut select = c.prepare_cached("SELECT min(time), max(time) FROM audit")?;
    let found = select.query_row([], |row| Ok((optional_stamp(row, 0)?, optional_stamp(row, 1)?))).optional()?;
    Ok(found.and_then(|(oldest, newest)| Some((oldest?, newest?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const T: Stamp = Stamp::from_millis(1_800_000_000_000);

    fn at(wall: Stamp) -> Now {
        Now::new(Instant::now(), wall)
    }

    fn starting(wall: Stamp, oldest: Stamp, newest: Stamp) -> Stamp {
        let now = at(wall);
        KeptTime::starting(now, Some((oldest, newest))).read(now.mono)
    }

    #[test]
    fn while_it_runs_only_monotonic_time_counts() {
        let now = at(T);
        let kept = KeptTime::starting(now, None);
        assert_eq!(kept.read(now.mono), T);
        assert_eq!(kept.read(now.mono + DAY), T.saturating_add(DAY));
    }

    #[test]
    fn a_start_believes_the_wall_clock_within_bounds() {
        let oldest = T.saturating_sub(10 * DAY);
        assert_eq!(starting(T.saturating_add(DAY), oldest, T), T.saturating_add(DAY));
        assert_eq!(starting(T.saturating_add(BELIEVED), oldest, T), T.saturating_add(BELIEVED));
        let far = T.saturating_add(BELIEVED + Duration::from_millis(1));
        assert_eq!(starting(far, oldest, T), T, "not believed");
        // A second start under the wrong clock, which the first one has written into the log.
        let most = oldest.saturating_add(AUDIT_KEPT).saturating_add(CAUGHT_UP);
        assert_eq!(starting(T.saturating_add(3_650 * DAY), oldest, T.saturating_add(3_650 * DAY)), most);
        assert_eq!(starting(T.saturating_sub(DAY), oldest, T), T.saturating_sub(DAY), "set back: nothing is lost");
    }

    proptest! {
        /// What a start forgets is at most the oldest days of the log, whatever the clock says.
        #[test]
        fn a_start_forgets_little(oldest in 0..1_000u64, length in 0..1_000u64, ahead in -2_000..200_000i64) {
            let day = |days: u64| Stamp::from_millis(days * 86_400_000);
            let (oldest, newest) = (day(10_000 + oldest), day(10_000 + oldest + length));
            let wall = Stamp::from_millis(newest.as_millis().saturating_add_signed(ahead * 86_400_000));
            let gone = starting(wall, oldest, newest).saturating_sub(AUDIT_KEPT);
            prop_assert!(gone <= oldest.saturating_add(CAUGHT_UP));
            prop_assert!(wall >= starting(wall, oldest, newest));
        }
    }
}
