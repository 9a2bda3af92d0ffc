//! Reads a connection as fast as it can.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BLOCK: usize = 1 << 20;

/// Connects, reads until the connection ends or so many milliseconds are over, and prints what came, how long it took, and when the last
/// of it came: bytes, nanoseconds, and nanoseconds since 1970.
pub(crate) fn drain(from: &str, span_ms: &str) -> io::Result<()> {
    let span = Duration::from_millis(span_ms.parse().map_err(io::Error::other)?);
    let mut stream = TcpStream::connect(from)?;
    let mut block = vec![0; BLOCK];
    let (mut bytes, mut last) = (0_u64, SystemTime::now());
    let begun = Instant::now();
    while begun.elapsed() < span {
        stream.set_read_timeout(Some(span.saturating_sub(begun.elapsed()).max(Duration::from_millis(1))))?;
        match stream.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                bytes += count as u64;
                last = SystemTime::now();
            }
        }
    }
    let last = last.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    println!("{bytes} {} {}", begun.elapsed().as_nanos(), last.as_nanos());
    Ok(())
}
