//! Doors: one per device and family, for one window, for whoever bears a tag.

use super::gateway_bench::{Bench, HOME, HOME6, Order};
use crate::common::{address, ms};
use std::time::Duration;
use vestibule_proto::admission::{AdmissionAudit, AdmissionConfig, NatPolicy};
use vestibule_proto::id::{LinkRequest, SessionId};
use vestibule_proto::inner::{InnerKnock, Purpose, RefusalCode};

fn with_policy(nat: NatPolicy) -> Bench {
    Bench::with(AdmissionConfig { nat, ..AdmissionConfig::default() }, |_| {})
}

#[test]
fn a_tag_lets_its_bearer_in_once() {
    let mut bench = Bench::new();
    let session = Some(SessionId::new([5; 16]));
    let knock = InnerKnock { purpose: Purpose::Resume, session, ..bench.plain() };
    let mut sent = bench.make(knock);
    let (_, ticket) = bench.admit_sent(HOME, &mut sent);
    bench.pass(ms(9_999));
    let from = address("[::ffff:203.0.113.5]:9");
    let granted = bench.gateway.handle_tag_spent(ticket.id, from, bench.now).expect("granted");
    assert_eq!((granted.device, granted.digest), (bench.device(), bench.person.device.digest));
    assert_eq!((granted.purpose, granted.session, granted.version), (Purpose::Resume, session, 1));
    assert_eq!((granted.announced, granted.source), (address(HOME), address("203.0.113.5:9")));
    assert_eq!(granted.ticket.inner_hash, ticket.inner_hash);
    assert!(granted.ticket.kd == ticket.kd);
    assert!(bench.gateway.handle_tag_spent(ticket.id, from, bench.now).is_none());
    assert!(bench.pass(ms(60_000)).is_empty(), "the flow goes on; there is no door to shut");
}

#[test]
fn a_door_is_shut_when_its_window_is_over() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    assert!(bench.pass(ms(9_999)).is_empty());
    assert_eq!(bench.pass(ms(1)), [Order::Shut(ticket.id)]);
    assert!(bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).is_none());
    let unused = AdmissionAudit::Unused { device: bench.device(), announced: address(HOME) };
    assert_eq!(bench.audits, [unused]);
}

#[test]
fn a_window_is_over_on_time_even_if_the_time_out_is_late() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    bench.now = bench.now.after(ms(10_000));
    assert!(bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).is_none());
}

#[test]
fn a_tag_of_a_door_that_is_not_told_yet_opens_nothing() {
    let mut bench = Bench::new();
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    let orders = bench.remembered(request, true);
    let [Order::Open(ticket, _)] = orders.as_slice() else { panic!("{orders:?}") };
    assert!(bench.gateway.handle_tag_spent(*ticket, address(HOME), bench.now).is_none());
    assert!(matches!(bench.opened(request, true).as_slice(), [Order::Ready(_)]));
    assert!(bench.gateway.handle_tag_spent(*ticket, address(HOME), bench.now).is_some());
}

#[test]
fn policies_filter_where_a_tag_may_come_from() {
    let cases = [
        (NatPolicy::Strict, "192.0.2.1:77", true),
        (NatPolicy::Strict, "192.0.2.2:4000", false),
        (NatPolicy::Net, "192.0.2.200:77", true),
        (NatPolicy::Net, "192.0.3.1:4000", false),
        (NatPolicy::Net, HOME6, false),
        (NatPolicy::Follow, "203.0.113.1:1", true),
        (NatPolicy::Follow, HOME6, true),
    ];
    for (policy, from, comes_in) in cases {
        let mut bench = with_policy(policy);
        let (_, ticket) = bench.admit(HOME);
        let granted = bench.gateway.handle_tag_spent(ticket.id, address(from), bench.now);
        assert_eq!(granted.is_some(), comes_in, "{policy:?} {from}");
        if !comes_in {
            let granted = bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now);
            assert!(granted.is_some(), "nobody else uses it up");
        }
    }
}

