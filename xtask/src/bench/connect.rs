//! `cargo xtask bench connect`: the connect and the tunnel, measured in one run beside their peers.

mod crowd;
mod echo;
mod flood;
mod floods;
mod fwknop;
mod ground;
mod knocks;
mod memory;
mod pairs;
mod rates;
mod revocation;
mod ssh;
mod stage;
mod starts;
mod transport;
mod tunnel;
mod wireguard;

use super::{Effort, Row};
use crate::run::Result;
use crowd::Crowd;
use ground::Ground;
use stage::Stage;
use starts::Starter;

pub(super) use floods::in_own_network;
pub(super) use stage::{example, free_tcp, listens, wait};

pub(super) use fwknop::{INSIDE as FWKNOP_INSIDE, inside as fwknop_inside};

/// What it has, in its order: each may be measured alone.
const PARTS: [&str; 8] = ["knocks", "starts", "rates", "junk", "tunnel", "transport", "revocation", "memory"];

/// What is measured only when it is asked for by name. Inside of a network of its own, as `transport` is that is asked for by name:
/// [`in_own_network`].
const FLOODS: &str = "floods";

/// All of it, or the one part.
///
/// # Errors
/// The program can't be built or started, or does not do what is measured.
pub(super) fn connect(effort: Effort, only: Option<&str>) -> Result<Vec<Row>> {
    if let Some(unknown) = only.filter(|part| !PARTS.contains(part) && *part != FLOODS) {
        return Err(format!("no part {unknown:?}; there are {} and {FLOODS}", PARTS.join(", ")).into());
    }
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    let ground = if only == Some(FLOODS) { Ground::across_a_veth()? } else { Ground::here() };
    let mut stage = Stage::set(ground)?;
    let mut crowd = Crowd::enrol(&mut stage, effort)?;
    let starter = Starter::enrol(&stage, "starter")?;
    if only == Some(FLOODS) {
        floods::against_each_door(&mut stage, &mut crowd, &starter, effort, &mut rows)?;
        return Ok(rows);
    }

    if wanted("knocks") || wanted("starts") {
        let knock_us = knocks::connects(&stage, &mut crowd, effort, &mut rows)?;
        if wanted("starts") {
            starts::beside_fwknop(&starter, knock_us, effort, &mut rows)?;
        }
    }
    if wanted("rates") {
        rates::per_core(effort, &mut rows)?;
    }
    if wanted("junk") {
        flood::knocks_under_junk(&stage, &mut crowd, effort, &mut rows)?;
        flood::memory(&stage, effort, &mut rows)?;
    }
    if wanted("tunnel") {
        tunnel::beside_ssh(&stage, &starter, effort, &mut rows)?;
    }
    if wanted("transport") {
        transport::beside_pairs(&stage, effort, &mut rows)?;
    }
    if wanted("revocation") {
        revocation::to_the_last_byte(&stage, &starter, effort, &mut rows)?;
    }
    if wanted("memory") {
        memory::idle(&mut stage, &mut crowd, &starter, effort, &mut rows)?;
    }
    Ok(rows)
}
