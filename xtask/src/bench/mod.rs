//! `cargo xtask bench NAME`: measurements, each with its goal where it has one.

mod connect;
mod cpu;
mod floor;
mod peer;
mod row;
mod samples;

pub(crate) use row::Row;

use crate::run::Result;

/// A measurement: its name, what it measures, and the function that does.
type Bench = (&'static str, &'static str, fn() -> Result<Vec<Row>>);

const BENCHES: &[Bench] = &[
    ("floor", "what the machine itself does, beside which everything else is read", floor::floor),
    ("connect", "knock, login, junk, tunnel and memory, beside `ssh -L`", connect::connect),
];

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which measurement; without it they are listed.
    name: Option<String>,
    /// Print rows `{name, value, unit, goal, met, note}` as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Measures and prints. A goal that isn't met is told, and is no failure: the machine may be a slow one.
///
/// # Errors
/// There is no such measurement, or it can't be done.
pub(crate) fn bench(args: &Args) -> Result<bool> {
    let Some(name) = &args.name else {
        for (name, measures, _) in BENCHES {
            println!("{name:12} {measures}");
        }
        return Ok(true);
    };
    let found = BENCHES.iter().find(|(known, ..)| known == name);
    let (_, _, measure) = found.ok_or_else(|| format!("no measurement {name:?}; `cargo xtask bench` lists them"))?;
    let rows = measure()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", row::table(&rows));
    }
    Ok(true)
}
