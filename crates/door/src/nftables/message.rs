//! Messages of netlink and nf_tables (linux/netlink.h, linux/netfilter/nf_tables.h), as bytes.
//!
//! Pure: what goes to the kernel is made here, what comes back is read here, nothing is sent.

use std::ops::ControlFlow;

/// `nfproto` of a table that sees IPv4 and IPv6.
pub(super) const INET: u8 = 1;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
/// A `New…` that may stand already.
pub(super) const CREATE: u16 = 0x400;
/// A rule behind those that stand.
pub(super) const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// Family, version and resource id, between the header and the attributes.
const FAMILY_HEADER: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// What a message wants; the numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
    GetRule = 7,
    DeleteRule = 8,
    NewSet = 9,
    NewElements = 12,
    GetElements = 13,
    DeleteElements = 14,
    GetGeneration = 16,
}

/// Messages that the kernel carries out all together or not at all. Nothing is in force before all of it is.
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    last: Option<usize>,
}

impl Batch {
    pub(super) fn new(sequence: u32) -> Self {
        let mut bytes = Vec::with_capacity(512);
        header(&mut bytes, BATCH_BEGIN, REQUEST, sequence, (0, SUBSYSTEM));
        seal(&mut bytes, 0);
        Self { bytes, sequence, last: None }
    }

    /// Adds one message with these flags and attributes.
    pub(super) fn add(&mut self, verb: Verb, flags: u16, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.last = Some(self.bytes.len());
        message(&mut self.bytes, verb, REQUEST | flags, self.sequence, attributes);
    }

