//! The tunnel beside `ssh -L`, in interleaved rounds of one run.

use super::super::cpu::cpu_time;
use super::super::samples::Samples;
use super::echo::SOURCE;
use super::stage::{PASSWORD, Stage, free_tcp, listens, type_in, wait};
use super::starts::Starter;
use super::{Effort, Row, ssh};
use crate::run::Result;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A way to the echo.
pub(super) struct Way {
    /// Its local port.
    pub(super) address: SocketAddr,
    /// The processes that carry it, both halves.
    pub(super) pids: Vec<u32>,
    /// Those of them that end with it.
    pub(super) children: Vec<Child>,
}

/// What was measured of a way.
#[derive(Default)]
pub(super) struct Measured {
    trips: Vec<Duration>,
    opens: Vec<Duration>,
    gbits: Vec<f64>,
    cpu_per_gb: Vec<f64>,
}

/// Measures both ways, or ours alone where ssh is absent.
pub(super) fn beside_ssh(stage: &Stage, starter: &Starter, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let ours = up(stage, starter)?;
    let peer = ssh::way(stage)?;
    let (mut mine, mut theirs) = (Measured::default(), Measured::default());
    for _ in 0..effort.pick(7, 2) {
        mine.round(&ours, effort)?;
        if let Ok(peer) = &peer {
            theirs.round(peer, effort)?;
        }
    }
    mine.tell("tunnel", rows);
    match peer {
        Err(skipped) => rows.push(skipped),
        Ok(_) => {
            theirs.tell("ssh -L", rows);
            mine.compare(&theirs, rows);
        }
    }
    Ok(())
}

/// `vestibule up` with a forward to the echo.
pub(super) fn up(stage: &Stage, starter: &Starter) -> Result<Way> {
    up_by("auto", stage, starter)
}

/// The same by this transport alone.
pub(super) fn up_by(transport: &str, stage: &Stage, starter: &Starter) -> Result<Way> {
    let address = free_tcp()?;
    forwarding(stage, starter, address, &[&format!("{address}=echo"), "--transport", transport])
}

/// `vestibule up` with a forward to the upstream over UDP.
pub(super) fn up_udp(stage: &Stage, starter: &Starter) -> Result<Way> {
    let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    forwarding(stage, starter, address, &[&format!("{address}/udp=datagrams")])
}

/// `vestibule up`; the way is its proxy for browsers.
pub(super) fn up_web(stage: &Stage, starter: &Starter) -> Result<Way> {
    let http = free_tcp()?;
    upped(stage, starter, (http, http), &[])
}

fn forwarding(stage: &Stage, starter: &Starter, address: SocketAddr, forward: &[&str]) -> Result<Way> {
    upped(stage, starter, (address, free_tcp()?), &[&["--forward"], forward].concat())
}

/// The way is `address`; the proxy for browsers listens at `http`.
fn upped(stage: &Stage, starter: &Starter, (address, http): (SocketAddr, SocketAddr), more: &[&str]) -> Result<Way> {
    let (at, socks) = (http.to_string(), free_tcp()?.to_string());
    let words = ["up", "--password-stdin", "--http", &at, "--socks", &socks];
    let mut up = starter.command(&[&words, more].concat()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    type_in(&mut up, &format!("{PASSWORD}\n"))?;
    let way = Way { address, pids: vec![up.id(), stage.gateway()], children: vec![up] };
    // Bound with all other ports.
    wait("the forward", || listens(http))?;
    Ok(way)
}

impl Way {
    /// A new connection to the echo.
    pub(super) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    fn cpu(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu_time(*pid)).sum()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Measured {
    /// One round of everything.
    pub(super) fn round(&mut self, way: &Way, effort: Effort) -> Result<()> {
        let mut stream = way.connect()?;
        for _ in 0..200 {
            trip(&mut stream)?;
        }
        for _ in 0..effort.pick(2_000, 500) {
            self.trips.push(trip(&mut stream)?);
        }
        for _ in 0..effort.pick(200, 50) {
            let begun = Instant::now();
            trip(&mut way.connect()?)?;
            self.opens.push(begun.elapsed());
        }
        self.stream(way, Duration::from_millis(effort.pick(2_000, 1_000) as u64))
    }

    fn stream(&mut self, way: &Way, span: Duration) -> Result<()> {
        let mut stream = way.connect()?;
        stream.write_all(&[SOURCE])?;
        let (mut bytes, mut carried) = (vec![0; 1 << 20], 0);
        let (before, begun) = (way.cpu()?, Instant::now());
        while begun.elapsed() < span {
            carried += stream.read(&mut bytes)?;
        }
        let (took, cpu) = (begun.elapsed(), way.cpu()? - before);
        let gigabytes = carried as f64 / 1e9;
        self.gbits.push(gigabytes * 8.0 / took.as_secs_f64());
        self.cpu_per_gb.push(cpu.as_secs_f64() / gigabytes);
        Ok(())
    }

    /// One stream's throughput, Gbit/s.
    pub(super) fn gbits(&self) -> f64 {
        median(&self.gbits)
    }

    /// Processor time of both halves, seconds per gigabyte.
    pub(super) fn cpu_per_gb(&self) -> f64 {
        median(&self.cpu_per_gb)
    }

    pub(super) fn tell(&self, name: &str, rows: &mut Vec<Row>) {
        let (trips, opens) = (Samples::new(self.trips.clone()), Samples::new(self.opens.clone()));
        for (what, samples) in [("64 B round trip", trips), ("new connection and 64 B", opens)] {
            rows.push(Row::new(format!("{name}: {what}, p50"), samples.micros(50.0), "us"));
            rows.push(Row::new(format!("{name}: {what}, p99"), samples.micros(99.0), "us"));
        }
        rows.push(Row::new(format!("{name}: one stream"), self.gbits(), "Gbit/s"));
        rows.push(Row::new(format!("{name}: processor time of both halves"), self.cpu_per_gb(), "s/GB"));
    }

    fn compare(&self, peer: &Self, rows: &mut Vec<Row>) {
        let p50 = |samples: &[Duration]| Samples::new(samples.to_vec()).micros(50.0);
        let trip = p50(&self.trips) / p50(&peer.trips);
        rows.push(Row::new("64 B round trip, of ssh -L", trip, "x").at_most(1.2));
        let open = p50(&self.opens) / p50(&peer.opens);
        rows.push(Row::new("new connection in the session, of ssh -L's channel", open, "x").at_most(1.0));
        let stream = self.gbits() / peer.gbits();
        rows.push(Row::new("one stream, of ssh -L with its default cipher", stream, "x").at_least(1.0));
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// 64 bytes there and back.
pub(super) fn trip(stream: &mut TcpStream) -> Result<Duration> {
    let mut bytes = [b'.'; 64];
    let begun = Instant::now();
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes)?;
    Ok(begun.elapsed())
}
