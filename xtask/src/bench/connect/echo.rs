//! The upstream of the measurements: sends back what it gets.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// The first byte of a connection that is sent zeros for as long as it is read.
pub(super) const SOURCE: u8 = 1;

const BLOCK: usize = 256 * 1024;

/// A datagram that is sent to whoever has said something, and how often.
const DATAGRAM: [u8; 1_000] = [0; 1_000];
const PAUSE: Duration = Duration::from_micros(200);
/// For so long.
const SENDING: Duration = Duration::from_secs(8);

/// Starts an upstream over UDP, for as long as this process lives.
///
/// # Errors
/// There is no free port.
pub(super) fn start_udp() -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut first = [0; 64];
        // What ICMP says of somebody who has gone is no reason to end.
        loop {
            let Ok((_, from)) = socket.recv_from(&mut first) else { continue };
            if let Ok(source) = socket.try_clone() {
                thread::spawn(move || send(&source, from));
            }
        }
    });
    Ok(address)
}

fn send(socket: &UdpSocket, to: SocketAddr) {
    let begun = Instant::now();
    while begun.elapsed() < SENDING {
        let _ = socket.send_to(&DATAGRAM, to);
        thread::sleep(PAUSE);
    }
}

/// Starts it, for as long as this process lives.
///
/// # Errors
/// There is no free port.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 1024];
    let count = stream.read(&mut first)?;
    if first[..count].first() == Some(&SOURCE) {
        let zeros = vec![0; BLOCK];
        loop {
            stream.write_all(&zeros)?;
        }
    }
    stream.write_all(&first[..count])?;
    io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
}
