//! `cargo xtask bench NAME`: measurements, each with its goal where it has one.

mod connect;
mod cpu;
mod door;
mod floor;
mod guard;
mod memory;
mod peer;
mod row;
mod samples;

pub(crate) use row::Row;

use crate::run::Result;

/// A measurement: its name, what it measures, and the function that does.
type Bench = (&'static str, &'static str, fn(Effort, Option<&str>) -> Result<Vec<Row>>);

const BENCHES: &[Bench] = &[
    ("floor", "what the machine itself does, beside which everything else is read", |effort, _| floor::floor(effort)),
    ("connect", "knock, login, junk, tunnel and memory, beside fwknop and `ssh -L`", connect::connect),
    (
        "door",
        "admissions and dropped packets of the doors in the kernel, beside bare sockets, rules, maps and programs",
        door::door,
    ),
    ("guard", "guarded pages, claims, streams and memory, beside nginx and the disk", guard::guard),
];

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which measurement; without it they are listed.
    name: Option<String>,
    /// Print rows `{name, value, unit, goal, met, note}` as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure less often: a minute instead of several. Tells whether something is far off, no more.
    #[arg(long)]
    quick: bool,
    /// Only this part of it, where it has several.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

/// How often things are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// Often enough for a number that stands.
    Full,
    /// Just once or twice.
    Quick,
}

impl Effort {
    /// The one number or the other.
    pub(crate) fn pick(self, full: usize, quick: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
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
    if name == "connect" && matches!(args.only.as_deref(), Some("floods" | "transport")) && connect::in_own_network()? {
        return Ok(true);
    }
    if name == connect::FWKNOP_INSIDE {
        return connect::fwknop_inside().map(|()| true);
    }
    let found = BENCHES.iter().find(|(known, ..)| known == name);
    let (_, _, measure) = found.ok_or_else(|| format!("no measurement {name:?}; `cargo xtask bench` lists them"))?;
    let rows = measure(if args.quick { Effort::Quick } else { Effort::Full }, args.only.as_deref())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", row::table(&rows));
    }
    Ok(true)
}
