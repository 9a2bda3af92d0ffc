//! Direct services: a TCP port of this machine that is shut to all but admitted flows, which the kernel carries alone.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::NftablesError;

/// How long an opened flow waits for its first packet: who has not come by then has to ask again.
pub const FLOW_WINDOW: Duration = Duration::from_secs(10);

/// Direct services of one door.
pub const DIRECT_LIMIT: usize = 64;

/// A direct service: the port that is guarded, at every address of this machine, and where its flows lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectPort {
    /// The TCP port.
    pub port: u16,
    /// What admitted flows lead to.
    pub leads: Leads,
}

/// What the admitted flows of a direct service lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// A port of this machine, at whichever of its addresses the client came to.
    Here(u16),
    /// An address of this machine or of a network that it routes to. Clients of the other family are not led there.
    To(SocketAddr),
    /// Nowhere: the service is gone, and its port stays shut.
    Nowhere,
}

impl DirectPort {
    /// Where flows to `port` lead if the service's upstream is this: a loopback address stands for the machine itself.
    #[must_use]
    pub fn new(port: u16, upstream: SocketAddr) -> Self {
        let leads = if upstream.ip().is_loopback() { Leads::Here(upstream.port()) } else { Leads::To(upstream) };
        Self { port, leads }
    }

    /// Whether flows of clients with this address are led anywhere.
    #[must_use]
    pub fn takes(&self, client: IpAddr) -> bool {
        match self.leads {
            Leads::Here(_) => true,
            Leads::To(upstream) => upstream.is_ipv4() == client.to_canonical().is_ipv4(),
            Leads::Nowhere => false,
        }
    }
}

/// One flow that a client is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The address that the client's packets have when they come here.
    pub client: IpAddr,
    /// Their source port, if nothing on the way changes it. `None` lets the first connection from the address in, and no
    /// second one.
    pub client_port: Option<u16>,
    /// The guarded port.
    pub port: u16,
}

/// A flow that is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectFlow {
    /// Where its packets come from.
    pub client: SocketAddr,
    /// The guarded port.
    pub port: u16,
}

/// Why a door can't stand before direct services, or let one flow in. Nothing is open that was not open before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// This back end sees no TCP.
    #[error("a direct service needs the door `nftables`, and this door is `{door}`")]
    NotThisDoor {
        /// Its name.
        door: &'static str,
    },
    /// Two services want one port.
    #[error("two direct services have the port {0}")]
    SamePort(u16),
    /// Port 0, or more services than a door takes.
    #[error("a door stands before {DIRECT_LIMIT} direct services at most, each with a port")]
    TooMany,
    /// The kernel forwards nothing of this family, and the service is on another machine.
    #[error("the kernel does not forward {family}, and a direct service is on another machine")]
    NotForwarding {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// No such port is guarded, or it leads nowhere for this client.
    #[error("no direct service is there for this client")]
    NoService,
    /// Another opening from the same address to the same port waits for its first packet.
    #[error("another flow from this address is about to begin")]
    Waiting,
    /// The kernel did not do it.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
}

impl DirectError {
    /// What the owner of the machine can do about it.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::NotThisDoor { .. } => {
                "door = \"nftables\" in gateway.toml; what it lacks here: vestibule gateway doctor; or leave `direct` away"
            }
            Self::SamePort(_) | Self::TooMany => "give each direct service a port of its own",
            Self::NotForwarding { family: "IPv6" } => "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d",
            Self::NotForwarding { .. } => "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d",
            Self::NoService | Self::Waiting => "use the service through the tunnel",
            Self::Nftables(NftablesError::Incomplete) => {
                "load the modules: modprobe -a nft_limit nft_ct nft_chain_nat nft_nat nft_masq nft_fib_inet"
            }
            Self::Nftables(error) => error.next_step(),
        }
    }
}

/// Whether this machine could stand before these services: their ports, and what the kernel forwards.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(ports: &[DirectPort]) -> Result<(), DirectError> {
    if ports.len() > DIRECT_LIMIT || ports.iter().any(|direct| direct.port == 0) {
        return Err(DirectError::TooMany);
    }
    for (nth, direct) in ports.iter().enumerate() {
        if ports[..nth].iter().any(|other| other.port == direct.port) {
            return Err(DirectError::SamePort(direct.port));
        }
        let routed = routed(direct.leads);
        for (is_family, family, file) in [
            (routed.is_some_and(|to| to.is_ipv4()), "IPv4", "/proc/sys/net/ipv4/ip_forward"),
            (routed.is_some_and(|to| to.is_ipv6()), "IPv6", "/proc/sys/net/ipv6/conf/all/forwarding"),
        ] {
            if is_family && !std::fs::read_to_string(file).is_ok_and(|text| text.trim() != "0") {
                return Err(DirectError::NotForwarding { family });
            }
        }
    }
    Ok(())
}

/// The upstream, if it is not on this machine.
pub(crate) fn routed(leads: Leads) -> Option<SocketAddr> {
    match leads {
        Leads::To(upstream) if std::net::UdpSocket::bind((upstream.ip(), 0)).is_err() => Some(upstream),
        Leads::To(_) | Leads::Here(_) | Leads::Nowhere => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(port: u16, upstream: &str) -> DirectPort {
        DirectPort::new(port, upstream.parse().unwrap())
    }

    #[test]
    fn a_loopback_upstream_is_the_machine_itself_and_takes_both_families() {
        let here = direct(2222, "127.0.0.1:22");
        assert_eq!(here.leads, Leads::Here(22));
        let there = direct(2222, "[2001:db8::5]:22");
        let (four, six) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(here.takes(four) && here.takes(six) && there.takes(six));
        assert!(!there.takes(four) && !there.takes(mapped));
        assert!(!DirectPort { leads: Leads::Nowhere, ..here }.takes(four));
    }

    #[test]
    fn what_a_door_can_not_stand_before_is_told() {
        let same = [direct(2222, "127.0.0.1:22"), direct(2222, "127.0.0.1:23")];
        assert_eq!(check(&same), Err(DirectError::SamePort(2222)));
        assert_eq!(check(&[direct(0, "127.0.0.1:22")]), Err(DirectError::TooMany));
        let many: Vec<_> = (1..=65).map(|port| direct(port, "127.0.0.1:22")).collect();
        assert_eq!(check(&many), Err(DirectError::TooMany));
        assert_eq!(check(&many[..64]), Ok(()));
    }

    #[test]
    fn each_lack_has_a_next_step_of_its_own() {
        let lacks = [
            DirectError::NotThisDoor { door: "socket" },
            DirectError::SamePort(1),
            DirectError::NotForwarding { family: "IPv4" },
            DirectError::NotForwarding { family: "IPv6" },
            DirectError::NoService,
            DirectError::Nftables(NftablesError::Incomplete),
            DirectError::Nftables(NftablesError::NoPrivilege),
        ];
        for (nth, lack) in lacks.iter().enumerate() {
            assert!(lacks[..nth].iter().all(|other| other.next_step() != lack.next_step()), "{lack}");
        }
    }
}
