//! The knocker against a controller and a gateway that are played by hand: its lines of attempts, its stamps, its cookies,
//! and the tickets that both ends must agree on. Its rules for single answers are in `machines/client.rs`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{GatewayId, LoginDigest, Now, Stamp, TicketId};
use vestibule_proto::inner::{Purpose, READY, Ready, Versions, open_inner};
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret};
use vestibule_proto::knocker::{
    Admitted, Ask, Device, KnockEvent, KnockFailure, Knocker, LinkDevice, Schedule, Transmit,
};
use vestibule_proto::outer::{
    ControllerPin, Guidance, Knock, Mac1Key, OpenedKnock, Status, cookie_for, link_ticket, mac2_matches, open_knock,
    seal_cookie,
};
use vestibule_proto::ticket::Ticket;

const V4: &str = "198.51.100.1:7000";
const V4_OTHER: &str = "198.51.100.2:7000";
const V6: &str = "[2001:db8:c::1]:7000";
const CLIENT: &str = "203.0.113.7:4000";

/// All keys of one realm, and one knocker in it.
struct World {
    controller: PrivateKey,
    realm: RealmKey,
    gateway: GatewayId,
    g: PrivateKey,
    d_in: PrivateKey,
    device: Arc<Device>,
    link: Arc<LinkDevice>,
    entropy: SeededEntropy,
    now: Now,
    knocker: Knocker,
}

impl World {
    fn knocking(controllers: &[&str]) -> Self {
        Self::starting(controllers, Stamp::default(), false)
    }

