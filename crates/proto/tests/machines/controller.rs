//! Who is heard, who is not, and who is answered twice.

use super::controller_bench::{Bench, HOME, Made, gateway_address, ready};
use crate::common::{Realm, address, copy, ms};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::id::Stamp;
use vestibule_proto::key::{PrivateKey, Psk, RealmKey};
use vestibule_proto::knocker::Device;
use vestibule_proto::outer::{ControllerPin, Status, Versions};
use vestibule_proto::recognition::{Answer, Command, FormerRealm, Row};

#[test]
fn a_knock_is_put_before_its_gateway_and_the_answer_goes_back_where_it_came_from() {
    let mut bench = Bench::new();
    let mut sent = bench.knock();
    let from = "[::ffff:192.0.2.1]:4000";
    let commands = bench.deliver(from, sent.k1.as_slice());
    let [Command::Admit { gateway, request, digest, source, inner, deadline }] = commands.as_slice() else { panic!() };
    assert_eq!((*gateway, *digest, *inner), (bench.gateway(), bench.person.device.digest, [7; 192]));
    assert_eq!((*source, *deadline), (address(HOME), ms(2_000)), "IPv4 is told as IPv4");

    let commands = bench.answer(*gateway, *request, ready());
    let guidance = sent.read(from, &commands).unwrap();
    assert_eq!((guidance.status, guidance.window), (Status::Ready, Duration::from_secs(10)));
    assert_eq!((guidance.seen, guidance.gateways), (address(HOME), vec![gateway_address()]));
    assert_eq!((guidance.inner, guidance.controller_time), (Some([9; 208]), bench.now.wall));
    assert_eq!((bench.controller.counters().ready, bench.controller.waiting_count()), (1, 0));
}

#[test]
fn two_realm_keys_count_until_the_time_of_the_former_is_over() {
    let mut bench = Bench::new();
    let device = bench.person.device.clone();
    let (former, present) = (device.controller.realm.clone(), RealmKey::new([9; 32]));
    let until = bench.now.wall.saturating_add(Duration::from_secs(100));
    bench.controller.set_realm(present.clone(), Some(FormerRealm { realm: former, until }));
    let under = |realm: &RealmKey| {
        let controller = ControllerPin { realm: realm.clone(), ..device.controller.clone() };
        Arc::new(Device { controller, ..copy(&device) })
    };
    for realm in [&device.controller.realm, &present] {
        bench.person.device = under(realm);
        let mut sent = bench.knock();
        let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
        let commands = bench.answer(gateway, request, ready());
        assert_eq!(sent.read(HOME, &commands).unwrap().status, Status::Ready);
        bench.skip(Duration::from_secs(5));
    }
    assert_eq!(bench.controller.counters().former_realm, 1);

    bench.skip(Duration::from_secs(95));
    bench.person.device = under(&device.controller.realm);
    let late = bench.knock();
    assert!(bench.deliver(HOME, late.k1.as_slice()).is_empty(), "silence, as to any stranger");
    assert_eq!(bench.controller.counters().junk, 1);
    bench.person.device = under(&present);
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    // Nor does it count once it was taken away before its time.
    bench.controller.set_realm(RealmKey::new([8; 32]), None);
    let sent = bench.knock();
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
}

/// The cookie of a knock under the former key is sealed under the former key.
#[test]
fn under_load_both_realm_keys_are_given_cookies() {
    let mut bench = Bench::new();
    let former = bench.person.device.controller.realm.clone();
    let until = bench.now.wall.saturating_add(Duration::from_secs(10_000));
    bench.controller.set_realm(RealmKey::new([9; 32]), Some(FormerRealm { realm: former, until }));
    // From then on no recording from before the start is current.
    bench.skip(Duration::from_secs(3 * 64));
    bench.controller.handle_pressure(bench.now);
    let sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    let [Command::Reply { datagram, .. }] = commands.as_slice() else { panic!("no cookie") };
    let cookie = sent.expect.open_cookie(datagram).unwrap();
    let made = Made { cookie: Some(cookie), ..bench.plain() };
    let again = bench.make(&made);
    bench.admitted(HOME, again.k1.as_slice());
}

#[test]
fn a_refusal_is_carried_sealed() {
    let mut bench = Bench::new();
    let mut sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    let commands = bench.answer(gateway, request, Answer::Refused { inner: [3; 208] });
    let guidance = sent.read(HOME, &commands).unwrap();
    assert_eq!((guidance.status, guidance.inner, guidance.gateways.len()), (Status::Refused, Some([3; 208]), 0));
}

