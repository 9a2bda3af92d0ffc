//! Strangers' floods against each kind of door, while clients knock and work.

use super::super::memory::anonymous_kib;
use super::super::samples::Samples;
use super::crowd::Crowd;
use super::flood::{self, Flood};
use super::knocks::{failures, spans};
use super::stage::{Stage, build};
use super::starts::Starter;
use super::tunnel::{Way, trip, up};
use super::{Effort, Row};
use crate::run::{Result, output};
use std::env;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Clients that stay in meanwhile.
const HELD: usize = 10;
/// Set inside of the network that the measurement has for itself.
const INSIDE: &str = "VESTIBULE_BENCH_NETWORK";

/// Does what this program was called for in a network namespace of its own, unless it is in one already: kernel doors change
/// nothing of the machine then. `true` if that was all.
pub(in crate::bench) fn in_own_network() -> Result<bool> {
    if is_in_own_network() {
        Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        return Ok(false);
    }
    build()?;
    let user: &[&str] = if output(Command::new("id").arg("-u"))?.trim() == "0" { &[] } else { &["-U", "-r"] };
    let mut inside = Command::new("unshare");
    inside.args(user).args(["-n", "--"]).arg(env::current_exe()?).args(env::args_os().skip(1)).env(INSIDE, "1");
    if inside.status()?.success() { Ok(true) } else { Err("the measurement inside its own network failed".into()) }
}

/// Whether this process has been started again there.
pub(super) fn is_in_own_network() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Both floods against each door that works here, over a veth.
pub(super) fn against_each_door(
    stage: &mut Stage,
    crowd: &mut Crowd,
    starter: &Starter,
    effort: Effort,
    rows: &mut Vec<Row>,
) -> Result<()> {
    for door in ["socket", "nftables", "xdp"] {
        if let Err(why) = stage.change_gateway(door) {
            rows.push(Row::skipped(format!("{door}: floods"), "ms", &why.to_string()));
            continue;
        }
        crowd.hold(HELD)?;
        against(door, stage, crowd, starter, effort, rows)?;
        crowd.let_go()?;
    }
    Ok(())
}

fn against(
    door: &str,
    stage: &Stage,
    crowd: &mut Crowd,
    starter: &Starter,
    effort: Effort,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let at = stage.gateway_at;
    let mut work = Work { crowd, way: up(stage, starter)?, effort };
    work.round(&format!("{door}, no flood"), rows)?;

    let before = anonymous_kib(stage.gateway())?;
    let flood = Flood::start(at, None);
    work.round(&format!("{door}, junk"), rows)?;
    rows.push(Row::new("  the junk", flood.stop()?, "1/s").note("as fast as one sender goes, for the gateway's port"));
    let count = effort.pick(10_000_000, 500_000) as u64;
    flood::send(at, count, None, &AtomicBool::new(false))?;
    let grown = (anonymous_kib(stage.gateway())? - before).max(0.0);
    let note = format!("by {} million more, and by the connects", count as f64 / 1e6);
    rows.push(Row::new("  growth of the gateway's memory", grown, "KiB").note(note));

    let flood = Flood::of_syns(at);
    work.round(&format!("{door}, SYNs"), rows)?;
    rows.push(Row::new("  the SYNs", flood.stop()?, "1/s"));
    Ok(())
}

/// What people do meanwhile.
struct Work<'a> {
    crowd: &'a mut Crowd,
    way: Way,
    effort: Effort,
}

impl Work<'_> {
    /// Connects of the crowd, and round trips through a session that stands.
    fn round(&mut self, when: &str, rows: &mut Vec<Row>) -> Result<()> {
        let connects = self.crowd.connect(self.effort.pick(128, 32))?;
        let (failed, why) = failures(&connects);
        let row = Row::new(format!("{when}: failed of {} connects", connects.len()), failed as f64, "").at_most(0.0);
        rows.push(match why {
            Some(why) => row.note(why),
            None => row,
        });
        let knock = spans(&connects, "knock_us");
        rows.push(Row::new("  knock to ready, p50", knock.micros(50.0) / 1e3, "ms"));
        rows.push(Row::new("  knock to ready, p99", knock.micros(99.0) / 1e3, "ms"));
        let mut stream = self.way.connect()?;
        let trips: Result<Vec<Duration>> = (0..self.effort.pick(2_000, 200)).map(|_| trip(&mut stream)).collect();
        let trips = Samples::new(trips?);
        rows.push(Row::new("  64 bytes there and back, p50", trips.micros(50.0), "us"));
        rows.push(Row::new("  64 bytes there and back, p99", trips.micros(99.0), "us"));
        Ok(())
    }
}
