//! What page tokens cost, in microseconds of one core: `cargo run -p vestibule-guard --example token_cost [--json]`.
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
    let json = std::env::args().any(|argument| argument == "--json");
    let both = [
        measure("everything", &SealedGrants::Inline(GrantSet::everything()), !json),
        measure("two rules", &SealedGrants::Inline(clerk), !json),
        measure("a named set", &reference, !json),
    ];
    if json {
        println!(
            "{}",
            serde_json::Value::Object(both.map(|(what, us)| (what.to_owned(), us.into())).into_iter().collect())
        );
    }
}

/// The median of sealing and opening together, in microseconds.
fn measure<'a>(what: &'a str, grants: &SealedGrants, aloud: bool) -> (&'a str, f64) {
    let app = AppName::new("orders").unwrap();
    let key = KeyRecord { id: 1, made: NOW, secret: Zeroizing::new([1; 32]) };
    let ring = Keyring::new(KeyringSettings::default(), &key, &[]);
    let address = LogicalAddress("fd00::9".parse().unwrap());
    let context = Context { address, binding: Binding([2; 32]), started: NOW, app: &app };
    let source = source_of("GET", "orders.example", "/");
    let user = UserName::new("alice").unwrap();
    let page = Page { user, serial: Serial(42), issued: NOW, source, grants: grants.clone() };
    let token = ring.seal(&page, &context, [3; 24]);

    let seal = times(|| ring.seal(black_box(&page), &context, black_box([3; 24])));
    let open = times(|| ring.open(black_box(token.as_str()), &context, NOW));
    let both = times(|| {
        let token = ring.seal(black_box(&page), &context, black_box([3; 24]));
        ring.open(token.as_str(), &context, NOW)
    });
    if aloud {
        print(&format!("{what}: seal"), &seal);
        print(&format!("{what}: open"), &open);
        print(&format!("{what}: both"), &both);
        println!("{what}: {} characters", token.as_str().len());
    }
    (what, both[BATCHES / 2])
}

fn print(what: &str, times: &[f64]) {
    println!("{what:24} {:6.2} µs median {:6.2} µs 95 %", times[BATCHES / 2], times[BATCHES * 95 / 100]);
}

fn times<T>(mut run: impl FnMut() -> T) -> Vec<f64> {
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
    times
}
