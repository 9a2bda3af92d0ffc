//! What rules are made of: expressions that load into registers, compare and decide.

use super::message::Attributes;

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
    /// The header of UDP.
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
    /// What begins in the register is an element of this set.
    IsIn(Register, &'static str),
    /// It goes to an address of this machine.
    IsLocal,
    /// Counts.
    Count,
    /// Decides.
    Then(Verdict),
}

const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
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
        Expression::IsIn(register, set) => named(list, "lookup", |data| {
            data.text(1, set);
            data.number(2, register.0);
        }),
        Expression::IsLocal => {
            named(list, "fib", |data| {
                data.number(1, scratch.0);
                data.number(2, ADDRESS_KIND);
                data.number(3, OF_DESTINATION);
            });
            equals(list, scratch, &LOCAL.to_ne_bytes());
        }
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

fn equals(list: &mut Attributes<'_>, register: Register, value: &[u8]) {
    named(list, "cmp", |data| {
        data.number(1, register.0);
        data.number(2, 0);
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
