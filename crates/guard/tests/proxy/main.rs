//! The proxy over real sockets: a raw client, the server and an upstream with the pipeline between them left out, and an
//! application that behaves as a test says.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod broken;
mod certificates;
mod directories;
mod http2;
mod passing;
mod smuggling;
mod support;
mod telling;
