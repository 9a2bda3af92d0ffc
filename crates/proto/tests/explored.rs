//! Every order of events, up to a bound, over the real machines: a device, a controller and a gateway with their disks, a network that loses,
//! copies, reorders and replays, an evil controller's replay, and roles that are killed at each step and started again.
//!
//! The machines hold handshakes, which can't be copied, so a state is the list of events that leads to it, and each is made
//! anew from the beginning ([`world`]). Two lists lead to the same state when every role was given the same since it was
//! started, from the same disk ([`world::World::fingerprint`]): orders of events at different roles don't count.
//! What must never happen stands in the `book`; the [`explorer`] goes through all lists, shortest first.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]
#![allow(clippy::print_stdout, reason = "each run says how far it went")]

#[allow(dead_code, reason = "shared with other tests")]
mod common;

mod explored {
    mod admitting;
    mod book;
    mod events;
    mod explorer;
    mod roles;
    mod runs;
    mod setting;
    mod world;
}
