//! What is admitted, what is refused and what is not even answered.

use super::gateway_bench::{Bench, HOME, Order};
use crate::common::{copy, ms};
use std::time::Duration;
use vestibule_proto::admission::{AdmissionAudit, AdmissionConfig, DeviceKind, Suspicion};
use vestibule_proto::gateway_key::KeyName;
use vestibule_proto::id::{GatewayId, LoginDigest, Now, Stamp};
use vestibule_proto::inner::{InnerKnock, Purpose, RefusalCode, Versions};
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey};
use vestibule_proto::knocker::Device;

#[test]
fn a_right_knock_is_remembered_then_opened_then_told() {
    let mut bench = Bench::new();
    let mut sent = bench.right();
    let (request, orders) = bench.deliver("[::ffff:192.0.2.1]:4000", &sent);
    assert_eq!(orders, [Order::Remember(sent.knock.knock_id, sent.knock.stamp)]);
    let orders = bench.remembered(request, true);
    let [Order::Open(ticket_id, tags)] = orders.as_slice() else { panic!("{orders:?}") };
    let orders = bench.opened(request, true);
    let [Order::Ready(i2)] = orders.as_slice() else { panic!("{orders:?}") };

    let (ready, ticket) = sent.ready(i2).unwrap();
    assert_eq!((ready.ticket, ready.window), (*ticket_id, Duration::from_secs(10)));
    assert_eq!((ready.announced, ready.addresses.len()), (HOME.parse().unwrap(), 1));
    assert_eq!((ready.knock_id, ready.stamp), (sent.knock.knock_id, bench.now.wall));
    assert_eq!(ticket.quic_tags().as_slice(), tags.as_slice());
    assert_eq!(bench.gateway.counters().ready, 1);
}

