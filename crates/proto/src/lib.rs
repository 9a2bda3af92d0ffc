//! Knock, admission, login and link messages: pure state machines and codecs.
//!
//! Nothing here opens a socket, reads a clock, touches a file or waits: bytes, time and randomness come in as arguments,
//! messages and events go out as values. `docs/protocol.md` numbers the steps; modules and functions bear their names.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] [`key`] [`entropy`] [`hex`] | ids, names and times; keys and their derivation; randomness passed in |
//! | [`header`] [`outer`] [`inner`] | the knock's two handshakes: K1, K2c, K6 and I1, I2 |
//! | [`ticket`] | what an admission consists of: tickets and tags (D0, D1) |
//! | [`tcp`] | TCP's way in: the tag datagram and the preface (D0) |
//! | [`moving`] | how a live connection takes another address: "I moved" (R2) |
//! | [`login`] | OPAQUE, wrapped (L1-L4, E1) |
//! | [`knocker`] [`recognition`] [`admission`] | the knock's machines: client, controller, gateway |
//! | [`expiring`] [`steady`] [`guess`] | what it is made of: deadlines; a clock that does not run back; how often a password may be guessed |
//! | [`fuzzing`] | one entry per decoder, and fixed keys for test vectors |
//! | [`datagram`] | how the datagrams of UDP services travel (T) |
//! | [`frame`] [`session`] [`enrol`] [`invitation`] [`link`] | what is said inside authenticated channels (T, R1, E1, C1) |
//! | [`realm`] [`gateway_key`] | the successors of the realm key and of a gateway's TLS key |
//! | [`words`] | a device's keys as six words, for people to compare |

// Modules of ours that hold what others are made of.
mod bytes_serde;
pub mod entropy;
pub mod gateway_key;
pub mod hex;
pub mod id;
pub mod key;
pub mod realm;
pub mod ticket;

// The knock.
mod error;
pub mod header;
pub mod inner;
pub mod moving;
mod noise;
pub mod outer;
mod resolver;
pub mod tcp;
mod wire;

// Login.
pub mod login;

// Messages inside authenticated channels.
pub mod datagram;
pub mod enrol;
pub mod frame;
pub mod invitation;
pub mod link;
pub mod session;
pub mod words;

// Machines, and what they are made of.
pub mod admission;
pub mod expiring;
pub mod guess;
pub mod knocker;
pub mod recognition;
pub mod steady;

// For tests.
pub mod fuzzing;
