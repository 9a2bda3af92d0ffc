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

/// Builds tests and programs, all of them as `cargo xtask test` does: the same features, and nothing compiled twice.
///
/// # Errors
/// Cargo can't be started.
pub(crate) fn build() -> Result<bool> {
    start(&mut cargo(&["build", "--workspace", "--all-targets"]))
}

/// Runs them and notes how each ended.
///
/// # Errors
/// The runner can't be started.
pub(crate) fn run(found: &Found, tally: &mut Tally, outcomes: &mut Outcomes) -> Result<bool> {
    let take = |line: &str| {
        tally.take(line);
        outcomes.take(line);
    };
    let words = ["--workspace", "--no-fail-fast"];
    if tools::has_subcommand("nextest") {
        let filter = filter(found);
        let those = ["--status-level=pass", "--color=never", "-E", &filter];
        return run_reading(&mut with_programs(cargo(&[&["nextest", "run"], &words[..], &those].concat())), take);
    }
    let functions: BTreeSet<&str> = found.values().map(|place| place.function.as_str()).collect();
    let functions: Vec<&str> = functions.into_iter().collect();
    // One by one: some measure time.
    let those = ["--tests", "--", "--test-threads=1", "--color=never"];
    run_reading(&mut with_programs(cargo(&[&["test"], &words[..], &those, &functions].concat())), take)
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
    }
}
