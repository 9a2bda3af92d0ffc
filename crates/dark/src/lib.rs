//! The UDP endpoint that answers nobody without a tag, and the one that dials it.
//!
//! One socket carries QUIC and, at the controller, knocks (PROTOCOL 3.7). To a datagram that is neither an authentic knock,
//! nor a first packet that bears an unspent tag, nor part of a live connection, nothing is answered: no version negotiation,
//! no stateless reset, no retry, no close. Nothing is kept of it but a counter.
//!
//! A connection may move: one datagram with a one-time tag gives it another place at the door, and only then may QUIC's own
//! migration follow (PROTOCOL 3.5).
//!
//! A datagram passes, in this order:
//!
//! 1. the kernel's filter (`filter`), where the kernel takes one: what has no shape of ours goes no further;
//! 2. the socket (`wire`), in batches, under its guard (`guarded`, `gate`): first its shape (`shape`), then one look-up at
//!    the [door](vestibule_door) or one cheap check of a knock;
//! 3. quinn, set up never to answer on its own account (`quiet`); or the queue of knocks (`knocks`);
//! 4. the role: [`Dark::accept`], [`KnockQueue::recv`].
//!
//! On the way out, what quinn sends to an address where nobody is in is dropped and counted: a second lock, for the day the
//! first has a flaw.
//!
//! | module | holds |
//! |---|---|
//! | `endpoint` `contact` `gate` `knocks` `counters` | the role's endpoint: [`Dark`], [`FirstContact`], [`KnockQueue`] |
//! | `dial` | the dialling side |
//! | `flow` `relocation` | a connection goes on from another address: [`Flow`], [`Relocation`] |
//! | `tcp` | the same over TCP, where a network drops QUIC's datagrams: [`dial_over_tcp`] |
//! | [`tls`] `transport` `allowance` | who the two ends are to each other; how their connection behaves |
//! | [`framed`] [`splice`] | what goes over streams: messages, and TCP connections |
//! | [`datagrams`] | what goes beside them: the datagrams of UDP services |
//! | [`fuzzing`] | entry for the fuzzer |

mod allowance;
mod contact;
mod counters;
pub mod datagrams;
mod dial;
mod endpoint;
mod filter;
mod flow;
pub mod framed;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod guarded;
mod knocks;
mod quiet;
mod relocation;
mod shape;
pub mod splice;
mod tcp;
pub mod tls;
mod transport;
mod wire;

pub use allowance::{Allowance, AllowedStream};
pub use contact::{ContactError, FirstContact, Way};
pub use counters::CountersSnapshot;
pub use dial::{DIAL_LIMIT, DialError, dial, unspecified};
pub use endpoint::{Dark, Options};
pub use flow::{Flow, GRACE, Terms};
pub use gate::{KnockFilter, Role};
pub use knocks::{KnockQueue, QUEUE_LIMIT, ReceivedKnock};
pub use relocation::{LEAD, Relocation};
pub use tcp::{DialledOverTcp, dial_over_tcp};
pub use tls::{NoExporter, exporter};
pub use transport::{FIRST_STREAMS, IDLE_TIMEOUT, KEEP_ALIVE, STREAMS_LIMIT, TransportKind, peer_address, transport};
