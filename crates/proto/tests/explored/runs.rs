//! What is explored, and what is found where a rule is left out.

use crate::common::{Realm, start};
use crate::explored::book::Wrong;
use crate::explored::events::{Budget, Event, Flaw};
use crate::explored::explorer::{Found, explore};
use crate::explored::setting::Setting;
use std::sync::Mutex;

/// Much may happen to one knock.
const ONE_KNOCK: Budget =
    Budget { knocks: 1, deliveries: 3, again: 1, kills: 2, flushes: 1, moments: 1, minutes: 1, tags: 2 };
/// Two knocks, and fewer accidents.
const TWO_KNOCKS: Budget =
    Budget { knocks: 2, deliveries: 3, again: 1, kills: 1, flushes: 0, moments: 0, minutes: 1, tags: 2 };
/// One knock and one restart, with what is on the disks and the time that passes.
const ONE_RESTART: Budget =
    Budget { knocks: 1, deliveries: 2, again: 0, kills: 1, flushes: 1, moments: 0, minutes: 1, tags: 0 };
/// One knock and one restart, as far as through the door.
const THROUGH_THE_DOOR: Budget =
    Budget { knocks: 1, deliveries: 2, again: 1, kills: 1, flushes: 0, moments: 0, minutes: 0, tags: 2 };
/// More events than a small budget allows: everything is tried.
const TO_THE_END: usize = 30;

fn setting(budget: Budget, flaw: Option<Flaw>) -> Setting {
    let mut realm = Realm::new(7);
    let person = realm.person();
    Setting { realm, person, start: start(), budget, flaw, opened: Mutex::default() }
}

fn nothing_wrong(budget: Budget, depth: usize) -> Found {
    let found = explore(&setting(budget, None), depth);
    println!("{} states, {} events, to the end: {}", found.states, found.events, found.complete);
    assert_eq!(found.wrong, None);
    assert!(found.states > 1_000, "hardly anything was tried");
    found
}

fn wrong(flaw: Flaw, budget: Budget, depth: usize) -> (Wrong, Vec<Event>) {
    let Found { wrong, states, .. } = explore(&setting(budget, Some(flaw)), depth);
    println!("{flaw:?}: {wrong:?} after {states} states");
    wrong.expect("the explorer sees it")
}

#[test]
fn explored_one_knock_opens_once_and_its_recording_draws_nothing() {
    nothing_wrong(ONE_KNOCK, 5);
}

#[test]
fn explored_two_knocks_open_once_each_and_their_recordings_draw_nothing() {
    assert!(nothing_wrong(TWO_KNOCKS, 6).entered);
}

#[test]
fn explored_what_is_on_the_disks_keeps_a_recording_silent_after_a_restart() {
    assert!(nothing_wrong(ONE_RESTART, TO_THE_END).complete);
}

#[test]
fn explored_nobody_comes_in_twice_and_the_device_does() {
    let found = nothing_wrong(THROUGH_THE_DOOR, TO_THE_END);
    assert!(found.complete && found.entered);
}

#[test]
fn explored_a_seen_set_that_goes_with_the_process_opens_twice() {
    assert_eq!(wrong(Flaw::SeenNotKept, ONE_KNOCK, 5).0, Wrong::OpenedTwice);
}

#[test]
fn explored_a_knock_that_is_written_down_too_late_opens_twice() {
    assert_eq!(wrong(Flaw::ToldBeforeWritten, ONE_KNOCK, 5).0, Wrong::OpenedTwice);
}

#[test]
fn explored_without_last_on_the_disk_a_recording_is_answered_after_a_restart() {
    assert_eq!(wrong(Flaw::LastNotKept, ONE_RESTART, TO_THE_END).0, Wrong::RecordingAnswered);
}
