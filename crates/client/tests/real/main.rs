//! The client against the real controller and the real gateway, over loopback, in one process.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod approval;
mod enrolment;
mod gateway_key;
mod impostor;
mod path;
mod renewal;
mod rotation;
mod session;
mod tcp;
mod udp;
mod world;
