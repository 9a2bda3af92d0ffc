//! The bad line: frames in VXLAN's wrapping, from one device of the kernel to another, late or never.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::checksum;

/// Bytes of VXLAN's own header before the frame.
const VXLAN: usize = 8;
/// Frames that may be under way at a time; more are lost, as in any buffer.
const ROOM: usize = 4_096;
/// How long to wait for a frame while none is under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// How bad the line is.
#[derive(Clone, Copy)]
struct Line {
    loss: u64,
    delay: Duration,
    reordered: u64,
    late: Duration,
}

/// Carries frames both ways, until it is killed: what comes to the first port goes to the second of `peer`, what comes to the
/// third to the fourth.
pub(crate) fn line(peer: &str, words: &[&str]) -> io::Result<()> {
    let peer: Ipv4Addr = peer.parse().map_err(io::Error::other)?;
    let numbers: Vec<u64> =
        words.iter().map(|word| word.parse()).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let [from, to, back_from, back_to, loss, delay, reordered, late, seed] = *numbers else {
        return Err(io::Error::other("lab-peer line PEER FROM TO FROM TO LOSS DELAY REORDERED LATE SEED"));
    };
    let micros = Duration::from_micros;
    let line = Line { loss, delay: micros(delay), reordered, late: micros(late) };
    let (there, back) =
        (UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, from)?)?, UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, back_from)?)?);
    let (to, back_to) = (at(peer, to)?, at(peer, back_to)?);
    println!("carrying");
    io::stdout().flush()?;
    let other = thread::spawn(move || carry(&back, back_to, line, Chance(seed.wrapping_mul(2) | 1)));
    carry(&there, to, line, Chance(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9) | 1))?;
    other.join().map_err(|_| io::Error::other("the way back"))?
}

fn at(ip: Ipv4Addr, port: u64) -> io::Result<SocketAddr> {
    Ok((ip, u16::try_from(port).map_err(io::Error::other)?).into())
}

fn carry(from: &UdpSocket, to: SocketAddr, line: Line, mut chance: Chance) -> io::Result<()> {
    let out = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut under_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut frame = vec![0; 1 << 16];
    for number in 0.. {
        let now = Instant::now();
        while let Some(Reverse((due, ..))) = under_way.peek()
            && *due <= now
        {
            let Some(Reverse((_, _, frame))) = under_way.pop() else { break };
            // The device may be gone already.
            let _ = out.send_to(&frame, to);
        }
        let wait = under_way.peek().map_or(PATIENCE, |Reverse((due, ..))| due.saturating_duration_since(now));
        from.set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        match from.recv(&mut frame) {
            Ok(length) if !chance.of(line.loss) && under_way.len() < ROOM => {
                let extra = if chance.of(line.reordered) { line.late } else { Duration::ZERO };
                checksum::complete(&mut frame[..length], VXLAN);
                under_way.push(Reverse((Instant::now() + line.delay + extra, number, frame[..length].to_vec())));
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // What was sent to a device that is down.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Xorshift: the same numbers in every run.
struct Chance(u64);

impl Chance {
    fn of(&mut self, percent: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % 100 < percent
    }
}
