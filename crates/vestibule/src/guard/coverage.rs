//! `guard coverage APP`: what observe mode is for.

use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::{self, Output};
use crate::roles;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use vestibule_guard::AppName;
use vestibule_guard::coverage::{Line, Report};

/// The report, as printed.
#[derive(Serialize)]
struct CoverageView {
    app: AppName,
    requests: u64,
    token: u64,
    session: u64,
    entry: u64,
    refused: u64,
    lines: Vec<LineView>,
}

/// Requests of one kind.
#[derive(Serialize)]
struct LineView {
    had: &'static str,
    kind: &'static str,
    method: String,
    path: String,
    page: Option<String>,
    element: Option<String>,
    requests: u64,
    rule: Option<String>,
}

/// Prints the report.
pub(super) fn run(app: &AppName, dir: Option<&Path>, output: &Output) -> Result<ExitCode, Fault> {
    let files = super::any(dir, Role::Guard)?;
    let report = files.coverage(app).map_err(|error| roles::store_fault(&error))?;
    if report.total() == 0 {
        let counted = files.counted().map_err(|error| roles::store_fault(&error))?;
        return Err(nothing_of(app, &counted));
    }
    let view = CoverageView::of(app, &report);
    if output.is_json() {
        output.say(&view, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let share = |count: u64| format!("{count} of {} ({})", view.requests, percent(count, view.requests));
    output.show(
        &view,
        &[
            ("bore a page's token", share(view.token)),
            ("needed only the session", share(view.session)),
            ("would prove themselves at the entry", share(view.entry)),
            ("were or would be refused", share(view.refused)),
        ],
    )?;
    output::line("");
    let heads = ["requests", "had", "kind", "request", "from page", "element", "rule that settles it"];
    output.list(&view.lines, &heads, cells)?;
    Ok(ExitCode::SUCCESS)
}

impl CoverageView {
    fn of(app: &AppName, report: &Report) -> Self {
        let Report { token, session, entry, refused, .. } = *report;
        let lines = report.lines.iter().map(LineView::of).collect();
        Self { app: app.clone(), requests: report.total(), token, session, entry, refused, lines }
    }
}

impl LineView {
    fn of(line: &Line) -> Self {
        Self {
            had: line.showing.word(),
            kind: line.kind.word(),
            method: line.method.clone(),
            path: line.shape.to_string(),
            page: line.page.as_ref().map(ToString::to_string),
            element: line.element.clone(),
            requests: line.count,
            rule: line.rule.clone(),
        }
    }
}

fn cells(line: &LineView) -> Vec<String> {
    vec![
        line.requests.to_string(),
        line.had.to_owned(),
        line.kind.to_owned(),
        format!("{} {}", line.method, line.path),
        line.page.clone().unwrap_or_default(),
        line.element.clone().unwrap_or_default(),
        line.rule.clone().unwrap_or_default(),
    ]
}

fn nothing_of(app: &AppName, counted: &[AppName]) -> Fault {
    let fault = Fault::new(fault::NO_SUCH, format!("nothing has been counted of `{app}`"));
    if counted.is_empty() {
        return fault.next("use the application for a while; what was counted is written down every few seconds");
    }
    let names: Vec<_> = counted.iter().map(AppName::as_str).collect();
    fault.next(format!("counted were: {}", names.join(", ")))
}

/// With one digit, rounded down: 100 % is all.
fn percent(count: u64, of: u64) -> String {
    let tenths = u128::from(count) * 1_000 / u128::from(of.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn shares_are_rounded_down() {
        for (count, of, text) in [(0, 0, "0.0 %"), (1, 3, "33.3 %"), (999_999, 1_000_000, "99.9 %"), (7, 7, "100.0 %")]
        {
            assert_eq!(percent(count, of), text);
        }
    }
}
