//! The rules of direct services: TCP ports that are shut to all but admitted flows.
//!
//! ```text
//! set ports { inet_service }
//! set flows4 { ipv4_addr . inet_service . inet_service; timeout }   # client, its port, guarded port
//! set slots4 { ipv4_addr . inet_service; timeout; each with a limit of one packet }
//! set claims4 { as flows4; timeout; dynamic }                       # who took a slot
//! chain door { …; tcp dport @ports, to this machine, not by loopback: goto gated… }
//! chain gated… { <flow> @flows accept; <flow> @claims accept; first SYN, <source> @slots: add @claims, accept; drop }
//! chain out { type filter hook postrouting priority 310; tcp sport @ports, from this machine: goto gated_out… }
//! chain gated_out… { <flow> @flows accept; <flow> @claims accept; drop }
//! chain lead { type nat hook prerouting priority -100; tcp dport PORT: dnat }
//! chain led { type filter hook prerouting priority -90; to its upstream as it is now accept; was to @ports: drop }
//! chain back { type nat hook postrouting priority 100; was to PORT, to a routed upstream: masquerade }
//! ```
//!
//! Every packet of a flow is looked up, in both directions, before and behind connection tracking: what that knows of a flow
//! opens nothing, and does not lead to where a service led once. The machine itself, by loopback, is not asked.

use std::net::{IpAddr, SocketAddr};

use super::expression::{Base, Expression, Register, Verdict};
use super::message::Batch;
use super::rules::{CHAIN, FILTER_TYPE, Family, PRE_ROUTING, base_chain, chain, rule};
use super::table::{self, Key, Set};
use crate::direct::{FLOW_WINDOW, routed};
use crate::{DirectPort, Leads};

const OUT: &str = "out";
const LEAD: &str = "lead";
const LED: &str = "led";
const BACK: &str = "back";
const NAT_TYPE: &str = "nat";
const POST_ROUTING: u32 = 4;
/// Behind every other chain that a host usually has there: addresses and ports are again those that the client knows.
const LAST: i32 = 310;
/// Where the kernel changes destinations, and sources.
const DESTINATIONS: i32 = -100;
const BEHIND_DESTINATIONS: i32 = -90;
const SOURCES: i32 = 100;
const TCP: u8 = 6;
/// Where a TCP header has its ports and its flags.
const AT_SOURCE_PORT: u32 = 0;
const AT_PORT: u32 = 2;
const AT_FLAGS: u32 = 13;
const SYN: u8 = 0x02;
const FIN_SYN_RST_ACK: u8 = 0x17;

/// The sets of one family, and its chains.
struct Gate {
    family: Family,
    flows: &'static str,
    slots: &'static str,
    claims: &'static str,
    inward: &'static str,
    outward: &'static str,
}

/// Writes chains and rules into a table that has its sets, and the base chain of the gateway's own port.
pub(super) fn write(direct: &[DirectPort], batch: &mut Batch) {
    use Expression::{GoesOut, IsFromLocal, IsIn, Load, Protocol, Then};
    let first = Register::FIRST;
    let ports: Vec<Key> = direct.iter().map(|direct| Key::port(direct.port)).collect();
    table::add_lasting(batch, Set::Ports, &ports);
    base_chain(batch, OUT, FILTER_TYPE, (POST_ROUTING, LAST));
    for gate in gates() {
        chain(batch, gate.inward);
        gate.write_inward(batch);
        chain(batch, gate.outward);
        gate.write_outward(batch);
        let family = Expression::Family(gate.family as u8);
        let from_ports =
            [Protocol(TCP), Load(Base::Transport, AT_SOURCE_PORT, 2, first), IsIn(first, Set::Ports.name())];
        let goto = [family, GoesOut, IsFromLocal, Then(Verdict::Goto(gate.outward))];
        rule(batch, OUT, &[&from_ports[..], &goto].concat());
    }
    lead(direct, batch);
}

