//! `cargo xtask bench guard`: what a guarded page costs beside nginx, and what a command costs beside the disk.

mod claims;
mod client;
mod memory;
mod nginx;
mod pages;
mod site;
mod stage;
mod streaming;
mod token;

use super::{Effort, Row};
use crate::run::Result;
use stage::Stage;

/// What it has, in its order: each may be measured alone.
const PARTS: [&str; 5] = ["pages", "claims", "stream", "memory", "token"];

/// All of it, or the one part.
///
/// # Errors
/// The guard can't be built or started, or does not do what is measured.
pub(super) fn guard(effort: Effort, only: Option<&str>) -> Result<Vec<Row>> {
    if let Some(unknown) = only.filter(|part| !PARTS.contains(part)) {
        return Err(format!("no part {unknown:?}; there are {}", PARTS.join(", ")).into());
    }
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    stage::build()?;
    let stage = Stage::set()?;

    if wanted("pages") {
        pages::beside_nginx(&stage, effort, &mut rows)?;
    }
    if wanted("claims") {
        claims::beside_the_disk(effort, &mut rows)?;
    }
    if wanted("stream") {
        streaming::first_byte(&stage, effort, &mut rows)?;
    }
    if wanted("memory") {
        // A guard of its own: what an earlier load needed and gave back would hide what the next one takes.
        memory::growth(&Stage::set()?, effort, &mut rows)?;
    }
    if wanted("token") {
        token::token(&mut rows)?;
        token::script(&stage, &mut rows)?;
    }
    Ok(rows)
}
