//! What was run and how it ended.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use crate::run::Result;

/// Tests that passed and that failed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, by whatever cause.
    pub(crate) failed: u64,
}

/// How a step ended.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// Not run, for this reason.
    Skipped(String),
}

/// The steps of one run, in their order.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(String, Ending, Duration)>,
    tests: Tally,
}

impl Tally {
    /// Adds what a line of a test runner's output says: cargo-nextest's closing line, or the closing line of one test
    /// program under `cargo test`. Other lines say nothing.
    pub(crate) fn take(&mut self, line: &str) {
        let counts = if line.trim_start().starts_with("Summary [") {
            line.split_once("run:").map(|(_, counts)| counts)
        } else {
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map(|(_, counts)| counts)
        };
        for part in without_parentheses(counts.unwrap_or_default()).split([',', ';']) {
            let mut words = part.split_whitespace();
            let Some(Ok(count)) = words.next().map(str::parse::<u64>) else { continue };
            match words.collect::<Vec<_>>().as_slice() {
                ["passed"] => self.passed += count,
                ["failed"] | ["timed", "out"] | ["exec", "failed"] => self.failed += count,
                _ => {}
            }
        }
    }
}

impl Report {
    /// Runs a step: true is passed, false and an error are failed. Whether it passed.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<bool>) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let ending = match step() {
            Ok(true) => Ending::Passed,
            Ok(false) => Ending::Failed,
            Err(error) => {
                eprintln!("error: {error}");
                Ending::Failed
            }
        };
        let passed = ending == Ending::Passed;
        self.steps.push((name.to_owned(), ending, start.elapsed()));
        passed
    }

    /// Runs a step that runs tests. A runner that fails without a failed test (it did not compile) is one failure.
    pub(crate) fn tests(&mut self, name: &str, step: impl FnOnce(&mut Tally) -> Result<bool>) {
        let mut tally = Tally::default();
        let passed = self.step(name, || step(&mut tally));
        if !passed && tally.failed == 0 {
            tally.failed = 1;
        }
        self.tests.passed += tally.passed;
        self.tests.failed += tally.failed;
    }

    /// Tells of a step that isn't run.
    pub(crate) fn skip(&mut self, name: &str, why: impl Into<String>) {
        self.steps.push((name.to_owned(), Ending::Skipped(why.into()), Duration::ZERO));
    }

    /// Whether any test has run.
    pub(crate) fn has_run_tests(&self) -> bool {
        self.tests != Tally::default()
    }

    /// Whether no step failed.
    pub(crate) fn is_green(&self) -> bool {
        self.tests.failed == 0 && self.steps.iter().all(|(_, ending, _)| *ending != Ending::Failed)
    }

    /// A line for each step, and as the last line the number of tests. A failed check that is no test counts as one
    /// failure there: a red run never ends with `0 failed`.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("\n");
        for (name, ending, took) in &self.steps {
            let ending = match ending {
                Ending::Passed => "passed",
                Ending::Failed => "FAILED",
                Ending::Skipped(why) => why,
            };
            let _ = writeln!(text, "{name:24} {:8.1} s  {ending}", took.as_secs_f64());
        }
        let failed_steps = self.steps.iter().filter(|(_, ending, _)| *ending == Ending::Failed).count() as u64;
        let failed = if self.tests.failed == 0 { failed_steps } else { self.tests.failed };
        let _ = writeln!(text, "\n{} passed, {failed} failed", self.tests.passed);
        text
    }
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    let outside = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    };
    text.chars()
        .filter({
            let mut outside = outside;
            move |c| outside(*c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> (u64, u64) {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take(line));
        (tally.passed, tally.failed)
    }

    #[test]
    fn reads_the_closing_line_of_nextest() {
        assert_eq!(tally(&["     Summary [   1.234s] 55 tests run: 55 passed, 0 skipped"]), (55, 0));
        let line = "     Summary [ 100.2s] 10 tests run: 6 passed (1 slow, 2 leaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped";
        assert_eq!(tally(&[line]), (6, 4));
        assert_eq!(tally(&["  Summary [ 0.1s] 1/3 tests run: 0 passed, 1 failed, 0 skipped"]), (0, 1));
    }

    #[test]
    fn adds_the_closing_lines_of_cargo_test() {
        let ok = "test result: ok. 20 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s";
        let red = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.4s";
        assert_eq!(tally(&["running 20 tests", ok, red, "5 passed, 5 failed"]), (23, 1));
    }

    #[test]
    fn a_red_run_never_ends_with_0_failed() {
        let mut report = Report::default();
        report.tests("tests", |tally| {
            tally.passed = 7;
            Ok(true)
        });
        assert!(report.is_green() && report.has_run_tests());
        assert!(report.summary().ends_with("\n7 passed, 0 failed\n"));
        report.skip("docs", "skipped: not asked for");
        assert!(report.is_green());
        report.step("format", || Ok(false));
        assert!(!report.is_green());
        assert!(report.summary().ends_with("\n7 passed, 1 failed\n"));
        report.tests("what does not compile", |_| Err("no".into()));
        assert!(report.summary().ends_with("\n7 passed, 1 failed\n"));
    }
}
