//! What came out: each test, each cell, each T.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    matrix::{Cell, Matrix},
    sources::Place,
};

/// How each test ended that a runner told of: by its package (where the runner tells that) and its path.
#[derive(Default)]
pub(crate) struct Outcomes(BTreeMap<(Option<String>, String), bool>);

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The attacker doesn't get there; every test that shows it has passed.
    No,
    /// A test that is to show it has failed, or did not run.
    Broken,
    /// He gets there, and it is said why.
    Yes,
    /// Nobody has tried.
    NotTried,
}

/// A cell of the matrix, or a T.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What the attacker holds; `T1` for the row of an attack test.
    pub(crate) attacker: String,
    /// The goal's letter; nothing for an attack test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<String>,
    /// What became of it.
    pub(crate) result: State,
    /// Why he gets there, or why it isn't tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
    /// The tests behind it.
    pub(crate) tests: Vec<String>,
    /// Those of them that did not pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_passed: Vec<String>,
}

impl Outcomes {
    /// Reads a line of cargo-nextest's or of `cargo test`'s; other lines say nothing. The last word on a test counts.
    pub(crate) fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["test", path, "...", end] if matches!(*end, "ok" | "FAILED") => self.note(None, path, *end == "ok"),
            [first, .., binary, path] if line.starts_with(' ') && line.contains(']') => {
                let package = binary.split("::").next().map(str::to_owned);
                match first.trim_end_matches(':') {
                    "PASS" | "LEAK" | "FLAKY" => self.note(package, path, true),
                    "TRY" => self.note(package, path, words.contains(&"PASS")),
                    "FAIL" | "TIMEOUT" | "ABORT" | "LEAK-FAIL" | "XFAIL" => self.note(package, path, false),
                    signal if signal.starts_with("SIG") => self.note(package, path, false),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, package: Option<String>, path: &str, passed: bool) {
        self.0.insert((package, path.to_owned()), passed);
    }

    /// Whether the test has run and passed, with every other one of the same name in its package.
    fn has_passed(&self, place: &Place) -> bool {
        let is_it = |(package, path): &(Option<String>, String)| {
            package.as_ref().is_none_or(|package| *package == place.package)
                && path.rsplit("::").next() == Some(&place.function)
        };
        let mut ends = self.0.iter().filter(|(test, _)| is_it(test)).map(|(_, passed)| *passed).peekable();
        ends.peek().is_some() && ends.all(|passed| passed)
    }
}

impl Row {
    /// Whether something is claimed that was not shown.
    pub(crate) fn is_broken(&self) -> bool {
        self.result == State::Broken
    }
}

/// A row for each cell, then one for each T.
pub(crate) fn rows(matrix: &Matrix, found: &BTreeMap<String, Place>, outcomes: &Outcomes) -> Vec<Row> {
    let not_passed = |tests: &[String]| -> Vec<String> {
        let passed = |test: &String| found.get(test).is_some_and(|place| outcomes.has_passed(place));
        tests.iter().filter(|test| !passed(test)).cloned().collect()
    };
    let mut rows = Vec::new();
    for attacker in &matrix.attackers {
        for (goal, cell) in &attacker.cells {
            let tests: Vec<String> = matrix.behind(cell).into_iter().collect();
            let not_passed = not_passed(&tests);
            let result = of_cell(cell, not_passed.is_empty());
            let because = cell.yes.clone().or_else(|| cell.not_tried.clone());
            rows.push(Row {
                attacker: attacker.holds.clone(),
                goal: Some(goal.clone()),
                result,
                because,
                tests,
                not_passed,
            });
        }
    }
    rows.extend(matrix.tests.iter().map(|test| {
        let not_passed = not_passed(&test.tests);
        let result = match (test.tests.is_empty(), not_passed.is_empty()) {
            (true, _) => State::NotTried,
            (false, true) => State::No,
            (false, false) => State::Broken,
        };
        let (attacker, because) = (format!("T{}", test.t), test.not_tried.clone());
        Row { attacker, goal: None, result, because, tests: test.tests.clone(), not_passed }
    }));
    rows
}

fn of_cell(cell: &Cell, held: bool) -> State {
    match (cell.no.is_empty(), &cell.yes) {
        (false, _) if !held => State::Broken,
        (false, None) => State::No,
        (_, Some(_)) => State::Yes,
        (true, None) => State::NotTried,
    }
}

/// The matrix for the terminal.
pub(crate) fn table(matrix: &Matrix, rows: &[Row]) -> String {
    let width = matrix.attackers.iter().map(|attacker| attacker.holds.chars().count()).max().unwrap_or_default();
    let mut text = format!("{:width$}", "attacker holds");
    for goal in &matrix.goals {
        let _ = write!(text, "  {:5}", goal.key);
    }
    text.push('\n');
    for attacker in &matrix.attackers {
        let _ = write!(text, "{:width$}", attacker.holds);
        for goal in &matrix.goals {
            let is_it = |row: &&Row| row.attacker == attacker.holds && row.goal.as_ref() == Some(&goal.key);
            let cell = rows.iter().find(is_it).map(sign).unwrap_or_default();
            let _ = write!(text, "  {cell:5}");
        }
        text.push('\n');
    }
    for goal in &matrix.goals {
        let _ = writeln!(text, "{} {}", goal.key, goal.what);
    }
    text + "✓ no, tried · ✗ broken · yes, because … (✓ yes: not in one way, in another) · - not tried; reasons: docs/threat-model.md\n"
}

fn sign(row: &Row) -> &'static str {
    match (row.result, row.tests.is_empty()) {
        (State::No, _) => "✓",
        (State::Broken, _) => "✗",
        (State::Yes, true) => "yes",
        (State::Yes, false) => "✓ yes",
        (State::NotTried, _) => "-",
    }
}

