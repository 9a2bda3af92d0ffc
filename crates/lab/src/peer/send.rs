//! The stranger: datagrams and connections to anywhere.

use std::{
    io::{self, BufRead, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

/// Reads lines `ADDRESS HEX` from standard input, sends each as a datagram from the port `from`, listens for `listen`
/// ms after the last, and prints what came back as JSON.
pub(crate) fn send(from: &str, listen: &str) -> io::Result<()> {
    let from: u16 = from.parse().map_err(io::Error::other)?;
    let listen = Duration::from_millis(listen.parse().map_err(io::Error::other)?);
    let (v4, v6) = (UdpSocket::bind(("0.0.0.0", from))?, UdpSocket::bind(("::", from)));
    let mut replies = Vec::new();
    for line in io::stdin().lock().lines() {
        let (to, payload) = datagram(&line?)?;
        let socket =
            if to.is_ipv4() { &v4 } else { v6.as_ref().map_err(|error| io::Error::other(error.to_string()))? };
        // A port that is closed answers by ICMP, and the next call hears of it; the stranger goes on.
        if let Err(error) = socket.send_to(&payload, to)
            && error.kind() != io::ErrorKind::ConnectionRefused
        {
            return Err(error);
        }
        collect(&v4, &mut replies)?;
    }
    let end = Instant::now() + listen;
    loop {
        collect(&v4, &mut replies)?;
        if let Ok(v6) = &v6 {
            collect(v6, &mut replies)?;
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("{}", serde_json::Value::from(replies));
    Ok(())
}

/// Opens a connection, and prints the first bytes that come over it.
pub(crate) fn connect(to: &str) -> io::Result<()> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut bytes = [0; 4096];
    let length = stream.read(&mut bytes).unwrap_or(0);
    io::stdout().write_all(&bytes[..length])
}

fn datagram(line: &str) -> io::Result<(SocketAddr, Vec<u8>)> {
    let (to, hex) = line.split_once(' ').ok_or_else(|| io::Error::other("a line is ADDRESS HEX"))?;
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    let payload = digits.map(|digits| u8::from_str_radix(digits, 16)).collect::<Result<_, _>>();
    Ok((to.parse().map_err(io::Error::other)?, payload.map_err(io::Error::other)?))
}

fn collect(socket: &UdpSocket, replies: &mut Vec<serde_json::Value>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut bytes = [0; 65536];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        replies.push(serde_json::json!({ "from": from, "bytes": bytes[..length] }));
    }
    socket.set_nonblocking(false)
}