    fn starting(controllers: &[&str], acknowledged: Stamp, is_link: bool) -> Self {
        let mut entropy = SeededEntropy::new(11);
        let (controller, g) = (PrivateKey::random(&mut entropy), PrivateKey::random(&mut entropy));
        let realm = RealmKey::random(&mut entropy);
        let d_in = PrivateKey::random(&mut entropy);
        let pin = ControllerPin { key: controller.public(), realm: realm.clone() };
        let gateway = GatewayId::random(&mut entropy);
        let device = Arc::new(Device {
            gateway,
            controller: pin.clone(),
            d_out: PrivateKey::random(&mut entropy),
            psk_c: Psk::random(&mut entropy),
            psk_r: Psk::random(&mut entropy),
            digest: LoginDigest::random(&mut entropy),
            gateway_key: g.public(),
            expects: None,
            d_in: d_in.clone(),
            psk_g: Psk::random(&mut entropy),
        });
        let link = Arc::new(LinkDevice {
            controller: pin,
            d_out: device.d_out.clone(),
            psk_c: device.psk_c.clone(),
            digest: device.digest,
        });
        let now = Now::new(Instant::now(), Stamp::from_millis(1_800_000_000_000));
        let controllers: Vec<SocketAddr> = controllers.iter().map(|text| text.parse().unwrap()).collect();
        let mut knocker = if is_link {
            Knocker::for_link(Arc::clone(&link), &controllers, acknowledged, now)
        } else {
            let ask = Ask { purpose: Purpose::Login, session: None };
            Knocker::new(Arc::clone(&device), ask, &controllers, Vec::new(), acknowledged, now)
        };
        knocker.handle_timeout(now, &mut entropy);
        Self { controller, realm, gateway, g, d_in, device, link, entropy, now, knocker }
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.knocker.poll_transmit()).collect()
    }

    /// The only datagram that was just sent.
    fn one(&mut self) -> Transmit {
        let sent = self.sent();
        assert_eq!(sent.len(), 1);
        sent.into_iter().next().unwrap()
    }

    fn events(&mut self) -> Vec<KnockEvent> {
        std::iter::from_fn(|| self.knocker.poll_event()).collect()
    }

    fn hear(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.knocker.handle_input(from, datagram, self.now, &mut self.entropy);
    }

    /// Both clocks go on, and every time-out is kept; gives all that was sent.
    fn pass(&mut self, millis: u64) -> Vec<Transmit> {
        let (end, mut sent) = (self.now.after(Duration::from_millis(millis)), Vec::new());
        while let Some(next) = self.knocker.poll_timeout().filter(|next| *next <= end.mono) {
            self.now = self.now.after(next.saturating_duration_since(self.now.mono));
            self.knocker.handle_timeout(self.now, &mut self.entropy);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    fn open(&mut self, k1: &[u8]) -> OpenedKnock {
        assert!(Mac1Key::new(&self.controller.public(), &self.realm).check(k1));
        open_knock(&self.controller, &self.realm, k1, &mut self.entropy).unwrap()
    }

    fn knock(&mut self, k1: &[u8]) -> Knock {
        self.open(k1).knock
    }

    fn seal(&mut self, k1: &[u8], status: Status, time: Stamp, inner: Option<[u8; 208]>) -> (Vec<u8>, [u8; 32]) {
        let guidance = Guidance {
            status,
            window: Duration::from_secs(10),
            seen: CLIENT.parse().unwrap(),
            controller_time: time,
            challenge: (status == Status::Time).then_some([3; 24]),
            gateways: vec!["198.51.100.9:443".parse().unwrap()],
            inner,
        };
        let (k6, hash) = self.open(k1).seal_guidance(&self.device.psk_c, &guidance).unwrap();
        (k6.to_vec(), hash)
    }

    /// What an honest gateway and controller answer, and the ticket that the gateway has made.
    fn ready(&mut self, k1: &[u8]) -> (Vec<u8>, Ticket) {
        let knock = self.knock(k1);
        let (public, digest, i1) = (self.d_in.public(), self.device.digest, knock.inner.unwrap());
        let opened = open_inner(self.gateway, &self.g, &public, &self.device.psk_g, digest, &i1, &mut self.entropy);
        let ready = Ready {
            knock_id: knock.knock_id,
            ticket: TicketId::random(&mut self.entropy),
            ticket_secret: Secret::random(&mut self.entropy),
            window: Duration::from_secs(10),
            code: READY,
            announced: CLIENT.parse().unwrap(),
            addresses: vec!["198.51.100.9:443".parse().unwrap()],
            stamp: self.now.wall,
            versions: Versions::OURS,
        };
        let (i2, inner_hash) = opened.unwrap().seal_ready(&ready).unwrap();
        let ticket = Ticket::derive(inner_hash, &ready.ticket_secret, ready.ticket);
        (self.seal(k1, Status::Ready, self.now.wall, Some(i2)).0, ticket)
    }

    fn cookie(&mut self, k1: &[u8], cookie: &[u8; 16]) -> [u8; 72] {
        let key = self.controller.public();
        seal_cookie(&key, &self.realm, k1, cookie, &mut self.entropy).unwrap()
    }

    fn tell_time(&mut self, to: &Transmit, time: Stamp) {
        let (k6, _) = self.seal(&to.payload, Status::Time, time, None);
        self.hear(to.to, &k6);
    }

    fn admitted(&mut self) -> Option<Admitted> {
        self.events().into_iter().find_map(|event| match event {
            KnockEvent::Admitted(admitted) => Some(admitted),
            KnockEvent::ClockCorrected { .. } | KnockEvent::Failed(_) => None,
        })
    }

    fn failed_unanswered(&mut self) -> bool {
        self.events().iter().any(|event| matches!(event, KnockEvent::Failed(KnockFailure::NoAnswer)))
    }
}

#[test]
fn client_and_gateway_hold_the_same_tags() {
    let mut world = World::knocking(&[V4]);
    let sent = world.one();
    let (k6, ticket) = world.ready(&sent.payload);
    world.hear(sent.to, &k6);
    let admitted = world.admitted().unwrap();
    assert!((0..12).all(|n| admitted.ticket.tag(n) == ticket.tag(n)));
    assert!(admitted.ticket.inner_hash == ticket.inner_hash && admitted.ticket.kd == ticket.kd);
    assert!(!admitted.address_mismatch);
}

#[test]
fn a_link_and_its_controller_hold_the_same_tags() {
    let mut world = World::starting(&[V4], Stamp::default(), true);
    let sent = world.one();
    let knock = world.knock(&sent.payload);
    assert!(knock.flags.link && knock.inner.is_none() && knock.digest == world.link.digest);
    let (id, secret) = (TicketId::random(&mut world.entropy), Secret::random(&mut world.entropy));
    let inner = Some(link_ticket::encode(id, &secret));
    let (k6, outer_hash) = world.seal(&sent.payload, Status::Ready, world.now.wall, inner);
    world.hear(sent.to, &k6);
    let admitted = world.admitted().unwrap();
    let ticket = Ticket::derive(outer_hash, &secret, id);
    assert!((0..4).all(|n| admitted.ticket.tag(n) == ticket.tag(n)));
    assert_eq!((admitted.announced, admitted.address_mismatch), (None, false));
    assert_eq!(admitted.gateways, ["198.51.100.9:443".parse().unwrap()]);
}

#[test]
fn of_two_families_the_first_answer_wins_and_the_other_is_nothing() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut world = World::knocking(&[V6, V4]);
        let mut sent = world.sent();
        sent.extend(world.pass(50));
        assert_eq!(sent.iter().map(|sent| sent.to.to_string()).collect::<Vec<_>>(), [V6, V4]);
        let (won, ticket) = world.ready(&sent[first].payload);
        let (lost, _) = world.ready(&sent[second].payload);
        // Each answer is one to its own line only.
        world.hear(sent[second].to, &won);
        assert!(world.admitted().is_none());
        world.hear(sent[first].to, &won);
        assert!(world.admitted().unwrap().ticket.tag(0) == ticket.tag(0));
        world.hear(sent[second].to, &lost);
        assert!(world.events().is_empty());
        assert!(world.pass(60_000).is_empty() && world.knocker.poll_timeout().is_none());
    }
}

