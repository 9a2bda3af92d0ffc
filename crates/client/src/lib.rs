//! The client apparatus: enrol, knock, log in, carry traffic.
//!
//! Everything that the person's machine does, as a library that the program wires. It reads no terminal and prints nothing; a
//! password comes in as a [`Password`](vestibule_local_credential::Password).
//!
//! | step | module |
//! |---|---|
//! | 0, E1 | [`mod@enrol`]: an invitation becomes a local credential in a [`home`] |
//! | 1 | [`local`]: the credential is opened, before a packet is sent |
//! | 2-5 | `knock`: UDP, guidance; `rehearsal` while the password is stretched |
//! | 6 | `dial`, `channel`: the connection by tag, the login or the resumption |
//! | 2-6 | `arrive`: knock and dial, by either address family |
//! | T | [`client`]: the session; [`keeper`] decides when it is taken up again (R1) |
//! | | [`forward`] [`pipe`] [`proxy`]: local connections into the [`tunnel`]; [`udp`]: local datagrams |
//! | | [`neighbours`]: whose local connections are served |
//! | | [`agent`]: what other processes ask of a running `up` |
//! | | [`error`] [`timings`] [`why`]: what went wrong, how long it took, and at which step |

mod address;
pub mod agent;
mod arrive;
mod channel;
pub mod client;
mod connect;
mod dial;
mod direct;
pub mod enrol;
pub mod error;
pub mod forward;
pub mod home;
mod identity;
pub mod keeper;
mod kept;
mod knock;
mod listen;
pub mod local;
pub mod names;
pub mod neighbours;
pub mod pipe;
pub mod proxy;
mod rehearsal;
pub mod stdio;
mod stream;
pub mod timings;
pub mod tunnel;
pub mod udp;
mod ways;
pub mod why;

#[cfg(test)]
mod fake;

pub use client::{Client, Options};
pub use direct::{DirectStatus, DirectTrouble};
pub use enrol::enrol;
pub use error::ClientError;
pub use neighbours::Neighbours;
pub use stream::TunnelStream;
pub use tunnel::Tunnel;
pub use vestibule_dark::Way;
pub use ways::Transport;
