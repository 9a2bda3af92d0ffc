//! Under load (m1, C6): before the controller spends an X25519 agreement, the sender shows that it receives at its address.
//!
//! Load is *wasted* work: datagrams with a right mac1 that Noise then refuses, or that turn out to be recordings. Only who
//! holds the realm key, or has recorded somebody who does, can cause it. Authentic knocks, however many, are no load: they
//! are what the controller is for.
//!
//! A cookie is an answer, and recordings get no answer. So one is given only for a mac1 that is seen for the first time, in
//! an epoch that is current. What was seen is remembered at all times, not only under load, by its own epoch: also one
//! that is still to come, for it will be current when clocks are set right. After a start nothing is remembered: in the
//! epochs of which recordings may exist, knocks are let through without a cookie.

use super::copies::Mac1;
use crate::entropy::Entropy;
use crate::header::{Header, masked_epoch};
use crate::id::Stamp;
use crate::key::{RealmKey, Secret};
use crate::outer::{cookie_for, mac2_matches};
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long one secret makes cookies; it goes on to prove them for as long again.
const COOKIE_ROTATION: Duration = Duration::from_secs(60);
/// Load is measured over this time, and lasts this long after it was last found.
const MEASURED_OVER: Duration = Duration::from_secs(1);
const LASTS: Duration = Duration::from_secs(5);
/// Seconds in an epoch, as in the header.
const EPOCH_SECS: u64 = 64;

/// What is to be done with a datagram whose mac1 is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Open it.
    Pass,
    /// Answer with this cookie.
    Cookie([u8; 16]),
    /// Drop it.
    Silent,
}

/// The datagram at the gate.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) datagram: &'a [u8],
    pub(super) mac1: Mac1,
    /// Of the sender's clock, unmasked.
    pub(super) epoch: u32,
    pub(super) source: SocketAddr,
}

/// Whether there is load, and the cookies that answer it.
pub(super) struct Load {
    /// So much wasted work in a second is load.
    threshold: u32,
    measured_since: Instant,
    wasted: u32,
    until: Option<Instant>,
    cookies: CookieSecrets,
    sights: Sights,
}

impl Load {
    pub(super) fn new(
        threshold: u32,
        remembered: usize,
        mono: Instant,
        time: Stamp,
        entropy: &mut dyn Entropy,
    ) -> Self {
        Self {
            threshold,
            measured_since: mono,
            wasted: 0,
            until: None,
            cookies: CookieSecrets { made_at: mono, current: Secret::random(entropy), previous: None },
            sights: Sights::since(epoch_of(time), remembered),
        }
    }

    /// Called for every datagram with a right mac1 that is not a copy of a known knock.
    pub(super) fn gate(&mut self, arrival: Arrival<'_>, mono: Instant, time: Stamp, entropy: &mut dyn Entropy) -> Gate {
        let sight = self.sights.look(arrival.epoch, &arrival.mac1, epoch_of(time));
        if !self.is_loaded(mono) {
            return Gate::Pass;
        }
        self.cookies.rotate(mono, entropy);
        if self.cookies.prove(arrival.datagram, arrival.source) {
            return Gate::Pass;
        }
        match sight {
            Sight::First => Gate::Cookie(cookie_for(&self.cookies.current, arrival.source)),
            Sight::Unknown => Gate::Pass,
            Sight::Known | Sight::NotCurrent => Gate::Silent,
        }
    }

    /// Work was wasted on a datagram.
    pub(super) fn waste(&mut self, now: Instant) {
        if now.saturating_duration_since(self.measured_since) >= MEASURED_OVER {
            (self.measured_since, self.wasted) = (now, 0);
        }
        self.wasted = self.wasted.saturating_add(1);
        if self.wasted >= self.threshold {
            self.press(now);
        }
    }

    /// There is load, whoever found it.
    pub(super) fn press(&mut self, now: Instant) {
        self.until = Some(now + LASTS);
    }

    pub(super) fn is_loaded(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

struct CookieSecrets {
    made_at: Instant,
    current: Secret<32>,
    previous: Option<Secret<32>>,
}

impl CookieSecrets {
    fn prove(&self, datagram: &[u8], source: SocketAddr) -> bool {
        let by = |secret: &Secret<32>| mac2_matches(datagram, &cookie_for(secret, source));
        by(&self.current) || self.previous.as_ref().is_some_and(by)
    }

    fn rotate(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let age = now.saturating_duration_since(self.made_at);
        if age >= COOKIE_ROTATION {
            let retired = std::mem::replace(&mut self.current, Secret::random(entropy));
            self.previous = (age < 2 * COOKIE_ROTATION).then_some(retired);
            self.made_at = now;
        }
    }
}

/// What a mac1 is, seen beside those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    First,
    Known,
    /// Of an epoch that is over, or is still to come.
    NotCurrent,
    /// Of an epoch that had begun before this memory did: nobody can say.
    Unknown,
}

/// The mac1s of epochs that are not over: eight bytes of each, at most `limit` in all.
struct Sights {
    limit: usize,
    present: u32,
    /// Up to this epoch recordings may exist from before this memory began.
    unknown_until: u32,
    by_epoch: BTreeMap<u32, HashSet<u64>>,
    len: usize,
}

impl Sights {
    fn since(present: u32, limit: usize) -> Self {
        Self { limit, present, unknown_until: present.saturating_add(1), by_epoch: BTreeMap::new(), len: 0 }
    }

