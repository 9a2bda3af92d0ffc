//! Selecting and counting captured packets.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    slice,
};

use crate::{Failure, Host, Packet, Proto, Result};

const SHOWN: usize = 40;

/// Captured packets in the order of capture. Each selection gives a new, smaller one.
#[derive(Clone, Default)]
pub struct Packets(Vec<Packet>);

impl Packets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> slice::Iter<'_, Packet> {
        self.0.iter()
    }

    /// Those for which `keep` is true.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Packet) -> bool) -> Self {
        Self(self.0.iter().filter(|packet| keep(packet)).cloned().collect())
    }

    /// The UDP datagrams.
    #[must_use]
    pub fn udp(&self) -> Self {
        self.only(|packet| packet.proto == Proto::Udp)
    }

    /// The TCP segments.
    #[must_use]
    pub fn tcp(&self) -> Self {
        self.only(|packet| packet.proto == Proto::Tcp)
    }

    /// All but those by which neighbours find each other ([`Packet::is_housekeeping`]). An ARP request shows that a
    /// host wanted to send: where nothing may have been sent, don't leave it out.
    #[must_use]
    pub fn without_housekeeping(&self) -> Self {
        self.only(|packet| !packet.is_housekeeping())
    }

    /// Those that left `host` by any of its interfaces.
    #[must_use]
    pub fn sent_by(&self, host: &Host) -> Self {
        let own = host.macs();
        self.only(|packet| own.contains(&packet.source_mac()))
    }

    /// Those that others sent to an address of `host`.
    #[must_use]
    pub fn sent_to(&self, host: &Host) -> Self {
        let own = host.macs();
        let to_it = |packet: &Packet| packet.destination.is_some_and(|to| host.owns(to.ip()));
        self.only(|packet| !own.contains(&packet.source_mac()) && to_it(packet))
    }

    /// Those from this address.
    #[must_use]
    pub fn from_ip(&self, ip: impl Into<IpAddr>) -> Self {
        let ip = ip.into();
        self.only(|packet| packet.source.is_some_and(|source| source.ip() == ip))
    }

    /// Those to this address.
    #[must_use]
    pub fn to_ip(&self, ip: impl Into<IpAddr>) -> Self {
        let ip = ip.into();
        self.only(|packet| packet.destination.is_some_and(|destination| destination.ip() == ip))
    }

    /// Those from this address and port.
    #[must_use]
    pub fn from_address(&self, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        self.only(|packet| packet.source == Some(address))
    }

    /// Those to this address and port.
    #[must_use]
    pub fn to_address(&self, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        self.only(|packet| packet.destination == Some(address))
    }

    /// Those from this port.
    #[must_use]
    pub fn from_port(&self, port: u16) -> Self {
        self.only(|packet| packet.source.is_some_and(|source| source.port() == port))
    }

    /// Those to this port.
    #[must_use]
    pub fn to_port(&self, port: u16) -> Self {
        self.only(|packet| packet.destination.is_some_and(|destination| destination.port() == port))
    }

    /// Those whose payload has this many bytes.
    #[must_use]
    pub fn of_payload(&self, length: usize) -> Self {
        self.only(|packet| packet.payload().len() == length)
    }

    /// Those whose frame holds these bytes anywhere.
    #[must_use]
    pub fn holding(&self, bytes: &[u8]) -> Self {
        self.only(|packet| packet.frame.windows(bytes.len().max(1)).any(|window| window == bytes))
    }

    /// Fails unless there are exactly `count`.
    ///
    /// # Errors
    /// Another number; the text names `what` and lists the packets.
    pub fn expect(&self, count: usize, what: &str) -> Result<()> {
        if self.len() == count {
            return Ok(());
        }
        Err(Failure::new(format!("expected {count} packets ({what}), captured {}:\n{self}", self.len())))
    }

    /// Fails unless there is none.
    ///
    /// # Errors
    /// There are some; the text names `what` and lists them.
    pub fn expect_none(&self, what: &str) -> Result<()> {
        self.expect(0, what)
    }
}

impl From<Vec<Packet>> for Packets {
    fn from(packets: Vec<Packet>) -> Self {
        Self(packets)
    }
}

impl<'a> IntoIterator for &'a Packets {
    type Item = &'a Packet;
    type IntoIter = slice::Iter<'a, Packet>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for packet in self.iter().take(SHOWN) {
            writeln!(f, "  {packet}")?;
        }
        if self.len() > SHOWN {
            writeln!(f, "  … and {} more", self.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::samples::udp4;

    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
    const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);

    fn sample() -> Packets {
        vec![udp4((A, 1), (B, 9), b"knock"), udp4((B, 9), (A, 1), b"answer"), udp4((A, 2), (B, 9), b"knock")].into()
    }

    #[test]
    fn selects_by_each_property() {
        let all = sample();
        assert_eq!((all.udp().len(), all.tcp().len()), (3, 0));
        assert_eq!((all.from_ip(A).len(), all.to_ip(A).len()), (2, 1));
        assert_eq!((all.from_port(9).len(), all.to_port(9).len()), (1, 2));
        assert_eq!(all.from_address((A, 2)).to_address((B, 9)).len(), 1);
        assert_eq!((all.of_payload(5).len(), all.holding(b"swe").len()), (2, 1));
    }

    #[test]
    fn expectations_name_what_is_there() {
        assert!(sample().expect(3, "all").is_ok());
        let failure = sample().from_ip(B).expect_none("from the dark one").unwrap_err().to_string();
        assert!(failure.contains("from the dark one") && failure.contains("10.77.0.12:9 > 10.77.0.11:1"), "{failure}");
    }
}
