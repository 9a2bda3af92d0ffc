//! The gateway: the connection server.
//!
//! It owns users, devices, services and policy, has the last word on everything, and is dark until its own admission opens
//! for one device.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] [`keys`] | what a gateway is made and started with; its own keys |
//! | [`Gateway`] | the running role: start, reload, stop |
//! | [`directory`] | users, devices, invitations, services, sessions on disk |
//! | [`admin`] `effects` | what its owner may ask; how a change reaches what runs |
//! | [`rotation`] | the gateway's TLS key and its successors |
//! | `status` `audit` | what the role tells of itself, when asked and by itself |
//! | `link` `backoff` `sparing` `stamp` | C1, the dialling end: knock, publish, answer; how often, and how often told |
//! | `admission` | steps 4 and 5 of the connect: a thin shell around `proto::admission` |
//! | `contact` `contacts` `control` | first contact: from a spent tag to what the client came for |
//! | `login` `resume` `enrolment` `renewal` | L1-L4, R1, E1; a device that replaces itself |
//! | `sessions` `serve` | sessions, from login to their end; a session over one connection |
//! | `tunnel` `upstream` `udp` `direct` | T: a stream and its upstream; a flow of datagrams; one that the kernel carries |
//! | `shared` `counters` | what the tasks share |

pub mod admin;
mod admission;
mod audit;
mod backoff;
mod contact;
mod contacts;
mod control;
mod counters;
mod direct;
pub mod directory;
mod effects;
mod enrolment;
mod gateway;
mod greetings;
pub mod keys;
mod link;
mod login;
mod moving;
mod renewal;
mod resume;
pub mod rotation;
mod serve;
mod sessions;
pub mod settings;
mod shared;
mod sparing;
mod stamp;
mod status;
mod tunnel;
mod udp;
mod upstream;
pub mod web;

pub use direct::{finding as direct_finding, interfaces as door_interfaces};
pub use gateway::Gateway;
// What `Settings` speaks of.
pub use vestibule_door::{
    Choice as DoorChoice, DirectError, Finding as DoorFinding, Lack as DoorLack, NftablesError, XdpError,
    findings as door_findings,
};

pub use settings::{Limits, SessionLimits, Settings, StartError, init};
