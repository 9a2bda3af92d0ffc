//! The client: when it knocks, what it believes, and what has no effect on it.

use crate::common::{LOGIN, Person, Realm, address, ms, start};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{Now, Stamp, TicketId};
use vestibule_proto::inner::{
    self, OpenedInner, READY, Ready, Refusal, RefusalCode, Versions, open_inner, seal_refusal,
};
use vestibule_proto::key::Secret;
use vestibule_proto::knocker::{Admitted, KnockEvent, KnockFailure, Knocker, Transmit};
use vestibule_proto::outer::{Guidance, Knock, OpenedKnock, Status, cookie_for, open_knock, seal_cookie};

const CONTROLLER: &str = "198.51.100.1:7000";
const CONTROLLER6: &str = "[2001:db8:c::1]:7000";
const HOME: &str = "203.0.113.7:4000";
const GATEWAY: &str = "198.51.100.9:443";

/// A client, and the keys to play its controller and gateway by hand, honestly or not.
struct Bench {
    realm: Realm,
    person: Person,
    knocker: Knocker,
    now: Now,
    entropy: SeededEntropy,
}

/// How a controller played by hand answers *ready*; what the tests change of it.
struct Says {
    seen: SocketAddr,
    announced: SocketAddr,
    gateways: Vec<SocketAddr>,
    own_word: Vec<SocketAddr>,
    /// By default that of the client.
    controller_time: Option<Stamp>,
}

impl Default for Says {
    fn default() -> Self {
        let (seen, announced) = (address(HOME), address(HOME));
        let (gateways, own_word) = (vec![address("192.0.2.66:1")], vec![address(GATEWAY)]);
        Self { seen, announced, gateways, own_word, controller_time: None }
    }
}

impl Bench {
    fn new() -> Self {
        Self::knocking(&[CONTROLLER], &[], Stamp::default())
    }

    fn knocking(controllers: &[&str], own: &[&str], last: Stamp) -> Self {
        let (mut realm, now) = (Realm::new(1), start());
        let person = realm.person();
        let addresses = |texts: &[&str]| texts.iter().map(|text| address(text)).collect::<Vec<_>>();
        let device = person.device.clone();
        let mut entropy = SeededEntropy::new(3);
        let mut knocker = Knocker::new(device, LOGIN, &addresses(controllers), addresses(own), last, now);
        knocker.handle_timeout(now, &mut entropy);
        Self { realm, person, knocker, now, entropy }
    }

