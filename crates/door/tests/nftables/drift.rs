//! The kernel's sets after thousands of events: what the model says, and nothing besides.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vestibule_door::{Limits, NftablesDoor};

use super::model::Both;
use super::wire::{in_own_network, nft};
use super::{PORT, SECOND};

/// How much longer an element may stay in the kernel than it is of use.
const MARGIN: Duration = Duration::from_millis(1_300);

#[test]
fn after_thousands_of_events_the_kernel_holds_what_the_model_says() {
    in_own_network("drift::after_thousands_of_events_the_kernel_holds_what_the_model_says", || {
        let door = NftablesDoor::open(&[SocketAddr::from(([0u16; 8], PORT))], Limits::default());
        let mut both = Both::new(door.expect("the kernel has nf_tables"), 7, 2 * SECOND);
        for round in 0..10 {
            for _ in 0..1_000 {
                let now = Instant::now();
                both.happen(now);
                both.agree(now);
            }
            compare(&both, round);
            // Some windows and first flights end.
            std::thread::sleep(SECOND / 2);
        }
    });
}

fn compare(both: &Both<NftablesDoor>, round: usize) {
    let before = Instant::now();
    let listed: BTreeSet<SocketAddr> = ["live4", "live6"].iter().flat_map(|set| sources(set)).collect();
    let after = Instant::now();
    let model = &both.model;
    let must: BTreeSet<SocketAddr> = model.sources().filter(|source| model.is_live(*source, after)).collect();
    let may: BTreeSet<SocketAddr> = model.sources().filter(|source| model.lingers(*source, before, MARGIN)).collect();
    assert!(must.is_subset(&listed), "round {round}: missing in the kernel: {:?}", must.difference(&listed));
    assert!(listed.is_subset(&may), "round {round}: too much in the kernel: {:?}", listed.difference(&may));

    let from: BTreeSet<IpAddr> = ["from4", "from6"].iter().flat_map(|set| addresses(set)).collect();
    assert!(must.iter().all(|source| from.contains(&source.ip())), "round {round}: an address is missing: {from:?}");
    let anybody = |address: &IpAddr| may.iter().any(|source| source.ip() == *address);
    assert!(from.iter().all(anybody), "round {round}: an address that nobody has: {from:?}");

    let tickets = tickets();
    for tag in both.open_tags(Instant::now() + SECOND / 10) {
        let number = u64::from_be_bytes(*tag.ticket().as_bytes());
        assert!(tickets.contains(&number), "round {round}: the open ticket {number} is missing: {tickets:?}");
    }
}

/// The tickets in the kernel, which `nft` lists as numbers.
fn tickets() -> BTreeSet<u64> {
    let listed = nft("list set inet vestibule tickets");
    let Some((_, elements)) = listed.split_once("elements = {") else { return BTreeSet::new() };
    elements.split(['}', ',']).filter_map(|element| element.split_whitespace().next()?.parse().ok()).collect()
}

/// The addresses in a set of the kernel.
fn addresses(set: &str) -> Vec<IpAddr> {
    let listed = nft(&format!("list set inet vestibule {set}"));
    let Some((_, elements)) = listed.split_once("elements = {") else { return Vec::new() };
    elements.split(['}', ',']).filter_map(|element| element.trim().parse().ok()).collect()
}

/// The sources in a set of the kernel, as `nft` lists them.
fn sources(set: &str) -> Vec<SocketAddr> {
    let listed = nft(&format!("list set inet vestibule {set}"));
    let Some((_, elements)) = listed.split_once("elements = {") else { return Vec::new() };
    let elements = elements.split(['}', ',']).filter_map(|element| element.trim().split_once(" . "));
    elements
        .filter_map(|(address, rest)| {
            let port = rest.split_whitespace().next()?.parse().ok()?;
            Some(SocketAddr::new(address.trim().parse().ok()?, port))
        })
        .collect()
}