#[test]
fn one_family_without_an_answer_does_not_end_the_other() {
    let mut world = World::knocking(&[V6, V4]);
    world.sent();
    // The first line's last pause ends 50 ms before the second's.
    world.pass(11_249);
    assert!(world.events().is_empty());
    let last = world.pass(1);
    assert!(last.is_empty() && world.events().is_empty() && world.knocker.poll_timeout().is_some());
    world.pass(50);
    assert!(world.failed_unanswered());
    assert!(world.knocker.poll_timeout().is_none());
}

#[test]
fn an_answer_to_a_repetition_is_one_to_the_knock_and_one_to_an_earlier_round_is_none() {
    let mut world = World::knocking(&[V4]);
    let first = world.one();
    let (early, _) = world.ready(&first.payload);
    let later = world.pass(3_750 + 250);
    let [.., second, again] = later.as_slice() else { panic!("a second round, repeated once") };
    assert!(second == again && second.payload != first.payload);
    world.hear(first.to, &early);
    assert!(world.events().is_empty(), "the gateway replaced that admission");
    let (k6, _) = world.ready(&again.payload);
    world.hear(again.to, &k6);
    assert!(world.admitted().is_some());
}

#[test]
fn addresses_of_one_family_take_turns() {
    let mut world = World::knocking(&[V4, V4_OTHER]);
    let mut sent = world.sent();
    sent.extend(world.pass(11_250));
    let rounds: Vec<String> = sent.chunks(4).map(|round| round[0].to.to_string()).collect();
    assert_eq!(rounds, [V4, V4_OTHER, V4]);
    assert!(sent.chunks(4).all(|round| round.iter().all(|sent| *sent == round[0])));

    let mut world = World::knocking(&[V4, V4_OTHER]);
    world.sent();
    let second = world.pass(3_750).pop().unwrap();
    let (k6, _) = world.ready(&second.payload);
    world.hear(V4.parse().unwrap(), &k6);
    assert!(world.events().is_empty(), "not from whom this round asked");
    world.hear(V4_OTHER.parse().unwrap(), &k6);
    assert!(world.admitted().is_some());
}

#[test]
fn stamps_increase_while_the_clock_falls_back() {
    let mut world = World::knocking(&[V6, V4]);
    let mut stamps = Vec::new();
    let mut sent = world.sent();
    for _ in 0..12 {
        world.now.wall = world.now.wall.saturating_sub(Duration::from_secs(7));
        sent.extend(world.pass(1_000));
    }
    sent.dedup_by(|later, earlier| later.payload == earlier.payload);
    let mut seen = Vec::new();
    for sent in sent {
        if !seen.contains(&sent.payload) {
            stamps.push(world.knock(&sent.payload).stamp);
            seen.push(sent.payload);
        }
    }
    assert_eq!(stamps.len(), 6);
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
}

#[test]
fn a_corrected_clock_keeps_above_what_was_accepted() {
    let start = Stamp::from_millis(1_800_000_000_000);
    let accepted = start.saturating_add(Duration::from_secs(5));
    let mut world = World::starting(&[V4], accepted, false);
    let sent = world.one();
    assert_eq!(world.knock(&sent.payload).stamp, accepted.saturating_add(Duration::from_millis(1)));
    world.tell_time(&sent, start.saturating_sub(Duration::from_secs(100)));
    let again = world.one();
    assert_eq!(world.knock(&again.payload).stamp, accepted.saturating_add(Duration::from_millis(1)));
    assert_ne!(again.payload, sent.payload);
}

