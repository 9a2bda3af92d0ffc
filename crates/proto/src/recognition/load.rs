//! Under load (m1, C6): before the controller spends an X25519 agreement, the sender shows that it receives at its address.
//!
//! Load is *wasted* work: datagrams with a right mac1 that Noise then refuses, or that turn out to be recordings. Only who
//! holds the realm key, or has recorded somebody who does, can cause it. Authentic knocks, however many, are no load: they
//! are what the controller is for.
//!
//! A cookie is an answer, and recordings get no answer. So one is given only for a mac1 that is seen for the first time, in
//! an epoch that is current; what was seen in these epochs is remembered at all times, not only under load. After a start
//! nothing is remembered yet: until recordings from before it have grown old, knocks are let through without a cookie.

use super::copies::Mac1;
use crate::entropy::Entropy;
use crate::id::Stamp;
use crate::key::Secret;
use crate::outer::{cookie_for, mac2_matches};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long one secret makes cookies; it goes on to prove them for as long again.
const COOKIE_ROTATION: Duration = Duration::from_secs(60);
/// Load is measured over this time, and lasts this long after it was last found.
const MEASURED_OVER: Duration = Duration::from_secs(1);
const LASTS: Duration = Duration::from_secs(5);
/// Seconds in a generation of remembered mac1s: one epoch of the header.
const GENERATION_SECS: u64 = 64;
/// A knock is current in its own epoch and in the two beside it. Seen in the first of them, it must still be known in the
/// last.
const GENERATIONS: usize = 3;

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
    pub(super) epoch_is_current: bool,
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
            sights: Sights::since(time, remembered),
        }
    }

    /// Called for every datagram with a right mac1 that is not a copy of a known knock.
    pub(super) fn gate(&mut self, arrival: Arrival<'_>, mono: Instant, time: Stamp, entropy: &mut dyn Entropy) -> Gate {
        let first_sight = arrival.epoch_is_current && self.sights.is_first(&arrival.mac1, time);
        if !self.is_loaded(mono) || self.sights.quarantined {
            return Gate::Pass;
        }
        self.cookies.rotate(mono, entropy);
        if self.cookies.prove(arrival.datagram, arrival.source) {
            Gate::Pass
        } else if first_sight {
            Gate::Cookie(cookie_for(&self.cookies.current, arrival.source))
        } else {
            Gate::Silent
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

/// The mac1s of the last epochs: eight bytes of each, at most `limit` per generation.
struct Sights {
    limit: usize,
    generation: u64,
    /// Newest first.
    seen: [HashSet<u64>; GENERATIONS],
    /// Recordings from before this memory began may still be current until this generation is over.
    blind_until: u64,
    quarantined: bool,
}

impl Sights {
    fn since(time: Stamp, limit: usize) -> Self {
        let generation = generation(time);
        let blind_until = generation + GENERATIONS as u64 - 1;
        Self { limit, generation, seen: Default::default(), blind_until, quarantined: true }
    }

    /// Whether this mac1 is seen for the first time; from now on it is known. A full memory knows everything.
    fn is_first(&mut self, mac1: &Mac1, time: Stamp) -> bool {
        self.turn_to(generation(time));
        let [a, b, c, d, e, f, g, h, ..] = *mac1;
        let name = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        if self.seen.iter().any(|seen| seen.contains(&name)) || self.seen[0].len() >= self.limit {
            return false;
        }
        self.seen[0].insert(name)
    }

    fn turn_to(&mut self, generation: u64) {
        if generation < self.generation {
            // Time was set far back: what is current now may have been seen and forgotten.
            self.blind_until = generation + GENERATIONS as u64 - 1;
            self.seen = Default::default();
        }
        for _ in 0..generation.saturating_sub(self.generation).min(GENERATIONS as u64) {
            self.seen.rotate_right(1);
            self.seen[0] = HashSet::new();
        }
        self.generation = generation;
        self.quarantined = generation <= self.blind_until;
    }
}

fn generation(time: Stamp) -> u64 {
    time.as_secs() / GENERATION_SECS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::outer::mac1_of;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);
    const QUARANTINE: Duration = Duration::from_secs(3 * GENERATION_SECS);

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

        fn arrive(&mut self, number: u8, epoch_is_current: bool, after: Duration) -> Gate {
            let datagram = [number; 1200];
            let source = "192.0.2.1:1".parse().unwrap();
            let mac1 = mac1_of(&datagram).unwrap();
            let arrival = Arrival { datagram: &datagram, mac1, epoch_is_current, source };
            self.load.gate(arrival, self.start + after, T.saturating_add(after), &mut self.entropy)
        }

        fn press(&mut self, after: Duration) {
            (0..3).for_each(|_| self.load.waste(self.start + after));
        }
    }

    #[test]
    fn everything_passes_without_load() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.arrive(1, true, QUARANTINE), Gate::Pass);
        bench.load.waste(bench.start + QUARANTINE);
        bench.load.waste(bench.start + QUARANTINE);
        assert_eq!(bench.arrive(2, false, QUARANTINE), Gate::Pass);
    }

    #[test]
    fn under_load_a_cookie_is_given_once_per_mac1_and_in_its_epoch_only() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.arrive(9, true, QUARANTINE), Gate::Pass, "seen before there was load");
        bench.press(QUARANTINE);
        assert!(matches!(bench.arrive(1, true, QUARANTINE), Gate::Cookie(_)));
        assert_eq!(bench.arrive(1, true, QUARANTINE), Gate::Silent);
        assert_eq!(bench.arrive(2, false, QUARANTINE), Gate::Silent);
        assert_eq!(bench.arrive(9, true, QUARANTINE), Gate::Silent, "a recording");
        let two_epochs = QUARANTINE + Duration::from_secs(2 * GENERATION_SECS);
        bench.press(two_epochs);
        assert_eq!(bench.arrive(9, true, two_epochs), Gate::Silent, "still current, still known");
    }

    #[test]
    fn load_ends_by_itself() {
        let mut bench = Bench::new(100);
        bench.press(QUARANTINE);
        assert!(matches!(bench.arrive(1, true, QUARANTINE + LASTS - Duration::from_millis(1)), Gate::Cookie(_)));
        assert_eq!(bench.arrive(2, true, QUARANTINE + LASTS), Gate::Pass);
        for tick in 0..100 {
            bench.load.waste(bench.start + QUARANTINE + LASTS + Duration::from_millis(500 * tick));
        }
        assert!(
            !bench.load.is_loaded(bench.start + QUARANTINE + LASTS + Duration::from_secs(50)),
            "two a second are none"
        );
    }

    #[test]
    fn until_recordings_have_grown_old_nobody_is_given_a_cookie() {
        let mut bench = Bench::new(100);
        let last = Duration::from_secs(2 * GENERATION_SECS);
        for after in [Duration::ZERO, last] {
            bench.press(after);
            assert_eq!(bench.arrive(after.as_secs() as u8, true, after), Gate::Pass);
        }
        bench.press(QUARANTINE);
        assert!(matches!(bench.arrive(3, true, QUARANTINE), Gate::Cookie(_)));
    }

    #[test]
    fn memory_is_bounded_and_when_it_is_full_there_is_silence() {
        let mut bench = Bench::new(2);
        bench.press(QUARANTINE);
        assert!(matches!(bench.arrive(1, true, QUARANTINE), Gate::Cookie(_)));
        assert!(matches!(bench.arrive(2, true, QUARANTINE), Gate::Cookie(_)));
        assert_eq!(bench.arrive(3, true, QUARANTINE), Gate::Silent);
        assert_eq!(bench.load.sights.seen[0].len(), 2);
    }

    #[test]
    fn a_clock_set_far_back_begins_anew() {
        let mut bench = Bench::new(100);
        bench.press(QUARANTINE);
        assert!(matches!(bench.arrive(1, true, QUARANTINE), Gate::Cookie(_)));
        let datagram = [2; 1200];
        let source = "192.0.2.1:1".parse().unwrap();
        let arrival = Arrival { datagram: &datagram, mac1: [2; 16], epoch_is_current: true, source };
        let back = T.saturating_sub(Duration::from_secs(100 * 3_600));
        let gate = bench.load.gate(arrival, bench.start + QUARANTINE, back, &mut bench.entropy);
        assert_eq!(gate, Gate::Pass);
    }
}
