//! A page's token in itself, and the script's size.

use crate::bench::Row;
use crate::bench::connect::example;
use crate::bench::peer::Peer;
use crate::run::{Result, output, root};
use serde_json::Value;
use std::process::Command;

const GZIP: Peer = Peer::new("gzip", "gzip");
/// The most bytes of the script as it travels.
const LARGEST: f64 = 6.0 * 1024.0;

/// Sealing and opening, with each form of grants.
pub(super) fn token(rows: &mut Vec<Row>) -> Result<()> {
    let told: Value = serde_json::from_str(&output(Command::new(example("token_cost")).arg("--json"))?)?;
    for grants in ["everything", "two rules", "a named set"] {
        let both = told[grants].as_f64().ok_or_else(|| format!("no {grants} in {told}"))?;
        rows.push(Row::new(format!("token, seal and open, grants: {grants}"), both, "us").at_most(2.0));
    }
    Ok(())
}

/// The script as a compressing server would send it.
pub(super) fn script(rows: &mut Vec<Row>) -> Result<()> {
    let name = "script, compressed";
    let gzip = match GZIP.path_or_skip(name, "B") {
        Ok(path) => path,
        Err(row) => {
            rows.push(row);
            return Ok(());
        }
    };
    let file = root().join("crates/guard/src/script/guard.js");
    let packed = Command::new(gzip).args(["-9", "-c"]).arg(file).output()?;
    if !packed.status.success() {
        return Err("the script can't be read".into());
    }
    rows.push(Row::new(name, packed.stdout.len() as f64, "B").at_most(LARGEST).note("gzip -9"));
    Ok(())
}
