//! The upstream of the measurements: sends back what it gets.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// The first byte of a connection that is sent zeros for as long as it is read.
pub(super) const SOURCE: u8 = 1;

const BLOCK: usize = 256 * 1024;

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
