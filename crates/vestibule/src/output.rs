//! The one place that prints: tables and sentences for people, JSON for scripts, colours on terminals only.

use crate::fault::Fault;
use comfy_table::{Table, presets};
use owo_colors::OwoColorize;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};

/// What stands in a table where there is nothing to say.
const NOTHING: &str = "-";

/// How this run speaks.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Speaks JSON when asked to.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a script listens.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value` as JSON, or else what `sentence` says.
    pub(crate) fn say<T: Serialize>(&self, value: &T, sentence: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.json {
            return self.json(value);
        }
        write_line(&sentence())
    }

    /// Prints a list: a JSON array of `rows`, or a table with `heads` whose cells come from `cells`.
    pub(crate) fn list<T: Serialize>(
        &self,
        rows: &[T],
        heads: &[&str],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Fault> {
        if self.json {
            return self.json(&rows);
        }
        if rows.is_empty() {
            note("(none)");
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(heads.iter().map(|head| head.to_uppercase()));
        for row in rows {
            table.add_row(cells(row).into_iter().map(or_nothing));
        }
        // Columns stand two spaces apart, and the first one at the margin.
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().try_for_each(|line| write_line(line.trim_end()))
    }

    /// Prints one thing: a JSON object, or lines of name and value.
    pub(crate) fn show<T: Serialize>(&self, value: &T, lines: &[(&str, String)]) -> Result<(), Fault> {
        if self.json {
            return self.json(value);
        }
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        lines.iter().try_for_each(|(name, value)| {
            write_line(&format!("{:width$}  {}", name.dimmed(), or_nothing(value.clone())))
        })
    }

    /// Prints rows as JSON lines: one object a line, for programs that read them as they come.
    pub(crate) fn json_lines<T: Serialize>(&self, rows: &[T]) -> Result<(), Fault> {
        rows.iter().try_for_each(|row| {
            let text = serde_json::to_string(row)
                .map_err(|error| Fault::unexpected(format!("the answer can't be written as JSON: {error}")))?;
            write_line(&text)
        })
    }

    fn json<T: Serialize>(&self, value: &T) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Fault::unexpected(format!("the answer can't be written as JSON: {error}")))?;
        write_line(&text)
    }
}

fn or_nothing(cell: String) -> String {
    if cell.is_empty() { NOTHING.to_owned() } else { cell }
}

/// Writes a line to stdout, with colours only where it is a terminal.
fn write_line(text: &str) -> Result<(), Fault> {
    written(writeln!(anstream::stdout(), "{text}"))
}

/// Whether stdout took it. A reader that has seen enough (`| head`) is no failure.
fn written(result: io::Result<()>) -> Result<(), Fault> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::files(format!("stdout can't be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints raw bytes to stdout.
pub(crate) fn write_stdout(bytes: &[u8]) -> Result<(), Fault> {
    written(io::stdout().write_all(bytes))
}

/// A line for the person at the terminal that is not the command's result: to stderr. Where that can't be written there is nobody to
/// tell, and the exit code says the rest.
pub(crate) fn note(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints a line of a story to stdout. A story goes on when nobody listens any more.
pub(crate) fn line(text: &str) {
    let _ = write_line(text);
}

/// Prints a fault to stderr.
pub(crate) fn error_lines(fault: &Fault) {
    note(&format!("{} {}", "error:".red().bold(), fault.headline.bold()));
    if let Some(detail) = &fault.detail {
        for line in detail.lines() {
            note(&format!("  {line}"));
        }
    }
    if let Some(next) = &fault.next {
        note(&format!("  {} {next}", "→".cyan()));
    }
}

/// A length of time for people, from seconds: `3d 4h`, `12m 5s`.
pub(crate) fn span(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, letter) in parts {
        if rest >= unit || (unit == 1 && words.is_empty()) {
            words.push(format!("{}{letter}", rest / unit));
            rest %= unit;
        }
    }
    words.truncate(2);
    words.join(" ")
}

/// A moment for people, from milliseconds since the Unix epoch: `2026-11-22 03:06:52 UTC` (RFC 3339's order, in UTC).
pub(crate) fn moment(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970-01-01, counted in eras of 400 years that begin on the first of March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_parts_at_most() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_600, "1h"), (90_061, "1d 1h")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn moments_are_dates_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_316_812, "2026-11-22 03:06:52 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(seconds * 1_000), text, "{seconds}");
        }
    }
}
