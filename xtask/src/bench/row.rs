//! One measured number, and how it is printed.

use std::fmt::Write;

use serde::Serialize;

/// A number with its unit, and its goal where it has one; or why it wasn't measured.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Row {
    name: String,
    value: Option<f64>,
    unit: &'static str,
    /// In words: `<= 1.5`.
    goal: Option<String>,
    met: Option<bool>,
    note: Option<String>,
}

impl Row {
    /// A number without a goal.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value: Some(value), unit, goal: None, met: None, note: None }
    }

    /// A number that could not be measured here, and why: `skipped: fwknop not installed`.
    pub(crate) fn skipped(name: impl Into<String>, unit: &'static str, why: &str) -> Self {
        Self { name: name.into(), value: None, unit, goal: None, met: None, note: Some(format!("skipped: {why}")) }
    }

    /// Its goal: at most this. Nothing is met by a number that is missing.
    pub(crate) fn at_most(self, goal: f64) -> Self {
        let met = self.value.map(|value| value <= goal);
        Self { goal: Some(format!("<= {}", number(goal))), met, ..self }
    }

    /// Its goal: at least this.
    pub(crate) fn at_least(self, goal: f64) -> Self {
        let met = self.value.map(|value| value >= goal);
        Self { goal: Some(format!(">= {}", number(goal))), met, ..self }
    }

    /// A word beside it.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// The rows under each other.
pub(crate) fn table(rows: &[Row]) -> String {
    let widest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:widest$}  {:>12}  {:10}  {:>12}  {:4}\n", "name", "value", "unit", "goal", "met");
    for row in rows {
        let value = row.value.map_or_else(|| "-".to_owned(), number);
        let met = row.met.map_or("", |met| if met { "yes" } else { "NO" });
        let (goal, note) = (row.goal.as_deref().unwrap_or_default(), row.note.as_deref().unwrap_or_default());
        let line = format!("{:widest$}  {value:>12}  {:10}  {goal:>12}  {met:4}  {note}", row.name, row.unit);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Four digits that say something.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 3 - value.abs().log10().floor().clamp(-6.0, 3.0) as i32 };
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        for (value, text) in
            [(0.0, "0"), (1.5, "1.5"), (123_456.7, "123457"), (0.012_345, "0.01235"), (20.0, "20"), (1000.0, "1000")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn goals_are_met_or_not_and_never_by_a_missing_number() {
        assert_eq!(Row::new("a", 1.5, "ms").at_most(1.5).met, Some(true));
        assert_eq!(Row::new("a", 1.6, "ms").at_most(1.5).met, Some(false));
        assert_eq!(Row::new("a", 4999.0, "1/s").at_least(5000.0).met, Some(false));
        assert_eq!(Row::skipped("a", "ms", "no peer").at_most(1.0).met, None);
    }

    #[test]
    fn a_row_is_printed_for_people_and_for_programs() {
        let rows = [
            Row::new("knock to ready, p50", 0.9, "ms").at_most(1.5),
            Row::skipped("fwknop", "ms", "fwknop not installed"),
        ];
        let table = table(&rows);
        assert!(table.contains("knock to ready, p50           0.9  ms"), "{table}");
        assert!(table.contains("<= 1.5  yes") && table.contains("skipped: fwknop not installed"), "{table}");
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["met"], true);
        assert_eq!(json[1]["value"], serde_json::Value::Null);
    }
}
