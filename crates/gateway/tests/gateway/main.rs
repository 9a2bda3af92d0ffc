//! The gateway over real sockets: a real controller, real SQLite, real TCP upstreams, on loopback.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod common;
mod connect;
