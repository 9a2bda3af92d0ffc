//! C1: gateways that knock for their own links.

use super::controller_bench::{Bench, HOME, tell};
use crate::common::{Realm, address, ms};
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::id::{KnockId, LoginDigest, Stamp};
use vestibule_proto::key::{PrivateKey, Psk};
use vestibule_proto::knocker::{KnockEvent, Knocker, LinkDevice};
use vestibule_proto::outer::{Knock, KnockFlags, Message, Versions, seal_knock};
use vestibule_proto::recognition::{Command, LINK_WINDOW, Owner, Row};
use vestibule_proto::ticket::Ticket;

const CONTROLLER: &str = "198.51.100.1:7000";

fn linking(bench: &mut Bench) -> (Arc<LinkDevice>, Row) {
    let (link, row) = bench.realm.link();
    bench.controller.upsert_row(row.clone()).unwrap();
    (link, row)
}

fn link_knock(bench: &mut Bench, link: &LinkDevice) -> Message {
    let knock = Knock {
        versions: Versions::OURS,
        flags: KnockFlags { link: true },
        digest: link.digest,
        stamp: bench.now.wall,
        knock_id: KnockId::random(&mut bench.entropy),
        challenge: None,
        inner: None,
    };
    seal_knock(&link.controller, &link.d_out, &link.psk_c, &knock, None, &mut bench.entropy).unwrap().0
}

/// Runs a knocker against the bench without a network between them; gives both ends' tickets.
fn connect(bench: &mut Bench, link: Arc<LinkDevice>, last: Stamp) -> (Ticket, Ticket) {
    let mut knocker = Knocker::for_link(link, &[address(CONTROLLER)], last, bench.now);
    let mut opened = None;
    for _ in 0..4 {
        knocker.handle_timeout(bench.now, &mut bench.entropy);
        while let Some(transmit) = knocker.poll_transmit() {
            for command in bench.deliver(HOME, &transmit.payload) {
                match command {
                    Command::OpenLink { ticket, .. } => opened = Some(ticket),
                    Command::Reply { datagram, .. } => {
                        knocker.handle_input(address(CONTROLLER), &datagram, bench.now, &mut bench.entropy);
                    }
                    Command::Admit { .. } | Command::Withdraw { .. } => panic!("a gateway was asked"),
                }
            }
        }
    }
    let admitted = std::iter::from_fn(|| knocker.poll_event()).find_map(|event| match event {
        KnockEvent::Admitted(admitted) => Some(admitted),
        KnockEvent::ClockCorrected { .. } | KnockEvent::Failed(_) => None,
    });
    let admitted = admitted.expect("the gateway comes in");
    assert_eq!((admitted.window, admitted.announced), (LINK_WINDOW, None));
    (opened.unwrap(), admitted.ticket)
}

#[test]
fn the_controllers_door_opens_before_the_word_is_sent_and_both_have_the_same_tags() {
    let mut bench = Bench::new();
    let (link, row) = linking(&mut bench);
    bench.skip(ms(61_000));
    let k1 = link_knock(&mut bench, &link);
    let commands = bench.deliver("[::ffff:192.0.2.1]:4000", k1.as_slice());
    let [Command::OpenLink { gateway, temporary, source, .. }, Command::Reply { .. }] = commands.as_slice() else {
        panic!("{}", tell(&commands))
    };
    assert_eq!((*gateway, *temporary, *source), (bench.gateway(), false, address(HOME)));

    let (controllers, gateways) = connect(&mut bench, link, Stamp::default());
    assert_eq!(controllers.quic_tags(), gateways.quic_tags());
    assert_eq!(controllers.inner_hash, gateways.inner_hash);
    assert!(bench.controller.dirty_last().iter().any(|(digest, _)| *digest == row.digest));
}

#[test]
fn a_temporary_row_says_that_it_is_one() {
    let mut bench = Bench::new();
    let (link, row) = bench.realm.link();
    let until = Some(bench.now.wall.saturating_add(Duration::from_secs(600)));
    bench.controller.upsert_row(Row { temporary_until: until, ..row }).unwrap();
    bench.skip(ms(61_000));
    let k1 = link_knock(&mut bench, &link);
    let commands = bench.deliver(HOME, k1.as_slice());
    assert!(matches!(commands.as_slice(), [Command::OpenLink { temporary: true, .. }, Command::Reply { .. }]));
}

