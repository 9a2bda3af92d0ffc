//! Rows that the controller does not hold, as it has said over the link: what they mean, and when to try again.
//!
//! Whatever the controller says here, it can't do more than it can by being silent: the devices that it names don't get in.
//! So it is believed, told to the owner, and bounded: at most one line of the audit log per row of ours and run, and one an
//! hour about the share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use vestibule_proto::id::LoginDigest;
use vestibule_proto::link::{LEFT_OUT_TOLD, LeftOut, RowRefusal};

/// A row that was left out may find its place later, when the other gateway has withdrawn its own.
const RETRY_LATE: Duration = Duration::from_secs(600);
/// This gateway has withdrawn a row: others may take its room. Not at once, since withdrawals come in numbers.
const RETRY_SOON: Duration = Duration::from_secs(5);
/// No more often is the audit log told of the share.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);

/// What the controller has said of the rows that it does not hold.
#[derive(Default)]
pub(crate) struct LeftOutRows {
    rows: BTreeMap<LoginDigest, RowRefusal>,
    /// Further rows without a name.
    more: u32,
    share: u32,
    retry: Option<Instant>,
    told: BTreeSet<LoginDigest>,
    share_told: Option<Instant>,
}

/// What the audit log is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Rows that collide with those of another gateway.
    pub(crate) collided: Vec<LoginDigest>,
    /// Rows for which there is no room, in one sentence.
    pub(crate) no_room: Option<String>,
}

impl LeftOutRows {
    /// The answer to the full set, cut to what is `known` here.
    pub(crate) fn whole(&mut self, left_out: LeftOut, known: impl Fn(&LoginDigest) -> bool, now: Instant) -> News {
        (self.rows, self.more) = (BTreeMap::new(), left_out.more);
        self.note(left_out, known, now)
    }

    /// The answer to one row that was published.
    pub(crate) fn one(&mut self, left_out: LeftOut, known: impl Fn(&LoginDigest) -> bool, now: Instant) -> News {
        self.note(left_out, known, now)
    }

    /// The controller holds this row now.
    pub(crate) fn published(&mut self, digest: &LoginDigest) {
        self.rows.remove(digest);
    }

    /// The controller holds this row no longer, which may make room for another one.
    pub(crate) fn withdrawn(&mut self, digest: &LoginDigest, now: Instant) {
        self.rows.remove(digest);
        if !self.is_empty() {
            let soon = now + RETRY_SOON;
            self.retry = Some(self.retry.map_or(soon, |retry| retry.min(soon)));
        }
    }

    /// When the full set is to be published again; `None`: the controller has all of it.
    pub(crate) fn retry(&self) -> Option<Instant> {
        self.retry.filter(|_| !self.is_empty())
    }

    /// What it means that the controller does not hold this row, and what to do; `None`: as far as is known, it does.
    pub(crate) fn of(&self, digest: &LoginDigest) -> Option<String> {
        self.rows.get(digest).map(|why| match why {
            RowRefusal::Collision => {
                "the controller refuses its row: a device of another gateway has the same keys or \
                 digest. It can't knock; revoke it, and invite its user anew"
                    .to_owned()
            }
            RowRefusal::Share | RowRefusal::Full => {
                format!("the controller has no room for its row, so it can't knock. {}", self.remedy())
            }
        })
    }

