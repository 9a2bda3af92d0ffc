//! Scenes with a beginning and an end: what a person or an attacker would tell.

use crate::simulation::hosts::Weather;
use crate::simulation::world::{Act, World};
use std::time::Duration;
use vestibule_proto::inner::RefusalCode;
use vestibule_proto::knocker::KnockFailure;
use vestibule_proto::recognition::Limits;

const HOUR: i64 = 3_600_000;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn in_good_weather_everybody_comes_in_at_the_first_knock() {
    let mut world = World::new(1, 5);
    world.run(secs(1));
    for client in 0..5 {
        world.act(Act::Knock(client));
    }
    world.run(secs(15));
    for client in &world.clients {
        assert_eq!((client.granted, client.failures.len()), (1, 0));
        assert!(!client.admitted[0].address_mismatch);
    }
    world.comes_to_rest();
}

#[test]
fn half_of_all_datagrams_may_be_lost() {
    let mut world = World::new(2, 3);
    world.run(secs(1));
    world.weather = Weather { loss: 500, twice: 100, delay: 400, ..Weather::default() };
    for client in 0..3 {
        world.act(Act::Knock(client));
    }
    world.run(secs(20));
    assert!(world.clients.iter().all(|client| client.admitted.len() == 1));
}

#[test]
fn t24_a_recording_draws_nothing_for_an_hour_from_anywhere() {
    let mut world = World::new(3, 2);
    world.run(secs(1));
    for client in 0..2 {
        assert!(world.comes_in(client, 1));
    }
    world.act(Act::Flush);
    let opened = world.ledger.opened_count();
    let recordings = world.ledger.recordings().len() as u64;
    for minute in 0..60 {
        for nth in 0..recordings {
            world.act(Act::Replay { nth, spoofed: minute % 2 == 0, altered: false });
        }
        match minute {
            10 => world.act(Act::KillController),
            20 => world.act(Act::KillGateway),
            30 => world.plan(secs(30), Act::Pressure),
            40 => world.act(Act::ControllerClock(-HOUR)),
            50 => world.act(Act::GatewayClock(-HOUR)),
            _ => {}
        }
        world.run(secs(60));
    }
    assert_eq!(world.ledger.opened_count(), opened);
}

#[test]
fn t24_what_was_accepted_just_before_a_crash_is_refused_by_the_gateway() {
    let mut world = World::new(4, 1);
    world.run(secs(1));
    world.act(Act::Knock(0));
    world.run(secs(5));
    assert_eq!(world.clients[0].granted, 1);
    let opened = world.ledger.opened_count();
    // Nothing was flushed.
    world.act(Act::KillController);
    world.run(secs(2));
    for nth in 0..world.ledger.recordings().len() as u64 {
        world.act(Act::Replay { nth, spoofed: false, altered: false });
        world.run(secs(3));
    }
    assert_eq!(world.ledger.opened_count(), opened);
    let machine = world.gateway.running.as_ref().unwrap();
    assert!(machine.counters().seen + machine.counters().repeated > 0, "it was the gateway that knew");
}

#[test]
fn t25_a_wrong_clock_comes_in_and_needs_no_correction_the_next_time_its_clock_is_right() {
    for off in [-20 * HOUR, -HOUR, HOUR, 20 * HOUR] {
        let mut world = World::new(5, 1);
        world.run(secs(1));
        world.act(Act::ClientClock(0, off));
        assert!(world.comes_in(0, 1), "{off}");
        let offset = world.clients[0].admitted[0].clock_offset_ms;
        assert!((offset + off).abs() < 1_000, "{offset}");
        world.act(Act::ClientClock(0, 0));
        assert!(world.comes_in(0, 1));
        assert_eq!(world.clients[0].admitted[1].clock_offset_ms, 0);
    }
}

#[test]
fn t25_a_clock_ten_years_off_is_for_the_person_and_does_no_harm() {
    for off in [-87_600 * HOUR, 87_600 * HOUR] {
        let mut world = World::new(6, 1);
        world.run(secs(1));
        world.act(Act::ClientClock(0, off));
        assert!(!world.comes_in(0, 1));
        assert!(matches!(world.clients[0].failures[..], [KnockFailure::ClockFarOff { .. }]));
        world.act(Act::ClientClock(0, 0));
        assert!(world.comes_in(0, 1), "no stamp has shut the device out");
    }
}

#[test]
fn t25_a_clock_that_jumps_while_knocking_comes_in() {
    for (seed, jump) in (20..).zip([-HOUR, HOUR, -23 * HOUR, 23 * HOUR]) {
        let mut world = World::new(seed, 1);
        world.run(secs(1));
        world.weather.delay = 300;
        world.act(Act::ClientClock(0, 5 * HOUR / 60));
        world.plan(Duration::from_millis(100), Act::ClientClock(0, jump));
        world.act(Act::Knock(0));
        world.run(secs(65));
        assert!(world.clients[0].granted == 1 || world.comes_in(0, 2), "{jump}");
    }
}

