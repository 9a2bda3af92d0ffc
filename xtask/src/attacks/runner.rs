//! Running exactly the tests that the matrix names.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    report::Tally,
    run::{Result, cargo, run as start, run_reading},
    test::with_programs,
    tools,
};

use super::{sources::Place, verdict::Outcomes};

/// The tests by their names in the matrix.
type Found = BTreeMap<String, Place>;

/// Builds the packages of the tests and the programs that scenarios run.
///
/// # Errors
/// Cargo can't be started.
pub(crate) fn build(found: &Found) -> Result<bool> {
    start(&mut cargo(&[&["build", "--all-targets"], words(&packages(found)).as_slice()].concat()))
}

/// Runs them and notes how each ended.
///
/// # Errors
/// The runner can't be started.
pub(crate) fn run(found: &Found, tally: &mut Tally, outcomes: &mut Outcomes) -> Result<bool> {
    let packages = packages(found);
    let take = |line: &str| {
        tally.take(line);
        outcomes.take(line);
    };
    if tools::has_subcommand("nextest") {
        let filter = filter(found);
        let first = ["nextest", "run", "--no-fail-fast", "--status-level=pass", "--color=never", "-E", &filter];
        let command = cargo(&[&first, words(&packages).as_slice()].concat());
        return run_reading(&mut with_programs(command), take);
    }
    let functions: BTreeSet<&str> = found.values().map(|place| place.function.as_str()).collect();
    let functions: Vec<&str> = functions.into_iter().collect();
    // One by one: some measure time.
    let last = ["--", "--test-threads=1", "--color=never"];
    let first = ["test", "--tests", "--no-fail-fast"];
    let command = cargo(&[&first, words(&packages).as_slice(), &last, &functions].concat());
    run_reading(&mut with_programs(command), take)
}

fn packages(found: &Found) -> BTreeSet<String> {
    let programs = ["vestibule", "vestibule-lab"].map(str::to_owned);
    found.values().map(|place| place.package.clone()).chain(programs).collect()
}

fn words(packages: &BTreeSet<String>) -> Vec<&str> {
    packages.iter().flat_map(|package| ["-p", package]).collect()
}

/// An expression of nextest's that is true for these tests alone.
fn filter(found: &Found) -> String {
    let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for place in found.values() {
        of.entry(&place.package).or_default().insert(&place.function);
    }
    let part = |(package, functions): (&str, BTreeSet<&str>)| {
        let functions = functions.into_iter().collect::<Vec<_>>().join("|");
        format!("(package(={package}) & test(/(^|::)({functions})$/))")
    };
    of.into_iter().map(part).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_names_each_test_of_each_package() {
        let place =
            |package: &str, function: &str| Place { package: package.to_owned(), function: function.to_owned() };
        let found = [("x::a", place("p", "a")), ("x::b", place("p", "b")), ("y::c", place("q", "c"))];
        let found: Found = found.map(|(name, place)| (name.to_owned(), place)).into();
        assert_eq!(filter(&found), "(package(=p) & test(/(^|::)(a|b)$/)) + (package(=q) & test(/(^|::)(c)$/))");
        assert_eq!(words(&packages(&found)), ["-p", "p", "-p", "q", "-p", "vestibule", "-p", "vestibule-lab"]);
    }
}
