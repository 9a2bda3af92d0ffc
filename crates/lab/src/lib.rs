//! Test support: hosts in network namespaces, packet capture, and the roles of the program as processes.
//!
//! Everything here is a black box around the real binary: nothing of the protocol is imported, so that a test can only
//! see what a neighbour, an owner or a person at the keyboard could see.
//!
//! | to … | use |
//! |---|---|
//! | have machines on one wire | [`Network`], [`Host`] |
//! | put networks behind routers and NATs, and make a line bad | [`Router`], [`Nat`], [`Line`] |
//! | move a host to another network | [`Network::join`], [`Host::plug`], [`Host::unplug`] |
//! | run a command on one | [`Host::command`], [`Invocation`], [`Ran`] |
//! | make a host look like another machine, or its disk full | [`Host::become_machine`], [`Host::mount_small`], [`Host::mount_read_only`] |
//! | see what went over the wire | [`Capture`], [`Packets`], [`Counters`] |
//! | be a stranger | [`Host::send_datagrams`], [`Host::tcp_probe`] |
//! | have something to reach | [`Upstream`] |
//! | keep a role of the program running | [`Role`] |
//! | start from an enrolled person | [`Fixture`] |
//! | have a TPM | [`Swtpm`] |
//! | look through a browser | [`browser`] |
//! | run anything else with all that it starts | [`Group`] |
//!
//! All of it ends with its owner: dropping a [`Host`] kills every process in it, also after a panic, and a watchdog
//! does the same when the test process itself is killed. Every wait has a limit, and what it says when the limit is
//! passed holds the end of the log of the process it waited for.
//!
//! One mechanism serves root and ordinary users: a holder process made by `unshare` keeps the namespaces, `nsenter`
//! runs commands in them. An ordinary user gets a user namespace around them.

pub mod browser;
mod capture;
mod cli;
mod counters;
mod failure;
mod fixture;
mod group;
mod holder;
mod host;
mod inhabitants;
mod line;
mod machine;
mod network;
mod notify;
mod packet;
mod packets;
mod pcap;
mod place;
mod process;
mod programs;
mod role;
mod router;
mod running;
mod stranger;
mod swtpm;
mod upstream;
mod wait;

pub use capture::Capture;
pub use cli::{Service, Words};
pub use counters::Counters;
pub use failure::{Context, Failure, Result};
pub use fixture::{Fixture, Person};
pub use group::Group;
pub use host::Host;
pub use line::{BadLine, Line};
pub use network::Network;
pub use packet::{Packet, Proto};
pub use packets::Packets;
pub use process::{Invocation, Ran};
pub(crate) use programs::peer;
pub use programs::program;
pub use role::{Role, RoleCommand};
pub use router::{Nat, Router};
pub use running::Running;
pub use stranger::Reply;
pub use swtpm::Swtpm;
pub use upstream::Upstream;
pub use wait::{until, while_holds};

/// What the lab's own program `lab-peer` shares with this library; of no use to tests.
#[doc(hidden)]
pub mod for_peer {
    pub use crate::capture::MARK;
    pub use crate::inhabitants::Inside;
    pub use crate::pcap::{write_frame, write_header};
}
