//! What page tokens cost, in microseconds of one core: `cargo run -p vestibule-guard --example token_cost`.
//!
//! Prints the median and the 95th percentile of batches. The goal is 2 µs for sealing and opening together.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the developer")]

use std::hint::black_box;
use std::time::Instant;

use vestibule_guard::{
    AppName, Binding, Context, KeyRecord, Keyring, KeyringSettings, LogicalAddress, Page, SealedGrants, Serial, Stamp,
    UserName, source_of,
};
use vestibule_policy::web::{Allowance, GrantSet, Methods, PathPattern};
use zeroize::Zeroizing;

const BATCHES: usize = 500;
const BATCH: u32 = 200;
const NOW: Stamp = Stamp(1_800_000_000_000);

fn main() {
    let rule = |methods, path| Allowance {
        methods: Methods::parse(methods).unwrap(),
        paths: vec![PathPattern::parse(path).unwrap()],
        files: vec![],
    };
    let clerk = GrantSet::only(vec![rule("reads", "/**"), rule("GET POST", "/orders/**")]);
    let reference = SealedGrants::Reference(clerk.id());
    measure("everything", &SealedGrants::Inline(GrantSet::everything()));
    measure("two rules", &SealedGrants::Inline(clerk));
    measure("a named set", &reference);
}

fn measure(what: &str, grants: &SealedGrants) {
    let app = AppName::new("orders").unwrap();
    let key = KeyRecord { id: 1, made: NOW, secret: Zeroizing::new([1; 32]) };
    let ring = Keyring::new(KeyringSettings::default(), &key, &[]);
    let address = LogicalAddress("fd00::9".parse().unwrap());
    let context = Context { address, binding: Binding([2; 32]), started: NOW, app: &app };
    let source = source_of("GET", "orders.example", "/");
    let user = UserName::new("alice").unwrap();
    let page = Page { user, serial: Serial(42), issued: NOW, source, grants: grants.clone() };
    let token = ring.seal(&page, &context, [3; 24]);

    print(&format!("{what}: seal"), || ring.seal(black_box(&page), &context, black_box([3; 24])));
    print(&format!("{what}: open"), || ring.open(black_box(token.as_str()), &context, NOW));
    print(&format!("{what}: both"), || {
        let token = ring.seal(black_box(&page), &context, black_box([3; 24]));
        ring.open(token.as_str(), &context, NOW)
    });
    println!("{what}: {} characters", token.as_str().len());
}

fn print<T>(what: &str, mut run: impl FnMut() -> T) {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..BATCH {
                black_box(run());
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    println!("{what:24} {:6.2} µs median {:6.2} µs 95 %", times[BATCHES / 2], times[BATCHES * 95 / 100]);
}
