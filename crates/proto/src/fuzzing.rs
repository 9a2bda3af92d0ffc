//! One entry per decoder, for fuzzers, and the fixed keys that they and the test vectors use.
//!
//! An entry takes any bytes and must return: it panics where the decoder does, or where what it accepted is not what it
//! would have written itself. `fuzz/` has one target per entry, named like it; `tests/decoders.rs` runs the same entries
//! over random bytes and over the committed corpus. Nothing here is of use to a running role.

mod channel;
mod knock;
mod parties;

pub use channel::{datagram_frame, enrolment_frame, invitation, link_frame, login, session_frame};
pub use knock::{
    cookie, guidance, guidance_content, header, inner, inner_content, knock, knock_content, link_ticket, moved, ready,
    ready_content, refusal, refusal_content, tag_datagram,
};
pub use parties::Parties;

/// An entry: takes any bytes, and returns.
pub type Entry = fn(&[u8]);

/// All entries, by name.
pub const ENTRIES: [(&str, Entry); 21] = [
    ("header", header),
    ("knock", knock),
    ("knock_content", knock_content),
    ("cookie", cookie),
    ("guidance", guidance),
    ("guidance_content", guidance_content),
    ("inner", inner),
    ("inner_content", inner_content),
    ("ready", ready),
    ("ready_content", ready_content),
    ("refusal", refusal),
    ("refusal_content", refusal_content),
    ("link_ticket", link_ticket),
    ("moved", moved),
    ("tag_datagram", tag_datagram),
    ("login", login),
    ("link_frame", link_frame),
    ("session_frame", session_frame),
    ("enrolment_frame", enrolment_frame),
    ("datagram_frame", datagram_frame),
    ("invitation", invitation),
];

/// The first `N` of `data`, behind them zeros: for decoders of one fixed size.
fn padded<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let length = data.len().min(N);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes
}
