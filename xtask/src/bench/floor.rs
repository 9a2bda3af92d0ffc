//! What the machine does without any of our code: the floor under every other measurement.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::{self, Command},
    thread,
    time::Instant,
};

use super::{Effort, Row, cpu, peer::Peer, samples::Samples};
use crate::run::{Result, output};

const STREAM_BLOCK: usize = 1 << 17;
const OPENSSL: Peer = Peer::new("openssl", "openssl");

/// Round trips, connects and a stream over loopback, and the rate of the bare curve.
pub(crate) fn floor(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    round_trips("UDP round trip, 64 B", &udp_round_trips(effort)?, &mut rows);
    round_trips("TCP round trip, 64 B", &tcp_round_trips(effort)?, &mut rows);
    round_trips("TCP connect", &tcp_connects(effort)?, &mut rows);
    rows.extend(tcp_stream(effort)?);
    rows.push(curve()?);
    Ok(rows)
}

fn round_trips(name: &str, samples: &Samples, rows: &mut Vec<Row>) {
    rows.push(Row::new(format!("{name}, p50"), samples.micros(50.0), "us"));
    rows.push(Row::new(format!("{name}, p99"), samples.micros(99.0), "us"));
}

fn udp_round_trips(effort: Effort) -> io::Result<Samples> {
    let (here, there) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    here.connect(there.local_addr()?)?;
    there.connect(here.local_addr()?)?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut bytes = [0; 64];
        while there.recv(&mut bytes)? > 0 {
            there.send(&bytes)?;
        }
        Ok(())
    });
    let mut bytes = [1; 64];
    let samples = Samples::measure(effort.pick(20_000, 2_000), || {
        here.send(&bytes)?;
        here.recv(&mut bytes).map(drop)
    })?;
    // An empty datagram ends it.
    here.send(&[])?;
    join(echo)?;
    Ok(samples)
}

fn tcp_round_trips(effort: Effort) -> io::Result<Samples> {
    let (mut here, mut there) = tcp_pair()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut bytes = [0; 64];
        while there.read_exact(&mut bytes).is_ok() {
            there.write_all(&bytes)?;
        }
        Ok(())
    });
    let mut bytes = [1; 64];
    let samples = Samples::measure(effort.pick(20_000, 2_000), || {
        here.write_all(&bytes)?;
        here.read_exact(&mut bytes)
    })?;
    drop(here);
    join(echo)?;
    Ok(samples)
}

fn tcp_connects(effort: Effort) -> io::Result<Samples> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to = listener.local_addr()?;
    Samples::measure(effort.pick(2_000, 500), || {
        let _here = TcpStream::connect(to)?;
        listener.accept().map(drop)
    })
}

fn tcp_stream(effort: Effort) -> Result<[Row; 2]> {
    let blocks = effort.pick(16_384, 2_048);
    let (mut here, mut there) = tcp_pair()?;
    let before = cpu::cpu_time(process::id())?;
    let start = Instant::now();
    let reader = thread::spawn(move || -> io::Result<()> {
        let mut bytes = vec![0; STREAM_BLOCK];
        while there.read(&mut bytes)? > 0 {}
        Ok(())
    });
    let bytes = vec![1; STREAM_BLOCK];
    for _ in 0..blocks {
        here.write_all(&bytes)?;
    }
    drop(here);
    join(reader)?;
    let (took, cpu) = (start.elapsed(), cpu::cpu_time(process::id())? - before);
    let gigabytes = (blocks * STREAM_BLOCK) as f64 / 1e9;
    Ok([
        Row::new("TCP stream", gigabytes * 8.0 / took.as_secs_f64(), "Gbit/s"),
        Row::new("TCP stream, processor time of both ends", cpu.as_secs_f64() / gigabytes, "s/GB"),
    ])
}

/// X25519 operations per second and core, as OpenSSL does them.
fn curve() -> Result<Row> {
    const NAME: &str = "X25519, one core";
    let openssl = match OPENSSL.path_or_skip(NAME, "1/s") {
        Ok(path) => path,
        Err(row) => return Ok(row),
    };
    let text = output(Command::new(openssl).args(["speed", "-seconds", "1", "ecdhx25519"]))?;
    let rate = text.lines().last().and_then(|line| line.split_whitespace().last()).and_then(|word| word.parse().ok());
    let rate: f64 = rate.ok_or("an unknown form of what openssl speed prints")?;
    Ok(Row::new(NAME, rate, "1/s").note("openssl speed ecdhx25519"))
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

fn join(thread: thread::JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().map_err(|_| io::Error::other("a thread of the measurement panicked"))?
}