#[test]
fn both_lines_keep_stamps_apart_after_a_correction() {
    let mut world = World::knocking(&[V6, V4]);
    let mut sent = world.sent();
    sent.extend(world.pass(50));
    let time = world.now.wall.saturating_sub(Duration::from_secs(3_600));
    let mut stamps = Vec::new();
    for sent in sent {
        world.tell_time(&sent, time);
        let again = world.one();
        let knock = world.knock(&again.payload);
        assert_eq!((again.to, knock.challenge), (sent.to, Some([3; 24])));
        stamps.push(knock.stamp);
    }
    assert_eq!(stamps, [time, time.saturating_add(Duration::from_millis(1))]);
}

#[test]
fn the_clock_is_corrected_three_times_and_no_more() {
    let mut world = World::knocking(&[V4]);
    let mut sent = world.one();
    for number in 1..=3 {
        let time = world.now.wall.saturating_add(Duration::from_secs(1_000 * number));
        world.tell_time(&sent, time);
        assert!(
            matches!(world.events().as_slice(), [KnockEvent::ClockCorrected { offset_ms }] if *offset_ms == 1_000_000 * number as i64)
        );
        sent = world.one();
        assert_eq!(world.knock(&sent.payload).stamp, time);
    }
    world.tell_time(&sent, world.now.wall);
    assert!(world.events().is_empty() && world.sent().is_empty());
    world.pass(60_000);
    assert!(world.failed_unanswered());
}

#[test]
fn a_cookie_is_kept_for_its_controller_and_shown_to_no_other() {
    let mut world = World::knocking(&[V4, V4_OTHER]);
    let first = world.one();
    let cookie = cookie_for(&Secret::new([4; 32]), CLIENT.parse().unwrap());
    let reply = world.cookie(&first.payload, &cookie);
    world.hear(first.to, &reply);
    let second = world.one();
    assert!(mac2_matches(&second.payload, &cookie));
    world.tell_time(&second, world.now.wall.saturating_add(Duration::from_secs(100)));
    let corrected = world.one();
    assert!(mac2_matches(&corrected.payload, &cookie), "no need to ask for another");
    let mut rounds = world.pass(7_500);
    rounds.retain(|sent| sent.payload != corrected.payload);
    rounds.dedup();
    let [other, back] = rounds.as_slice() else { panic!("two more rounds") };
    assert!(other.to.to_string() == V4_OTHER && !mac2_matches(&other.payload, &cookie));
    assert!(back.to.to_string() == V4 && mac2_matches(&back.payload, &cookie));
}

#[test]
fn one_cookie_said_over_and_over_is_heard_once_and_ends_nothing() {
    let mut world = World::knocking(&[V4]);
    let mut sent = world.one();
    for number in 1..=3 {
        let reply = world.cookie(&sent.payload, &[number; 16]);
        world.hear(sent.to, &reply);
        sent = world.one();
        world.hear(sent.to, &reply);
        assert!(world.sent().is_empty(), "a copy answers no knock that is under way");
    }
    let reply = world.cookie(&sent.payload, &[9; 16]);
    for _ in 0..1_000 {
        world.hear(sent.to, &reply);
    }
    assert!(world.sent().is_empty());
    let (k6, _) = world.ready(&sent.payload);
    world.hear(sent.to, &k6);
    assert!(world.admitted().is_some());
}

#[test]
fn another_schedule_is_kept_to() {
    let mut world = World::knocking(&[V4]);
    let pauses = [10, 20].map(Duration::from_millis).to_vec();
    let ask = Ask { purpose: Purpose::Login, session: None };
    let controllers = [V4.parse().unwrap()];
    world.knocker = Knocker::new(Arc::clone(&world.device), ask, &controllers, Vec::new(), Stamp::default(), world.now)
        .with_schedule(Schedule { pauses, rounds: 2 });
    world.knocker.handle_timeout(world.now, &mut world.entropy);
    let mut sent = world.sent();
    sent.extend(world.pass(59));
    assert_eq!(sent.len(), 4);
    assert!(world.events().is_empty());
    world.pass(1);
    assert!(world.failed_unanswered());
}

#[test]
fn without_a_controller_there_is_no_answer() {
    let mut world = World::knocking(&[]);
    assert!(world.sent().is_empty());
    assert!(world.failed_unanswered());
    assert!(world.knocker.poll_timeout().is_none());
}
