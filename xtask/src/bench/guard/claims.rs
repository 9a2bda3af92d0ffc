//! What a durable claim costs beside the disk it lies on.

use crate::bench::connect::example;
use crate::bench::{Effort, Row};
use crate::run::{self, Result, output};
use serde_json::Value;
use std::process::Command;

/// One at a time beside one bare sync, and 32 that wait.
pub(super) fn beside_the_disk(effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let mut command = Command::new(example("claim_cost"));
    let command = command.arg(run::target()).arg(effort.pick(7, 2).to_string()).arg("--json");
    let told: Value = serde_json::from_str(&output(command)?)?;
    let number = |row: &str, key: &str| told[row][key].as_f64().ok_or_else(|| format!("no {key} of {row} in {told}"));
    let sync = number("bare fdatasync", "us")?;
    let (claim, rate) = (number("claim, 1", "us")?, number("claim, 1", "per_second")?);
    let waiting = number("claim, 32 waiting", "per_second")?;
    rows.push(Row::new("one bare fdatasync, p50", sync, "us").note("an overwritten block of a file that lies ready"));
    rows.push(Row::new("a durable claim, one client, p50", claim, "us"));
    rows.push(Row::new("… of one fdatasync", claim / sync, "x").at_most(1.5));
    rows.push(Row::new("durable claims, one client", rate, "1/s"));
    rows.push(Row::new("durable claims, 32 waiting", waiting, "1/s"));
    rows.push(Row::new("… of one client's rate", waiting / rate, "x").at_least(10.0));
    let sqlite = number("SQLite row, 32 waiting", "per_second")?;
    rows.push(Row::new("rows of an SQLite store, 32 waiting", sqlite, "1/s"));
    Ok(())
}
