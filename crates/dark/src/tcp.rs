//! QUIC over TCP, for networks that let few or small datagrams through (docs/protocol.md, §8.1).
//!
//! A TCP connection is one client's. It begins with a preface, a tag of 20 bytes; behind it go QUIC's packets, each with its
//! length in two bytes in front, both ways. So there is one handshake, one set of streams and no byte that is sealed twice, and
//! whoever takes a [`FirstContact`](crate::FirstContact) need not know which way it came.
//!
//! | module | holds |
//! |---|---|
//! | `frames` | what has come in, packet by packet; nothing passes that the other end would not send |
//! | `pipe` | the connection as quinn's socket |
//! | `lossless` | how QUIC behaves where nothing is lost |
//! | `listener` `arrival` | the gateway's side: a listener while somebody is awaited, and who comes |
//! | `sieve` | the kernel's filter at the listener: strangers' first packets get no answer |
//! | `dial` | the client's side |

mod arrival;
mod dial;
pub(crate) mod frames;
mod listener;
mod lossless;
mod pipe;
mod sieve;

pub use dial::{DialledOverTcp, dial_over_tcp};
pub(crate) use listener::Streams;
pub(crate) use lossless::Life;

/// The largest packet: as large as a record of TLS, above which little is gained, and small enough that a stream which is in a hurry does not
/// wait long behind another's.
pub(crate) const PACKET_MAX: u16 = 16_384;
