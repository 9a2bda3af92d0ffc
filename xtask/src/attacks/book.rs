//! `docs/threat-model.md`.

use std::fmt::Write;

use super::matrix::{AttackTest, Attacker, Cell, Goal, Matrix};

const HEAD: &str = "# Threat model: who gets how far

What an attacker holds, what he wants, and whether he gets it. Every \"no\" names the tests that try it; every \"yes\" says why it can't be otherwise; what nobody has tried says so.

This page is written by `cargo xtask attacks --write` from `tests/attacks.toml`; a test keeps it so, and makes sure that every test named here is in the tree.
`cargo xtask test --attacks` runs exactly these tests and prints the matrix with what came out of them (`--json`: as rows).
What is promised, and what is not, stands in the repository's `SECURITY.md`; how it is done, in [the protocol](protocol.md); what is tried against the page guard, in
[a page of its own](reference/guard-tests.md).
";

const LEGEND: &str = "✓ no, and tried · **yes** because … · ✓ **yes** not in one way, but in another · – not tried. The numbers are those of the attack tests below.";

/// The page.
pub(crate) fn page(matrix: &Matrix) -> String {
    let mut text = String::from(HEAD);
    text += "\n## Goals\n\n";
    for Goal { key, what } in &matrix.goals {
        let _ = writeln!(text, "- **{key}** {what}");
    }
    text += "\n## Matrix\n\n";
    text += &table(matrix);
    let _ = writeln!(text, "\n{LEGEND}");
    text += "\n## Why\n";
    for attacker in &matrix.attackers {
        text += &why(matrix, attacker);
    }
    text += "\n## Mechanisms\n\n";
    let mut mechanisms: Vec<_> = matrix.mechanisms.iter().collect();
    mechanisms.sort_by_key(|(name, _)| name[1..].parse::<u8>().unwrap_or_default());
    for (name, what) in mechanisms {
        let _ = writeln!(text, "- **{name}** {what}");
    }
    text += "\n## Attack tests\n\nA test is named as `FILE::test`.\n";
    matrix.tests.iter().for_each(|test| text += &attack_test(test));
    text
}

fn table(matrix: &Matrix) -> String {
    let mut text = String::from("| attacker holds |");
    matrix.goals.iter().for_each(|goal| text += &format!(" {} |", goal.key));
    text += "\n|---|";
    matrix.goals.iter().for_each(|_| text += "---|");
    text.push('\n');
    for attacker in &matrix.attackers {
        let _ = write!(text, "| {} |", attacker.holds);
        for goal in &matrix.goals {
            let cell = attacker.cells.get(&goal.key).map(sign).unwrap_or_default();
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn sign(cell: &Cell) -> &'static str {
    match (cell.no.is_empty(), &cell.yes) {
        (false, None) => "✓",
        (false, Some(_)) => "✓ **yes**",
        (true, Some(_)) => "**yes**",
        (true, None) => "–",
    }
}

fn why(matrix: &Matrix, attacker: &Attacker) -> String {
    let mut text = format!("\n### {}\n\n", capital(&attacker.holds));
    for goal in &matrix.goals {
        let Some(cell) = attacker.cells.get(&goal.key) else { continue };
        let mut parts = Vec::new();
        if !cell.no.is_empty() {
            parts.push(format!(
                "no ({}): {}",
                cell.by,
                cell.no.iter().map(|test| named(test)).collect::<Vec<_>>().join(", ")
            ));
        }
        parts.extend(cell.yes.iter().map(|yes| format!("yes: {yes}")));
        parts.extend(cell.not_tried.iter().map(|why| format!("not tried: {why}")));
        let _ = writeln!(text, "- **{}** {}.", goal.key, parts.join("; "));
    }
    text
}

/// A number leads to its tests.
fn named(entry: &str) -> String {
    match super::matrix::number(entry) {
        Some(t) => format!("[T{t}](#t{t})"),
        None => format!("`{entry}`"),
    }
}

fn attack_test(test: &AttackTest) -> String {
    let mut text = format!("\n### T{}\n\n{}.\n\n", test.t, capital(&test.what));
    for name in &test.tests {
        let _ = writeln!(text, "- `{name}`");
    }
    if let Some(why) = &test.not_tried {
        let _ = writeln!(text, "- not tried: {why}");
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_begin_with_capitals_and_numbers_are_links() {
        assert_eq!(capital("passive path"), "Passive path");
        assert_eq!(named("T7"), "[T7](#t7)");
        assert_eq!(named("strangers::x"), "`strangers::x`");
    }
}