/// The attack tests and what came out.
pub(crate) fn list(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.goal.is_none()) {
        let passed = row.tests.len() - row.not_passed.len();
        let _ = write!(text, "{:4} {:5} {passed} of {} tests passed", row.attacker, sign(row), row.tests.len());
        if let Some(because) = &row.because {
            let _ = write!(text, "; not tried: {because}");
        }
        text.push('\n');
        for test in &row.not_passed {
            let _ = writeln!(text, "       did not pass: {test}");
        }
    }
    let others = rows.iter().filter(|row| row.goal.is_some() && row.is_broken());
    for row in others {
        let goal = row.goal.as_deref().unwrap_or_default();
        let _ = writeln!(text, "broken: {}, {goal}: {}", row.attacker, row.not_passed.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(package: &str, function: &str) -> Place {
        Place { package: package.to_owned(), function: function.to_owned() }
    }

    #[test]
    fn reads_the_lines_of_nextest() {
        let mut outcomes = Outcomes::default();
        for line in [
            "        PASS [   0.015s] ( 1/10) vestibule-proto::machines machines::controller::good",
            "        FAIL [   0.015s] ( 2/10) vestibule-proto bad",
            "  TRY 1 FAIL [   0.015s] ( 3/10) p::q second",
            "  TRY 2 PASS [   0.015s] ( 3/10) p::q second",
            "     SIGABRT [   0.015s] ( 4/10) p::q killed",
            "        SLOW [> 60.000s] ( 5/10) p::q slow",
        ] {
            outcomes.take(line);
        }
        assert!(outcomes.has_passed(&place("vestibule-proto", "good")));
        assert!(outcomes.has_passed(&place("p", "second")));
        for (package, function) in
            [("vestibule-proto", "bad"), ("p", "killed"), ("p", "slow"), ("p", "good"), ("p", "x")]
        {
            assert!(!outcomes.has_passed(&place(package, function)), "{function}");
        }
    }

    #[test]
    fn reads_the_lines_of_cargo_test_and_takes_the_worst_of_namesakes() {
        let mut outcomes = Outcomes::default();
        for line in
            ["test a::good ... ok", "test a::both ... ok", "test b::both ... FAILED", "test a::left ... ignored"]
        {
            outcomes.take(line);
        }
        assert!(outcomes.has_passed(&place("any", "good")));
        assert!(!outcomes.has_passed(&place("any", "both")) && !outcomes.has_passed(&place("any", "left")));
    }

    #[test]
    fn a_cell_is_what_its_tests_say() {
        let matrix: Matrix = toml::from_str(
            r#"
            goal = [{ key = "U", what = "u" }, { key = "O", what = "o" }]
            mechanisms = { m1 = "one" }
            [[attacker]]
            holds = "nothing"
            U = { no = ["T1"], by = "m1" }
            O = { no = ["x::a"], by = "m1", yes = "now and then" }
            [[attacker]]
            holds = "all"
            U = { yes = "all" }
            O = { not_tried = "not built" }
            [[test]]
            t = 1
            what = "it"
            tests = ["x::a", "x::b"]
            "#,
        )
        .unwrap();
        let found = ["a", "b"].map(|function| (format!("x::{function}"), place("p", function))).into();
        let states = |lines: &[&str]| {
            let mut outcomes = Outcomes::default();
            lines.iter().for_each(|line| outcomes.take(line));
            rows(&matrix, &found, &outcomes).iter().map(|row| (row.goal.clone(), row.result)).collect::<Vec<_>>()
        };
        let (u, o) = (Some("U".to_owned()), Some("O".to_owned()));
        let (yes, not_tried) = ((u.clone(), State::Yes), (o.clone(), State::NotTried));
        assert_eq!(
            states(&["test a ... ok", "test b ... ok"]),
            [(o.clone(), State::Yes), (u.clone(), State::No), not_tried.clone(), yes.clone(), (None, State::No)]
        );
        assert_eq!(
            states(&["test a ... ok", "test b ... FAILED"]),
            [
                (o.clone(), State::Yes),
                (u.clone(), State::Broken),
                not_tried.clone(),
                yes.clone(),
                (None, State::Broken)
            ]
        );
        assert_eq!(states(&[])[0], (o, State::Broken), "what did not run shows nothing");
    }
}
