//! `audit --app APP`: which commands were given to a guarded application, and what became of them.

use crate::cli::AuditArgs;
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::roles;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use vestibule_guard::{AppName, AuditOutcome, AuditQuery, Entry, Stamp, UserName};

/// Prints the commands that were given to `app`, the latest last.
pub(crate) fn commands(arguments: &AuditArgs, app: &AppName, output: &Output) -> Result<ExitCode, Fault> {
    let user = arguments.user.as_deref().map(UserName::new).transpose();
    let user = user.map_err(|error| Fault::usage(error.to_string()))?;
    let limit = usize::try_from(arguments.last).unwrap_or(usize::MAX);
    let query = AuditQuery { user, app: Some(app.clone()), since: arguments.since.map(Stamp), limit };
    let files = super::any(arguments.dir.dir.as_deref(), Role::Gateway)?;
    let found = roles::brief_runtime()?.block_on(files.commands(query));
    let mut entries = found.map_err(|error| roles::store_fault(&error))?;
    entries.reverse();
    if output.is_json() {
        output.json_lines(&entries)?;
    } else {
        let heads = ["time", "user", "address", "page", "command", "outcome", "status", "ms"];
        output.list(&entries, &heads, cells)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(entry: &Entry) -> Vec<String> {
    vec![
        output::moment(entry.at.0),
        entry.user.to_string(),
        entry.address.to_string(),
        entry.serial.map(|serial| serial.to_string()).unwrap_or_default(),
        format!("{} {}", entry.method, entry.path),
        outcome(&entry.outcome),
        entry.status.map(|status| status.to_string()).unwrap_or_default(),
        entry.duration.as_millis().to_string(),
    ]
}

fn outcome(outcome: &AuditOutcome) -> String {
    match outcome {
        AuditOutcome::Done => "done".to_owned(),
        AuditOutcome::Repeated => "repeated".to_owned(),
        AuditOutcome::NotSent => "not sent".to_owned(),
        AuditOutcome::Unknown => "unknown".to_owned(),
        AuditOutcome::Refused(word) => format!("refused: {word}"),
    }
}

/// Reads a moment: so long ago (`2h`, `7d`), or a date with or without a time of day, in UTC (`2026-11-22`, `2026-11-22 08:30`,
/// `2026-11-22T08:30:00Z`). Milliseconds since 1970.
pub(crate) fn parse_since(text: &str) -> Result<u64, String> {
    if let Ok(ago) = crate::config::parse_span(text) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        return Ok(millis(now.saturating_sub(ago)));
    }
    let wrong = || format!("`{text}` is no time: write 2h or 7d (so long ago), or a moment in UTC as 2026-11-22 08:30");
    moment(text).map(|seconds| millis(Duration::from_secs(seconds))).ok_or_else(wrong)
}

/// Seconds since 1970 of a date with or without a time of day.
fn moment(text: &str) -> Option<u64> {
    let text = text.trim_end_matches("UTC").trim_end_matches('Z').trim_end();
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let fine = (1970..=9_999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    fine.then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<Vec<u64>> {
    let digits = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = text.split(between).collect();
    if parts.len() > 3 || !parts.iter().all(digits) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok()).collect()
}

/// Days from 1970-01-01 to a civil date, counted in eras of 400 years that begin on the first of March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_printed() {
        for seconds in [0, 951_782_400, 1_795_316_812, 4_107_542_399, 4_107_542_400] {
            assert_eq!(parse_since(&output::moment(seconds * 1_000)), Ok(seconds * 1_000), "{seconds}");
        }
        assert_eq!(parse_since("2000-02-29"), Ok(951_782_400_000));
        assert_eq!(parse_since("2000-02-29T00:01:02Z"), Ok(951_782_462_000));
        for wrong in ["", "yesterday", "2026", "2026-13-01", "2026-01-01 24:00", "2026-01-01 1", "1-1", "2026-01-00"] {
            assert!(parse_since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_span_is_so_long_ago() {
        let (hour, day) = (parse_since("1h").unwrap(), parse_since("1d").unwrap());
        assert!((hour - day).abs_diff(23 * 3_600_000) < 60_000);
    }
}
