//! The rules of our table: which packets are the gateway's, and which of them pass.

use std::net::{IpAddr, SocketAddr};

use vestibule_proto::id::TicketId;
use vestibule_proto::ticket::Tag;

use super::expression::{self, Base, Expression, Register, Verdict};
use super::message::{APPEND, Batch, CREATE, Verb};
use super::table::{Set, TABLE};

pub(super) const CHAIN: &str = "door";
/// Before every other chain that a host usually has at this hook (`raw` is -300, connection tracking -200), behind the
/// putting together of fragments.
const PRIORITY: i32 = -310;

pub(super) const FILTER_TYPE: &str = "filter";
pub(super) const PRE_ROUTING: u32 = 0;
const POLICY_ACCEPT: u32 = 1;
pub(super) const UDP: u8 = 17;
/// Where a UDP datagram has its destination port, and where a first packet has the length of its connection id and the id.
pub(super) const AT_PORT: u32 = 2;
pub(super) const AT_CID_LEN: u32 = 13;
const AT_CID: u32 = 14;

/// Writes the chains and rules for a gateway that listens there, into a table that has its sets and nothing else.
pub(super) fn write(listen: &[SocketAddr], batch: &mut Batch) {
    let guards = guards(listen);
    for chain in Guarded::ALL.into_iter().filter(|chain| guards.iter().any(|guard| guard.chain == *chain)) {
        self::chain(batch, chain.name());
        guarded_rules(chain, batch);
    }
    base_chain(batch, CHAIN, FILTER_TYPE, (PRE_ROUTING, PRIORITY));
}

/// Writes the rules that send what is the gateway's to the chains that judge it.
pub(super) fn enter(listen: &[SocketAddr], batch: &mut Batch) {
    guards(listen).iter().for_each(|guard| guard.write(batch));
}

/// A chain of this type that the kernel runs at this hook and priority, and that lets pass what no rule decides about.
pub(super) fn base_chain(batch: &mut Batch, name: &str, kind: &str, (hook, priority): (u32, i32)) {
    batch.add(Verb::NewChain, CREATE, |new| {
        new.text(1, TABLE);
        new.text(3, name);
        new.nested(4, |at| {
            at.number(1, hook);
            at.bytes(2, &priority.to_be_bytes());
        });
        new.number(5, POLICY_ACCEPT);
        new.text(7, kind);
    });
}

/// A chain to go to.
pub(super) fn chain(batch: &mut Batch, name: &str) {
    batch.add(Verb::NewChain, CREATE, |new| {
        new.text(1, TABLE);
        new.text(3, name);
    });
}

/// A chain that lets in who may, and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guarded {
    family: Family,
    /// Whether the gateway listens at every address of the machine: what is for other machines passes by.
    any: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4 = 2,
    V6 = 10,
}

impl Guarded {
    const ALL: [Self; 4] = [
        Self { family: Family::V4, any: false },
        Self { family: Family::V4, any: true },
        Self { family: Family::V6, any: false },
        Self { family: Family::V6, any: true },
    ];

    fn name(self) -> &'static str {
        match (self.family, self.any) {
            (Family::V4, false) => "guarded4",
            (Family::V4, true) => "guarded4_any",
            (Family::V6, false) => "guarded6",
            (Family::V6, true) => "guarded6_any",
        }
    }

    fn live(self) -> &'static str {
        match self.family {
            Family::V4 => Set::Live4.name(),
            Family::V6 => Set::Live6.name(),
        }
    }
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Where an IP header has its source, its destination, and how long they are.
    pub(super) fn addresses(self) -> (u32, u32, u32) {
        match self {
            Self::V4 => (12, 16, 4),
            Self::V6 => (8, 24, 16),
        }
    }
}

fn guarded_rules(chain: Guarded, batch: &mut Batch) {
    use Expression::{Count, Equals, IsIn, IsLocal, Load, Then};
    let first = Register::FIRST;
    let (source, _, len) = chain.family.addresses();
    rule(
        batch,
        chain.name(),
        &[
            Load(Base::Network, source, len, first),
            Load(Base::Transport, 0, 2, first.behind(len)),
            IsIn(first, chain.live()),
            Then(Verdict::Accept),
        ],
    );
    rule(
        batch,
        chain.name(),
        &[
            Load(Base::Transport, AT_CID_LEN, 1, first),
            Equals(first, &[Tag::SIZE as u8]),
            Load(Base::Transport, AT_CID, TicketId::SIZE as u32, first),
            IsIn(first, Set::Tickets.name()),
            Then(Verdict::Accept),
        ],
    );
    let local: &[Expression<'_>] = if chain.any { &[IsLocal] } else { &[] };
    rule(batch, chain.name(), &[local, &[Count, Then(Verdict::Drop)]].concat());
}

/// A rule that sends what is for one address of the gateway to its guarded chain.
struct Guard {
    chain: Guarded,
    address: IpAddr,
    port: u16,
}

impl Guard {
    fn write(&self, batch: &mut Batch) {
        use Expression::{Equals, Family, Load, Protocol, Then};
        let first = Register::FIRST;
        let port = self.port.to_be_bytes();
        let address = octets(self.address);
        let (_, destination, len) = self.chain.family.addresses();
        let mut expressions = vec![
            Protocol(UDP),
            Load(Base::Transport, AT_PORT, 2, first),
            Equals(first, &port),
            Family(self.chain.family as u8),
        ];
        if !self.chain.any {
            expressions.extend([Load(Base::Network, destination, len, first), Equals(first, &address)]);
        }
        expressions.push(Then(Verdict::Goto(self.chain.name())));
        rule(batch, CHAIN, &expressions);
    }
}

/// An address as it stands in packets.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The unspecified address of IPv6 takes IPv4 as well, as the gateway's socket does.
fn guards(listen: &[SocketAddr]) -> Vec<Guard> {
    let guard = |family, address: IpAddr, port| Guard {
        chain: Guarded { family, any: address.is_unspecified() },
        address,
        port,
    };
    let of = |listen: &SocketAddr| {
        let (address, port) = (listen.ip().to_canonical(), listen.port());
        match address {
            IpAddr::V4(_) => vec![guard(Family::V4, address, port)],
            IpAddr::V6(v6) if v6.is_unspecified() => {
                vec![guard(Family::V4, address, port), guard(Family::V6, address, port)]
            }
            IpAddr::V6(_) => vec![guard(Family::V6, address, port)],
        }
    };
    listen.iter().flat_map(of).collect()
}

/// A rule behind those that the chain has.
pub(super) fn rule(batch: &mut Batch, chain: &str, expressions: &[Expression<'_>]) {
    batch.add(Verb::NewRule, CREATE | APPEND, |new| {
        new.text(1, TABLE);
        new.text(2, chain);
        expression::write(new, 4, expressions);
    });
}
