//! `cargo xtask bench connect`: the connect and the tunnel, measured in one run beside their peers.

mod flood;
mod knocks;
mod memory;
mod stage;
mod tunnel;

use super::Row;
use crate::run::Result;
use stage::Stage;

/// All of it; takes some minutes, most of them a thousand connects.
///
/// # Errors
/// The program can't be built or started, or does not do what is measured.
pub(super) fn connect() -> Result<Vec<Row>> {
    let stage = Stage::set()?;
    let mut rows = Vec::new();
    let unloaded = knocks::connects(&stage, &mut rows)?;
    knocks::command_start(&stage, &mut rows)?;
    knocks::rates(&mut rows)?;
    flood::under_junk(&stage, unloaded, &mut rows)?;
    tunnel::beside_ssh(&stage, &mut rows)?;
    memory::idle(&stage, &mut rows)?;
    Ok(rows)
}
