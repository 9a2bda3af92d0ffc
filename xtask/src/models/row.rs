//! What became of one scenario of one model, and how it is printed.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// One scenario.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Row {
    model: String,
    tool: String,
    variant: String,
    expected: String,
    got: String,
    seconds: f64,
    /// How many states were visited, where the tool counts them.
    states: Option<u64>,
}

impl Row {
    pub(super) fn new(model: &str, tool: &str, variant: &str, expected: &str) -> Self {
        let [model, tool, variant, expected] = [model, tool, variant, expected].map(str::to_owned);
        Self { model, tool, variant, expected, got: "not run".to_owned(), seconds: 0.0, states: None }
    }

    /// What came out, in so much time.
    pub(super) fn got(self, got: impl Into<String>, took: Duration) -> Self {
        Self { got: got.into(), seconds: (took.as_secs_f64() * 100.0).round() / 100.0, ..self }
    }

    pub(super) fn states(self, states: Option<u64>) -> Self {
        Self { states, ..self }
    }

    /// Whether it came out as it must. What was not run did not.
    pub(super) fn is_right(&self) -> bool {
        self.got == self.expected
    }
}

/// The rows under each other; the last line says how many were wrong.
pub(super) fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (model, tool) = (width(|row| &row.model), width(|row| &row.tool));
    let (variant, expected) = (width(|row| &row.variant), width(|row| &row.expected).max(8));
    let mut text = format!(
        "{:model$}  {:tool$}  {:variant$}  {:expected$}  {:>7}  {:>9}  got\n",
        "model", "tool", "variant", "expected", "seconds", "states"
    );
    for row in rows {
        let states = row.states.map_or_else(|| "-".to_owned(), |states| states.to_string());
        let wrong = if row.is_right() { "" } else { "  WRONG" };
        let _ = writeln!(
            text,
            "{:model$}  {:tool$}  {:variant$}  {:expected$}  {:7.2}  {states:>9}  {}{wrong}",
            row.model, row.tool, row.variant, row.expected, row.seconds, row.got
        );
    }
    let wrong = rows.iter().filter(|row| !row.is_right()).count();
    let _ = writeln!(text, "{} as expected, {wrong} not", rows.len() - wrong);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_or_came_out_otherwise_is_wrong() {
        let row = Row::new("once.pml", "SPIN", "ORDER=2", "fails");
        assert!(!row.is_right());
        let held = row.clone().got("holds", Duration::from_millis(1_234)).states(Some(443));
        let failed = row.clone().got("fails", Duration::ZERO);
        assert!(!held.is_right() && failed.is_right());
        let table = table(&[row, held, failed]);
        assert!(table.contains("not run  WRONG") && table.contains("   1.23        443  holds  WRONG"), "{table}");
        assert!(table.ends_with("1 as expected, 2 not\n"), "{table}");
    }
}
