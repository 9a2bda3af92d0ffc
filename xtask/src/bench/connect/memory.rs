//! What idle sessions and idle connections cost the gateway.

use super::super::memory::anonymous_kib;
use super::crowd::Crowd;
use super::stage::Stage;
use super::starts::Starter;
use super::tunnel::{Way, trip, up};
use super::{Effort, Row};
use crate::run::Result;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// What is freed after a burst of work is given back by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Measures both, as growth of the gateway's memory. The gateway is a new one: what an earlier load needed and gave back would
/// hide what the next one takes.
pub(super) fn idle(
    stage: &mut Stage,
    crowd: &mut Crowd,
    starter: &Starter,
    effort: Effort,
    rows: &mut Vec<Row>,
) -> Result<()> {
    stage.change_gateway("socket")?;
    connections(stage, starter, rows)?;
    sessions(stage, crowd, effort, rows)
}

/// A session may have 256 connections.
fn connections(stage: &Stage, starter: &Starter, rows: &mut Vec<Row>) -> Result<()> {
    let way = up(stage, starter)?;
    let count = 200;
    // The first ones make room that others find made.
    let mut held = connect(&way, count / 8)?;
    let [client, gateway] = [way.pids[0], stage.gateway()];
    let before = [settled_kib(client)?, settled_kib(gateway)?];
    held.extend(connect(&way, count)?);
    let after = [settled_kib(client)?, settled_kib(gateway)?];
    let each = |role: usize| (after[role] - before[role]) / count as f64;
    let name = "gateway's memory per idle connection in a session";
    rows.push(Row::new(name, each(1), "KiB").at_most(16.0).note(format!("of {count} more connections")));
    rows.push(Row::new("client's memory per idle connection in a session", each(0), "KiB"));
    drop(held);
    Ok(())
}

fn sessions(stage: &Stage, crowd: &mut Crowd, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let count = effort.pick(512, 64);
    crowd.hold(count / 8)?;
    let before = settled_kib(stage.gateway())?;
    crowd.hold(count)?;
    let each = (settled_kib(stage.gateway())? - before) / count as f64;
    let name = "gateway's memory per idle session";
    rows.push(Row::new(name, each, "KiB").at_most(64.0).note(format!("of {count} more sessions")));
    crowd.let_go()
}

fn settled_kib(pid: u32) -> Result<f64> {
    thread::sleep(SETTLED);
    anonymous_kib(pid)
}

fn connect(way: &Way, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|_| {
            let mut stream = way.connect()?;
            trip(&mut stream)?;
            Ok(stream)
        })
        .collect()
}
