//! Which of this machine's addresses its packets to somebody leave from: asked of the kernel's routing, without a packet.

mod news;

pub(crate) use news::News;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};
pub(crate) use vestibule_dark::unspecified;

/// How often a running session looks whether its packets still leave from the same address.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The address that packets to `to` leave from now; none without a route.
pub(crate) fn source_towards(to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(unspecified(to)).ok()?;
    // Connecting a UDP socket sends nothing: it only looks the route up.
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical()).filter(|source| !source.is_unspecified())
}

/// Of two, the one that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4, also mapped into IPv6.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// Whether others know this machine by this address, so that no NAT stands between.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// Tells when packets to a peer begin to leave from another address.
pub(crate) struct SourceWatch {
    to: SocketAddr,
    known: Option<IpAddr>,
}

impl SourceWatch {
    /// Watches from now on.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, known: source_towards(to) }
    }

    /// Looks again. True if there is a source now and it is another one than before: while there is none (a network that
    /// is being changed) nothing can be done about it yet.
    pub(crate) fn changed(&mut self) -> bool {
        self.seen(source_towards(self.to))
    }

    fn seen(&mut self, source: Option<IpAddr>) -> bool {
        let Some(source) = source else { return false };
        self.known.replace(source) != Some(source)
    }
}

/// The least sleep that is noticed: after it the gateway has given the connection up, or is about to.
const SLEEP: Duration = Duration::from_secs(20);

/// Tells when the machine has slept: the wall clock went on, the monotonic one did not.
pub(crate) struct SleepWatch {
    mono: Instant,
    wall: SystemTime,
}

impl SleepWatch {
    /// Watches from now on.
    pub(crate) fn new(mono: Instant, wall: SystemTime) -> Self {
        Self { mono, wall }
    }

    /// Looks again. A wall clock that was set forward looks the same, and costs one needless resumption.
    pub(crate) fn slept(&mut self, mono: Instant, wall: SystemTime) -> bool {
        let awake = mono.saturating_duration_since(self.mono);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        *self = Self { mono, wall };
        passed.saturating_sub(awake) >= SLEEP
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_source_towards_loopback_is_loopback() {
        assert_eq!(source_towards("127.0.0.1:9".parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_change_is_told_once_and_a_gap_is_no_change() {
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut watch = SourceWatch { to: "192.0.2.9:9".parse().unwrap(), known: address(1) };
        let seen = [address(1), None, address(1), address(2), address(2), None, address(3)];
        assert_eq!(seen.map(|source| watch.seen(source)), [false, false, false, true, false, false, true]);
        let mut watch = SourceWatch { known: None, ..watch };
        assert!(watch.seen(address(1)), "the network is back");
    }

    #[test]
    fn a_sleep_is_what_only_the_wall_clock_saw() {
        let (mut mono, mut wall) = (Instant::now(), SystemTime::now());
        let mut watch = SleepWatch::new(mono, wall);
        for (awake, passed, slept) in [(2, 2, false), (2, 21, false), (2, 22, true), (2, 2, false), (100, 100, false)] {
            mono += Duration::from_secs(awake);
            wall += Duration::from_secs(passed);
            assert_eq!(watch.slept(mono, wall), slept, "{awake} {passed}");
        }
        assert!(!watch.slept(mono, wall - Duration::from_secs(3600)), "a clock that was set back");
    }

    #[test]
    fn private_addresses_are_not_global() {
        for (text, global) in [
            ("8.8.8.8", true),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("2001:db8::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_global(text.parse().unwrap()), global, "{text}");
        }
    }
}