    /// The next knock, with what an earlier one has learned of the clock.
    fn begin(&mut self, offset_ms: i64, last: Stamp) {
        let device = self.person.device.clone();
        self.knocker = Knocker::new(device, LOGIN, &[address(CONTROLLER)], Vec::new(), last, self.now)
            .with_clock_offset(offset_ms);
        self.knocker.handle_timeout(self.now, &mut self.entropy);
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.knocker.poll_transmit()).collect()
    }

    /// The one K1 that was just sent.
    fn k1(&mut self) -> Vec<u8> {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1);
        sent.remove(0).payload
    }

    fn open(&mut self, k1: &[u8]) -> OpenedKnock {
        open_knock(&self.realm.controller.key, &self.realm.controller.realm, k1, &mut self.entropy).unwrap()
    }

    fn knock_in(&mut self, k1: &[u8]) -> Knock {
        self.open(k1).knock
    }

    fn open_inner(&mut self, knock: &Knock) -> OpenedInner {
        let (gateway, device) = (&self.realm.gateway, &self.person.admissible);
        let i1 = knock.inner.unwrap();
        open_inner(gateway.id, &gateway.key, &device.d_in, &device.psk_g, device.digest, &i1, &mut self.entropy)
            .unwrap()
    }

    fn guidance(&self, status: Status) -> Guidance {
        Guidance {
            status,
            window: ms(10_000),
            seen: address(HOME),
            controller_time: self.now.wall,
            challenge: None,
            gateways: Vec::new(),
            inner: None,
        }
    }

    fn seal(&mut self, k1: &[u8], guidance: &Guidance) -> Vec<u8> {
        let opened = self.open(k1);
        opened.seal_guidance(&self.person.device.psk_c, guidance).unwrap().0.to_vec()
    }

    fn i2(&mut self, knock: &Knock, says: &Says) -> [u8; 208] {
        let ready = Ready {
            knock_id: knock.knock_id,
            ticket: TicketId::new([5; 8]),
            ticket_secret: Secret::new([6; 32]),
            window: ms(10_000),
            code: READY,
            announced: says.announced,
            addresses: says.own_word.clone(),
            stamp: self.now.wall,
            versions: Versions::OURS,
        };
        self.open_inner(knock).seal_ready(&ready).unwrap().0
    }

    fn ready(&mut self, k1: &[u8], says: &Says) -> Vec<u8> {
        let knock = self.knock_in(k1);
        let inner = Some(self.i2(&knock, says));
        let mut guidance = self.guidance(Status::Ready);
        guidance.controller_time = says.controller_time.unwrap_or(guidance.controller_time);
        self.seal(k1, &Guidance { inner, seen: says.seen, gateways: says.gateways.clone(), ..guidance })
    }

    fn hear(&mut self, from: &str, datagram: &[u8]) -> Vec<KnockEvent> {
        self.knocker.handle_input(address(from), datagram, self.now, &mut self.entropy);
        self.events()
    }

    fn events(&mut self) -> Vec<KnockEvent> {
        std::iter::from_fn(|| self.knocker.poll_event()).collect()
    }

    fn admitted(&mut self, k1: &[u8], says: &Says) -> Admitted {
        let k6 = self.ready(k1, says);
        let events = self.hear(CONTROLLER, &k6);
        into_admitted(events).expect("admitted")
    }

    fn failed(&mut self, k6: &[u8]) -> KnockFailure {
        let events = self.hear(CONTROLLER, k6);
        into_failure(events).expect("failed")
    }

    /// Time passes, with every time-out on time; gives what was sent and when, in milliseconds from the beginning.
    fn pass(&mut self, by: Duration, since: Now) -> Vec<(u64, Transmit)> {
        let (end, mut sent) = (self.now.after(by), Vec::new());
        while let Some(next) = self.knocker.poll_timeout().filter(|next| *next <= end.mono) {
            self.now = self.now.after(next.saturating_duration_since(self.now.mono));
            self.knocker.handle_timeout(self.now, &mut self.entropy);
            let at = self.now.mono.duration_since(since.mono).as_millis() as u64;
            sent.extend(self.sent().into_iter().map(|transmit| (at, transmit)));
        }
        self.now = end;
        sent
    }
}

fn into_admitted(events: Vec<KnockEvent>) -> Option<Admitted> {
    events.into_iter().find_map(|event| match event {
        KnockEvent::Admitted(admitted) => Some(admitted),
        KnockEvent::ClockCorrected { .. } | KnockEvent::Failed(_) => None,
    })
}

fn into_failure(events: Vec<KnockEvent>) -> Option<KnockFailure> {
    events.into_iter().find_map(|event| match event {
        KnockEvent::Failed(failure) => Some(failure),
        KnockEvent::ClockCorrected { .. } | KnockEvent::Admitted(_) => None,
    })
}

#[test]
fn sends_each_knock_four_times_makes_three_and_gives_up() {
    let mut bench = Bench::new();
    let (began, first) = (bench.now, bench.k1());
    let mut sent = vec![(0, first)];
    sent.extend(bench.pass(ms(60_000), began).into_iter().map(|(at, transmit)| (at, transmit.payload)));
    let times: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 250, 750, 1_750, 3_750, 4_000, 4_500, 5_500, 7_500, 7_750, 8_250, 9_250]);
    for round in sent.chunks(4) {
        assert!(round.iter().all(|(_, k1)| *k1 == round[0].1), "sent again means the same bytes");
    }
    let knocks: Vec<_> = sent.chunks(4).map(|round| bench.knock_in(&round[0].1)).collect();
    assert_eq!(knocks.iter().map(|knock| knock.knock_id).collect::<BTreeSet<_>>().len(), 3);
    assert!(knocks.windows(2).all(|pair| pair[0].stamp < pair[1].stamp));
    assert_eq!(into_failure(bench.events()), Some(KnockFailure::NoAnswer));
    assert_eq!(bench.knocker.poll_timeout(), None);
}

