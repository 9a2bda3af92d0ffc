//! Clocks: the window, the sealed time answer, challenges, clocks that jump.

use super::controller_bench::{Bench, HOME, Made, Sent, is_status};
use crate::common::ms;
use std::time::Duration;
use vestibule_proto::id::{Now, Stamp};
use vestibule_proto::outer::{Guidance, Status};

const HOUR: i64 = 3_600_000;
const DECADE: i64 = 10 * 365 * 24 * HOUR;

impl Bench {
    fn off(&mut self, by_ms: i64, challenge: Option<[u8; 24]>) -> Sent {
        let stamp = Stamp::from_millis(self.now.wall.as_millis().saturating_add_signed(by_ms));
        let made = Made { stamp, challenge, ..self.plain() };
        self.make(&made)
    }

    fn told_time(&mut self, sent: &mut Sent) -> Guidance {
        let guidance = self.answered(HOME, sent);
        assert!(is_status(&guidance, Status::Time));
        guidance
    }
}

#[test]
fn a_minute_either_way_is_let_pass() {
    for (off, heard) in [(-60_000, true), (60_000, true), (-60_001, false), (60_001, false)] {
        let mut bench = Bench::new();
        let sent = bench.off(off, None);
        bench.deliver(HOME, sent.k1.as_slice());
        assert_eq!(bench.controller.counters().accepted, u64::from(heard), "{off} ms");
    }
}

#[test]
fn a_wrong_clock_is_told_the_time_and_comes_in_with_the_challenge() {
    for off in [-HOUR, HOUR, -DECADE, DECADE] {
        let mut bench = Bench::new();
        let mut sent = bench.off(off, None);
        let told = bench.told_time(&mut sent);
        assert_eq!((told.controller_time, told.inner, told.gateways.len()), (bench.now.wall, None, 0));
        bench.skip(ms(100));
        let corrected = bench.off(0, told.challenge);
        bench.admitted(HOME, corrected.k1.as_slice());
        assert_eq!(bench.controller.dirty_last()[0].1, bench.now.wall, "the wrong stamp moved nothing");
    }
}

#[test]
fn a_stamp_that_must_run_ahead_comes_in_by_the_challenge_alone() {
    let mut bench = Bench::new();
    let mut sent = bench.off(HOUR, None);
    let told = bench.told_time(&mut sent);
    let ahead = bench.off(HOUR + 1, told.challenge);
    bench.admitted(HOME, ahead.k1.as_slice());
    assert!(bench.deliver(HOME, ahead.k1.as_slice()).is_empty());
}

#[test]
fn the_time_is_told_once_per_knock_and_once_a_minute_per_row() {
    let mut bench = Bench::new();
    let mut first = bench.off(HOUR, None);
    bench.told_time(&mut first);
    let mut second = bench.off(HOUR + 5, None);
    assert!(bench.deliver(HOME, second.k1.as_slice()).is_empty());
    bench.skip(ms(60_000));
    let elsewhere = bench.deliver("203.0.113.66:1", first.k1.as_slice());
    assert!(elsewhere.is_empty(), "a recording of one that was told");
    assert!(bench.deliver(HOME, first.k1.as_slice()).is_empty());
    bench.told_time(&mut second);
}

#[test]
fn a_recording_of_a_knock_ahead_of_time_is_silence_when_its_time_has_come() {
    let mut bench = Bench::new();
    let mut early = bench.off(HOUR, None);
    bench.told_time(&mut early);
    for _ in 0..62 {
        bench.skip(ms(60_000));
        assert!(bench.deliver("203.0.113.66:1", early.k1.as_slice()).is_empty());
    }
    assert_eq!(bench.controller.counters().accepted, 0);
}

#[test]
fn a_lost_time_answer_is_repeated_to_its_sender() {
    let mut bench = Bench::new();
    let sent = bench.off(HOUR, None);
    let first = bench.deliver(HOME, sent.k1.as_slice()).len();
    let copies: Vec<_> = (0..4).map(|_| bench.deliver(HOME, sent.k1.as_slice()).len()).collect();
    assert_eq!((first, copies), (1, vec![1, 1, 1, 0]));
}

#[test]
fn t24_a_withheld_knock_gets_one_sealed_answer_and_no_admission() {
    let mut bench = Bench::new();
    let withheld = bench.knock();
    bench.skip(Duration::from_secs(3_600));
    let replies = bench.deliver("203.0.113.66:1", withheld.k1.as_slice()).len();
    let again: usize = (0..10).map(|_| bench.deliver("203.0.113.67:1", withheld.k1.as_slice()).len()).sum();
    assert_eq!((replies, again, bench.controller.counters().accepted), (1, 0, 0));
}