#[test]
fn t25_the_servers_clock_set_back_an_hour_shuts_nobody_out() {
    for restart in [false, true] {
        let mut world = World::new(7, 2);
        world.run(secs(1));
        assert!(world.comes_in(0, 1));
        world.act(Act::Flush);
        world.act(Act::ControllerClock(-HOUR));
        world.act(Act::GatewayClock(-HOUR));
        if restart {
            world.act(Act::KillController);
            world.act(Act::KillGateway);
            world.run(secs(3));
        }
        assert!(world.comes_in(0, 1) && world.comes_in(1, 1), "restart: {restart}");
        world.act(Act::ControllerClock(0));
        world.act(Act::GatewayClock(0));
        assert!(world.comes_in(0, 2) && world.comes_in(1, 2), "and back, restart: {restart}");
    }
}

#[test]
fn the_gateways_clock_ahead_for_a_while_is_told_and_then_forgotten() {
    let mut world = World::new(8, 1);
    world.run(secs(1));
    world.act(Act::GatewayClock(HOUR));
    assert!(!world.comes_in(0, 1));
    assert!(
        matches!(&world.clients[0].failures[..], [KnockFailure::Refused(refusal)] if refusal.code == RefusalCode::Time)
    );
    world.act(Act::GatewayClock(0));
    assert!(world.comes_in(0, 1));
}

#[test]
fn a_controller_killed_between_admission_and_ready_costs_a_retry() {
    let mut world = World::new(9, 1);
    world.run(secs(1));
    world.weather.delay = 200;
    world.act(Act::Knock(0));
    let mut before = world.ledger.opened_count();
    while world.ledger.opened_count() == before {
        world.run(Duration::from_millis(10));
    }
    before = world.ledger.opened_count();
    world.act(Act::KillController);
    world.run(secs(15));
    assert!(world.ledger.opened_count() > before);
    // It may have been told that the gateway is away: the controller was back before the link was.
    assert!(world.clients[0].granted == 1 || world.comes_in(0, 1));
    world.comes_to_rest();
}

#[test]
fn a_gateway_killed_with_its_door_open_opens_nothing_for_the_old_tag() {
    let mut world = World::new(10, 1);
    world.run(secs(1));
    world.act(Act::Knock(0));
    while world.clients[0].admitted.is_empty() {
        world.run(Duration::from_millis(1));
    }
    let tag = world.clients[0].admitted[0].ticket.tag(1);
    world.act(Act::KillGateway);
    world.run(secs(3));
    world.try_tag(0, "203.0.113.1:4000", tag);
    assert_eq!(world.clients[0].granted, 0);
    assert!(world.comes_in(0, 1));
}

#[test]
fn without_a_gateway_or_its_link_the_client_is_told_so() {
    let mut world = World::new(11, 1);
    world.run(secs(1));
    world.gateway.kill();
    world.act(Act::LinkDown);
    world.act(Act::Knock(0));
    world.run(secs(15));
    assert_eq!(world.clients[0].failures, [KnockFailure::GatewayAway]);
}

#[test]
fn without_a_controller_there_is_silence() {
    let mut world = World::new(12, 1);
    world.run(secs(1));
    world.controller.running = None;
    world.act(Act::Knock(0));
    world.run(secs(15));
    assert_eq!(world.clients[0].failures, [KnockFailure::NoAnswer]);
}

#[test]
fn wrong_passwords_end_in_suspension_and_nothing_opens() {
    let mut world = World::new(13, 1);
    world.run(secs(1));
    for number in 0..60 {
        world.mistype(0, number);
        world.act(Act::Knock(0));
        world.run(secs(1_800));
    }
    let device = world.clients[0].person.admissible.device;
    assert_eq!((world.ledger.opened_count(), world.clients[0].admitted.len()), (0, 0));
    assert_eq!((world.ledger.looked_at(device), world.gateway.guesses[&device].count), (20, 20));
    let refused =
        |failure: &KnockFailure, code| matches!(failure, KnockFailure::Refused(refusal) if refusal.code == code);
    assert!(refused(&world.clients[0].failures[0], RefusalCode::WrongPassword));
    assert!(refused(world.clients[0].failures.last().unwrap(), RefusalCode::Suspended));
}

#[test]
fn under_load_clients_come_in_by_cookie_and_recordings_get_none() {
    let limits = Limits { wasted_per_second: 2, ..Limits::default() };
    let mut world = World::with(14, 2, limits);
    world.run(secs(200));
    assert!(world.comes_in(0, 1));
    for round in 0..10 {
        for nth in 0..6 {
            world.act(Act::Replay { nth, spoofed: false, altered: nth % 2 == 0 });
        }
        world.act(Act::Pressure);
        world.act(Act::Knock(1));
        world.run(secs(20));
        assert_eq!(world.clients[1].granted, round + 1);
    }
    assert!(world.controller.running.as_ref().unwrap().counters().cookies > 0);
}

#[test]
fn a_tag_of_somebody_else_or_of_yesterday_opens_nothing() {
    let mut world = World::new(15, 2);
    world.run(secs(1));
    world.weather.loss = 0;
    world.act(Act::Knock(0));
    world.run(secs(5));
    let spent = world.clients[0].admitted[0].ticket.tag(0);
    let (granted, opened) = (world.clients[0].granted, world.ledger.opened_count());
    for from in ["203.0.113.1:4000", "192.0.2.66:1"] {
        world.try_tag(0, from, spent);
        for number in 1..12 {
            let other = world.clients[0].admitted[0].ticket.tag(number);
            world.try_tag(0, from, other);
        }
    }
    assert_eq!((world.clients[0].granted, world.ledger.opened_count()), (granted, opened));
}
