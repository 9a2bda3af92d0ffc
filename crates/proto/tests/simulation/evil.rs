//! A controller in the attacker's hands (T16): it has all its keys, and every inner part that it ever carried.

use crate::common::Realm;
use crate::common::{address, start};
use crate::simulation::dice::Dice;
use proptest::prelude::*;
use std::collections::BTreeSet;
use vestibule_proto::admission::{AdmissionCommand, AdmissionConfig, Admissions, Answer};
use vestibule_proto::id::{KnockId, LinkRequest, Now, Stamp};
use vestibule_proto::inner::{InnerKnock, Purpose, Versions, seal_inner};
use vestibule_proto::knocker::{KnockEvent, Knocker};
use vestibule_proto::outer::{Guidance, Status, open_knock};

/// What the controller does with the `nth` inner part that it holds.
#[derive(Debug, Clone)]
enum Deed {
    Bring { nth: usize, digest: usize, altered: Option<(usize, u8)>, source: u8 },
    Withdraw(u64),
    Wait(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (0..6usize, 0..3usize, prop::option::weighted(0.2, (0..192usize, 1..=255u8)), any::<u8>())
            .prop_map(|(nth, digest, altered, source)| Deed::Bring { nth, digest, altered, source }),
        1 => (0..40u64).prop_map(Deed::Withdraw),
        2 => (0..15_000u64).prop_map(Deed::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Replayed, reordered, duplicated, altered, under other digests, with other addresses: one door per knock that a
    /// device made, and no try counted against anybody.
    #[test]
    fn t16_a_controller_opens_at_most_one_door_per_knock(deeds in prop::collection::vec(deed(), 1..60)) {
        let (mut realm, mut now, mut dice) = (Realm::new(7), start(), Dice::new(7));
        let people: Vec<_> = (0..3).map(|_| realm.person()).collect();
        let mut gateway = Admissions::new(realm.gateway.clone(), AdmissionConfig::default(), now);
        people.iter().for_each(|person| gateway.upsert_device(person.admissible.clone()));
        let held: Vec<_> = people.iter().chain(&people).map(|person| inner_part(&realm, &person.device, now.wall, &mut dice)).collect();
        let (mut set, mut opened) = (BTreeSet::new(), 0);
        for (number, deed) in deeds.into_iter().enumerate() {
            let request = LinkRequest::new(number as u64);
            match deed {
                Deed::Bring { nth, digest, altered, source } => {
                    let mut i1 = held[nth];
                    if let Some((at, bits)) = altered {
                        i1[at] ^= bits;
                    }
                    let from = address(&format!("192.0.2.{source}:1"));
                    gateway.handle_input(request, people[digest].device.digest, from, &i1, now, &mut dice);
                }
                Deed::Withdraw(number) => gateway.handle_withdraw(LinkRequest::new(number)),
                Deed::Wait(millis) => {
                    now = now.after(std::time::Duration::from_millis(millis));
                    gateway.handle_timeout(now);
                }
            }
            while let Some(command) = gateway.poll_command() {
                match command {
                    AdmissionCommand::CountGuess { .. } => panic!("a controller counts nobody's tries"),
                    AdmissionCommand::Remember { request, knock_id, .. } => {
                        let fresh = set.insert(knock_id);
                        gateway.handle_remembered(request, fresh, now, &mut dice);
                    }
                    AdmissionCommand::Open { request, .. } => {
                        opened += 1;
                        gateway.handle_opened(request, true, now, &mut dice);
                    }
                    AdmissionCommand::Answer { answer, .. } => {
                        prop_assert!(!matches!(answer, Answer::Away));
                    }
                    AdmissionCommand::Shut { .. } | AdmissionCommand::Audit(_) => {}
                }
            }
        }
        prop_assert!(opened <= held.len() && opened == set.len());
        for person in &people {
            prop_assert_eq!(gateway.guesses(person.admissible.device).count, 0);
        }
    }
}

fn inner_part(realm: &Realm, device: &vestibule_proto::knocker::Device, stamp: Stamp, dice: &mut Dice) -> [u8; 192] {
    let knock = InnerKnock {
        versions: Versions::OURS,
        purpose: Purpose::Login,
        stamp,
        knock_id: KnockId::random(dice),
        digest: device.digest,
        session: None,
        addresses: Vec::new(),
        expects: None,
    };
    seal_inner(realm.gateway.id, &realm.gateway.key.public(), &device.d_in, &device.psk_g, &device.psk_r, &knock, dice)
        .unwrap()
        .0
}

/// What the controller says to the client, readable for it in every case: it holds the keys.
fn say(what: u8, bytes: &[u8; 208], now: Now) -> Guidance {
    let status = [Status::Ready, Status::Time, Status::Refused, Status::Away, Status::Busy][usize::from(what % 5)];
    Guidance {
        status,
        window: std::time::Duration::from_millis(u64::from(what) * 1_000),
        seen: address("192.0.2.1:1"),
        controller_time: now.wall.saturating_add(std::time::Duration::from_secs(u64::from(what) * 3_600)),
        challenge: (what & 8 != 0).then_some([what; 24]),
        gateways: vec![address("192.0.2.66:443")],
        inner: (what & 16 != 0).then_some(*bytes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a controller says to a client: without the gateway's seal nobody is led anywhere, and the client ends.
    #[test]
    fn t16_a_controllers_word_alone_admits_nobody(sayings in prop::collection::vec((any::<u8>(), any::<[u8; 32]>()), 1..20)) {
        let (mut realm, mut now, mut dice) = (Realm::new(8), start(), Dice::new(8));
        let person = realm.person();
        let controller = address("198.51.100.1:7000");
        let mut knocker =
            Knocker::new(person.device.clone(), crate::common::LOGIN, &[controller], Vec::new(), Stamp::default(), now);
        knocker.handle_timeout(now, &mut dice);
        let (mut sayings, mut ended, mut sent) = (sayings.into_iter(), false, 0);
        for _ in 0..200 {
            while let Some(transmit) = knocker.poll_transmit() {
                sent += 1;
                let Some((what, noise)) = sayings.next() else { continue };
                let mut bytes = [0; 208];
                bytes[..32].copy_from_slice(&noise);
                let keys = &realm.controller;
                let opened = open_knock(&keys.key, &keys.realm, &transmit.payload, &mut dice).unwrap();
                let (k6, _) = opened.seal_guidance(&person.device.psk_c, &say(what, &bytes, now)).unwrap();
                knocker.handle_input(controller, k6.as_slice(), now, &mut dice);
            }
            while let Some(event) = knocker.poll_event() {
                match event {
                    KnockEvent::Admitted(_) => prop_assert!(false, "led by the controller alone"),
                    KnockEvent::Failed(_) => ended = true,
                    KnockEvent::ClockCorrected { offset_ms } => prop_assert!(offset_ms.abs() <= 86_400_000),
                }
            }
            let Some(next) = knocker.poll_timeout() else { break };
            now = now.after(next.saturating_duration_since(now.mono));
            knocker.handle_timeout(now, &mut dice);
        }
        prop_assert!(ended && sent < 40);
    }
}