    /// What is left out, and what to do; `None`: nothing is.
    pub(crate) fn trouble(&self) -> Option<String> {
        let collided = self.rows.values().filter(|why| **why == RowRefusal::Collision).count();
        let no_room = self.rows.len() - collided + self.more as usize;
        let mut sentences = Vec::new();
        if collided > 0 {
            sentences.push(format!(
                "{collided} rows collide with another gateway's and are refused: `vestibule device list` shows which devices are unusable"
            ));
        }
        if no_room > 0 {
            sentences.push(self.no_room(no_room));
        }
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    fn note(&mut self, left_out: LeftOut, known: impl Fn(&LoginDigest) -> bool, now: Instant) -> News {
        self.share = left_out.share;
        let mut news = News::default();
        for (digest, why) in left_out.rows.into_iter().filter(|(digest, _)| known(digest)) {
            if self.rows.len() >= LEFT_OUT_TOLD && !self.rows.contains_key(&digest) {
                self.more = self.more.saturating_add(1);
                continue;
            }
            self.rows.insert(digest, why);
            if why == RowRefusal::Collision && self.told.insert(digest) {
                news.collided.push(digest);
            }
        }
        self.retry = (!self.is_empty()).then_some(now + RETRY_LATE);
        let no_room = self.rows.values().filter(|why| **why != RowRefusal::Collision).count() + self.more as usize;
        let due = self.share_told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if no_room > 0 && due {
            self.share_told = Some(now);
            news.no_room = Some(self.no_room(no_room));
        }
        news
    }

    fn no_room(&self, rows: usize) -> String {
        format!("the controller has no room for {rows} rows of this gateway. {}", self.remedy())
    }

    fn remedy(&self) -> String {
        format!(
            "Its share is {} rows: revoke devices and withdraw invitations that are not needed, or have the controller's \
             owner raise rows_per_gateway",
            self.share
        )
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.more == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> LoginDigest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        LoginDigest::new(bytes)
    }

    fn said(rows: &[(u32, RowRefusal)]) -> LeftOut {
        let mut left_out = LeftOut::none(2);
        rows.iter().for_each(|(number, why)| left_out.add(digest(*number), *why));
        left_out
    }

    #[test]
    fn what_is_left_out_is_told_and_tried_again() {
        let (mut rows, now) = (LeftOutRows::default(), Instant::now());
        assert!(rows.trouble().is_none() && rows.retry().is_none());
        let news = rows.whole(said(&[(1, RowRefusal::Collision), (2, RowRefusal::Share)]), |_| true, now);
        assert_eq!(news.collided, [digest(1)]);
        assert!(news.no_room.unwrap().contains("rows_per_gateway"));
        assert!(rows.of(&digest(1)).unwrap().contains("another gateway"), "{:?}", rows.of(&digest(1)));
        assert!(rows.of(&digest(2)).unwrap().contains("2 rows") && rows.of(&digest(3)).is_none());
        assert_eq!(rows.retry(), Some(now + RETRY_LATE));

        rows.withdrawn(&digest(1), now);
        assert_eq!(rows.retry(), Some(now + RETRY_SOON), "there may be room now");
        assert!(rows.of(&digest(1)).is_none());
        rows.published(&digest(2));
        assert!(rows.trouble().is_none() && rows.retry().is_none());
        rows.one(said(&[(3, RowRefusal::Full)]), |_| true, now);
        assert!(rows.trouble().unwrap().contains("no room for 1 rows"));
        assert_eq!(rows.whole(said(&[]), |_| true, now), News::default());
        assert!(rows.trouble().is_none());
    }

    /// Else an evil controller could fill the audit log, from which the oldest lines fall out.
    #[test]
    fn the_audit_log_is_told_once_per_row_and_seldom_of_the_share() {
        let (mut rows, now) = (LeftOutRows::default(), Instant::now());
        let all = said(&[(1, RowRefusal::Collision), (2, RowRefusal::Collision), (3, RowRefusal::Full)]);
        let known = |asked: &LoginDigest| *asked != digest(2);
        let first = rows.whole(all.clone(), known, now);
        assert_eq!((first.collided, first.no_room.is_some()), (vec![digest(1)], true), "ours alone");
        for _ in 0..3 {
            assert_eq!(rows.whole(said(&[]), known, now), News::default());
            assert_eq!(rows.whole(all.clone(), known, now), News::default());
        }
        let later = rows.one(all, known, now + TOLD_EVERY);
        assert_eq!((later.collided, later.no_room.is_some()), (vec![], true));
    }

    #[test]
    fn names_are_bounded() {
        let (mut rows, now) = (LeftOutRows::default(), Instant::now());
        for number in 0..LEFT_OUT_TOLD as u32 + 5 {
            rows.one(said(&[(number, RowRefusal::Share)]), |_| true, now);
        }
        assert_eq!((rows.rows.len(), rows.more), (LEFT_OUT_TOLD, 5));
    }
}