#[test]
fn a_new_knock_takes_the_place_of_the_old_one_in_its_family() {
    let mut bench = Bench::new();
    let (_, old) = bench.admit(HOME);
    let (_, other) = bench.admit(HOME6);
    let sent = bench.right();
    let (request, _) = bench.deliver("192.0.2.77:1", &sent);
    let orders = bench.remembered(request, true);
    assert!(matches!(orders.as_slice(), [Order::Shut(shut), Order::Open(..)] if *shut == old.id));
    bench.opened(request, true);
    assert!(bench.gateway.handle_tag_spent(old.id, address(HOME), bench.now).is_none());
    assert!(bench.gateway.handle_tag_spent(other.id, address(HOME6), bench.now).is_some());
}

#[test]
fn a_new_knock_ends_an_old_one_whose_door_is_just_being_opened() {
    let mut bench = Bench::new();
    let (first, second) = (bench.right(), bench.right());
    let (first_request, _) = bench.deliver(HOME, &first);
    bench.remembered(first_request, true);
    let (request, _) = bench.deliver(HOME, &second);
    let orders = bench.remembered(request, true);
    assert!(matches!(orders.as_slice(), [Order::Shut(_), Order::Seen, Order::Open(..)]), "{orders:?}");
    assert!(bench.opened(first_request, true).is_empty());
    assert!(matches!(bench.opened(request, true).as_slice(), [Order::Ready(_)]));
}

#[test]
fn a_knock_that_is_not_new_takes_nobodys_place() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    assert_eq!(bench.remembered(request, false), [Order::Seen]);
    assert!(bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).is_some());
}

#[test]
fn the_first_tag_cancels_the_other_family() {
    let mut bench = Bench::new();
    let ((_, v4), (_, v6)) = (bench.admit(HOME), bench.admit(HOME6));
    assert!(bench.gateway.handle_tag_spent(v6.id, address(HOME6), bench.now).is_some());
    assert_eq!(bench.orders(), [Order::Shut(v4.id)]);
    assert!(bench.gateway.handle_tag_spent(v4.id, address(HOME), bench.now).is_none());
    assert_eq!(bench.gateway.pending_count(), (0, 0));
}

#[test]
fn two_devices_do_not_disturb_each_other() {
    let mut bench = Bench::new();
    let (_, first) = bench.admit(HOME);
    bench.person = bench.realm.person();
    bench.gateway.upsert_device(bench.person.admissible.clone());
    let (_, second) = bench.admit(HOME);
    let granted = bench.gateway.handle_tag_spent(first.id, address(HOME), bench.now).unwrap();
    assert_ne!(granted.device, bench.device());
    let granted = bench.gateway.handle_tag_spent(second.id, address(HOME), bench.now).unwrap();
    assert_eq!(granted.device, bench.device());
}

#[test]
fn a_door_that_does_not_open_is_a_fault_and_not_ready() {
    let mut bench = Bench::new();
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    bench.remembered(request, true);
    let orders = bench.opened(request, false);
    let [Order::Shut(_), refused] = orders.as_slice() else { panic!("{orders:?}") };
    assert_eq!(sent.refusal(std::slice::from_ref(refused)).code, RefusalCode::Fault);
    assert_eq!(bench.gateway.pending_count(), (0, 0));
}

#[test]
fn a_withdrawal_undoes_every_state() {
    let mut bench = Bench::new();
    let wrong = bench.wrong(1);
    let (request, _) = bench.deliver(HOME, &wrong);
    assert!(bench.withdraw(request).is_empty());
    assert!(bench.counted(request, 1).is_empty());

    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    assert!(bench.withdraw(request).is_empty());
    assert!(bench.remembered(request, true).is_empty());

    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    bench.remembered(request, true);
    assert!(matches!(bench.withdraw(request).as_slice(), [Order::Shut(_)]));
    assert!(bench.opened(request, true).is_empty());

    let (request, ticket) = bench.admit(HOME);
    assert_eq!(bench.withdraw(request), [Order::Shut(ticket.id)]);
    assert!(bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).is_none());
    assert_eq!(bench.gateway.pending_count(), (0, 0));
}

