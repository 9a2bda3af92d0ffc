//! From the knock to the first byte, in a client that is running.

use super::super::cpu::cpu_time;
use super::super::samples::Samples;
use super::crowd::Crowd;
use super::stage::Stage;
use super::{Effort, Row};
use crate::run::Result;
use serde_json::Value;
use std::time::Duration;

/// A dial that took so long waited for an Initial to be sent again: QUIC's first time-out is 450 ms (three times the round trip
/// that `dark` assumes).
const INITIAL_AGAIN_US: f64 = 200_000.0;
/// A knock that took so long was sent again: the first pause is 250 ms.
const KNOCK_AGAIN_US: f64 = 250_000.0;

/// The samples of one span.
pub(super) fn spans(connects: &[Value], key: &str) -> Samples {
    let micros = connects.iter().filter_map(|connect| connect[key].as_f64());
    Samples::new(micros.map(|micros| Duration::from_secs_f64(micros / 1e6)).collect())
}

/// How many failed, and why the first did.
pub(super) fn failures(connects: &[Value]) -> (usize, Option<&str>) {
    let mut failed = connects.iter().filter_map(|connect| connect["failed"].as_str()).peekable();
    let first = failed.peek().copied();
    (failed.count(), first)
}

/// A thousand connects; the median from knock to ready, in microseconds.
pub(super) fn connects(stage: &Stage, crowd: &mut Crowd, effort: Effort, rows: &mut Vec<Row>) -> Result<f64> {
    let count = effort.pick(1_000, 100);
    crowd.connect(count / 10)?;
    let before = [cpu_time(stage.controller())?, cpu_time(stage.gateway())?];
    let connects = crowd.connect(count)?;
    let after = [cpu_time(stage.controller())?, cpu_time(stage.gateway())?];

    let knock = spans(&connects, "knock_us");
    rows.push(Row::new("knock to ready, running client, p50", knock.micros(50.0) / 1e3, "ms").at_most(1.5));
    rows.push(Row::new("knock to ready, running client, p99", knock.micros(99.0) / 1e3, "ms"));
    for (key, name) in [
        ("dial_us", "  then QUIC and TLS"),
        ("login_us", "  then login, its Argon2id apart"),
        ("first_byte_us", "  then a service's first byte"),
    ] {
        let spans = spans(&connects, key);
        rows.push(Row::new(format!("{name}, p50"), spans.micros(50.0) / 1e3, "ms"));
        rows.push(Row::new(format!("{name}, p99"), spans.micros(99.0) / 1e3, "ms"));
    }
    for ((role, before), after) in ["controller", "gateway"].into_iter().zip(before).zip(after) {
        let each = (after - before).as_secs_f64() * 1e6 / count as f64;
        rows.push(Row::new(format!("processor time of the {role} per connect"), each, "us").note("to the sign-off"));
    }
    told(&connects, rows);
    Ok(knock.micros(50.0))
}

fn told(connects: &[Value], rows: &mut Vec<Row>) {
    let count = connects.len();
    let (failed, why) = failures(connects);
    let row = Row::new(format!("failed of {count} connects"), failed as f64, "").at_most(0.0);
    rows.push(match why {
        Some(why) => row.note(why),
        None => row,
    });
    let over = |key: &str, limit: f64| connects.iter().filter(|it| it[key].as_f64() >= Some(limit)).count();
    let waited = over("dial_us", INITIAL_AGAIN_US) + over("knock_us", KNOCK_AGAIN_US);
    let longest = spans(connects, "dial_us").micros(100.0) / 1e3;
    rows.push(
        Row::new(format!("waited for a retransmission, of {count} connects"), waited as f64, "")
            .at_most(0.0)
            .note(format!("an Initial is sent again after 450 ms; longest dial: {longest:.1} ms")),
    );
}