#[test]
fn both_halves_of_a_knock_are_one() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let knock = bench.knock_in(&k1);
    let inner = bench.open_inner(&knock).knock;
    assert_eq!((inner.knock_id, inner.stamp, inner.digest), (knock.knock_id, knock.stamp, knock.digest));
    assert_eq!((knock.stamp, knock.flags.link, inner.purpose), (bench.now.wall, false, LOGIN.purpose));
}

#[test]
fn each_family_gets_a_knock_of_its_own_50_ms_apart() {
    let mut bench = Bench::knocking(&[CONTROLLER, CONTROLLER6], &[], Stamp::default());
    let (began, first) = (bench.now, bench.sent());
    let second = bench.pass(ms(50), began);
    let [one] = first.as_slice() else { panic!("one at first") };
    let [(50, other)] = second.as_slice() else { panic!("one 50 ms later") };
    assert_ne!(one.to.is_ipv4(), other.to.is_ipv4());
    let (a, b) = (bench.knock_in(&one.payload), bench.knock_in(&other.payload));
    assert!(a.knock_id != b.knock_id && a.inner != b.inner && a.stamp < b.stamp);
    assert_ne!(one.payload[48..80], other.payload[48..80], "ephemeral keys");
}

#[test]
fn a_second_address_of_a_family_is_tried_in_the_next_round() {
    let mut bench = Bench::knocking(&[CONTROLLER, "198.51.100.2:7000"], &[], Stamp::default());
    let (began, _) = (bench.now, bench.sent());
    let sent = bench.pass(ms(3_750), began);
    assert_eq!(sent.last().unwrap().1.to, address("198.51.100.2:7000"));
}

#[test]
fn a_stamp_is_above_all_that_were_accepted() {
    let ahead = start().wall.saturating_add(ms(500));
    let mut bench = Bench::knocking(&[CONTROLLER], &[], ahead);
    let k1 = bench.k1();
    assert_eq!(bench.knock_in(&k1).stamp, ahead.saturating_add(ms(1)), "the clock fell back");
    assert_eq!(bench.admitted(&k1, &Says::default()).stamp, ahead.saturating_add(ms(1)));
}

#[test]
fn comes_in_with_the_gateways_own_word() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let admitted = bench.admitted(&k1, &Says::default());
    assert_eq!(admitted.gateways, [address(GATEWAY)], "not where the controller would lead the tag");
    assert_eq!((admitted.seen, admitted.announced), (address(HOME), Some(address(HOME))));
    assert_eq!((admitted.window, admitted.address_mismatch), (ms(10_000), false));
    assert_eq!((admitted.stamp, admitted.clock_offset_ms), (bench.now.wall, 0));
    assert_eq!(bench.knocker.poll_timeout(), None);
    assert!(bench.sent().is_empty());
}

#[test]
fn t06_no_bit_of_the_answer_can_be_altered_and_junk_has_no_effect() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let k6 = bench.ready(&k1, &Says::default());
    let next = bench.knocker.poll_timeout();
    for bit in 0..8 * k6.len() {
        let mut altered = k6.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(bench.hear(CONTROLLER, &altered).is_empty(), "bit {bit}");
    }
    for length in [0, 1, 15, 16, 71, 72, 73, 208, 1_199] {
        assert!(bench.hear(CONTROLLER, &k6[..length]).is_empty());
    }
    assert!(bench.hear(CONTROLLER, &k1).is_empty(), "its own knock");
    assert!(bench.hear(CONTROLLER, &[k6.as_slice(), &[0]].concat()).is_empty());
    assert!(bench.sent().is_empty());
    assert_eq!(bench.knocker.poll_timeout(), next);
    assert!(into_admitted(bench.hear(CONTROLLER, &k6)).is_some());
    assert!(bench.hear(CONTROLLER, &k6).is_empty(), "once");
}

