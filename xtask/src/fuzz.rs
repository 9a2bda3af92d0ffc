//! `cargo xtask fuzz`: coverage-guided fuzzing of every decoder. The same entry points run as property tests with
//! `cargo xtask test`.

use std::{fs, process::Command};

use crate::run::{Result, root, run, succeeds};

/// What to fuzz.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; without it every one, one after the other.
    target: Option<String>,
    /// How long each may run.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

/// Runs the targets; false where one found something.
///
/// # Errors
/// There is no such target, or no fuzzer is installed.
pub(crate) fn fuzz(args: &Args) -> Result<bool> {
    let all = targets()?;
    let chosen: Vec<&String> = match &args.target {
        Some(name) => all.iter().filter(|target| *target == name).collect(),
        None => all.iter().collect(),
    };
    if chosen.is_empty() {
        return Err(format!("no such target; there are: {}", all.join(", ")).into());
    }
    if !succeeds(Command::new("cargo").args(["+nightly", "fuzz", "--version"])) {
        return Err("fuzzing takes a nightly toolchain and cargo-fuzz:\n  \
                    rustup toolchain install nightly\n  cargo install --locked cargo-fuzz"
            .into());
    }
    let limit = format!("-max_total_time={}", args.seconds);
    let mut clean = true;
    for target in chosen {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target, "--", &limit]).current_dir(root());
        clean &= run(&mut command)?;
    }
    Ok(clean)
}

fn targets() -> Result<Vec<String>> {
    let dir = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
