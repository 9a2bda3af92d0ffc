//! What is claimed: attackers, goals, and the tests T1 to T28.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde::Deserialize;

use crate::run::{Result, root};

const FILE: &str = "tests/attacks.toml";

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    /// The columns.
    #[serde(rename = "goal")]
    pub(crate) goals: Vec<Goal>,
    /// What keeps attackers from their goals, by number (`m1`).
    pub(crate) mechanisms: BTreeMap<String, String>,
    /// The rows.
    #[serde(rename = "attacker")]
    pub(crate) attackers: Vec<Attacker>,
    /// T1 to T28.
    #[serde(rename = "test")]
    pub(crate) tests: Vec<AttackTest>,
}

/// What an attacker wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// A letter.
    pub(crate) key: String,
    /// In words.
    pub(crate) what: String,
}

/// What an attacker holds, and how far that takes him to each goal.
#[derive(Deserialize)]
pub(crate) struct Attacker {
    /// What he holds.
    pub(crate) holds: String,
    /// By the goal's letter.
    #[serde(flatten)]
    pub(crate) cells: BTreeMap<String, Cell>,
}

/// One attacker and one goal. It may be "no" in one way and "yes" in another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    /// He doesn't get there: the tests that show it, as `FILE::test`, or `T1` for all of that number.
    #[serde(default)]
    pub(crate) no: Vec<String>,
    /// The mechanisms that keep him from it.
    #[serde(default)]
    pub(crate) by: String,
    /// He gets there, because …
    pub(crate) yes: Option<String>,
    /// Nobody has tried: why.
    pub(crate) not_tried: Option<String>,
}

/// One of the attack tests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttackTest {
    /// Its number.
    pub(crate) t: u8,
    /// What is tried, and what must come of it.
    pub(crate) what: String,
    /// The tests of the tree that do so, as `FILE::test`.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// What of it isn't tried, and why.
    pub(crate) not_tried: Option<String>,
}

impl Matrix {
    /// Reads it from the tree.
    ///
    /// # Errors
    /// The file can't be read, or isn't as described here.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("{FILE}: {error}").into())
    }

    /// The tests of a number.
    pub(crate) fn of(&self, t: u8) -> &[String] {
        self.tests.iter().find(|test| test.t == t).map_or(&[], |test| &test.tests)
    }

    /// The tests behind the "no" of a cell.
    pub(crate) fn behind(&self, cell: &Cell) -> BTreeSet<String> {
        let of = |entry: &String| match number(entry) {
            Some(t) => self.of(t).to_vec(),
            None => vec![entry.clone()],
        };
        cell.no.iter().flat_map(of).collect()
    }

    /// Every test that is named anywhere.
    pub(crate) fn named(&self) -> BTreeSet<String> {
        let cells = self.attackers.iter().flat_map(|attacker| attacker.cells.values());
        let in_cells = cells.flat_map(|cell| self.behind(cell));
        in_cells.chain(self.tests.iter().flat_map(|test| test.tests.iter().cloned())).collect()
    }

    /// What is missing, or said twice.
    #[cfg(test)]
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let goals: BTreeSet<&String> = self.goals.iter().map(|goal| &goal.key).collect();
        for attacker in &self.attackers {
            if attacker.cells.keys().collect::<BTreeSet<_>>() != goals {
                complaints.push(format!("{}: other goals than there are", attacker.holds));
            }
            for (goal, cell) in &attacker.cells {
                if let Some(wrong) = self.complaint(cell) {
                    complaints.push(format!("{}, {goal}: {wrong}", attacker.holds));
                }
            }
        }
        let silent = self.tests.iter().filter(|test| test.tests.is_empty() && test.not_tried.is_none());
        complaints.extend(silent.map(|test| format!("T{}: neither tests nor a reason", test.t)));
        complaints
    }

    #[cfg(test)]
    fn complaint(&self, cell: &Cell) -> Option<String> {
        if cell.no.is_empty() && cell.yes.is_none() && cell.not_tried.is_none() {
            return Some("nothing is said".to_owned());
        }
        if !cell.no.is_empty() && cell.by.is_empty() {
            return Some("no mechanism is named".to_owned());
        }
        if let Some(empty) = cell.no.iter().find(|entry| number(entry).is_some_and(|t| self.of(t).is_empty())) {
            return Some(format!("{empty} has no test"));
        }
        let unknown = cell.by.split_whitespace().find(|word| !self.mechanisms.contains_key(*word));
        unknown.map(|word| format!("there is no mechanism {word}"))
    }
}

/// The number in `T12`.
pub(crate) fn number(entry: &str) -> Option<u8> {
    entry.strip_prefix('T')?.parse().ok()
}