    /// The batch without its end: the kernel looks whether it would take it, and takes back what it did.
    pub(super) fn trial(mut self) -> Vec<u8> {
        if let Some(last) = self.last {
            let flags = u16::from_ne_bytes([self.bytes[last + 6], self.bytes[last + 7]]) | ACK;
            self.bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.bytes
    }

    /// The whole batch. The kernel acknowledges its last message once all is in force.
    pub(super) fn finish(self) -> Vec<u8> {
        let sequence = self.sequence;
        let mut bytes = self.trial();
        let start = bytes.len();
        header(&mut bytes, BATCH_END, REQUEST, sequence, (0, SUBSYSTEM));
        seal(&mut bytes, start);
        bytes
    }
}

/// A question about one thing.
pub(super) fn question(verb: Verb, sequence: u32, attributes: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    asking(verb, REQUEST, sequence, attributes)
}

/// A question about all things of a kind.
pub(super) fn dump(verb: Verb, sequence: u32, attributes: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    asking(verb, REQUEST | DUMP, sequence, attributes)
}

fn asking(verb: Verb, flags: u16, sequence: u32, attributes: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    message(&mut bytes, verb, flags, sequence, attributes);
    bytes
}

/// Adds one message of nf_tables.
fn message(bytes: &mut Vec<u8>, verb: Verb, flags: u16, sequence: u32, attributes: impl FnOnce(&mut Attributes<'_>)) {
    let start = bytes.len();
    header(bytes, SUBSYSTEM << 8 | verb as u16, flags, sequence, (INET, 0));
    attributes(&mut Attributes(bytes));
    seal(bytes, start);
}

fn header(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, (family, resource): (u8, u16)) {
    bytes.extend([0; 4]);
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
}

/// Writes the length of the message that began at `start`. Attributes end at multiples of four by themselves.
fn seal(bytes: &mut [u8], start: usize) {
    let len = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
}

/// The attributes of a message, or of an attribute that holds others.
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        // Every value of ours is far shorter than the 65,531 bytes that fit.
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A name, closed by a zero.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let closed: Vec<u8> = text.bytes().chain([0]).collect();
        self.bytes(kind, &closed);
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn long(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that holds others; at most 65,535 bytes of them.
    pub(super) fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((kind | NESTED).to_ne_bytes());
        inner(&mut Attributes(self.0));
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

/// One message from the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// A message was carried out (0), or why it was not: the number of the system's error.
    Outcome(i32),
    /// The end of a dump.
    End,
    /// Something that was asked for: its attributes.
    Thing(&'a [u8]),
}

/// Hands each message of a datagram that answers `sequence` to `take`; a message that is cut off only if it is an outcome,
/// whose number stands in front.
pub(super) fn read<'a>(
    mut datagram: &'a [u8],
    sequence: u32,
    mut take: impl FnMut(Reply<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some((head, rest)) = datagram.split_first_chunk::<HEADER>() {
        let len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let answers = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) == sequence;
        let body = &rest[..len.saturating_sub(HEADER).min(rest.len())];
        let reply = match kind {
            ERROR => body.first_chunk().map(|code| Reply::Outcome(i32::from_ne_bytes(*code).saturating_neg())),
            DONE => Some(Reply::End),
            _ => body.get(FAMILY_HEADER..).map(Reply::Thing),
        };
        if let Some(reply) = reply.filter(|_| answers) {
            take(reply)?;
        }
        datagram = datagram.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    ControlFlow::Continue(())
}

/// The values of all attributes of this kind.
pub(super) fn attributes(mut list: &[u8], wanted: u16) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((head, _)) = list.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(value) = list.get(4..len) else { break };
        if u16::from_ne_bytes([head[2], head[3]]) & 0x3fff == wanted {
            found.push(value);
        }
        list = list.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The value of the first attribute of this kind.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = attributes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_framed_and_asks_for_one_acknowledgement() {
        let mut batch = Batch::new(7);
        batch.add(Verb::NewTable, CREATE, |table| table.text(1, "abc"));
        batch.add(Verb::NewTable, CREATE, |table| table.nested(3, |inner| inner.number(1, 5)));
        let bytes = batch.finish();
        let mut at = 0;
        let mut seen = Vec::new();
        while at < bytes.len() {
            let len = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            let half = |from: usize| u16::from_ne_bytes(bytes[at + from..at + from + 2].try_into().unwrap());
            seen.push((half(4), half(6), len));
            at += len;
        }
        let new_table = SUBSYSTEM << 8;
        assert_eq!(
            seen,
            [
                (BATCH_BEGIN, REQUEST, 20),
                (new_table, REQUEST | CREATE, 28),
                (new_table, REQUEST | CREATE | ACK, 32),
                (BATCH_END, REQUEST, 20)
            ]
        );
    }

    #[test]
    fn attributes_read_back() {
        let mut bytes = Vec::new();
        let mut attributes = Attributes(&mut bytes);
        attributes.text(1, "ab");
        attributes.nested(2, |inner| inner.long(9, 1));
        attributes.number(4, 0x0102_0304);
        assert_eq!(attribute(&bytes, 1), Some(&b"ab\0"[..]));
        assert_eq!(attribute(attribute(&bytes, 2).unwrap(), 9), Some(&1u64.to_be_bytes()[..]));
        assert_eq!(attribute(&bytes, 4), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&bytes, 5), None);
    }

    #[test]
    fn an_outcome_is_read_even_if_what_it_quotes_is_cut_off() {
        let mut datagram = Vec::new();
        for (errno, sequence) in [(-1i32, 8u32), (-2, 7)] {
            datagram.extend(4096u32.min(if sequence == 8 { 20 } else { 4096 }).to_ne_bytes());
            datagram.extend(ERROR.to_ne_bytes());
            datagram.extend([0; 2]);
            datagram.extend(sequence.to_ne_bytes());
            datagram.extend([0; 4]);
            datagram.extend(errno.to_ne_bytes());
        }
        let mut outcomes = Vec::new();
        let _ = read(&datagram, 7, |reply| {
            outcomes.push(format!("{reply:?}"));
            ControlFlow::Continue(())
        });
        assert_eq!(outcomes, ["Outcome(2)"], "that of another question is none of ours");
    }

    proptest! {
        #[test]
        fn no_answer_of_whatever_bytes_is_read_beyond_its_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut taken = 0;
            let _ = read(&bytes, 0, |reply| {
                if let Reply::Thing(attributes) = reply {
                    let _ = attribute(attributes, 1);
                }
                taken += 1;
                ControlFlow::Continue(())
            });
            prop_assert!(taken <= bytes.len() / HEADER + 1);
        }
    }
}
