//! Knocks under junk whose first bytes look right, and what ten million junk datagrams leave behind.

use super::Row;
use super::knocks::spans;
use super::stage::{Stage, resident_kib};
use crate::run::Result;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Junk datagrams per second while valid knocks arrive.
const PER_SECOND: u64 = 50_000;
/// Valid connects under junk.
const CONNECTS: usize = 64;
/// Junk datagrams that must leave no trace in memory.
const MANY: u64 = 10_000_000;
/// What a resident size may move without anything having grown, in KiB.
const NOISE_KIB: f64 = 512.0;

/// Measures both.
pub(super) fn under_junk(stage: &Stage, unloaded_us: f64, rows: &mut Vec<Row>) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (stop, to) = (stop.clone(), stage.controller);
        move || flood(to, u64::MAX, Some(PER_SECOND), &stop)
    });
    let begun = Instant::now();
    let connects = stage.connects("flooded", CONNECTS)?;
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().map_err(|_| "the flood broke off")??;
    let failed = connects.iter().filter(|connect| connect["failed"].is_string()).count();
    let knock = spans(&connects, "knock_us").micros(50.0);
    let rate = sent as f64 / took.as_secs_f64();
    rows.push(Row::new("junk per second while knocking", rate, "1/s").note("first bytes look right"));
    rows.push(
        Row::new(
            "  valid knocks that succeeded",
            100.0 * (connects.len() - failed) as f64 / connects.len().max(1) as f64,
            "%",
        )
        .at_least(100.0),
    );
    rows.push(Row::new("  knock to ready, p50, of the unloaded", knock / unloaded_us.max(1.0), "×").at_most(2.0));

    let before = resident_kib(stage.pid(0))?;
    let sent = self::flood(stage.controller, MANY, None, &AtomicBool::new(false))?;
    std::thread::sleep(Duration::from_millis(500));
    let grown = (resident_kib(stage.pid(0))? - before).max(0.0);
    rows.push(
        Row::new(format!("controller's memory after {} million junk", sent / 1_000_000), grown, "KiB")
            .at_most(NOISE_KIB)
            .note("growth of its resident size"),
    );
    Ok(())
}

/// Sends up to `count` datagrams that begin like a knock, at most `rate` a second; how many.
fn flood(to: SocketAddr, count: u64, rate: Option<u64>, stop: &AtomicBool) -> std::io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let sent = AtomicU64::new(0);
    let mut datagram = [0x5a_u8; 1200];
    datagram[..4].copy_from_slice(&[1, 1, 0, 0]);
    let begun = Instant::now();
    while sent.load(Ordering::Relaxed) < count && !stop.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        datagram[20..28].copy_from_slice(&number.to_be_bytes());
        // A full queue is the receiver's affair.
        let _ = socket.send_to(&datagram, to);
        if let Some(rate) = rate
            && number.is_multiple_of(64)
        {
            let due = Duration::from_nanos(number.saturating_mul(1_000_000_000 / rate));
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    Ok(sent.into_inner())
}
