//! The whole guard, attacked: browsers made of bytes before it, an application that remembers everything behind it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod application;
mod bombs;
mod early;
mod endings;
mod entry;
mod hosts;
mod once;
mod overrides;
mod passing;
mod policy;
mod raw;
mod rescue;
mod rotation;
mod secrets;
mod sessions;
mod strict;
mod tokens;
mod uploads;
mod upstreams;
mod world;