#[test]
fn an_answer_from_elsewhere_is_none() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let k6 = bench.ready(&k1, &Says::default());
    for elsewhere in ["198.51.100.1:7001", "198.51.100.2:7000", CONTROLLER6] {
        assert!(bench.hear(elsewhere, &k6).is_empty());
    }
    assert!(into_admitted(bench.hear("[::ffff:198.51.100.1]:7000", &k6)).is_some());
}

#[test]
fn the_answer_to_another_knock_is_none() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let mut other = Bench::knocking(&[CONTROLLER], &[], Stamp::from_millis(7));
    other.knocker.handle_timeout(other.now, &mut other.entropy);
    let began = other.now;
    let later = other.pass(ms(3_750), began).pop().unwrap().1.payload;
    let k6 = other.ready(&later, &Says::default());
    assert!(bench.hear(CONTROLLER, &k6).is_empty());
    // The other one's I2 in the right K6: the controller swaps answers.
    let (knock, guidance) = (other.knock_in(&later), bench.guidance(Status::Ready));
    let swapped = Guidance { inner: Some(other.i2(&knock, &Says::default())), ..guidance };
    let k6 = bench.seal(&k1, &swapped);
    assert!(into_admitted(bench.hear(CONTROLLER, &k6)).is_none());
}

#[test]
fn t16_ready_without_the_gateways_seal_admits_nobody() {
    for inner in [None, Some([0; 208]), Some([7; 208])] {
        let mut bench = Bench::new();
        let k1 = bench.k1();
        let guidance = Guidance { inner, gateways: vec![address(GATEWAY)], ..bench.guidance(Status::Ready) };
        let k6 = bench.seal(&k1, &guidance);
        assert!(into_admitted(bench.hear(CONTROLLER, &k6)).is_none());
        // It goes on, and ends without an admission.
        let began = bench.now;
        bench.pass(ms(60_000), began);
        assert!(into_failure(bench.events()).is_some());
    }
}

#[test]
fn t16_a_controller_that_announces_another_address_is_reported() {
    let cases = [
        (HOME, "203.0.113.8:4000", vec![], true),
        (HOME, HOME, vec!["203.0.113.7:0"], false),
        (HOME, HOME, vec!["203.0.113.9:0"], true),
        (HOME, HOME, vec!["192.168.1.5:0", "100.64.3.3:0"], false),
        (HOME, HOME, vec!["[2001:db8::1]:0"], false),
        ("203.0.113.8:4000", "203.0.113.8:4000", vec!["203.0.113.7:0"], true),
    ];
    for (seen, announced, own, reported) in cases {
        let mut bench = Bench::knocking(&[CONTROLLER], &own, Stamp::default());
        let k1 = bench.k1();
        let says = Says { seen: address(seen), announced: address(announced), ..Says::default() };
        let admitted = bench.admitted(&k1, &says);
        assert_eq!(admitted.address_mismatch, reported, "{seen} {announced} {own:?}");
    }
}

#[test]
fn a_refusal_is_the_gateways_or_it_is_unreadable() {
    let refusal = Refusal {
        code: RefusalCode::WrongPassword,
        retry_after: Duration::from_secs(60),
        tries: 5,
        limit: 20,
        detail: "the password is wrong".to_owned(),
    };
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let i1 = bench.knock_in(&k1).inner.unwrap();
    let sealed = seal_refusal(&bench.person.device.psk_r, &i1, &refusal, &mut bench.entropy);
    let guidance = Guidance { inner: Some(sealed), ..bench.guidance(Status::Refused) };
    let k6 = bench.seal(&k1, &guidance);
    assert_eq!(bench.failed(&k6), KnockFailure::Refused(refusal.clone()));

    for inner in
        [None, Some([7; 208]), Some(seal_refusal(&Secret::new([1; 32]), &i1, &refusal, &mut SeededEntropy::new(1)))]
    {
        let mut bench = Bench::new();
        let k1 = bench.k1();
        let guidance = Guidance { inner, ..bench.guidance(Status::Refused) };
        let k6 = bench.seal(&k1, &guidance);
        assert_eq!(bench.failed(&k6), KnockFailure::RefusedUnreadable);
    }
}