#[test]
fn t01_no_bit_of_a_knock_can_be_altered() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    for bit in 0..8 * sent.k1.len() {
        let mut altered = sent.k1.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        bench.now = bench.now.after(ms(3));
        assert!(bench.deliver(HOME, altered.as_slice()).is_empty(), "bit {bit}");
    }
    let counters = *bench.controller.counters();
    assert_eq!((counters.received, counters.accepted), (9_600, 0));
    // The 16 bytes of mac2 are of no use to it without load, and still can't be altered.
    assert_eq!(counters.junk, 8 * (16 + 16 + 32));
    assert_eq!(counters.unreadable, 8 * (1200 - 64));
    bench.admitted(HOME, sent.k1.as_slice());
}

#[test]
fn cut_and_stretched_knocks_are_silence() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    for length in (0..1200).step_by(7).chain([1199]) {
        assert!(bench.deliver(HOME, &sent.k1[..length]).is_empty());
    }
    let stretched = [sent.k1.as_slice(), &[0]].concat();
    assert!(bench.deliver(HOME, &stretched).is_empty());
    bench.admitted(HOME, sent.k1.as_slice());
}

#[test]
fn t01_who_has_no_row_or_other_keys_hears_nothing() {
    let mut bench = Bench::new();
    let right = bench.person.device.clone();
    let other = Realm::new(9);
    let strangers = [
        vestibule_proto::knocker::Device { controller: other.pin(), ..copy(&right) },
        vestibule_proto::knocker::Device { d_out: PrivateKey::random(&mut bench.entropy), ..copy(&right) },
        vestibule_proto::knocker::Device { digest: vestibule_proto::id::LoginDigest::new([1; 32]), ..copy(&right) },
    ];
    for stranger in strangers {
        bench.person.device = Arc::new(stranger);
        let sent = bench.knock();
        assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
    }
    let counters = *bench.controller.counters();
    assert_eq!((counters.junk, counters.unknown, counters.accepted), (1, 2, 0));
}

#[test]
fn an_answer_is_readable_only_with_psk_c() {
    let mut bench = Bench::new();
    let right = bench.person.device.clone();
    bench.person.device = Arc::new(vestibule_proto::knocker::Device { psk_c: Psk::new([1; 32]), ..copy(&right) });
    let mut sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    let commands = bench.answer(gateway, request, ready());
    assert!(sent.read(HOME, &commands).is_err());
}

#[test]
fn a_version_must_be_in_common() {
    let mut bench = Bench::new();
    for (lowest, highest, heard) in [(2, 3, false), (0, 0, false), (1, 7, true), (0, 1, true)] {
        let made = super::controller_bench::Made { versions: Versions { lowest, highest }, ..bench.plain() };
        let sent = bench.make(&made);
        assert_eq!(bench.deliver(HOME, sent.k1.as_slice()).len(), usize::from(heard), "{lowest} to {highest}");
    }
}

#[test]
fn t24_a_copy_is_answered_three_times_to_its_sender_and_admits_nobody_again() {
    let mut bench = Bench::new();
    let mut sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty(), "nothing to repeat yet");
    let first = bench.answer(gateway, request, ready());
    let [Command::Reply { datagram: answer, .. }] = first.as_slice() else { panic!() };

    for elsewhere in ["192.0.2.1:4001", "192.0.2.2:4000", "[2001:db8::1]:4000"] {
        assert!(bench.deliver(elsewhere, sent.k1.as_slice()).is_empty());
    }
    for _ in 0..3 {
        bench.skip(ms(3_000));
        let again = bench.deliver(HOME, sent.k1.as_slice());
        let [Command::Reply { datagram, .. }] = again.as_slice() else { panic!() };
        assert_eq!(datagram, answer);
    }
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty(), "a fourth time");
    assert!(sent.read(HOME, &first).is_ok());
    assert_eq!(bench.controller.counters().accepted, 1);
}

#[test]
fn a_recording_is_silence_for_ever() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    assert_eq!(bench.answer(gateway, request, ready()).len(), 1);
    for (pause, times) in [(ms(10_000), 1), (ms(1_000), 40), (ms(60_000), 70)] {
        for _ in 0..times {
            bench.skip(pause);
            assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
            assert!(bench.deliver("203.0.113.66:1", sent.k1.as_slice()).is_empty());
        }
    }
    assert_eq!(bench.controller.counters().accepted, 1);
}

#[test]
fn after_a_restart_what_was_written_down_is_silence_and_the_rest_is_the_gateways_to_refuse() {
    let mut bench = Bench::new();
    let written = bench.knock();
    bench.admitted(HOME, written.k1.as_slice());
    bench.skip(ms(5_000));
    let lost = bench.knock();
    let last = bench.controller.dirty_last()[0].1;
    bench.admitted(HOME, lost.k1.as_slice());
    bench.restart(last.saturating_add(MARGIN_MS));
    assert!(bench.deliver("203.0.113.66:1", written.k1.as_slice()).is_empty());
    let (gateway, request) = bench.admitted("203.0.113.66:1", lost.k1.as_slice());
    assert!(bench.answer(gateway, request, Answer::Seen).is_empty(), "the gateway's set is durable");
    assert!(bench.deliver("203.0.113.66:1", lost.k1.as_slice()).is_empty());
}

