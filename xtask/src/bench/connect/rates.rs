//! What one core of a controller takes.

use super::stage::example;
use super::{Effort, Row};
use crate::run::{Result, output};
use serde_json::Value;
use std::process::Command;

/// Authentic knocks, and junk.
pub(super) fn per_core(effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let rate: Value = serde_json::from_str(&output(&mut Command::new(example("knock_rate")))?)?;
    let number = |key: &str| rate[key].as_f64().ok_or_else(|| format!("no {key} in {rate}"));
    let name = "authentic knocks per second and core";
    rows.push(
        Row::new(name, number("per_second")?, "1/s").at_least(5_000.0).note("the controller's machine, no socket"),
    );
    rows.push(Row::new("  the bare curve arithmetic's limit", number("curve_limit_per_second")?, "1/s"));

    let seconds = effort.pick(3, 1).to_string();
    let junk = output(Command::new(example("junk")).args([seconds.as_str(), "--json"]))?;
    for line in junk.lines() {
        let line: Value = serde_json::from_str(line)?;
        let kind = line["kind"].as_str().ok_or_else(|| format!("no kind in {line}"))?;
        let rate = line["refused_per_cpu_second"].as_f64().ok_or_else(|| format!("no rate in {line}"))?;
        let name = format!("junk refused per second and core: {kind}");
        rows.push(Row::new(name, rate, "1/s").at_least(500_000.0).note("user and system time of the endpoint"));
    }
    Ok(())
}
