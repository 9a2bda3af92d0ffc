//! Load: cookies for who shows an address, silence for recordings (C6).

use super::controller_bench::{Bench, HOME, Made, Sent};
use crate::common::ms;
use std::time::Duration;
use vestibule_proto::outer::COOKIE_REPLY_LEN;
use vestibule_proto::recognition::{Command, Limits};

/// Until then after a start nobody is given a cookie.
const QUARANTINE: Duration = Duration::from_secs(192);

/// A controller under load, past its quarantine, with a knock that was recorded before there was load.
fn loaded() -> (Bench, Sent) {
    let mut bench = Bench::new();
    bench.skip(QUARANTINE);
    let recorded = bench.knock();
    bench.admitted(HOME, recorded.k1.as_slice());
    bench.skip(ms(13_000));
    bench.controller.handle_pressure(bench.now);
    (bench, recorded)
}

fn cookie(sent: &Sent, commands: &[Command]) -> Option<[u8; 16]> {
    let [Command::Reply { datagram, .. }] = commands else { return None };
    assert_eq!(datagram.len(), COOKIE_REPLY_LEN);
    sent.expect.open_cookie(datagram).ok()
}

#[test]
fn under_load_a_knock_gets_a_cookie_and_with_it_comes_in() {
    let (mut bench, _) = loaded();
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    let cookie = cookie(&sent, &commands).expect("a cookie");
    let with_cookie = Made { cookie: Some(cookie), ..bench.plain() };
    let again = bench.make(&with_cookie);
    bench.admitted(HOME, again.k1.as_slice());
    assert_eq!(bench.controller.counters().cookies, 1);
}

#[test]
fn a_cookie_is_of_its_address() {
    let (mut bench, _) = loaded();
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    let with_cookie = Made { cookie: cookie(&sent, &commands), ..bench.plain() };
    for elsewhere in ["192.0.2.1:4001", "192.0.2.2:4000"] {
        let moved = bench.make(&with_cookie);
        let commands = bench.deliver(elsewhere, moved.k1.as_slice());
        assert!(cookie(&moved, &commands).is_some(), "its own address must be shown first");
    }
}

#[test]
fn a_cookie_dies() {
    let (mut bench, _) = loaded();
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    let first = cookie(&sent, &commands);
    bench.skip(Duration::from_secs(130));
    bench.controller.handle_pressure(bench.now);
    let with_cookie = Made { cookie: first, ..bench.plain() };
    let late = bench.make(&with_cookie);
    let commands = bench.deliver(HOME, late.k1.as_slice());
    assert!(cookie(&late, &commands).is_some_and(|second| Some(second) != first));
}

#[test]
fn t24_recordings_get_no_cookie_whenever_they_were_made() {
    let (mut bench, recorded) = loaded();
    for from in [HOME, "203.0.113.66:1"] {
        assert!(bench.deliver(from, recorded.k1.as_slice()).is_empty(), "seen before there was load");
    }
    let sent = bench.knock();
    assert_eq!(bench.deliver(HOME, sent.k1.as_slice()).len(), 1);
    assert!(bench.deliver("203.0.113.66:1", sent.k1.as_slice()).is_empty(), "seen under load");

    let withheld = bench.knock();
    bench.skip(ms(200_000));
    bench.controller.handle_pressure(bench.now);
    assert!(bench.deliver("203.0.113.66:1", withheld.k1.as_slice()).is_empty(), "of an epoch that is over");
}

#[test]
fn after_a_restart_under_load_recordings_get_nothing_and_devices_come_in() {
    let (mut bench, recorded) = loaded();
    let last = bench.controller.dirty_last()[0].1.saturating_add(ms(2_000));
    bench.restart(last);
    for second in [0, 30, 60, 90, 130, 193, 200] {
        bench.skip(Duration::from_secs(second));
        bench.controller.handle_pressure(bench.now);
        assert!(bench.deliver("203.0.113.66:1", recorded.k1.as_slice()).is_empty(), "{second} s");
    }
    bench.restart(last);
    bench.controller.handle_pressure(bench.now);
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
}

#[test]
fn wasted_work_is_load_and_authentic_knocks_are_not() {
    let mut bench = Bench::with_limits(Limits { wasted_per_second: 10, ..Limits::default() });
    bench.skip(QUARANTINE);
    for _ in 0..20 {
        let person = bench.realm.person();
        bench.controller.upsert_row(person.row.clone()).unwrap();
        bench.person = person;
        let sent = bench.knock();
        bench.admitted(HOME, sent.k1.as_slice());
    }
    let mut altered = bench.knock().k1;
    for byte in 0..10 {
        altered[200 + byte] ^= 1;
        assert!(bench.deliver("203.0.113.66:1", altered.as_slice()).is_empty());
    }
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    assert!(cookie(&sent, &commands).is_some());
    bench.skip(ms(5_000));
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
}

#[test]
fn no_bit_of_a_knock_with_a_cookie_can_be_altered_under_load() {
    let (mut bench, _) = loaded();
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    let with_cookie = Made { cookie: cookie(&sent, &commands), ..bench.plain() };
    let knock = bench.make(&with_cookie);
    // Seen once, so that copies with the same mac1 get no cookies; the rate of cookies is not what is tested.
    let mut spent = knock.k1.clone();
    spent[1199] ^= 1;
    assert!(bench.deliver(HOME, spent.as_slice()).is_empty());
    for bit in 0..8 * knock.k1.len() {
        let mut altered = knock.k1.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(bench.deliver(HOME, altered.as_slice()).is_empty(), "bit {bit}");
    }
    bench.admitted(HOME, knock.k1.as_slice());
}