#[test]
fn after_a_start_a_link_needs_a_challenge_for_a_minute_for_nobody_remembers_what_was_before() {
    let mut bench = Bench::new();
    let (link, row) = linking(&mut bench);
    bench.skip(ms(61_000));
    // Made by a clock that is 50 s ahead, and accepted; the controller dies before it has written anything down.
    bench.now.wall = bench.now.wall.saturating_add(ms(50_000));
    let recorded = link_knock(&mut bench, &link);
    bench.now.wall = bench.now.wall.saturating_sub(ms(50_000));
    assert_eq!(bench.deliver(HOME, recorded.as_slice()).len(), 2);
    bench.restart(Stamp::default());
    bench.controller.upsert_row(row).unwrap();
    bench.skip(ms(1_000));
    let commands = bench.deliver("203.0.113.66:1", recorded.as_slice());
    assert!(!commands.iter().any(|command| matches!(command, Command::OpenLink { .. })));

    // The gateway itself comes in at once, by challenge: one more round trip. Its row was told the time a moment ago.
    bench.skip(ms(60_000));
    bench.restart(Stamp::default());
    let row = Row { last: Stamp::default(), ..bench.realm_link_row(&link) };
    bench.controller.upsert_row(row).unwrap();
    connect(&mut bench, link, Stamp::default());
    assert_eq!(bench.controller.counters().time_told, 1);
}

#[test]
fn a_device_does_not_link_and_a_gateway_is_not_admitted() {
    let mut bench = Bench::new();
    let (link, _) = linking(&mut bench);
    bench.skip(ms(61_000));
    let device = bench.person.device.clone();
    let as_link = LinkDevice {
        controller: device.controller.clone(),
        d_out: device.d_out.clone(),
        psk_c: device.psk_c.clone(),
        digest: device.digest,
    };
    let k1 = link_knock(&mut bench, &as_link);
    assert!(bench.deliver(HOME, k1.as_slice()).is_empty());

    let as_device = vestibule_proto::knocker::Device {
        d_out: link.d_out.clone(),
        psk_c: link.psk_c.clone(),
        digest: link.digest,
        ..crate::common::copy(&device)
    };
    bench.person.device = Arc::new(as_device);
    let sent = bench.knock();
    assert!(bench.deliver(HOME, sent.k1.as_slice()).is_empty());
    assert_eq!(bench.controller.counters().unknown, 2);
}

#[test]
fn a_recording_of_a_link_s_knock_is_silence() {
    let mut bench = Bench::new();
    let (link, row) = linking(&mut bench);
    bench.skip(ms(61_000));
    let k1 = link_knock(&mut bench, &link);
    assert_eq!(bench.deliver(HOME, k1.as_slice()).len(), 2);
    let next = link_knock(&mut bench, &link);
    bench.deliver(HOME, next.as_slice());
    for pause in [0, 11_000, 60_000, 3_600_000] {
        bench.skip(ms(pause));
        assert!(bench.deliver("203.0.113.66:1", k1.as_slice()).is_empty());
    }
    let last = bench.controller.dirty_last()[0].1;
    bench.restart(Stamp::default());
    bench.controller.upsert_row(Row { last: last.saturating_add(ms(2_000)), ..row }).unwrap();
    assert!(bench.deliver("203.0.113.66:1", k1.as_slice()).is_empty());
}

impl Bench {
    /// The row of a link device, as it is on disk.
    fn realm_link_row(&self, link: &LinkDevice) -> Row {
        Row {
            digest: link.digest,
            device_key: link.d_out.public(),
            psk_c: link.psk_c.clone(),
            owner: Owner::Link(self.gateway()),
            temporary_until: None,
            last: Stamp::default(),
        }
    }
}

impl Realm {
    /// The gateway's own row, and what it knocks with.
    fn link(&mut self) -> (Arc<LinkDevice>, Row) {
        let controller = self.pin();
        let entropy = &mut self.entropy;
        let device = LinkDevice {
            controller,
            d_out: PrivateKey::random(entropy),
            psk_c: Psk::random(entropy),
            digest: LoginDigest::random(entropy),
        };
        let row = Row {
            digest: device.digest,
            device_key: device.d_out.public(),
            psk_c: device.psk_c.clone(),
            owner: Owner::Link(self.gateway.id),
            temporary_until: None,
            last: Stamp::default(),
        };
        (Arc::new(device), row)
    }
}
