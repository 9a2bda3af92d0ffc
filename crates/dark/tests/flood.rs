//! What a flood of strangers' datagrams costs in memory: nothing. A test binary of its own, because it counts every
//! allocation of the process.
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod support;

use std::alloc::System;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{AT_LAST, Gateway, HERE, long_header};
use vestibule_dark::{Dark, KnockFilter, Role};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::key::{PrivateKey, Secret};
use vestibule_proto::outer::Mac1Key;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The cheap check of a real controller.
struct CheapCheck(Mac1Key);

impl KnockFilter for CheapCheck {
    fn passes(&self, datagram: &[u8]) -> bool {
        self.0.check(datagram)
    }
}

/// What the process may allocate meanwhile on other accounts: the runtime's timers, the test harness.
const NOISE: usize = 50;

#[test]
fn a_flood_of_junk_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let controller = runtime.block_on(async {
        let mut entropy = SeededEntropy::new(1);
        let (key, realm) = (PrivateKey::random(&mut entropy), Secret::random(&mut entropy));
        let filter = CheapCheck(Mac1Key::new(&key.public(), &realm));
        Gateway::bind_at(HERE, Role::Controller(Arc::new(filter)), false)
    });
    controller.admit();
    let junk = junk();
    let stranger = UdpSocket::bind(HERE).unwrap();
    let mut flood = |rounds| flood(&stranger, controller.address, &controller.dark, &junk, rounds);
    flood(500);
    let allocated = |rounds, flood: &mut dyn FnMut(u64)| {
        let region = Region::new(ALLOCATOR);
        flood(rounds);
        region.change().allocations + region.change().reallocations
    };
    let (few, many) = (allocated(1_000, &mut flood), allocated(10_000, &mut flood));
    assert!(few <= NOISE, "{few} allocations for 4,000 datagrams");
    assert!(many <= NOISE, "{many} allocations for 40,000 datagrams");
    let counters = controller.counters();
    assert_eq!(counters.received, 4 * 11_500);
    assert_eq!((counters.foreign, counters.knocks_refused), (11_500, 11_500));
    assert_eq!((counters.quic_refused, counters.sent), (2 * 11_500, 0));
}

/// One of each kind: a knock with a wrong mac1, a first packet with a wrong tag, a short header, something foreign.
fn junk() -> [Vec<u8>; 4] {
    let mut knock = vec![9; 1200];
    knock[..4].copy_from_slice(&[1, 1, 0, 0]);
    [knock, long_header(0xc3, 1, &[7; 20], 1200), vec![0x40; 60], vec![0x80; 60]]
}

/// Sends so many of each, in step with the endpoint, so that the kernel's buffer never overflows.
fn flood(stranger: &UdpSocket, to: SocketAddr, dark: &Dark, junk: &[Vec<u8>], rounds: u64) {
    let before = dark.counters().received;
    let start = std::time::Instant::now();
    for round in 1..=rounds {
        for datagram in junk {
            stranger.send_to(datagram, to).unwrap();
        }
        let behind = if round == rounds { 0 } else { 64 };
        while dark.counters().received + behind < before + round * junk.len() as u64 {
            assert!(start.elapsed() < AT_LAST, "some were lost");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