    /// Judges a mac1, which from now on is known. A full memory knows everything.
    fn look(&mut self, epoch: u32, mac1: &Mac1, present: u32) -> Sight {
        self.turn_to(present);
        if epoch.saturating_add(1) < present {
            return Sight::NotCurrent;
        }
        let is_new = self.remember(epoch, mac1);
        if epoch > present.saturating_add(1) {
            Sight::NotCurrent
        } else if epoch <= self.unknown_until {
            Sight::Unknown
        } else if is_new {
            Sight::First
        } else {
            Sight::Known
        }
    }

    fn remember(&mut self, epoch: u32, mac1: &Mac1) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *mac1;
        let name = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        if self.len >= self.limit {
            self.make_room();
        }
        let is_new = self.len < self.limit && self.by_epoch.entry(epoch).or_default().insert(name);
        self.len += usize::from(is_new);
        is_new
    }

    /// The epoch farthest ahead makes room for those that are current; these don't for one another.
    fn make_room(&mut self) {
        let current_until = self.present.saturating_add(1);
        if let Some(last) = self.by_epoch.last_entry().filter(|last| *last.key() > current_until) {
            self.len -= last.remove().len();
        }
    }

    fn turn_to(&mut self, present: u32) {
        if present < self.present {
            // Time was set far back: what is current now may have been seen and forgotten.
            *self = Self::since(present, self.limit);
        }
        self.present = present;
        while let Some(first) = self.by_epoch.first_entry().filter(|first| first.key().saturating_add(1) < present) {
            self.len -= first.remove().len();
        }
    }
}

/// The number of the epoch of this time.
fn epoch_of(time: Stamp) -> u32 {
    (time.as_secs() / EPOCH_SECS) as u32
}

