//! The transport over TCP beside pairs of TLS proxies, with QUIC and `ssh -L` for comparison, in interleaved rounds of one run.

use super::super::door::named_numbers;
use super::stage::{Stage, example};
use super::starts::Starter;
use super::tunnel::{Measured, Way, median, trip, up_by};
use super::{Effort, Row, pairs, ssh, wireguard};
use crate::run::{Result, output};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that open connections at the same time.
const AT_ONCE: usize = 16;

/// A way, what it is called, and what was measured.
struct Entry {
    name: &'static str,
    way: Way,
    measured: Measured,
    /// New connections a second.
    rates: Vec<f64>,
}

/// Measures all of them, and ours beside HAProxy's pair.
pub(super) fn beside_pairs(stage: &Stage, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    // A person's device is up once at a time.
    let [by_tcp, by_quic] = [Starter::enrol(stage, "by-tcp")?, Starter::enrol(stage, "by-quic")?];
    let mut entries = vec![
        Entry::new("over TCP", up_by("tcp", stage, &by_tcp)?),
        Entry::new("by QUIC", up_by("quic", stage, &by_quic)?),
    ];
    for (name, peer) in [
        ("HAProxy's pair", pairs::haproxy(stage)?),
        ("stunnel's pair", pairs::stunnel(stage)?),
        ("ssh -L", ssh::way(stage)?),
    ] {
        match peer {
            Ok(way) => entries.push(Entry::new(name, way)),
            Err(skipped) => rows.push(skipped),
        }
    }
    let _far = match wireguard::way(stage)? {
        Ok((way, far)) => {
            entries.push(Entry::new("WireGuard (boringtun)", way));
            Some(far)
        }
        Err(skipped) => {
            rows.push(skipped);
            None
        }
    };
    let span = Duration::from_millis(effort.pick(2_000, 500) as u64);
    let mut comings = Vec::new();
    for _ in 0..effort.pick(5, 1) {
        for entry in &mut entries {
            entry.measured.round(&entry.way, effort)?;
            entry.rates.push(rate(&entry.way, span)?);
        }
        comings.push(comings_in(span)?);
    }
    for entry in &entries {
        entry.measured.tell(entry.name, rows);
        let note = format!("{AT_ONCE} at once");
        rows.push(Row::new(format!("{}: new connections", entry.name), median(&entry.rates), "1/s").note(note));
    }
    let coming = |name: &str| median(&comings.iter().filter_map(|run| run.get(name).copied()).collect::<Vec<_>>());
    for (way, key) in [("over TCP", "tcp"), ("by QUIC", "quic")] {
        let rate = coming(&format!("{key}_per_s"));
        rows.push(Row::new(format!("{way}: new sessions' connections, mutually authenticated"), rate, "1/s"));
        rows.push(Row::new("… processor time of both ends", coming(&format!("{key}_cpu_us")), "us"));
    }
    let of = |name: &str| entries.iter().find(|entry| entry.name == name);
    if let (Some(ours), Some(pair)) = (of("over TCP"), of("HAProxy's pair")) {
        let stream = ours.measured.gbits() / pair.measured.gbits();
        rows.push(Row::new("one stream over TCP, of HAProxy's pair", stream, "x").at_least(1.5));
        let cpu = ours.measured.cpu_per_gb() / pair.measured.cpu_per_gb();
        rows.push(Row::new("… processor time of a gigabyte", cpu, "x").at_most(0.7));
        let rate = coming("tcp_per_s") / median(&pair.rates);
        rows.push(
            Row::new("… mutually authenticated, of its rate without client certificates", rate, "x").at_least(1.5),
        );
        let rate = median(&ours.rates) / median(&pair.rates);
        rows.push(Row::new("… new connections inside of a session, of its rate", rate, "x"));
    }
    Ok(())
}

impl Entry {
    fn new(name: &'static str, way: Way) -> Self {
        Self { name, way, measured: Measured::default(), rates: Vec::new() }
    }
}

/// New connections a second that carry 64 bytes there and back.
fn rate(way: &Way, span: Duration) -> Result<f64> {
    let (begun, count) = (Instant::now(), AtomicU32::new(0));
    let open = || {
        while begun.elapsed() < span {
            let opened = way.connect().and_then(|mut stream| trip(&mut stream));
            opened.map_err(|error| error.to_string())?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), String>(())
    };
    thread::scope(|scope| {
        let opening: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(open)).collect();
        opening.into_iter().try_for_each(|client| client.join().unwrap_or_else(|_| Err("a client panicked".to_owned())))
    })?;
    Ok(f64::from(count.into_inner()) / begun.elapsed().as_secs_f64())
}

/// How often clients come in, and what it costs, without knock and login: TLS alone is what the pairs do.
fn comings_in(span: Duration) -> Result<HashMap<String, f64>> {
    Ok(named_numbers(&output(Command::new(example("handshakes")).arg(span.as_secs_f64().to_string()))?))
}
