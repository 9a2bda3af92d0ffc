//! The gateways' answers: away, late, hedged, withdrawn, not theirs to give.

use super::controller_bench::{Bench, HOME, Sent, ready, tell};
use crate::common::ms;
use vestibule_proto::id::{GatewayId, LinkRequest};
use vestibule_proto::outer::Status;
use vestibule_proto::recognition::{Answer, Command, Limits, LinkState, Owner, Row};

const SECOND: GatewayId = GatewayId::new([0xee; 16]);

/// A bench whose person is served by a cluster of two.
fn cluster() -> Bench {
    let mut bench = Bench::new();
    bench.controller.upsert_row(Row { owner: Owner::Gateway(SECOND), ..bench.person.row.clone() }).unwrap();
    bench.controller.set_link(SECOND, LinkState::Up);
    bench
}

/// The one further question that there must be.
fn asked(commands: &[Command]) -> (GatewayId, LinkRequest) {
    let [Command::Admit { gateway, request, .. }] = commands else { panic!("{}", tell(commands)) };
    (*gateway, *request)
}

fn is_away(sent: &mut Sent, commands: &[Command]) -> bool {
    sent.read(HOME, commands).unwrap().status == Status::Away
}

#[test]
fn a_gateway_that_is_not_linked_is_away() {
    let mut bench = Bench::new();
    bench.controller.set_link(bench.gateway(), LinkState::Down);
    let mut sent = bench.knock();
    let commands = bench.deliver(HOME, sent.k1.as_slice());
    assert!(is_away(&mut sent, &commands));
}

#[test]
fn a_gateway_that_does_not_answer_in_two_seconds_is_away_and_its_late_answer_is_nothing() {
    let mut bench = Bench::new();
    let mut sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    bench.pass(ms(1_999));
    assert!(bench.commands().is_empty());
    bench.pass(ms(1));
    let commands = bench.commands();
    let [Command::Withdraw { request: withdrawn, .. }, reply] = commands.as_slice() else { panic!() };
    assert_eq!(*withdrawn, request);
    assert!(is_away(&mut sent, std::slice::from_ref(reply)));
    assert!(bench.answer(gateway, request, ready()).is_empty());
    assert_eq!(bench.controller.counters().stray_answers, 1);
}

#[test]
fn a_link_that_goes_down_is_noticed_at_once() {
    let mut bench = Bench::new();
    let mut sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    bench.controller.set_link(gateway, LinkState::Down);
    assert!(bench.controller.poll_timeout().unwrap() <= bench.now.mono);
    bench.pass(ms(0));
    let commands = bench.commands();
    assert!(is_away(&mut sent, &commands));
    assert!(bench.answer(gateway, request, ready()).is_empty());
}

#[test]
fn a_gateway_answers_its_own_questions_only() {
    let mut bench = Bench::new();
    bench.controller.set_link(SECOND, LinkState::Up);
    let sent = bench.knock();
    let (gateway, request) = bench.admitted(HOME, sent.k1.as_slice());
    for answer in [ready(), Answer::Seen, Answer::Away, Answer::Refused { inner: [0; 208] }] {
        assert!(bench.answer(SECOND, request, answer.clone()).is_empty());
        assert!(bench.answer(gateway, request.next(), answer).is_empty());
    }
    assert_eq!(bench.answer(gateway, request, ready()).len(), 1);
    assert!(bench.answer(gateway, request, ready()).is_empty(), "once");
}

#[test]
fn too_many_waiting_knocks_make_it_busy() {
    let mut bench = Bench::with_limits(Limits { waiting: 2, ..Limits::default() });
    for _ in 0..2 {
        let sent = bench.knock();
        bench.admitted(HOME, sent.k1.as_slice());
    }
    let mut sent = bench.knock();
    let guidance = bench.answered(HOME, &mut sent);
    assert_eq!(guidance.status, Status::Busy);
}

