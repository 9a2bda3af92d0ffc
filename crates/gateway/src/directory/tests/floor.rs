//! The seen-set over kills and failures of power.

use std::time::Duration;

use super::knocks::knock;
use super::*;

/// Takes back what stands in the seen-set, as a machine does that stops.
async fn lose_the_set(directory: &Directory) {
    let lost = directory.store().write(|c| Ok::<_, StoreError>(c.execute("DELETE FROM seen", [])?));
    assert_ne!(lost.await.unwrap(), 0);
}

async fn begin(directory: &Directory, run: &str) {
    directory.begin_run(Some(run.to_owned())).await.unwrap();
}

fn unsynced(directory: &Directory) -> u64 {
    directory.store().stats().unsynced
}

#[tokio::test]
async fn a_knock_waits_for_the_disk_only_to_lift_the_mark() {
    let (root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    begin(&directory, "one").await;
    for (number, seconds, waits) in [(1, 0, true), (2, 0, false), (3, 4, false), (4, 6, true), (5, 6, false)] {
        let before = unsynced(&directory);
        assert!(directory.remember_soon(device, knock(number), later(seconds), later(seconds)).await.unwrap());
        assert_eq!(unsynced(&directory) == before, waits, "knock {number}");
    }
    let before = unsynced(&directory);
    let beyond = later(7).saturating_add(MARK_AHEAD);
    assert!(directory.remember_soon(device, knock(6), beyond, later(7)).await.unwrap());
    assert_eq!(unsynced(&directory), before, "a stamp beyond the mark");
    // Killed and started again in the same run of the machine: nothing is forgotten, and nobody locked out.
    drop(directory);
    let directory = open_in(&root);
    begin(&directory, "one").await;
    for (number, seconds) in [(1, 0), (2, 0), (3, 4), (4, 6), (5, 6)] {
        assert!(!directory.remember_soon(device, knock(number), later(seconds), later(8)).await.unwrap(), "{number}");
    }
    assert!(directory.remember_soon(device, knock(7), later(8), later(8)).await.unwrap());
}

#[tokio::test]
async fn a_knock_that_was_lost_with_the_power_is_not_fresh_again() {
    let (root, directory) = directory();
    let (alice, bob) = (enrol(&directory, "alice", 1).await, enrol(&directory, "bob", 2).await);
    begin(&directory, "one").await;
    assert!(directory.remember_soon(alice, knock(1), T, T).await.unwrap());
    let mark = T.saturating_add(MARK_AHEAD);
    assert!(directory.remember_soon(alice, knock(2), mark, T).await.unwrap());
    lose_the_set(&directory).await;
    drop(directory);

    let directory = open_in(&root);
    begin(&directory, "two").await;
    for (number, stamp) in [(1, T), (2, mark)] {
        assert!(!directory.remember_soon(alice, knock(number), stamp, later(1)).await.unwrap(), "replayed");
    }
    assert!(!directory.remember_soon(bob, knock(3), mark, later(1)).await.unwrap(), "it could be one of the lost");
    let after = Stamp::from_millis(mark.as_millis() + 1);
    assert!(directory.remember_soon(alice, knock(4), after, after).await.unwrap());
    // The floor is the former run's and is not raised by a later start in this one.
    begin(&directory, "two").await;
    assert!(directory.remember_soon(bob, knock(5), after, after).await.unwrap());
}

#[tokio::test]
async fn a_run_that_is_unknown_leaves_nothing_unsynced_and_trusts_no_former_mark() {
    let (_root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    for number in 1..=3 {
        assert!(directory.remember_soon(device, knock(number), T, T).await.unwrap());
    }
    assert_eq!(unsynced(&directory), 0, "before the run is told");
    begin(&directory, "one").await;
    assert!(directory.remember_soon(device, knock(4), T, T).await.unwrap());
    lose_the_set(&directory).await;
    directory.begin_run(None).await.unwrap();
    assert!(!directory.remember_soon(device, knock(4), T, T).await.unwrap());
}

#[tokio::test]
async fn a_clock_set_back_lowers_the_mark() {
    let (root, directory) = directory();
    let device = enrol(&directory, "alice", 1).await;
    begin(&directory, "one").await;
    let wrong = later(365 * 24 * 3_600);
    assert!(directory.remember_soon(device, knock(1), wrong, wrong).await.unwrap());
    assert!(directory.remember_soon(device, knock(2), T, T).await.unwrap());
    drop(directory);
    let directory = open_in(&root);
    begin(&directory, "two").await;
    let soon = T.saturating_add(MARK_AHEAD + Duration::from_millis(1));
    assert!(directory.remember_soon(device, knock(3), soon, soon).await.unwrap(), "no lock-out for a year");
    assert!(!directory.remember_soon(device, knock(1), wrong, soon).await.unwrap());
}
