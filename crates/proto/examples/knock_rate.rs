//! Authentic knocks per second of one core through the controller's whole machine, beside the bare curve arithmetic:
//! `cargo run --release -p vestibule-proto --example knock_rate`. Prints one JSON object.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring")]

use std::time::{Duration, Instant};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{GatewayId, KnockId, LoginDigest, Now, Stamp};
use vestibule_proto::key::{PrivateKey, RealmKey, Secret};
use vestibule_proto::outer::{ControllerPin, Knock, KnockFlags, Message, Versions, seal_knock};
use vestibule_proto::recognition::{Answer, Command, ControllerKeys, Limits, LinkState, Owner, Recognition, Row};

const DEVICES: usize = 2_000;
const KNOCKS_EACH: usize = 4;
/// X25519 operations of a responder: two to read K1, an ephemeral key and two to write K6.
const CURVE_OPERATIONS: u32 = 5;

fn main() {
    let entropy = &mut SystemEntropy;
    let keys = ControllerKeys { key: PrivateKey::random(entropy), realm: RealmKey::random(entropy) };
    let pin = ControllerPin { key: keys.key.public(), realm: keys.realm.clone() };
    let start = Now::new(Instant::now(), Stamp::from_millis(1_800_000_000_000));
    let gateway = GatewayId::random(entropy);
    let mut controller = Recognition::new(keys, start, Limits::default(), entropy);
    controller.set_link(gateway, LinkState::Up);
    let mut knocks: Vec<Message> = Vec::with_capacity(DEVICES * KNOCKS_EACH);
    for _ in 0..DEVICES {
        let (device, psk_c, digest) =
            (PrivateKey::random(entropy), Secret::random(entropy), LoginDigest::random(entropy));
        let row = Row {
            digest,
            device_key: device.public(),
            psk_c: psk_c.clone(),
            owner: Owner::Gateway(gateway),
            temporary_until: None,
            last: Stamp::default(),
        };
        controller.upsert_row(row).unwrap();
        for number in 0..KNOCKS_EACH {
            let knock = Knock {
                versions: Versions::OURS,
                flags: KnockFlags { link: false },
                digest,
                stamp: start.wall.saturating_add(Duration::from_millis(1 + number as u64)),
                knock_id: KnockId::random(entropy),
                challenge: None,
                inner: Some([7; 192]),
            };
            knocks.push(seal_knock(&pin, &device, &psk_c, &knock, None, entropy).unwrap().0);
        }
    }

    let (mut answered, mut spent) = (0_u32, Duration::ZERO);
    let source = "192.0.2.1:40000".parse().unwrap();
    for knock in &knocks {
        let begun = Instant::now();
        let now = Now::new(Instant::now(), start.wall);
        controller.handle_input(source, knock.as_slice(), now, entropy);
        while let Some(command) = controller.poll_command() {
            match command {
                Command::Admit { gateway, request, .. } => {
                    let ready = Answer::Ready { addresses: vec![source], inner: [9; 208], window_ms: 10_000 };
                    controller.handle_answer(gateway, request, ready, now);
                }
                Command::Reply { .. } => answered += 1,
                Command::Withdraw { .. } | Command::OpenLink { .. } => {}
            }
        }
        spent += begun.elapsed();
    }

    let (mine, peer) = (PrivateKey::random(entropy), PrivateKey::random(entropy).public());
    let begun = Instant::now();
    for _ in 0..2_000 {
        std::hint::black_box(mine.agree(&peer).unwrap());
    }
    let curve = begun.elapsed() / 2_000 * CURVE_OPERATIONS;
    println!(
        "{{\"knocks\": {}, \"answered\": {answered}, \"per_second\": {:.0}, \"curve_limit_per_second\": {:.0}}}",
        knocks.len(),
        f64::from(answered) / spent.as_secs_f64(),
        1.0 / curve.as_secs_f64()
    );
}
