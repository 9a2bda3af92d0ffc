//! Tasks of the tree: `cargo xtask test | attacks | deny | fuzz | dist | bench`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks by printing")]

mod apps;
mod attacks;
mod bench;
mod deny;
mod dist;
mod fuzz;
mod models;
mod report;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use clap::Parser;

/// Tasks of the tree.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what is missing, run every check and every test.
    Test(test::Args),
    /// Say whether the book's threat model is what tests/attacks.toml says, or write it.
    Attacks(attacks::Args),
    /// Check licences, bans, duplicates and sources of the dependencies against deny.toml.
    Deny,
    /// Feed the decoders with what a fuzzer finds.
    Fuzz(fuzz::Args),
    /// Build the release: program, man pages, completions, unit files, in target/dist.
    Dist,
    /// Measure; prints a table with the goals.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test(args) => test::test(&args),
        Task::Attacks(args) => attacks::attacks(&args),
        Task::Deny => deny::deny(),
        Task::Fuzz(args) => fuzz::fuzz(&args),
        Task::Dist => dist::dist(),
        Task::Bench(args) => bench::bench(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