/// Another knock of the same row, two seconds later, was the newest on disk.
const MARGIN_MS: Duration = Duration::from_millis(2_000);

#[test]
fn dirty_rows_are_told_once() {
    let mut bench = Bench::new();
    assert!(bench.controller.dirty_last().is_empty());
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    let (digest, stamp) = (bench.person.device.digest, bench.now.wall);
    assert_eq!(bench.controller.dirty_last(), [(digest, stamp)]);
    assert!(bench.controller.dirty_last().is_empty());
}

#[test]
fn a_row_may_knock_five_times_at_once_and_then_once_a_second() {
    let mut bench = Bench::new();
    let mut heard = Vec::new();
    for _ in 0..8 {
        bench.now = bench.now.after(ms(1));
        let sent = bench.knock();
        heard.push(bench.deliver(HOME, sent.k1.as_slice()).len());
    }
    assert_eq!(heard, [1, 1, 1, 1, 1, 0, 0, 0]);
    let sent = bench.knock();
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
    bench.skip(ms(1_000));
    bench.admitted(HOME, sent.k1.as_slice());
    assert_eq!(bench.controller.counters().rate, 4, "what was refused for its rate may come again");
}

#[test]
fn a_row_that_is_withdrawn_while_its_knock_waits_ends_in_silence_and_shuts_the_door() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    assert!(bench.controller.withdraw_row(gateway, &bench.person.device.digest));
    let commands = bench.answer(gateway, request, ready());
    assert!(matches!(commands.as_slice(), [Command::Withdraw { request: withdrawn, .. }] if *withdrawn == request));
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
}

#[test]
fn a_renewed_row_still_knows_what_it_accepted() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    bench.skip(ms(20_000));
    let row = bench.person.row.clone();
    assert!(bench.controller.replace_rows(bench.gateway(), vec![row]).is_empty());
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
}

#[test]
fn a_temporary_row_is_none_when_its_time_is_over() {
    let mut bench = Bench::new();
    let end = bench.now.wall.saturating_add(ms(30_000));
    bench.controller.upsert_row(Row { temporary_until: Some(end), ..bench.person.row.clone() }).unwrap();
    assert_eq!(bench.controller.poll_timeout(), Some(bench.now.mono + ms(30_000)));
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    bench.now = bench.now.after(ms(30_000));
    let late = bench.knock();
    assert!(bench.deliver(HOME, late.k1.as_slice()).is_empty(), "also before the time-out was handled");
    bench.controller.handle_timeout(bench.now);
    assert_eq!(bench.controller.row_count(), 0);
}

#[test]
fn a_hundred_thousand_rows_are_no_trouble() {
    let mut bench = Bench::new();
    let rows = (0..100_000u32).map(|number| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Row {
            digest: vestibule_proto::id::LoginDigest::new(bytes),
            device_key: vestibule_proto::key::PublicKey::new(bytes),
            last: Stamp::from_millis(number.into()),
            ..bench.person.row.clone()
        }
    });
    let rows: Vec<_> = rows.chain([bench.person.row.clone()]).collect();
    for _ in 0..2 {
        assert!(bench.controller.replace_rows(bench.gateway(), rows.clone()).is_empty());
    }
    assert_eq!(bench.controller.row_count(), 100_001);
    let sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
}

#[test]
fn memory_is_given_back_when_nothing_happens() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.now = bench.now.after(ms(1));
        let sent = bench.knock();
        bench.admitted(HOME, sent.k1.as_slice());
    }
    assert_eq!(bench.controller.waiting_count(), 5);
    while let Some(at) = bench.controller.poll_timeout() {
        bench.pass(at.saturating_duration_since(bench.now.mono));
    }
    assert_eq!(bench.controller.waiting_count(), 0);
    assert_eq!(bench.commands().len(), 10, "five withdrawn, five told that the gateway is away");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes of a stranger, from anywhere, in any number: nothing.
    #[test]
    fn strangers_get_nothing(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1300), 1..20)) {
        let mut bench = Bench::new();
        for mut datagram in datagrams {
            prop_assert!(bench.deliver(HOME, &datagram).is_empty());
            datagram.resize(1200, 0);
            datagram[..4].copy_from_slice(&[1, 1, 0, 0]);
            prop_assert!(bench.deliver(HOME, &datagram).is_empty());
        }
        let counters = bench.controller.counters();
        prop_assert_eq!(counters.junk, counters.received);
    }
}
