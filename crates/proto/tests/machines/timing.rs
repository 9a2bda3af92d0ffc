//! T1: how long the controller looks at a knock says nothing of who is known. What it refuses before Noise costs next to
//! nothing, and everything else the price of Noise, whether the row is there or not.

use super::controller_bench::{Bench, HOME};
use crate::common::copy;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_proto::id::LoginDigest;

const ROUNDS: usize = 301;

/// The middle one, and how far the others are from it, in the middle.
fn median_and_mad(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let median = times[times.len() / 2];
    let mut away: Vec<Duration> = times.iter().map(|time| time.abs_diff(median)).collect();
    away.sort();
    (median, away[away.len() / 2])
}

/// Alone on the machine, since it measures.
#[test]
fn alone_t01_an_unknown_device_is_refused_in_the_time_that_a_known_one_takes() {
    let mut bench = Bench::new();
    let known = bench.person.device.clone();
    let unknown = vestibule_proto::knocker::Device { digest: LoginDigest::new([1; 32]), ..copy(&known) };
    let unknown = Arc::new(unknown);
    let (mut of_known, mut of_unknown) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        // In turns, so that what else the machine does falls on both.
        let is_known = round % 2 == 0;
        bench.person.device = if is_known { known.clone() } else { unknown.clone() };
        let sent = bench.knock();
        let (now, from) = (bench.now, crate::common::address(HOME));
        let start = Instant::now();
        bench.controller.handle_input(from, sent.k1.as_slice(), now, &mut bench.entropy);
        let took = start.elapsed();
        let replies = bench.commands().len();
        assert_eq!(replies, usize::from(is_known));
        if is_known {
            of_known.push(took)
        } else {
            of_unknown.push(took)
        }
        // Slower than a row may knock.
        bench.skip(Duration::from_secs(3));
    }
    let ((known, mad_known), (unknown, mad_unknown)) = (median_and_mad(of_known), median_and_mad(of_unknown));
    let apart = known.abs_diff(unknown);
    // Generous: a network's jitter is a hundred times this, and nobody hears an answer to measure by.
    let allowed = (known / 4).max(4 * (mad_known + mad_unknown));
    println!("known {known:?} ± {mad_known:?}, unknown {unknown:?} ± {mad_unknown:?}");
    assert!(apart <= allowed, "{known:?} ± {mad_known:?} and {unknown:?} ± {mad_unknown:?}");
}
