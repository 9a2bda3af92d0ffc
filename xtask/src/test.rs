//! `cargo xtask test`: every check and every test of the tree, with one command.

use std::process::Command;

use crate::{
    apps, attacks, deny, models,
    report::{Report, Tally},
    run::{Result, cargo, run, run_reading, target},
    tools,
};

/// Tests whose names begin with this measure time or fill the machine, and run alone.
const ALONE: &str = "alone_";

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose names contain this, and no other checks.
    filter: Option<String>,
    /// Leave out the scenarios of tests/: no namespaces, no peers.
    #[arg(long)]
    fast: bool,
    /// Also try the page guard on the real applications that take long to install.
    #[arg(long)]
    apps: bool,
    /// Only the tests that the compromise matrix names; prints the matrix with what came out.
    #[arg(long, conflicts_with_all = ["filter", "fast", "apps"])]
    attacks: bool,
    /// Only the models of formal/, those included that other runs leave out.
    #[arg(long, conflicts_with_all = ["filter", "fast", "apps", "attacks"])]
    models: bool,
    /// Print rows as JSON: with --attacks also, with --models instead of the table
    /// (`{model, tool, variant, expected, got, seconds, states}`).
    #[arg(long)]
    json: bool,
    /// Install nothing; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Runs the steps, all of them even when one fails, and prints what became of each. The last line counts the tests.
///
/// # Errors
/// With --attacks or --models, when their list can't be read, and with --json alone. Else never: what can't be run is a failed
/// step.
pub(crate) fn test(args: &Args) -> Result<bool> {
    if args.attacks {
        return attacks::test(args.json, !args.no_install);
    }
    if args.models {
        return models::all(!args.no_install, args.json);
    }
    if args.json {
        return Err("--json goes with --attacks or --models".into());
    }
    let mut report = Report::default();
    report.step("tools", || tools::provide(!args.no_install, args.apps).map(|_| true));
    if args.filter.is_none() {
        report.step("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
        report.step("clippy", || {
            run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))
        });
        report.step("dependencies", deny::deny);
        report.step("models", || models::check(models::Which::Quick, !args.no_install));
    }
    if args.fast {
        report.skip("scenarios", "left out (--fast)");
    }
    if args.no_install {
        report.skip("applications", "not installed (--no-install)");
    } else if args.filter.is_none() || args.apps {
        report.step("applications", || apps::install(args.apps));
    }
    // One build for programs and tests, so that features are the same and nothing is compiled twice.
    if report.step("build", || run(&mut cargo(&[&["build"], packages(args), &["--all-targets"]].concat()))) {
        run_tests(args, &mut report);
    } else {
        report.skip("tests", "not run: there is nothing to run");
    }
    if args.filter.is_none() {
        report.step("docs", || {
            let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
            run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
        });
    }
    print!("{}", report.summary());
    Ok(report.is_green())
}

fn run_tests(args: &Args, report: &mut Report) {
    if tools::has_subcommand("nextest") {
        report.tests("tests", |tally| with_nextest(args, tally));
        if args.filter.is_none() {
            let words = [&["test"], packages(args), &["--doc", "--quiet"]].concat();
            report.tests("examples in docs", |tally| run_reading(&mut cargo(&words), |line| tally.take(line)));
        }
    } else {
        report.tests("tests", |tally| with_cargo_test(args, tally, false));
        report.tests("tests that run alone", |tally| with_cargo_test(args, tally, true));
    }
    if args.apps {
        report.tests("more applications", |tally| apps::test_more(args.filter.as_deref(), tally));
    }
    if let Some(filter) = args.filter.as_deref().filter(|_| !report.has_run_tests()) {
        report.step("filter", || Err(format!("no test has {filter:?} in its name").into()));
    }
}

fn packages(args: &Args) -> &'static [&'static str] {
    if args.fast { &["--workspace", "--exclude", "vestibule-scenarios"] } else { &["--workspace"] }
}

/// cargo-nextest, where it is installed: a process for each test, and a limit for each. Building it in a cold CI
/// would take longer than all tests, so it isn't installed here.
fn with_nextest(args: &Args, tally: &mut Tally) -> Result<bool> {
    let mut words = [&["nextest", "run"], packages(args), &["--no-fail-fast", "--status-level=slow"]].concat();
    if args.filter.is_some() {
        words.push("--no-tests=pass");
    }
    words.extend(args.filter.as_deref());
    run_reading(&mut with_programs(cargo(&words)), |line| tally.take(line))
}

/// `cargo test` in two turns: those that run alone, one by one, after the others.
fn with_cargo_test(args: &Args, tally: &mut Tally, alone: bool) -> Result<bool> {
    let mut words = [&["test"], packages(args), &["--no-fail-fast", "--quiet"]].concat();
    if alone {
        words.push("--tests");
    }
    words.push("--");
    match (alone, args.filter.as_deref()) {
        (false, filter) => words.extend(["--skip", ALONE].into_iter().chain(filter)),
        (true, None) => words.extend(["--test-threads=1", ALONE]),
        // libtest joins two filters by "or"; the one asked for selects well enough.
        (true, Some(filter)) if filter.contains(ALONE) => words.extend(["--test-threads=1", filter]),
        (true, Some(_)) => return Ok(true),
    }
    run_reading(&mut with_programs(cargo(&words)), |line| tally.take(line))
}

/// Tells the lab that the programs have just been built.
pub(crate) fn with_programs(mut command: Command) -> Command {
    command.env("VESTIBULE_LAB_PROGRAMS", target().join("debug"));
    if tools::is_ci() {
        command.env("RUST_BACKTRACE", "1");
    }
    command
}
