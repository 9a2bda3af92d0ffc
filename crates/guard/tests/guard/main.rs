//! The whole guard, attacked: browsers made of bytes before it, an application that remembers everything behind it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod application;
mod endings;
mod entry;
mod hosts;
mod once;
mod passing;
mod policy;
mod rescue;
mod secrets;
mod sessions;
mod strict;
mod tokens;
mod uploads;
mod upstreams;
mod world;
