//! The gateway over real sockets: a real controller, real SQLite, real upstreams, on loopback.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a panic in a test is its report")]

mod admissions;
mod attacks;
mod common;
mod connect;
mod enrol;
mod left_out;
mod link;
mod sessions;
mod start;
mod thousand;
mod tunnel;
mod udp;
mod versions;