#[test]
fn a_withdrawal_that_overtakes_its_request_leaves_nothing_to_open() {
    let mut bench = Bench::new();
    let sent = bench.right();
    for early in 1..=200 {
        bench.gateway.handle_withdraw(LinkRequest::new(early));
    }
    bench.gateway.handle_withdraw(bench.next_request());
    assert_eq!(bench.deliver(HOME, &sent).1, [Order::Seen]);
    assert_eq!((bench.gateway.pending_count(), bench.gateway.counters().received), ((0, 0), 0));
    bench.admit(HOME);
}

#[test]
fn a_withdrawal_of_what_was_granted_cuts_nothing() {
    let mut bench = Bench::new();
    let (request, ticket) = bench.admit(HOME);
    bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).unwrap();
    assert!(bench.withdraw(request).is_empty());
}

#[test]
fn a_confirmation_that_comes_too_late_opens_nothing() {
    let mut bench = Bench::new();
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    assert!(bench.pass(ms(2_000)).is_empty());
    assert!(bench.remembered(request, true).is_empty());

    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    bench.pass(ms(1_000));
    bench.remembered(request, true);
    assert!(matches!(bench.pass(ms(1_000)).as_slice(), [Order::Shut(_)]), "the time does not begin anew");
    assert!(bench.opened(request, true).is_empty());
}

#[test]
fn a_revocation_shuts_doors_at_once_and_refuses_what_is_under_way() {
    let mut bench = Bench::new();
    let ((_, v4), (_, v6)) = (bench.admit(HOME), bench.admit(HOME6));
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    bench.gateway.revoke_device(bench.device());
    assert_eq!(bench.orders(), [Order::Shut(v4.id), Order::Shut(v6.id)]);
    assert_eq!(sent.refusal(&bench.remembered(request, true)).code, RefusalCode::Revoked);
    for ticket in [v4, v6] {
        assert!(bench.gateway.handle_tag_spent(ticket.id, address(HOME), bench.now).is_none());
    }
}

#[test]
fn a_removed_or_revoked_digest_has_no_door() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    assert!(bench.gateway.remove_device(&bench.person.device.digest));
    assert_eq!(bench.orders(), [Order::Shut(ticket.id)]);
    assert!(!bench.gateway.remove_device(&bench.person.device.digest));
    let sent = bench.right();
    assert_eq!(bench.deliver(HOME, &sent).1, [Order::Seen]);

    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    let revoked = vestibule_proto::admission::AdmissibleDevice { revoked: true, ..bench.person.admissible.clone() };
    bench.gateway.upsert_device(revoked);
    assert_eq!(bench.orders(), [Order::Shut(ticket.id)]);
}

#[test]
fn a_link_that_is_lost_leaves_open_what_was_told_and_nothing_else() {
    let mut bench = Bench::new();
    let (_, told) = bench.admit(HOME6);
    let sent = bench.right();
    let (request, _) = bench.deliver(HOME, &sent);
    bench.remembered(request, true);
    bench.gateway.handle_link_down();
    assert!(matches!(bench.orders().as_slice(), [Order::Shut(_)]));
    assert!(bench.opened(request, true).is_empty());
    assert!(bench.gateway.handle_tag_spent(told.id, address(HOME6), bench.now).is_some());
}

#[test]
fn a_restart_shuts_everything() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.admit(HOME);
    let now = bench.now.after(Duration::from_secs(1));
    let mut restarted = Bench::new();
    assert!(restarted.gateway.handle_tag_spent(ticket.id, address(HOME), now).is_none());
}
