//! Wrong passwords: counted before they are answered, delayed, and at an end after twenty (C12, T12).

use super::gateway_bench::{Bench, HOME, Order};
use crate::common::ms;
use proptest::prelude::*;
use std::time::Duration;
use vestibule_proto::admission::{AdmissionAudit, AdmissionConfig};
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::Stamp;
use vestibule_proto::inner::RefusalCode;

#[test]
fn a_wrong_password_is_counted_before_it_is_answered() {
    let mut bench = Bench::new();
    let sent = bench.wrong(1);
    let (request, orders) = bench.deliver(HOME, &sent);
    assert_eq!(orders, [Order::Count(bench.device())]);
    assert!(bench.audits.is_empty());
    let refusal = sent.refusal(&bench.counted(request, 1));
    assert_eq!((refusal.code, refusal.tries, refusal.limit), (RefusalCode::WrongPassword, 1, 20));
    assert_eq!(refusal.retry_after, Duration::ZERO);
    let (device, source) = (bench.device(), HOME.parse().unwrap());
    assert_eq!(bench.audits, [AdmissionAudit::WrongPassword { device, source, tries: 1, limit: 20 }]);
    assert!(bench.counted(request, 2).is_empty(), "answered once");
}

#[test]
fn what_could_not_be_written_down_is_never_answered() {
    let mut bench = Bench::new();
    let sent = bench.wrong(1);
    let (request, _) = bench.deliver(HOME, &sent);
    assert!(bench.pass(ms(2_000)).is_empty());
    assert!(bench.counted(request, 1).is_empty());
    assert_eq!((bench.guesses(), bench.gateway.counters().stuck), (1, 1), "and counts all the same");
}

#[test]
fn the_same_wrong_knock_counts_once_however_often_the_controller_brings_it() {
    let mut bench = Bench::new();
    let sent = bench.wrong(1);
    let (request, _) = bench.deliver(HOME, &sent);
    bench.counted(request, 1);
    for _ in 0..50 {
        assert_eq!(bench.deliver(HOME, &sent).1, [Order::Seen]);
    }
    assert_eq!(bench.guesses(), 1);
}

#[test]
fn a_guess_that_must_wait_is_not_even_looked_at() {
    let mut bench = Bench::new();
    for tries in 1..=5 {
        let sent = bench.wrong(tries);
        let (request, _) = bench.deliver(HOME, &sent);
        let refusal = sent.refusal(&bench.counted(request, tries));
        assert_eq!(refusal.retry_after, Duration::from_secs(if tries == 5 { 60 } else { 0 }));
    }
    let right = bench.right();
    let refusal = bench.refused(&right);
    assert_eq!((refusal.code, refusal.tries), (RefusalCode::Wait, 5), "the right password");
    assert_eq!(refusal.retry_after, Duration::from_secs(60));
    let wrong = bench.wrong(77);
    assert_eq!(bench.refused(&wrong).code, RefusalCode::Wait);
    assert_eq!(bench.guesses(), 5);
    bench.pass(ms(60_000));
    bench.admit(HOME);
    assert_eq!(bench.guesses(), 5, "only a login ends the count");
    bench.gateway.set_guesses(bench.device(), GuessCount::default());
    assert_eq!(bench.guesses(), 0);
}

#[test]
fn with_the_twentieth_it_is_suspended_and_the_owner_alarmed() {
    let count = GuessCount { count: 19, last: Stamp::from_millis(0) };
    let mut bench = Bench::with(AdmissionConfig::default(), |device| device.guesses = count);
    let sent = bench.wrong(1);
    let (request, _) = bench.deliver(HOME, &sent);
    let refusal = sent.refusal(&bench.counted(request, 20));
    assert_eq!((refusal.code, refusal.tries), (RefusalCode::Suspended, 20));
    let (device, source) = (bench.device(), HOME.parse().unwrap());
    assert_eq!(bench.audits.last(), Some(&AdmissionAudit::Suspended { device, source }));
    bench.pass(Duration::from_secs(10 * 365 * 24 * 3_600));
    let right = bench.right();
    assert_eq!(bench.refused(&right).code, RefusalCode::Suspended);
}

#[test]
fn guesses_at_once_do_not_get_past_the_limit() {
    let mut bench = Bench::new();
    let mut requests = Vec::new();
    for number in 0..60 {
        let sent = bench.wrong(number);
        let (request, orders) = bench.deliver(HOME, &sent);
        match orders.as_slice() {
            [Order::Count(_)] => requests.push(request),
            [Order::Refused(_)] => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(requests.len(), 5, "five are free; the sixth waits for them, though none is written down yet");
    for (request, count) in requests.into_iter().zip(1..) {
        assert!(matches!(bench.counted(request, count).as_slice(), [Order::Refused(_)]));
    }
    assert_eq!(bench.guesses(), 5);
}

#[test]
fn a_login_s_wrong_password_counts_in_the_same_counter() {
    let mut bench = Bench::new();
    bench.gateway.set_guesses(bench.device(), GuessCount { count: 20, last: bench.now.wall });
    let right = bench.right();
    assert_eq!(bench.refused(&right).code, RefusalCode::Suspended);
}

#[test]
fn a_clock_set_back_costs_one_delay_and_no_more() {
    let now = crate::common::start().wall;
    let count = GuessCount { count: 5, last: now.saturating_add(Duration::from_secs(10 * 365 * 24 * 3_600)) };
    let mut bench = Bench::with(AdmissionConfig::default(), |device| device.guesses = count);
    let right = bench.right();
    assert_eq!(bench.refused(&right).retry_after, Duration::from_secs(60));
    bench.pass(ms(60_000));
    bench.admit(HOME);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// A thief with the device file guesses as he likes, the gateway is killed whenever it likes, between any two steps:
    /// never more than 20 seals are tried, and none is answered that was not written down.
    #[test]
    fn t12_never_more_than_twenty_are_looked_at(steps in prop::collection::vec((0..10u8, 0..4_000u64), 1..120)) {
        let mut bench = Bench::new();
        let (mut durable, mut answered, mut tried) = (GuessCount::default(), 0u32, 0u32);
        for (number, (dice, pause)) in steps.into_iter().enumerate() {
            bench.pass(Duration::from_secs(pause));
            let sent = bench.wrong(number as u8);
            let (request, orders) = bench.deliver(HOME, &sent);
            if matches!(orders.as_slice(), [Order::Count(_)]) {
                tried += 1;
                // Dice 0: killed before it was written down; 1: after that, before the answer.
                if dice > 0 {
                    durable = durable.counted(bench.now.wall);
                }
                if dice > 1 {
                    let orders = bench.counted(request, durable.count);
                    prop_assert!(matches!(orders.as_slice(), [Order::Refused(_)]));
                    answered += 1;
                }
            }
            if dice < 2 {
                let (now, person) = (bench.now, bench.person);
                bench = Bench::with(AdmissionConfig::default(), |device| device.guesses = durable);
                (bench.now, bench.person) = (now, person);
            }
        }
        prop_assert!(answered <= 20 && u32::from(durable.count) <= 20);
        prop_assert!(answered <= u32::from(durable.count) && answered <= tried);
    }
}
