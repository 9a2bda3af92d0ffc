//! Real applications in a real browser, with the guard before them and without it (PAGEGUARD section 8).
//!
//! `tests/apps/run` installs and starts them. Two of them are always tried; the others, which take longer to install, by
//! `cargo xtask test --apps`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod app;
mod copyparty;
mod django;
mod dokuwiki;
mod front;
mod jupyter;
mod node_red;
mod way;
