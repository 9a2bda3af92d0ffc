//! Every frame of every interface, written to standard output as a capture.

use std::{
    io::{self, BufRead, Read, Write},
    net::{Ipv4Addr, UdpSocket},
    process, thread,
    time::SystemTime,
};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use socket2::{Domain, Protocol, Socket, Type};
use vestibule_lab::for_peer::{MARK, write_frame, write_header};

/// Nobody listens there.
const DISCARD: u16 = 9;
const BUFFER: usize = 64 << 20;
const EVERY_PROTOCOL: u16 = 0x0003;

/// Captures until standard input ends. A line there is a number: a datagram with that mark goes over loopback, and
/// shows in the capture behind everything that was sent before.
pub(crate) fn capture() -> io::Result<()> {
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(EVERY_PROTOCOL.to_be()))))?;
    // An ordinary user gets what the system allows; frames lost show in the kernel's counters.
    if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        set_socket_recv_buffer_size(&socket, BUFFER)?;
    }
    thread::spawn(|| {
        let ended = send_marks();
        process::exit(i32::from(ended.is_err()));
    });
    let mut out = io::stdout().lock();
    write_header(&mut out)?;
    let mut frame = vec![0; 1 << 18];
    loop {
        let length = socket.read(&mut frame)?;
        let mut record = Vec::with_capacity(length + 16);
        write_frame(&mut record, SystemTime::now(), &frame[..length])?;
        out.write_all(&record)?;
        out.flush()?;
    }
}

fn send_marks() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for line in io::stdin().lock().lines() {
        socket.send_to(&[MARK, line?.as_bytes()].concat(), (Ipv4Addr::LOCALHOST, DISCARD))?;
    }
    Ok(())
}
