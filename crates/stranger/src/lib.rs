//! What a stranger sees of an address: probes of every kind are sent to it, and whatever comes back is told.
//!
//! | to … | use |
//! |---|---|
//! | look at an address | [`look()`], [`Target`] |
//! | read what was seen | [`Sight`], [`Row`], [`Group`], [`Verdict`] |
//! | write it down | [`Report`], [`Scan`] |
//! | only have the datagrams that might make a server speak | [`baits`] |
//!
//! With raw sockets (`CAP_NET_RAW`) it sends packets that no honest program sends; without, it does what any program can and says
//! what was left out. It counts what comes from the address that it looked at, for packets that it sent itself: another
//! program's traffic with the same address is not taken for an answer.

mod bait;
mod look;
mod packet;
mod plain;
mod probe;
mod raw;
mod reply;
mod report;
mod sight;

pub use bait::baits;
pub use look::{LookError, Target, look};
pub use report::{Report, Scan, said};
pub use sight::{Group, Means, Row, Sight, Verdict};
