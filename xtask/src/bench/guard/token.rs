//! A page's token in itself, and the script's size.

use super::client::Client;
use super::stage::Stage;
use crate::bench::Row;
use crate::bench::connect::example;
use crate::bench::peer::Peer;
use crate::run::{Result, output};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

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

/// The script that the guard sends, as a compressing server would send it.
pub(super) fn script(stage: &Stage, rows: &mut Vec<Row>) -> Result<()> {
    let name = "script, compressed";
    let gzip = match GZIP.path_or_skip(name, "B") {
        Ok(path) => path,
        Err(row) => {
            rows.push(row);
            return Ok(());
        }
    };
    let mut client = Client::to(stage.guard_at)?;
    client.send(b"GET /.vestibule/guard.js HTTP/1.1\r\nHost: orders.localhost:8080\r\n\r\n")?;
    let answer = client.answer()?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer, |end| &answer[end + 4..]);
    let mut packing = Command::new(gzip).args(["-9", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Taken, and so closed when it is written; the script is smaller than a pipe.
    packing.stdin.take().ok_or("gzip has no input")?.write_all(body)?;
    let packed = packing.wait_with_output()?;
    rows.push(Row::new(name, packed.stdout.len() as f64, "B").at_most(LARGEST).note("gzip -9"));
    Ok(())
}
