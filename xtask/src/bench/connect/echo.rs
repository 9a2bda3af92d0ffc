//! The upstream of the measurements: sends back what it gets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// The first byte of a connection that is sent zeros for as long as it is read.
pub(super) const SOURCE: u8 = 1;

const BLOCK: usize = 256 * 1024;

/// Asks for a WebSocket, with the key of the example in RFC 6455 (section 1.3); the answer that agrees.
pub(super) const UPGRADE: &str = "GET /frames HTTP/1.1\r\nHost: frames.localhost\r\nOrigin: http://frames.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A binary frame with a length of 16 bits (RFC 6455, section 5.2).
const FRAME_HEADER: [u8; 4] = [0x82, 126, 0xff, 0xff];

/// A datagram that is sent to whoever has said something, and how often.
const DATAGRAM: [u8; 1_000] = [0; 1_000];
const PAUSE: Duration = Duration::from_micros(200);
/// For so long.
const SENDING: Duration = Duration::from_secs(8);

/// Starts an upstream over UDP, for as long as this process lives.
///
/// # Errors
/// There is no free port.
pub(super) fn start_udp(at: IpAddr) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((at, 0))?;
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
pub(super) fn start(at: IpAddr) -> io::Result<SocketAddr> {
    listen(at, serve)
}

/// Starts an upstream that agrees to a WebSocket and sends frames as fast as they are read, for as long as this process lives.
///
/// # Errors
/// There is no free port.
pub(super) fn start_web(at: IpAddr) -> io::Result<SocketAddr> {
    listen(at, send_frames)
}

fn listen(at: IpAddr, handle: fn(TcpStream) -> io::Result<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((at, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || handle(stream));
        }
    });
    Ok(address)
}

fn send_frames(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(AGREED.as_bytes())?;
    let mut frame = FRAME_HEADER.to_vec();
    frame.resize(FRAME_HEADER.len() + 0xffff, 0);
    loop {
        stream.write_all(&frame)?;
    }
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