/// The epoch that a K1 names: its mask is what the epoch 0 looks like in it.
pub(super) fn epoch_named(realm: &RealmKey, header: &Header, ephemeral: &[u8; 32]) -> u32 {
    let mask = masked_epoch(realm, ephemeral, Stamp::from_millis(0));
    u32::from_be_bytes(header.masked_epoch) ^ u32::from_be_bytes(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::outer::mac1_of;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);
    const EPOCH: Duration = Duration::from_secs(64);
    /// From then on no recording from before the start is current.
    const KNOWING: Duration = Duration::from_secs(3 * 64);

    struct Bench {
        load: Load,
        start: Instant,
        entropy: SeededEntropy,
    }

    impl Bench {
        fn new(remembered: usize) -> Self {
            let (start, mut entropy) = (Instant::now(), SeededEntropy::new(1));
            Self { load: Load::new(3, remembered, start, T, &mut entropy), start, entropy }
        }

        /// A datagram whose sender's clock is so many epochs ahead.
        fn arrive(&mut self, number: u8, ahead: i32, after: Duration) -> Gate {
            let time = T.saturating_add(after);
            self.arrive_at(number, epoch_of(time).saturating_add_signed(ahead), after, time)
        }

        fn arrive_at(&mut self, number: u8, epoch: u32, after: Duration, time: Stamp) -> Gate {
            let datagram = [number; 1200];
            let source = "192.0.2.1:1".parse().unwrap();
            let arrival = Arrival { datagram: &datagram, mac1: mac1_of(&datagram).unwrap(), epoch, source };
            self.load.gate(arrival, self.start + after, time, &mut self.entropy)
        }

        fn press(&mut self, after: Duration) {
            (0..3).for_each(|_| self.load.waste(self.start + after));
        }
    }

    #[test]
    fn epochs_are_those_of_the_header() {
        let realm = Secret::new([1; 32]);
        for seconds in [0, 63, 64, 1_800_000_000, 1_800_000_063] {
            let time = Stamp::from_millis(seconds * 1_000);
            let masked_epoch = masked_epoch(&realm, &[2; 32], time);
            let header = Header { kind: crate::header::Kind::Knock, masked_epoch, message_id: [0; 8] };
            assert_eq!(epoch_named(&realm, &header, &[2; 32]), epoch_of(time));
        }
    }

    #[test]
    fn everything_passes_without_load() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.arrive(1, 0, KNOWING), Gate::Pass);
        bench.load.waste(bench.start + KNOWING);
        bench.load.waste(bench.start + KNOWING);
        assert_eq!(bench.arrive(2, -9, KNOWING), Gate::Pass);
    }

    #[test]
    fn under_load_a_cookie_is_given_once_per_mac1_and_in_its_epoch_only() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.arrive(9, 1, KNOWING), Gate::Pass, "seen before there was load");
        bench.press(KNOWING);
        for (number, ahead) in [(1, 0), (2, 1), (3, -1)] {
            assert!(matches!(bench.arrive(number, ahead, KNOWING), Gate::Cookie(_)));
            assert_eq!(bench.arrive(number, ahead, KNOWING), Gate::Silent);
        }
        assert_eq!(bench.arrive(4, -2, KNOWING), Gate::Silent);
        assert_eq!(bench.arrive(5, 2, KNOWING), Gate::Silent);
        for epochs in 0..4 {
            let later = KNOWING + EPOCH * epochs;
            bench.press(later);
            assert_eq!(bench.arrive(9, 1 - epochs as i32, later), Gate::Silent, "a recording");
        }
    }

    #[test]
    fn what_was_ahead_of_time_is_known_when_its_time_has_come() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.arrive(1, 60, KNOWING), Gate::Pass);
        for epochs in 59..=61 {
            let later = KNOWING + EPOCH * epochs;
            bench.press(later);
            assert_eq!(bench.arrive(1, 60 - epochs as i32, later), Gate::Silent);
        }
    }

    #[test]
    fn load_ends_by_itself() {
        let mut bench = Bench::new(100);
        bench.press(KNOWING);
        assert!(matches!(bench.arrive(1, 0, KNOWING + LASTS - Duration::from_millis(1)), Gate::Cookie(_)));
        assert_eq!(bench.arrive(2, 0, KNOWING + LASTS), Gate::Pass);
        for tick in 0..100 {
            bench.load.waste(bench.start + KNOWING + LASTS + Duration::from_millis(500 * tick));
        }
        assert!(
            !bench.load.is_loaded(bench.start + KNOWING + LASTS + Duration::from_secs(50)),
            "two a second are none"
        );
    }

    #[test]
    fn until_recordings_have_grown_old_nobody_is_given_a_cookie() {
        let mut bench = Bench::new(100);
        for (number, epochs) in (1..).zip(0..2) {
            bench.press(EPOCH * epochs);
            assert_eq!(bench.arrive(number, 0, EPOCH * epochs), Gate::Pass);
            assert_eq!(bench.arrive(number, -2, EPOCH * epochs), Gate::Silent);
        }
        bench.press(EPOCH * 2);
        assert!(matches!(bench.arrive(3, 0, EPOCH * 2), Gate::Cookie(_)));
        assert_eq!(bench.arrive(4, -1, EPOCH * 2), Gate::Pass);
    }

    #[test]
    fn memory_is_bounded_and_when_it_is_full_there_is_silence() {
        let mut bench = Bench::new(2);
        bench.press(KNOWING);
        assert!(matches!(bench.arrive(1, 0, KNOWING), Gate::Cookie(_)));
        assert!(matches!(bench.arrive(2, 0, KNOWING), Gate::Cookie(_)));
        assert_eq!(bench.arrive(3, 0, KNOWING), Gate::Silent);
        assert_eq!(bench.load.sights.len, 2);
        let later = KNOWING + 2 * EPOCH;
        bench.press(later);
        assert!(matches!(bench.arrive(3, 0, later), Gate::Cookie(_)));
        assert_eq!((bench.load.sights.len, bench.load.sights.by_epoch.len()), (1, 1));
    }

    #[test]
    fn what_is_far_ahead_takes_nobodys_room() {
        let mut bench = Bench::new(10);
        bench.press(KNOWING);
        for number in 0..200 {
            bench.arrive(number, 100 + i32::from(number), KNOWING);
            assert!(bench.load.sights.len <= 10);
        }
        assert!(matches!(bench.arrive(201, 0, KNOWING), Gate::Cookie(_)));
    }

    #[test]
    fn a_clock_set_far_back_begins_anew() {
        let mut bench = Bench::new(100);
        bench.press(KNOWING);
        assert!(matches!(bench.arrive(1, 0, KNOWING), Gate::Cookie(_)));
        let back = T.saturating_sub(Duration::from_secs(100 * 3_600));
        assert_eq!(bench.arrive_at(2, epoch_of(back), KNOWING, back), Gate::Pass);
    }
}
