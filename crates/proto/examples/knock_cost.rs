//! What a knock costs each side, in microseconds of one core: `cargo run -p vestibule-proto --example knock_cost`.
//!
//! Prints the median of many runs. The goal is 200 µs for the controller's share of an honest knock, and less than 1 µs for
//! a stranger's datagram.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the developer")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use vestibule_proto::entropy::{Entropy, SystemEntropy};
use vestibule_proto::id::{GatewayId, KnockId, LoginDigest, Stamp, TicketId};
use vestibule_proto::inner::{self, InnerKnock, Purpose, READY, Ready};
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret};
use vestibule_proto::outer::{self, ControllerPin, Guidance, Knock, KnockFlags, Mac1Key, Message, Status, Versions};

const RUNS: usize = 2_000;

fn main() {
    let parties = Parties::new();
    let (k1, _) = parties.seal_knock();
    let (i1, _) = parties.seal_inner();
    let mac1 = Mac1Key::new(&parties.controller.public(), &parties.pin.realm);
    let mut junk = k1.clone();
    junk[40] ^= 1;
    let mut stranger = k1.clone();
    stranger[20] ^= 1;

    print("stranger's datagram, mac1", || mac1.check(black_box(stranger.as_slice())));
    print("controller: open K1", || parties.open_knock(&k1).is_ok());
    print("controller: open K1 and seal K6", || parties.answer_knock(&k1));
    print("  of which curve arithmetic", || parties.curve_arithmetic());
    print("controller: open K1 altered behind mac1", || parties.open_knock(&junk).is_err());
    print("gateway: open I1 and seal I2", || parties.answer_inner(&i1));
    print("client: seal I1", || parties.seal_inner().0);
    print("client: seal K1", || parties.seal_knock().0);
}

fn print<T>(what: &str, mut run: impl FnMut() -> T) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{what:42} {:8.2} µs median {:8.2} µs 95 %", micros(times[RUNS / 2]), micros(times[RUNS * 95 / 100]));
}

struct Parties {
    controller: PrivateKey,
    pin: ControllerPin,
    device: PrivateKey,
    psk: Psk,
    gateway: GatewayId,
    g: PrivateKey,
    digest: LoginDigest,
}

impl Parties {
    fn new() -> Self {
        let entropy = &mut SystemEntropy;
        let controller = PrivateKey::random(entropy);
        Self {
            pin: ControllerPin { key: controller.public(), realm: RealmKey::random(entropy) },
            controller,
            device: PrivateKey::random(entropy),
            psk: Secret::random(entropy),
            gateway: GatewayId::random(entropy),
            g: PrivateKey::random(entropy),
            digest: LoginDigest::random(entropy),
        }
    }

    fn seal_knock(&self) -> (Message, outer::AwaitGuidance) {
        let mut inner = [0; 192];
        SystemEntropy.fill(&mut inner);
        let knock = Knock {
            versions: Versions::OURS,
            flags: KnockFlags::default(),
            digest: self.digest,
            stamp: Stamp::from_millis(1_800_000_000_000),
            knock_id: KnockId::random(&mut SystemEntropy),
            challenge: None,
            inner: Some(inner),
        };
        outer::seal_knock(&self.pin, &self.device, &self.psk, &knock, None, &mut SystemEntropy).unwrap()
    }

    fn open_knock(&self, k1: &Message) -> Result<outer::OpenedKnock, outer::Unreadable> {
        outer::open_knock(&self.controller, &self.pin.realm, k1.as_slice(), &mut SystemEntropy)
    }

    fn answer_knock(&self, k1: &Message) -> Message {
        let guidance = Guidance {
            status: Status::Ready,
            window: Duration::from_secs(10),
            seen: ([192, 0, 2, 7], 40_000).into(),
            controller_time: Stamp::from_millis(1_800_000_000_000),
            challenge: None,
            gateways: vec![([198, 51, 100, 1], 443).into()],
            inner: Some([7; 208]),
        };
        self.open_knock(k1).unwrap().seal_guidance(&self.psk, &guidance).unwrap().0
    }

    /// The least that answering a knock takes: es and ss to open it; an ephemeral key, ee and se to answer.
    fn curve_arithmetic(&self) -> [Secret<32>; 4] {
        let (peer, ephemeral) = (self.device.public(), PrivateKey::random(&mut SystemEntropy));
        [&self.controller, &self.controller, &ephemeral, &ephemeral].map(|key| key.agree(&peer).unwrap())
    }

    fn seal_inner(&self) -> ([u8; 192], inner::AwaitReady) {
        let knock = InnerKnock {
            versions: Versions::OURS,
            purpose: Purpose::Login,
            stamp: Stamp::from_millis(1_800_000_000_000),
            knock_id: KnockId::new([1; 16]),
            digest: self.digest,
            session: None,
            addresses: Vec::new(),
            expects: None,
        };
        let key = self.g.public();
        inner::seal_inner(self.gateway, &key, &self.device, &self.psk, &self.psk, &knock, &mut SystemEntropy).unwrap()
    }

    fn answer_inner(&self, i1: &[u8; 192]) -> [u8; 208] {
        assert!(inner::vouched(&self.psk, i1));
        let device = self.device.public();
        let opened =
            inner::open_inner(self.gateway, &self.g, &device, &self.psk, self.digest, i1, &mut SystemEntropy).unwrap();
        let ready = Ready {
            knock_id: opened.knock.knock_id,
            ticket: TicketId::random(&mut SystemEntropy),
            ticket_secret: Secret::random(&mut SystemEntropy),
            window: Duration::from_secs(10),
            code: READY,
            announced: ([192, 0, 2, 7], 40_000).into(),
            addresses: vec![([198, 51, 100, 1], 443).into()],
            stamp: Stamp::from_millis(1_800_000_000_000),
            versions: Versions::OURS,
        };
        opened.seal_ready(&ready).unwrap().0
    }
}
