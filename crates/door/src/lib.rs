//! Enforcement: who may send a first packet, and the back ends that hold it.
//!
//! The gateway decides, a door executes. A decision is a [`Command`]; a back end is anything that implements [`Door`] and
//! passes the [`suite`]. Every back end admits by exact match: the tags of an admission are known beforehand, so that the
//! path of a stranger's packet holds a look-up and no cryptography (PROTOCOL 3.4, D1). A kernel looks up what all tags of an
//! admission begin with, its ticket; the rest is compared behind it.
//!
//! | module | holds |
//! |---|---|
//! | `choice` | which back end, and what each lacks here |
//! | `command` | what a door can be told |
//! | `back_end` | what every back end can do, and how it fails |
//! | `direct` | TCP ports whose admitted flows the kernel carries |
//! | `tcp` | who is awaited over TCP, where no kernel takes part |
//! | `socket` | the back end without privileges: a table asked by the receive path of our own UDP socket |
//! | `nftables` | the back end with CAP_NET_ADMIN: a table of our own in the kernel, before connection tracking |
//! | `xdp` | the back end with CAP_BPF and CAP_NET_ADMIN: a program in the driver, before the kernel makes anything of a packet |
//! | `layered` | the kernel's half of a door, and behind it `socket` |
//! | `links` | the machine's interfaces and addresses, as the kernel tells them |
//! | `keeper` | the thread that looks after the kernel's half |
//! | [`suite`] | the tests that every back end must pass |

mod back_end;
mod choice;
mod command;
mod direct;
mod keeper;
mod layered;
mod links;
mod nftables;
mod socket;
#[doc(hidden)]
pub mod suite;
mod tcp;
mod xdp;

pub use back_end::{Door, DoorError};
pub use choice::{Choice, Finding, Lack, findings};
pub use command::{Admission, Command};
pub use direct::{DIRECT_LIMIT, DirectError, DirectFlow, DirectPort, FLOW_WINDOW, Leads, Opening};
pub use nftables::{NftablesDoor, NftablesError};
pub use socket::{FIRST_FLIGHT, FirstPacket, Hold, Limits, SocketDoor};
pub use tcp::TcpDoor;
pub use xdp::{XdpDoor, XdpError};
