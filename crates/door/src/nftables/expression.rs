//! What rules are made of: expressions that load into registers, compare and decide.

use std::net::IpAddr;

use super::message::Attributes;
use crate::links::LOOPBACK;

/// Attributes of a rule's list of expressions.
const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
/// A value, or a verdict, inside data.
const VALUE: u16 = 1;
const VERDICT: u16 = 2;

/// A register of 4 bytes; longer values take the following ones as well. There are 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(u32);

impl Register {
    /// The first of them.
    pub(super) const FIRST: Self = Self(8);

    /// The one that begins `bytes` behind this.
    pub(super) const fn behind(self, bytes: u32) -> Self {
        Self(self.0 + bytes.div_ceil(4))
    }
}

/// From where a packet is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The header of IP.
    Network = 1,
    /// The header of UDP or TCP.
    Transport = 2,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Gone, without an answer.
    Drop,
    /// On to whoever is next.
    Accept,
    /// On in this chain, for good.
    Goto(&'static str),
}

/// One expression. A packet for which it doesn't hold is not the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expression<'a> {
    /// The packet is of this family (`AF_…`'s numbers as netfilter has them).
    Family(u8),
    /// Its transport is this protocol.
    Protocol(u8),
    /// Loads this many bytes.
    Load(Base, u32, u32, Register),
    /// The bytes in the register are these.
    Equals(Register, &'a [u8]),
    /// They are others.
    Differs(Register, &'a [u8]),
    /// What begins in the register is an element of this set.
    IsIn(Register, &'static str),
    /// It is none.
    IsNotIn(Register, &'static str),
    /// It goes to an address of this machine.
    IsLocal,
    /// It comes from an address of this machine.
    IsFromLocal,
    /// It came in by another interface than loopback.
    CameIn,
    /// It goes out by another interface than loopback.
    GoesOut,
    /// Leaves of the byte in the register these bits alone.
    Mask(Register, u8),
    /// The connection's first packet had this port as its destination, which was changed since.
    WasTo(u16),
    /// The same of any port in this set, and the packet goes the way of the first one.
    WasToAny(&'static str),
    /// Puts what begins in the register into this set, for so many milliseconds.
    Claim(Register, &'static str, u64),
    /// The connection leads to this address, or to the one that it has, and to this port.
    LeadTo(Option<IpAddr>, u16, u8),
    /// The connection comes from this machine, for those whom it leads to.
    Masquerade,
    /// Counts.
    Count,
    /// Decides.
    Then(Verdict),
}

const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
const IN_KIND: u32 = 8;
const OUT_KIND: u32 = 9;
const OF_SOURCE: u32 = 1;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
const CT_TO_PORT: u32 = 12;
const CT_ORIGINAL: u8 = 0;
/// The bit of a connection whose destination is changed.
const CT_LED: u32 = 1 << 5;
const EQUAL: u32 = 0;
const OTHER: u32 = 1;
/// The flag of a look-up that wants to find nothing.
const NONE_OF: u32 = 1;
const TO_DESTINATION: u32 = 1;
const ADDRESS_KIND: u32 = 3;
const OF_DESTINATION: u32 = 2;
const LOCAL: u32 = 2;

/// Writes the expressions as attribute `kind` of a rule.
pub(super) fn write(rule: &mut Attributes<'_>, kind: u16, expressions: &[Expression<'_>]) {
    rule.nested(kind, |list| {
        for expression in expressions {
            one(list, *expression);
        }
    });
}

fn one(list: &mut Attributes<'_>, expression: Expression<'_>) {
    let scratch = Register::FIRST;
    match expression {
        Expression::Family(family) => {
            meta(list, FAMILY);
            equals(list, scratch, &[family]);
        }
        Expression::Protocol(protocol) => {
            meta(list, PROTOCOL);
            equals(list, scratch, &[protocol]);
        }
        Expression::Load(base, offset, len, register) => named(list, "payload", |data| {
            data.number(1, register.0);
            data.number(2, base as u32);
            data.number(3, offset);
            data.number(4, len);
        }),
        Expression::Equals(register, value) => equals(list, register, value),
        Expression::Differs(register, value) => compare(list, register, OTHER, value),
        Expression::IsIn(register, set) => named(list, "lookup", |data| {
            data.text(1, set);
            data.number(2, register.0);
        }),
        Expression::IsNotIn(register, set) => named(list, "lookup", |data| {
            data.text(1, set);
            data.number(2, register.0);
            data.number(5, NONE_OF);
        }),
        Expression::IsLocal => local(list, OF_DESTINATION),
        Expression::IsFromLocal => local(list, OF_SOURCE),
        Expression::CameIn => {
            meta(list, IN_KIND);
            compare(list, scratch, OTHER, &LOOPBACK.to_ne_bytes());
        }
        Expression::GoesOut => {
            meta(list, OUT_KIND);
            compare(list, scratch, OTHER, &LOOPBACK.to_ne_bytes());
        }
        Expression::Mask(register, bits) => mask(list, register, &[bits]),
        Expression::WasTo(port) => {
            was_led(list);
            equals(list, scratch, &port.to_be_bytes());
        }
        Expression::WasToAny(set) => {
            connection(list, CT_DIRECTION, None);
            equals(list, scratch, &[CT_ORIGINAL]);
            was_led(list);
            one(list, Expression::IsIn(scratch, set));
        }
        Expression::Claim(register, set, time) => named(list, "dynset", |data| {
            data.text(1, set);
            data.number(3, 0);
            data.number(4, register.0);
            data.long(6, time);
        }),
        Expression::LeadTo(address, port, family) => lead_to(list, address, port, family),
        Expression::Masquerade => named(list, "masq", |_| {}),
        Expression::Count => named(list, "counter", |data| {
            data.long(1, 0);
            data.long(2, 0);
        }),
        Expression::Then(verdict) => named(list, "immediate", |data| decide(data, verdict)),
    }
}

fn meta(list: &mut Attributes<'_>, key: u32) {
    named(list, "meta", |data| {
        data.number(1, Register::FIRST.0);
        data.number(2, key);
    });
}

fn local(list: &mut Attributes<'_>, of: u32) {
    named(list, "fib", |data| {
        data.number(1, Register::FIRST.0);
        data.number(2, ADDRESS_KIND);
        data.number(3, of);
    });
    equals(list, Register::FIRST, &LOCAL.to_ne_bytes());
}

fn connection(list: &mut Attributes<'_>, key: u32, direction: Option<u8>) {
    named(list, "ct", |data| {
        data.number(1, Register::FIRST.0);
        data.number(2, key);
        if let Some(direction) = direction {
            data.bytes(3, &[direction]);
        }
    });
}

/// Loads the port that the connection's first packet went to, of a connection whose destination was changed.
fn was_led(list: &mut Attributes<'_>) {
    let scratch = Register::FIRST;
    connection(list, CT_STATUS, None);
    mask(list, scratch, &CT_LED.to_ne_bytes());
    compare(list, scratch, OTHER, &0u32.to_ne_bytes());
    connection(list, CT_TO_PORT, Some(CT_ORIGINAL));
}

fn mask(list: &mut Attributes<'_>, register: Register, bits: &[u8]) {
    named(list, "bitwise", |data| {
        data.number(1, register.0);
        data.number(2, register.0);
        data.number(3, bits.len() as u32);
        data.nested(4, |of| of.bytes(VALUE, bits));
        data.nested(5, |of| of.bytes(VALUE, &vec![0; bits.len()]));
    });
}

fn lead_to(list: &mut Attributes<'_>, address: Option<IpAddr>, port: u16, family: u8) {
    let (first, behind) = (Register::FIRST, Register::FIRST.behind(16));
    match address {
        Some(IpAddr::V4(v4)) => put(list, first, &v4.octets()),
        Some(IpAddr::V6(v6)) => put(list, first, &v6.octets()),
        None => {}
    }
    put(list, behind, &port.to_be_bytes());
    named(list, "nat", |data| {
        data.number(1, TO_DESTINATION);
        data.number(2, u32::from(family));
        if address.is_some() {
            data.number(3, first.0);
        }
        data.number(5, behind.0);
    });
}

fn put(list: &mut Attributes<'_>, register: Register, value: &[u8]) {
    named(list, "immediate", |data| {
        data.number(1, register.0);
        data.nested(2, |of| of.bytes(VALUE, value));
    });
}

fn equals(list: &mut Attributes<'_>, register: Register, value: &[u8]) {
    compare(list, register, EQUAL, value);
}

fn compare(list: &mut Attributes<'_>, register: Register, how: u32, value: &[u8]) {
    named(list, "cmp", |data| {
        data.number(1, register.0);
        data.number(2, how);
        data.nested(3, |of| of.bytes(VALUE, value));
    });
}

fn decide(data: &mut Attributes<'_>, verdict: Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    data.number(1, 0);
    data.nested(2, |of| {
        of.nested(VERDICT, |verdict| {
            verdict.bytes(1, &i32::to_be_bytes(code));
            if let Some(chain) = chain {
                verdict.text(2, chain);
            }
        });
    });
}

fn named(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nested(LIST_ELEMENT, |expression| {
        expression.text(NAME, name);
        expression.nested(DATA, data);
    });
}
