//! What several looks come to, to be read and to be kept.

use crate::{Sight, Target, Verdict};
use serde::Serialize;
use std::fmt::Write;

/// One look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// When: `before`, `during` or `after` an admission, or `now`.
    pub when: &'static str,
    /// What was looked at.
    #[serde(flatten)]
    pub target: Target,
    /// What was seen.
    #[serde(flatten)]
    pub sight: Sight,
}

/// All looks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub passed: bool,
    /// The looks, in the order in which they were taken.
    pub scans: Vec<Scan>,
}

impl Report {
    /// The looks, and whether they pass: everything was silent, or where `known_machine` nothing but machines answered. A run
    /// without a look does not pass.
    #[must_use]
    pub fn new(scans: Vec<Scan>, known_machine: bool) -> Self {
        let worst = if known_machine { Verdict::Machine } else { Verdict::Silent };
        let passed = !scans.is_empty() && scans.iter().all(|scan| scan.sight.verdict() <= worst);
        Self { passed, scans }
    }

    /// The worst that any look has seen.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.scans.iter().map(|scan| scan.sight.verdict()).max().unwrap_or(Verdict::NotTried)
    }

    /// As Markdown: a heading, and a table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# Seen from outside: {}\n\n", if self.passed { "nothing" } else { "something" });
        text += "| when | address | probes | sent | seen | answers |\n|---|---|---|---:|---|---|\n";
        for (scan, row) in self.scans.iter().flat_map(|scan| scan.sight.rows.iter().map(move |row| (scan, row))) {
            let Target { name, address } = &scan.target;
            let (probes, seen) = (row.probes.words(), row.verdict.words());
            let said = said(row);
            // A name is the caller's; nothing else here can hold a bar.
            let name = name.replace('|', "\\|");
            let _ = writeln!(text, "| {} | {name} {address} | {probes} | {} | {seen} | {said} |", scan.when, row.sent);
        }
        for scan in self.scans.iter().filter(|scan| scan.sight.stands_out) {
            let _ = writeln!(text, "\n{}", scan.warning());
        }
        text
    }
}

impl Scan {
    /// What [`Sight::stands_out`] means.
    #[must_use]
    pub fn warning(&self) -> String {
        let address = self.target.address;
        format!(
            "{}: {address} stands out: the machine refuses ports that nobody uses and says nothing at this one. A firewall that \
             drops what no rule accepts makes all ports alike.",
            self.when
        )
    }
}

/// What came back for a row, in words: the answers, or why it was not tried.
#[must_use]
pub fn said(row: &crate::Row) -> String {
    let answers: Vec<String> = row.answers.iter().map(|(answer, count)| format!("{answer} ({count} times)")).collect();
    if answers.is_empty() { row.missing.clone().unwrap_or_default() } else { answers.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Means, Row};

    fn scan(verdict: Verdict) -> Scan {
        let row = Row {
            probes: Group::Udp,
            verdict,
            sent: 11,
            answers: [("UDP, 5 bytes".to_owned(), 2)].into_iter().filter(|_| verdict == Verdict::Service).collect(),
            missing: None,
        };
        let target = Target { name: "gate|way".to_owned(), address: ([10, 0, 0, 1], 4434).into() };
        Scan {
            when: "now",
            target,
            sight: Sight { means: Means::Raw, stands_out: verdict == Verdict::Machine, rows: vec![row] },
        }
    }

    #[test]
    fn any_answer_fails_unless_the_machine_may_be_known() {
        for (verdict, strict, known) in
            [(Verdict::Silent, true, true), (Verdict::Machine, false, true), (Verdict::Service, false, false)]
        {
            assert_eq!(Report::new(vec![scan(verdict)], false).passed, strict, "{verdict:?}");
            assert_eq!(Report::new(vec![scan(verdict)], true).passed, known, "{verdict:?}");
        }
        assert!(!Report::new(Vec::new(), true).passed);
    }

    #[test]
    fn markdown_is_a_table_that_no_name_breaks() {
        let text = Report::new(vec![scan(Verdict::Service), scan(Verdict::Machine)], false).markdown();
        let expected = "# Seen from outside: something\n\n\
            | when | address | probes | sent | seen | answers |\n|---|---|---|---:|---|---|\n\
            | now | gate\\|way 10.0.0.1:4434 | UDP | 11 | THE PORT ANSWERS | UDP, 5 bytes (2 times) |\n\
            | now | gate\\|way 10.0.0.1:4434 | UDP | 11 | the machine answers |  |\n\n\
            now: 10.0.0.1:4434 stands out: ";
        assert!(text.starts_with(expected), "{text}");
    }
}
