//! How soon a long page begins.

use super::client::{Client, get};
use super::site::Target;
use super::stage::Stage;
use crate::bench::samples::Samples;
use crate::bench::{Effort, Row};
use crate::run::Result;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The first byte of a page of 10 MiB, straight from the application and through the guard, in turn.
pub(super) fn first_byte(stage: &Stage, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let (mut straight, mut guarded) = (Vec::new(), Vec::new());
    for _ in 0..effort.pick(100, 20) {
        straight.push(once(stage.site)?);
        guarded.push(once(stage.guard_at)?);
    }
    let [straight, guarded] = [straight, guarded].map(|spans| Samples::new(spans).micros(50.0) / 1e3);
    rows.push(Row::new("first byte of a page of 10 MiB, p50", guarded, "ms"));
    rows.push(Row::new("… added by the guard", guarded - straight, "ms").at_most(1.0));
    Ok(())
}

fn once(at: SocketAddr) -> Result<Duration> {
    let mut client = Client::to(at)?;
    // The connection is there, and the way to the application.
    client.send(&get(Target::Style(10)))?;
    client.answer()?;
    let begun = Instant::now();
    client.send(&get(Target::Streamed))?;
    let mut reading = client.first_of_body()?;
    let span = begun.elapsed();
    while !reading.is_over() {
        client.some(&mut reading)?;
    }
    Ok(span)
}
