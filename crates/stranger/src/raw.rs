//! Raw sockets: packets go out as they were made, and everything that comes from the target is heard.

use crate::packet::{Ends, ICMP, ICMPV6, TCP, UDP};
use crate::reply::Reply;
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A stranger's hands and ears.
pub(crate) struct Wire {
    out: OwnedFd,
    ears: [(u8, OwnedFd); 3],
    target: IpAddr,
}

impl Wire {
    /// Fails with `PermissionDenied` without `CAP_NET_RAW`.
    pub(crate) fn open(ends: Ends) -> io::Result<Self> {
        let (family, icmp, target) = match ends {
            Ends::V4(_, target) => (AddressFamily::INET, (ICMP, ipproto::ICMP), target.into()),
            Ends::V6(_, target) => (AddressFamily::INET6, (ICMPV6, ipproto::ICMPV6), target.into()),
        };
        let ear = |(number, protocol)| raw(family, protocol).map(|socket| (number, socket));
        let ears = [ear((UDP, ipproto::UDP))?, ear((TCP, ipproto::TCP))?, ear(icmp)?];
        // With this protocol the IP header is the sender's, in both families (raw(7), ipv6(7)).
        Ok(Self { out: raw(family, ipproto::RAW)?, ears, target })
    }

    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        // The port means nothing here, and IPv6 wants it to be 0.
        let sent = sendto(&self.out, packet, SendFlags::empty(), &SocketAddr::new(self.target, 0));
        sent.map(|_| ()).map_err(io::Error::from)
    }

    /// Gives what has come from the target since the last time.
    pub(crate) fn heard(&self, mut take: impl FnMut(Reply)) -> io::Result<()> {
        let mut packet = [0; 2048];
        for (protocol, ear) in &self.ears {
            loop {
                let (length, from) = match recvfrom(ear, &mut packet, RecvFlags::empty()) {
                    Ok((length, _, from)) => (length, from),
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                let from = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| from.ip());
                let packet = packet.get(..length).filter(|_| from == Some(self.target)).unwrap_or_default();
                let reply = if self.target.is_ipv4() { Reply::read_v4(packet) } else { Reply::read(*protocol, packet) };
                reply.into_iter().for_each(&mut take);
            }
        }
        Ok(())
    }
}

fn raw(family: AddressFamily, protocol: Protocol) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::RAW, flags, Some(protocol)).map_err(io::Error::from)
}