#[test]
fn a_withheld_knock_gets_nothing_once_its_device_knocked_again() {
    let mut bench = Bench::new();
    let withheld = bench.knock();
    bench.skip(ms(2_000));
    let next = bench.knock();
    bench.admitted(HOME, next.k1.as_slice());
    assert!(bench.deliver(HOME, withheld.k1.as_slice()).is_empty());
}

#[test]
fn two_knocks_that_overtake_each_other_both_come_in() {
    let mut bench = Bench::new();
    let (late, early) = (bench.off(-50, None), bench.off(0, None));
    bench.admitted(HOME, early.k1.as_slice());
    bench.admitted("[2001:db8::1]:4000", late.k1.as_slice());
}

#[test]
fn a_challenge_is_of_its_row_and_of_its_minute() {
    let mut bench = Bench::new();
    let mut sent = bench.off(HOUR, None);
    let told = bench.told_time(&mut sent);
    let mut forged = told.challenge.unwrap();
    forged[23] ^= 1;
    let refused = bench.off(HOUR + 1, Some(forged));
    assert!(bench.deliver(HOME, refused.k1.as_slice()).is_empty());

    let other = bench.realm.person();
    bench.controller.upsert_row(other.row.clone()).unwrap();
    let own = std::mem::replace(&mut bench.person, other);
    let mut borrowed = bench.off(HOUR, told.challenge);
    bench.told_time(&mut borrowed);
    bench.person = own;

    bench.skip(ms(60_000));
    let late = bench.off(HOUR + 2, told.challenge);
    bench.deliver(HOME, late.k1.as_slice());
    assert_eq!(bench.controller.counters().accepted, 0);
}

#[test]
fn a_challenge_dies_with_a_restart() {
    let mut bench = Bench::new();
    let mut sent = bench.off(HOUR, None);
    let told = bench.told_time(&mut sent);
    bench.restart(Stamp::default());
    let echo = bench.off(HOUR + 1, told.challenge);
    bench.deliver(HOME, echo.k1.as_slice());
    assert_eq!(bench.controller.counters().accepted, 0);
}

#[test]
fn the_controllers_clock_set_back_revives_nothing_and_shuts_nobody_out() {
    let mut bench = Bench::new();
    let withheld = bench.knock();
    bench.skip(Duration::from_secs(3_600));
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    bench.skip(ms(100_000));
    let true_time = bench.now.wall;
    bench.now = Now::new(bench.now.mono, true_time.saturating_sub(Duration::from_secs(3_600)));
    for old in [&withheld, &sent] {
        assert!(bench.deliver(HOME, old.k1.as_slice()).is_empty());
    }
    // A client with the old time goes on as if nothing had happened; one with the new time is told, and comes in.
    let with_the_old_time = Made { stamp: true_time, ..bench.plain() };
    let old_time = bench.make(&with_the_old_time);
    bench.admitted(HOME, old_time.k1.as_slice());
    let made = Made { stamp: true_time.saturating_add(ms(1)), ..bench.plain() };
    let next = bench.make(&made);
    bench.admitted(HOME, next.k1.as_slice());

    let other = bench.realm.person();
    bench.controller.upsert_row(other.row.clone()).unwrap();
    bench.person = other;
    let mut by_the_new_clock = bench.knock();
    let told = bench.told_time(&mut by_the_new_clock);
    assert_eq!(told.controller_time, true_time);
    let corrected = Made { stamp: told.controller_time, challenge: told.challenge, ..bench.plain() };
    let corrected = bench.make(&corrected);
    bench.admitted(HOME, corrected.k1.as_slice());
}

#[test]
fn after_a_restart_with_a_clock_set_back_the_client_comes_in_by_challenge() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    let last = bench.controller.dirty_last()[0].1;
    bench.now = Now::new(bench.now.mono, bench.now.wall.saturating_sub(Duration::from_secs(3_600)));
    bench.restart(last);
    assert!(bench.deliver(HOME, sent.k1.as_slice()).len() <= 1, "forwarded at most; the gateway knows it");
    let mut next = bench.off(HOUR + 1, None);
    let told = bench.told_time(&mut next);
    let echo = bench.off(HOUR + 2, told.challenge);
    bench.admitted(HOME, echo.k1.as_slice());
}