#[test]
fn junk_is_dropped_makes_the_controller_suspect_and_counts_against_nobody() {
    let mut bench = Bench::new();
    let sent = bench.right();
    for bit in 0..8 * sent.i1.len() {
        let mut junk = bench.right();
        junk.i1 = sent.i1;
        junk.i1[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(bench.deliver(HOME, &junk).1, [Order::Seen], "bit {bit}");
    }
    assert_eq!((bench.guesses(), bench.gateway.pending_count()), (0, (0, 0)));
    let digest = bench.person.device.digest;
    let suspect = |times| AdmissionAudit::ControllerSuspect { suspicion: Suspicion::NotVouched, digest, times };
    assert_eq!(bench.audits, [suspect(1)], "said once a minute");
    bench.pass(ms(60_000));
    let mut junk = bench.right();
    junk.i1[0] ^= 1;
    bench.deliver(HOME, &junk);
    assert_eq!(bench.audits.last(), Some(&suspect(1_536)));
    bench.admit(HOME);
}

#[test]
fn an_unknown_digest_is_silence_and_suspect() {
    let mut bench = Bench::new();
    let stranger = LoginDigest::new([9; 32]);
    let knock = InnerKnock { digest: stranger, ..bench.plain() };
    let sent = bench.make(knock);
    assert_eq!(bench.deliver(HOME, &sent).1, [Order::Seen]);
    let suspicion = Suspicion::UnknownDigest;
    assert_eq!(bench.audits, [AdmissionAudit::ControllerSuspect { suspicion, digest: stranger, times: 1 }]);
}

#[test]
fn t16_a_knock_for_another_gateway_or_digest_is_none_here() {
    let mut bench = Bench::new();
    let device = bench.person.device.clone();
    let elsewhere = Device { gateway: GatewayId::new([9; 16]), ..copy(&device) };
    let other_key = Device { gateway_key: PrivateKey::random(&mut bench.entropy).public(), ..copy(&device) };
    for wrong in [elsewhere, other_key] {
        let knock = bench.plain();
        let sent = bench.make_by(&wrong, knock);
        assert_eq!(bench.deliver(HOME, &sent).1, [Order::Count(bench.device())], "the seal does not open");
    }
    // The digest is part of what is sealed: the controller can't put one device's knock before the row of another.
    let other = bench.realm.person();
    bench.gateway.upsert_device(other.admissible.clone());
    let mut swapped = bench.right();
    swapped.knock.digest = other.device.digest;
    assert_eq!(bench.deliver(HOME, &swapped).1, [Order::Seen]);
}

#[test]
fn a_knock_that_was_here_before_is_silence() {
    let mut bench = Bench::new();
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    assert_eq!(bench.remembered(request, false), [Order::Seen]);
    assert_eq!(bench.deliver(HOME, &sent).1, [Order::Seen], "known in memory too");
    let (counters, pending) = (*bench.gateway.counters(), bench.gateway.pending_count());
    assert_eq!((counters.seen, counters.repeated, pending), (1, 1, (0, 0)));
}

#[test]
fn the_same_inner_part_under_many_requests_is_looked_at_once() {
    let mut bench = Bench::new();
    let sent = bench.right();
    let orders: Vec<_> = (0..100).flat_map(|_| bench.deliver(HOME, &sent).1).collect();
    assert_eq!(orders.iter().filter(|order| matches!(order, Order::Remember(..))).count(), 1);
    assert_eq!(orders.iter().filter(|order| **order == Order::Seen).count(), 99);
}

#[test]
fn a_revoked_device_is_refused_and_told_so() {
    let mut bench = Bench::with(AdmissionConfig::default(), |device| device.revoked = true);
    let sent = bench.right();
    assert_eq!(bench.refused(&sent).code, RefusalCode::Revoked);
    let wrong = bench.wrong(1);
    assert_eq!(bench.refused(&wrong).code, RefusalCode::Revoked, "whatever the password");
    assert_eq!((bench.guesses(), bench.audited_refusals()), (0, vec![RefusalCode::Revoked]));
}

#[test]
fn a_refusal_is_readable_for_the_device_and_this_knock_alone() {
    let mut bench = Bench::with(AdmissionConfig::default(), |device| device.revoked = true);
    let (sent, other) = (bench.right(), bench.right());
    let (_, orders) = bench.deliver(HOME, &sent);
    let [Order::Refused(sealed)] = orders.as_slice() else { panic!("{orders:?}") };
    let psk_r = &bench.person.device.psk_r;
    assert!(vestibule_proto::inner::open_refusal(psk_r, &sent.i1, sealed).is_ok());
    assert!(vestibule_proto::inner::open_refusal(psk_r, &other.i1, sealed).is_err());
    assert!(vestibule_proto::inner::open_refusal(&Psk::new([0; 32]), &sent.i1, sealed).is_err());
}

#[test]
fn what_is_too_old_is_refused_and_what_is_ahead_is_the_seen_sets_to_decide() {
    let mut bench = Bench::new();
    for (behind, code) in [(60_001, Some(RefusalCode::Time)), (60_000, None)] {
        let stamp = bench.now.wall.saturating_sub(ms(behind));
        let knock = InnerKnock { stamp, ..bench.plain() };
        let sent = bench.make(knock);
        match code {
            Some(code) => assert_eq!(bench.refused(&sent).code, code),
            None => assert_eq!(bench.deliver(HOME, &sent).1, [Order::Remember(sent.knock.knock_id, stamp)]),
        }
    }
    let ahead = InnerKnock { stamp: Stamp::from_millis(u64::MAX), ..bench.plain() };
    let sent = bench.make(ahead);
    assert!(matches!(bench.deliver(HOME, &sent).1.as_slice(), [Order::Remember(..)]));
}

#[test]
fn t25_a_clock_set_back_does_not_revive_what_was_too_old() {
    let mut bench = Bench::new();
    let withheld = bench.right();
    bench.pass(Duration::from_secs(3_600));
    bench.admit(HOME);
    bench.now = Now::new(bench.now.mono, bench.now.wall.saturating_sub(Duration::from_secs(3_600)));
    assert_eq!(bench.refused(&withheld).code, RefusalCode::Time);

    let mut bench = invited(false, ms(60_000));
    bench.pass(ms(60_000));
    let late = enrol(&mut bench, Purpose::Enrol);
    assert_eq!(bench.refused(&late).code, RefusalCode::InvitationExpired);
    bench.now = Now::new(bench.now.mono, bench.now.wall.saturating_sub(ms(60_000)));
    let again = enrol(&mut bench, Purpose::Enrol);
    assert_eq!(bench.refused(&again).code, RefusalCode::InvitationExpired);
}

#[test]
fn a_clock_that_was_ahead_for_a_while_shuts_nobody_out() {
    let mut bench = Bench::new();
    let true_time = bench.now;
    bench.now = Now::new(true_time.mono, true_time.wall.saturating_add(Duration::from_secs(3_600)));
    let made_in_time = InnerKnock { stamp: true_time.wall, ..bench.plain() };
    let sent = bench.make(made_in_time);
    assert_eq!(bench.refused(&sent).code, RefusalCode::Time);
    bench.now = true_time.after(ms(1_000));
    bench.admit(HOME);
}

#[test]
fn t06_versions_never_fall_below_the_floor() {
    let versions = |lowest, highest| Versions { lowest, highest };
    for (spoken, floor, refused) in
        [(versions(1, 1), 0, false), (versions(1, 9), 1, false), (versions(1, 1), 2, true), (versions(2, 3), 0, true)]
    {
        let mut bench = Bench::with(AdmissionConfig::default(), |device| device.version_floor = floor);
        let knock = InnerKnock { versions: spoken, ..bench.plain() };
        let sent = bench.make(knock);
        if refused {
            assert_eq!(bench.refused(&sent).code, RefusalCode::Version, "{spoken:?} {floor}");
        } else {
            assert!(matches!(bench.deliver(HOME, &sent).1.as_slice(), [Order::Remember(..)]), "{spoken:?} {floor}");
        }
    }
}

fn invited(used: bool, expires_in: Duration) -> Bench {
    let expires = crate::common::start().wall.saturating_add(expires_in);
    Bench::with(AdmissionConfig::default(), |device| device.kind = DeviceKind::Invitation { expires, used })
}

fn enrol(bench: &mut Bench, purpose: Purpose) -> super::gateway_bench::Sent {
    let knock = InnerKnock { purpose, ..bench.plain() };
    bench.make(knock)
}

#[test]
fn an_invitation_enrols_once_and_in_time() {
    let mut bench = invited(false, ms(60_000));
    let mut sent = enrol(&mut bench, Purpose::Enrol);
    bench.admit_sent(HOME, &mut sent);
    bench.pass(ms(60_000));
    let late = enrol(&mut bench, Purpose::Enrol);
    assert_eq!(bench.refused(&late).code, RefusalCode::InvitationExpired);

    let mut bench = invited(true, ms(60_000));
    let again = enrol(&mut bench, Purpose::Enrol);
    assert_eq!(bench.refused(&again).code, RefusalCode::InvitationUsed);
    assert_eq!(bench.audited_refusals(), [RefusalCode::InvitationUsed], "a trace at the gateway");
}

#[test]
fn an_invitation_only_enrols_and_a_device_never_does() {
    for purpose in [Purpose::Login, Purpose::Resume, Purpose::Leave] {
        let mut bench = invited(false, ms(60_000));
        let sent = enrol(&mut bench, purpose);
        assert_eq!(bench.refused(&sent).code, RefusalCode::Version);
        let mut bench = Bench::new();
        let sent = enrol(&mut bench, purpose);
        assert!(matches!(bench.deliver(HOME, &sent).1.as_slice(), [Order::Remember(..)]));
    }
    let mut bench = Bench::new();
    let sent = enrol(&mut bench, Purpose::Enrol);
    assert_eq!(bench.refused(&sent).code, RefusalCode::Version);
}

#[test]
fn an_altered_invitation_is_refused_unreadably_and_leaves_a_trace() {
    let mut bench = invited(false, ms(60_000));
    let altered = Device {
        psk_r: Psk::new([1; 32]),
        psk_g: Psk::new([2; 32]),
        d_in: PrivateKey::random(&mut bench.entropy),
        ..copy(&bench.person.device)
    };
    let knock = InnerKnock { purpose: Purpose::Enrol, ..bench.plain() };
    let sent = bench.make_by(&altered, knock);
    let (_, orders) = bench.deliver(HOME, &sent);
    let [Order::Refused(sealed)] = orders.as_slice() else { panic!("{orders:?}") };
    assert!(vestibule_proto::inner::open_refusal(&altered.psk_r, &sent.i1, sealed).is_err());
    let audit = AdmissionAudit::InvitationAltered { device: bench.device(), source: HOME.parse().unwrap() };
    assert_eq!((bench.audits.as_slice(), bench.guesses()), ([audit].as_slice(), 0));
}

/// While no key is named at the gateway it is not asked for one: as before keys could be rotated.
#[test]
fn who_expects_a_key_that_counts_comes_in_with_its_name_and_nobody_else() {
    let mut bench = Bench::new();
    let [former, present, other] = [1, 2, 3].map(|number| {
        let seed = Secret::new([number; 32]);
        KeyName::of(&SigningKey::from_seed(seed).spki())
    });
    let knock = |bench: &mut Bench, expects| InnerKnock { expects, ..bench.plain() };
    let come = |bench: &mut Bench, expects: Option<KeyName>| {
        let knock = knock(bench, expects);
        let mut sent = bench.make(knock);
        let (_, ticket) = bench.admit_sent(HOME, &mut sent);
        let granted = bench.gateway.handle_tag_spent(ticket.id, HOME.parse().unwrap(), bench.now).unwrap();
        assert_eq!(granted.expects, expects);
        bench.pass(ms(5_000));
    };
    come(&mut bench, Some(other));
    bench.gateway.set_gateway_keys(vec![present, former]);
    for expects in [None, Some(present), Some(former)] {
        come(&mut bench, expects);
    }
    let refused = |bench: &mut Bench, expects| {
        let knock = knock(bench, Some(expects));
        let sent = bench.make(knock);
        assert_eq!(bench.refused(&sent).code, RefusalCode::GatewayKey);
        bench.pass(ms(5_000));
    };
    refused(&mut bench, other);
    bench.gateway.set_gateway_keys(vec![present]);
    refused(&mut bench, former);
    come(&mut bench, Some(present));
    assert_eq!(bench.guesses(), 0, "that is no wrong password");
}

#[test]
fn beyond_its_limit_the_gateway_is_busy() {
    let mut bench = Bench::with(AdmissionConfig { pending_limit: 3, ..AdmissionConfig::default() }, |_| {});
    for _ in 0..3 {
        let sent = bench.right();
        assert!(matches!(bench.deliver(HOME, &sent).1.as_slice(), [Order::Remember(..)]));
    }
    let sent = bench.right();
    assert_eq!(bench.refused(&sent).code, RefusalCode::Busy);
    bench.pass(ms(2_000));
    bench.admit(HOME);
}

#[test]
fn a_thousand_devices_at_once_are_all_admitted() {
    let mut bench = Bench::new();
    let people: Vec<_> = (0..1_000).map(|_| bench.realm.person()).collect();
    let mut waiting = Vec::new();
    for person in people {
        bench.gateway.upsert_device(person.admissible.clone());
        bench.person = person;
        let sent = bench.right();
        let (request, orders) = bench.deliver(HOME, &sent);
        assert!(matches!(orders.as_slice(), [Order::Remember(..)]));
        waiting.push(request);
    }
    for request in waiting {
        assert!(matches!(bench.remembered(request, true).as_slice(), [Order::Open(..)]));
        assert!(matches!(bench.opened(request, true).as_slice(), [Order::Ready(_)]));
    }
    assert_eq!(bench.gateway.pending_count(), (0, 1_000));
    assert_eq!(bench.pass(ms(10_000)).len(), 1_000);
    assert_eq!(bench.gateway.pending_count(), (0, 0));
}