/// Writes the rules that send what is for a guarded port to the chains that judge it.
pub(super) fn enter(batch: &mut Batch) {
    use Expression::{CameIn, IsIn, IsLocal, Load, Protocol, Then};
    let first = Register::FIRST;
    for gate in gates() {
        let to_ports = [Protocol(TCP), Load(Base::Transport, AT_PORT, 2, first), IsIn(first, Set::Ports.name())];
        let goto = [Expression::Family(gate.family as u8), CameIn, IsLocal, Then(Verdict::Goto(gate.inward))];
        rule(batch, CHAIN, &[&to_ports[..], &goto].concat());
    }
}

fn gates() -> [Gate; 2] {
    let [four, six] = [[Set::Flow4, Set::Slot4, Set::Claim4], [Set::Flow6, Set::Slot6, Set::Claim6]];
    let gate = |family, [flows, slots, claims]: [Set; 3], inward, outward| Gate {
        family,
        flows: flows.name(),
        slots: slots.name(),
        claims: claims.name(),
        inward,
        outward,
    };
    [gate(Family::V4, four, "gated4", "gated4_out"), gate(Family::V6, six, "gated6", "gated6_out")]
}

impl Gate {
    fn write_inward(&self, batch: &mut Batch) {
        use Expression::{Claim, Count, Equals, IsIn, Load, Mask, Then};
        let first = Register::FIRST;
        let (source, _, len) = self.family.addresses();
        for set in [self.flows, self.claims] {
            let [address, client, port] = flow(first, (source, len), (AT_SOURCE_PORT, AT_PORT));
            rule(batch, self.inward, &[address, client, port, IsIn(first, set), Then(Verdict::Accept)]);
        }
        // A slot's key takes so much; the claim's begins behind it.
        let claim = first.behind(len + 4);
        let [address, client, port] = flow(claim, (source, len), (AT_SOURCE_PORT, AT_PORT));
        let time = u64::try_from(FLOW_WINDOW.as_millis()).unwrap_or(u64::MAX);
        rule(
            batch,
            self.inward,
            &[
                Load(Base::Transport, AT_FLAGS, 1, first),
                Mask(first, FIN_SYN_RST_ACK),
                Equals(first, &[SYN]),
                Load(Base::Network, source, len, first),
                Load(Base::Transport, AT_PORT, 2, first.behind(len)),
                IsIn(first, self.slots),
                address,
                client,
                port,
                Claim(claim, self.claims, time),
                Then(Verdict::Accept),
            ],
        );
        rule(batch, self.inward, &[Count, Then(Verdict::Drop)]);
    }

    fn write_outward(&self, batch: &mut Batch) {
        use Expression::{Count, IsIn, Then};
        let first = Register::FIRST;
        let (_, destination, len) = self.family.addresses();
        for set in [self.flows, self.claims] {
            let [address, client, port] = flow(first, (destination, len), (AT_PORT, AT_SOURCE_PORT));
            rule(batch, self.outward, &[address, client, port, IsIn(first, set), Then(Verdict::Accept)]);
        }
        rule(batch, self.outward, &[Count, Then(Verdict::Drop)]);
    }
}

/// Loads the client's address and port, and the guarded port, each into registers of its own.
fn flow(into: Register, (address, len): (u32, u32), (client, port): (u32, u32)) -> [Expression<'static>; 3] {
    [
        Expression::Load(Base::Network, address, len, into),
        Expression::Load(Base::Transport, client, 2, into.behind(len)),
        Expression::Load(Base::Transport, port, 2, into.behind(len + 4)),
    ]
}

