//! Knocks under junk whose first bytes look right, and what ten million junk datagrams leave behind.

use super::super::memory::anonymous_kib;
use super::crowd::Crowd;
use super::knocks::{failures, spans};
use super::stage::Stage;
use super::{Effort, Row};
use crate::run::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Junk datagrams per second while valid knocks arrive.
const PER_SECOND: u64 = 50_000;
/// Connects of one round, without junk and under it.
const CONNECTS: usize = 32;
/// What a heap may move without anything having grown, in KiB.
const NOISE_KIB: f64 = 256.0;

/// Valid knocks in rounds without and with junk.
pub(super) fn knocks_under_junk(stage: &Stage, crowd: &mut Crowd, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let (mut calm, mut flooded, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.pick(8, 2) {
        calm.extend(crowd.connect(CONNECTS)?);
        let flood = Flood::start(stage.controller_at, Some(PER_SECOND));
        flooded.extend(crowd.connect(CONNECTS)?);
        rates.push(flood.stop()?);
    }
    let rate = rates.iter().sum::<f64>() / rates.len() as f64;
    let count = flooded.len();
    let (failed, why) = failures(&flooded);
    let why = why.map_or_else(|| format!("of {count}"), str::to_owned);
    let succeeded = 100.0 * (count - failed) as f64 / count as f64;
    let succeeded = Row::new("  valid knocks that succeeded", succeeded, "%").at_least(100.0);
    let [calm, flooded] = [calm, flooded].map(|connects| spans(&connects, "knock_us"));
    rows.push(Row::new("junk to the controller while knocking", rate, "1/s").note("right type, version and length"));
    rows.push(succeeded.note(why));
    rows.push(Row::new("  knock to ready, p50", flooded.micros(50.0) / 1e3, "ms"));
    rows.push(Row::new("  knock to ready, p99", flooded.micros(99.0) / 1e3, "ms"));
    let ratio = flooded.micros(50.0) / calm.micros(50.0);
    rows.push(Row::new("  knock to ready, p50, of that without junk", ratio, "x").at_most(2.0));
    Ok(())
}

/// Growth of the controller's memory.
pub(super) fn memory(stage: &Stage, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let (pid, to) = (stage.controller(), stage.controller_at);
    // What a first burst makes the process set up stays, and is no growth.
    send(to, 100_000, None, &AtomicBool::new(false))?;
    thread::sleep(Duration::from_millis(300));
    let (before, refused) = (anonymous_kib(pid)?, refused(stage)?);
    let goal = effort.pick(10_000_000, 500_000) as u64;
    let (mut sent, mut arrived) = (0, 0);
    while arrived < goal {
        sent += send(to, 500_000, None, &AtomicBool::new(false))?;
        arrived = self::refused(stage)? - refused;
        if sent > 10 * goal {
            return Err(format!("of {sent} junk datagrams only {arrived} were seen").into());
        }
    }
    let grown = (anonymous_kib(pid)? - before).max(0.0);
    let millions = arrived as f64 / 1e6;
    rows.push(
        Row::new("growth of the controller's memory by junk", grown, "KiB")
            .at_most(NOISE_KIB)
            .note(format!("{millions:.1} million refused of {:.1} million sent", sent as f64 / 1e6)),
    );
    Ok(())
}

/// How many datagrams the controller has refused for their mac1.
fn refused(stage: &Stage) -> Result<u64> {
    let status = stage.ask("controller", &["controller", "status"])?;
    let counters = status["counters"].as_array().ok_or_else(|| format!("no counters in {status}"))?;
    let counter = counters
        .iter()
        .find(|counter| counter[0] == "datagrams.knocks_refused")
        .and_then(|counter| counter[1].as_u64());
    Ok(counter.ok_or_else(|| format!("no such counter in {status}"))?)
}

/// Junk that goes on beside something else.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<io::Result<u64>>,
    begun: Instant,
}

impl Flood {
    /// Junk for a knock's port, at this rate or as fast as it goes.
    pub(super) fn start(to: SocketAddr, rate: Option<u64>) -> Self {
        Self::of(move |stop| send(to, u64::MAX, rate, stop))
    }

    /// Connections to a TCP port at which nobody listens, given up as soon as they are begun: a SYN each, as fast as it goes.
    pub(super) fn of_syns(to: SocketAddr) -> Self {
        Self::of(move |stop| {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
                // Under way, or refused already.
                let _ = connect(&socket, &to);
                sent += 1;
            }
            Ok(sent)
        })
    }

    fn of(send: impl FnOnce(&AtomicBool) -> io::Result<u64> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = thread::spawn(move || send(&stopped));
        Self { stop, sender, begun: Instant::now() }
    }

    /// Ends it; its rate per second.
    pub(super) fn stop(self) -> Result<f64> {
        let took = self.begun.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| "the flood broke off")??;
        Ok(sent as f64 / took.as_secs_f64())
    }
}

/// Sends up to `count` datagrams that begin like a knock, at most `rate` a second; how many.
pub(super) fn send(to: SocketAddr, count: u64, rate: Option<u64>, stop: &AtomicBool) -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut datagram = [0x5a_u8; 1_200];
    datagram[..4].copy_from_slice(&[1, 1, 0, 0]);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < count && !stop.load(Ordering::Relaxed) {
        datagram[16..24].copy_from_slice(&sent.to_be_bytes());
        // A full queue is the receiver's affair.
        let _ = socket.send_to(&datagram, to);
        sent += 1;
        if let Some(rate) = rate
            && sent.is_multiple_of(64)
        {
            let due = Duration::from_nanos(sent.saturating_mul(1_000_000_000 / rate));
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    Ok(sent)
}