#[test]
fn an_old_refusal_shown_again_is_unreadable() {
    let refusal =
        Refusal { code: RefusalCode::Revoked, retry_after: ms(0), tries: 0, limit: 20, detail: String::new() };
    let mut bench = Bench::new();
    let (began, first) = (bench.now, bench.k1());
    let old = bench.knock_in(&first).inner.unwrap();
    let sealed = inner::seal_refusal(&bench.person.device.psk_r, &old, &refusal, &mut bench.entropy);
    let second = bench.pass(ms(3_750), began).pop().unwrap().1.payload;
    let guidance = Guidance { inner: Some(sealed), ..bench.guidance(Status::Refused) };
    let k6 = bench.seal(&second, &guidance);
    assert_eq!(bench.failed(&k6), KnockFailure::RefusedUnreadable);
}

#[test]
fn away_and_busy_are_told_apart() {
    for (status, failure) in [(Status::Away, KnockFailure::GatewayAway), (Status::Busy, KnockFailure::Busy)] {
        let mut bench = Bench::new();
        let k1 = bench.k1();
        let guidance = bench.guidance(status);
        let k6 = bench.seal(&k1, &guidance);
        assert_eq!(bench.failed(&k6), failure);
        assert_eq!(bench.knocker.poll_timeout(), None);
    }
}

#[test]
fn a_clock_that_is_wrong_by_up_to_a_day_is_corrected_in_memory() {
    const DAY: i64 = 86_400_000;
    for off in [-DAY, -3_600_000, 3_600_000, DAY] {
        let mut bench = Bench::new();
        let k1 = bench.k1();
        let controller_time = Stamp::from_millis(bench.now.wall.as_millis().saturating_add_signed(off));
        let told = Guidance { challenge: Some([9; 24]), controller_time, ..bench.guidance(Status::Time) };
        let k6 = bench.seal(&k1, &told);
        let events = bench.hear(CONTROLLER, &k6);
        assert!(matches!(events.as_slice(), [KnockEvent::ClockCorrected { offset_ms }] if *offset_ms == off));
        let next = bench.k1();
        let knock = bench.knock_in(&next);
        assert_eq!(knock.challenge, Some([9; 24]));
        assert_eq!(knock.stamp, controller_time, "no stamp of the wrong clock lifts it");
        let admitted = bench.admitted(&next, &Says::default());
        assert_eq!((admitted.clock_offset_ms, admitted.stamp), (off, controller_time));
    }
}

#[test]
fn what_was_learned_of_the_clock_is_used_by_the_next_knock_until_the_clock_agrees() {
    const HOUR: i64 = 3_600_000;
    for off in [-HOUR, HOUR] {
        let mut bench = Bench::new();
        let true_time = Stamp::from_millis(bench.now.wall.as_millis().saturating_add_signed(off));
        bench.begin(off, Stamp::default());
        let k1 = bench.k1();
        assert_eq!(bench.knock_in(&k1).stamp, true_time);
        let admitted = bench.admitted(&k1, &Says { controller_time: Some(true_time), ..Says::default() });
        assert_eq!((admitted.clock_offset_ms, admitted.stamp), (off, true_time), "it is still wrong");

        bench.begin(off, Stamp::default());
        let k1 = bench.k1();
        let nearly = bench.now.wall.saturating_add(ms(30_000));
        let admitted = bench.admitted(&k1, &Says { controller_time: Some(nearly), ..Says::default() });
        assert_eq!(admitted.clock_offset_ms, 0, "it is right by now");
    }
}

#[test]
fn a_learned_offset_takes_no_stamp_below_the_acknowledged_one() {
    let mut bench = Bench::new();
    let acknowledged = bench.now.wall.saturating_add(ms(5));
    bench.begin(-3_600_000, acknowledged);
    let k1 = bench.k1();
    assert_eq!(bench.knock_in(&k1).stamp, acknowledged.saturating_add(ms(1)));
}