#[test]
fn the_first_gateway_is_alone_for_300_ms_then_a_second_one_is_asked_and_the_loser_withdrawn() {
    let mut bench = cluster();
    let mut sent = bench.knock();
    let (first, first_request) = bench.admitted(HOME, sent.k1.as_slice());
    bench.pass(ms(299));
    assert!(bench.commands().is_empty());
    bench.pass(ms(1));
    let commands = bench.commands();
    let (second, second_request) = asked(&commands);
    assert!(first != second && first_request != second_request);

    let commands = bench.answer(second, second_request, ready());
    let [Command::Withdraw { gateway, request }, reply] = commands.as_slice() else { panic!() };
    assert_eq!((*gateway, *request), (first, first_request));
    assert_eq!(sent.read(HOME, std::slice::from_ref(reply)).unwrap().status, Status::Ready);
    assert!(bench.answer(first, first_request, ready()).is_empty());
    assert_eq!(bench.controller.counters().hedged, 1);
}

#[test]
fn an_answer_within_300_ms_asks_nobody_else() {
    let mut bench = cluster();
    let sent = bench.knock();
    let (first, request) = bench.admitted(HOME, sent.k1.as_slice());
    assert_eq!(bench.answer(first, request, ready()).len(), 1);
    bench.pass(ms(5_000));
    assert!(bench.commands().is_empty());
}

#[test]
fn a_gateway_that_is_away_makes_way_at_once() {
    let mut bench = cluster();
    let mut sent = bench.knock();
    let (first, request) = bench.admitted(HOME, sent.k1.as_slice());
    let (second, request) = asked(&bench.answer(first, request, Answer::Away));
    assert_ne!(first, second);
    let commands = bench.answer(second, request, Answer::Away);
    assert!(is_away(&mut sent, &commands));
}

#[test]
fn a_link_that_goes_down_makes_way_at_once() {
    let mut bench = cluster();
    let sent = bench.knock();
    let (first, _) = bench.admitted(HOME, sent.k1.as_slice());
    bench.controller.set_link(first, LinkState::Down);
    bench.pass(ms(0));
    assert_ne!(asked(&bench.commands()).0, first);
}

#[test]
fn a_repetition_is_the_whole_clusters_word_but_who_was_asked_first_may_still_be_opening() {
    let mut bench = cluster();
    let sent = bench.knock();
    let (first, request) = bench.admitted(HOME, sent.k1.as_slice());
    assert!(bench.answer(first, request, Answer::Seen).is_empty());
    bench.pass(ms(5_000));
    assert!(bench.commands().is_empty(), "nobody else is asked about a repetition");

    let mut next = bench.knock();
    let (first, first_request) = bench.admitted(HOME, next.k1.as_slice());
    bench.pass(ms(300));
    let (second, request) = asked(&bench.commands());
    assert!(bench.answer(second, request, Answer::Seen).is_empty(), "the set is shared: the first has written it down");
    let commands = bench.answer(first, first_request, ready());
    assert_eq!(next.read(HOME, &commands).unwrap().status, Status::Ready);
}

#[test]
fn both_silent_is_away_and_both_are_withdrawn() {
    let mut bench = cluster();
    let mut sent = bench.knock();
    bench.admitted(HOME, sent.k1.as_slice());
    bench.pass(ms(300));
    asked(&bench.commands());
    bench.pass(ms(1_700));
    let commands = bench.commands();
    let [Command::Withdraw { gateway: one, .. }, Command::Withdraw { gateway: other, .. }, reply] = commands.as_slice()
    else {
        panic!("{}", tell(&commands))
    };
    assert_ne!(one, other);
    assert!(is_away(&mut sent, std::slice::from_ref(reply)));
}

#[test]
fn gateways_of_a_cluster_are_asked_in_turns() {
    let mut bench = cluster();
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let sent = bench.knock();
        first.insert(bench.admitted(HOME, sent.k1.as_slice()).0);
    }
    assert_eq!(first.len(), 2);
}

#[test]
fn question_numbers_of_two_starts_are_different() {
    let mut bench = Bench::new();
    let sent = bench.knock();
    let (_, before) = bench.admitted(HOME, sent.k1.as_slice());
    bench.pass(ms(1));
    bench.restart(Default::default());
    let sent = bench.knock();
    let (_, after) = bench.admitted(HOME, sent.k1.as_slice());
    assert!(after > before);
}