/// Where admitted flows lead. What reaches these chains has passed the gate.
fn lead(direct: &[DirectPort], batch: &mut Batch) {
    let led: Vec<_> = direct.iter().filter(|direct| is_led(direct)).collect();
    if led.is_empty() {
        return;
    }
    base_chain(batch, LEAD, NAT_TYPE, (PRE_ROUTING, DESTINATIONS));
    for direct in &led {
        match direct.leads {
            Leads::Here(port) => {
                for family in [Family::V4, Family::V6] {
                    lead_to(direct.port, (None, port), family, batch);
                }
            }
            Leads::To(upstream) => {
                lead_to(direct.port, (Some(upstream.ip()), upstream.port()), family_of(upstream), batch)
            }
            Leads::Nowhere => {}
        }
    }
    base_chain(batch, LED, FILTER_TYPE, (PRE_ROUTING, BEHIND_DESTINATIONS));
    for direct in &led {
        match direct.leads {
            Leads::Here(port) => leads_still(direct.port, (None, port), batch),
            Leads::To(upstream) => leads_still(direct.port, (Some(upstream), upstream.port()), batch),
            Leads::Nowhere => {}
        }
    }
    let packet = [Expression::CameIn, Expression::Protocol(TCP), Expression::WasToAny(Set::Ports.name())];
    rule(batch, LED, &[&packet[..], &[Expression::Count, Expression::Then(Verdict::Drop)]].concat());
    let routed: Vec<_> = led.iter().filter_map(|direct| Some((direct.port, routed(direct.leads)?))).collect();
    if !routed.is_empty() {
        base_chain(batch, BACK, NAT_TYPE, (POST_ROUTING, SOURCES));
        for (port, upstream) in routed {
            come_back(port, upstream, batch);
        }
    }
}

/// Whether packets must be changed: what is for this port of this machine arrives there by itself.
fn is_led(direct: &DirectPort) -> bool {
    match direct.leads {
        Leads::Here(port) => port != direct.port,
        Leads::To(_) => true,
        Leads::Nowhere => false,
    }
}

fn lead_to(port: u16, (address, to): (Option<IpAddr>, u16), family: Family, batch: &mut Batch) {
    use Expression::{CameIn, Equals, IsLocal, LeadTo, Load, Protocol};
    let first = Register::FIRST;
    rule(
        batch,
        LEAD,
        &[
            Expression::Family(family as u8),
            Protocol(TCP),
            Load(Base::Transport, AT_PORT, 2, first),
            Equals(first, &port.to_be_bytes()),
            CameIn,
            IsLocal,
            LeadTo(address, to, family as u8),
        ],
    );
}

/// The upstream answers to this machine, whatever its routes are.
fn come_back(port: u16, upstream: SocketAddr, batch: &mut Batch) {
    to(BACK, (Some(upstream), upstream.port()), &[Expression::WasTo(port), Expression::Masquerade], batch);
}

/// A connection that was led goes on if it goes to where the service leads now.
fn leads_still(port: u16, (upstream, upstream_port): (Option<SocketAddr>, u16), batch: &mut Batch) {
    to(LED, (upstream, upstream_port), &[Expression::WasTo(port), Expression::Then(Verdict::Accept)], batch);
}

/// A rule about what goes to this upstream, or to this port of this machine.
fn to(chain: &str, (upstream, port): (Option<SocketAddr>, u16), what: &[Expression<'_>], batch: &mut Batch) {
    use Expression::{Equals, IsLocal, Load, Protocol};
    let (first, port) = (Register::FIRST, port.to_be_bytes());
    let mut expressions = vec![Protocol(TCP), Load(Base::Transport, AT_PORT, 2, first), Equals(first, &port)];
    let address = match upstream.map(|upstream| upstream.ip()) {
        Some(IpAddr::V4(v4)) => v4.octets().to_vec(),
        Some(IpAddr::V6(v6)) => v6.octets().to_vec(),
        None => Vec::new(),
    };
    match upstream {
        Some(upstream) => {
            let (_, destination, len) = family_of(upstream).addresses();
            let family = Expression::Family(family_of(upstream) as u8);
            expressions.extend([family, Load(Base::Network, destination, len, first), Equals(first, &address)]);
        }
        None => expressions.push(IsLocal),
    }
    rule(batch, chain, &[&expressions[..], what].concat());
}

fn family_of(address: SocketAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}