#[test]
fn a_learned_offset_beyond_a_day_is_none_and_corrections_do_not_add_up_to_one() {
    const DAY: i64 = 86_400_000;
    let mut bench = Bench::new();
    for off in [-DAY - 1, DAY + 1, i64::MIN, i64::MAX] {
        bench.begin(off, Stamp::default());
        let k1 = bench.k1();
        assert_eq!(bench.knock_in(&k1).stamp, bench.now.wall, "{off}");
    }
    // What counts is how far the controller is from the clock itself.
    bench.begin(DAY, Stamp::default());
    let k1 = bench.k1();
    let controller_time = Stamp::from_millis(bench.now.wall.as_millis().saturating_add_signed(DAY + 1));
    let told = Guidance { challenge: Some([9; 24]), controller_time, ..bench.guidance(Status::Time) };
    let k6 = bench.seal(&k1, &told);
    assert_eq!(bench.failed(&k6), KnockFailure::ClockFarOff { offset_ms: DAY + 1 });
}

#[test]
fn a_clock_that_is_wrong_by_more_is_the_persons_to_look_at() {
    const DAY: i64 = 86_400_000;
    for off in [-10 * 365 * DAY, -DAY - 1, DAY + 1, 10 * 365 * DAY] {
        let mut bench = Bench::new();
        let k1 = bench.k1();
        let controller_time = Stamp::from_millis(bench.now.wall.as_millis().saturating_add_signed(off));
        let told = Guidance { challenge: Some([9; 24]), controller_time, ..bench.guidance(Status::Time) };
        let k6 = bench.seal(&k1, &told);
        assert_eq!(bench.failed(&k6), KnockFailure::ClockFarOff { offset_ms: off });
    }
}

#[test]
fn t16_a_controller_cannot_make_it_knock_for_ever() {
    let mut bench = Bench::new();
    let (began, mut k1) = (bench.now, bench.k1());
    let mut knocks = 1;
    for round in 1..100u64 {
        let controller_time = bench.now.wall.saturating_add(ms(1_000 * round));
        let told = Guidance { challenge: Some([9; 24]), controller_time, ..bench.guidance(Status::Time) };
        let k6 = bench.seal(&k1, &told);
        bench.hear(CONTROLLER, &k6);
        match bench.sent().pop() {
            Some(next) => k1 = next.payload,
            None => break,
        }
        knocks += 1;
    }
    assert!(knocks < 10, "{knocks}");
    bench.pass(ms(60_000), began);
    assert!(into_failure(bench.events()).is_some());
}

#[test]
fn a_cookie_is_borne_by_the_next_knock_which_is_a_new_one() {
    let mut bench = Bench::new();
    let k1 = bench.k1();
    let (key, realm) = (bench.realm.controller.key.public(), bench.realm.controller.realm.clone());
    let cookie = cookie_for(&Secret::new([4; 32]), address(HOME));
    let reply = seal_cookie(&key, &realm, &k1, &cookie, &mut bench.entropy).unwrap();
    for bit in 0..8 * reply.len() {
        let mut altered = reply;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(bench.hear(CONTROLLER, &altered).is_empty());
        assert!(bench.sent().is_empty(), "bit {bit}");
    }
    assert!(bench.hear("192.0.2.66:7000", &reply).is_empty());
    assert!(bench.sent().is_empty(), "from elsewhere");
    assert!(bench.hear(CONTROLLER, &reply).is_empty());
    let next = bench.k1();
    assert!(vestibule_proto::outer::mac2_matches(&next, &cookie));
    let (before, after) = (bench.knock_in(&k1), bench.knock_in(&next));
    assert!(before.knock_id != after.knock_id && before.stamp < after.stamp);
    bench.admitted(&next, &Says::default());
}

#[test]
fn cookies_do_not_make_it_knock_for_ever() {
    let mut bench = Bench::new();
    let (key, realm) = (bench.realm.controller.key.public(), bench.realm.controller.realm.clone());
    let (began, mut k1, mut knocks) = (bench.now, bench.k1(), 1);
    for number in 0..100 {
        let reply = seal_cookie(&key, &realm, &k1, &[number; 16], &mut bench.entropy).unwrap();
        bench.hear(CONTROLLER, &reply);
        match bench.sent().pop() {
            Some(next) => k1 = next.payload,
            None => break,
        }
        knocks += 1;
    }
    assert!(knocks < 10, "{knocks}");
    bench.pass(ms(60_000), began);
    assert_eq!(into_failure(bench.events()), Some(KnockFailure::NoAnswer));
}
