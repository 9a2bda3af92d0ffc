//! The report for one application.

use std::cmp::Reverse;

use super::{Cell, Key, Showing};
use crate::classify::{Kind, Refusal};
use crate::path::PathShape;

/// What was counted of one application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Requests that bore a token.
    pub token: u64,
    /// Requests that needed the session only.
    pub session: u64,
    /// Requests that an interstitial page would have stood before.
    pub entry: u64,
    /// Requests that were refused, or would have been.
    pub refused: u64,
    /// Each kind, method and shape of path: what was refused first, then by count.
    pub lines: Vec<Line>,
}

/// Requests of one kind, method and shape of path, with the same to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What they had to show.
    pub showing: Showing,
    /// Their row of the table.
    pub kind: Kind,
    /// Their method; `(other)` for rare ones.
    pub method: String,
    /// The shape of their paths.
    pub shape: PathShape,
    /// The page that the last of them came from, where known.
    pub page: Option<PathShape>,
    /// What on that page it came from, where known.
    pub element: Option<String>,
    /// How many.
    pub count: u64,
    /// The line of the application's settings that would let them pass, where one line can.
    pub rule: Option<String>,
}

impl Report {
    pub(super) fn of(mut lines: Vec<Line>) -> Self {
        let sum = |wanted: fn(Showing) -> bool| {
            let these = lines.iter().filter(|line| wanted(line.showing));
            these.fold(0_u64, |sum, line| sum.saturating_add(line.count))
        };
        let (token, session) = (sum(|it| it == Showing::Token), sum(|it| it == Showing::Session));
        let (entry, refused) = (sum(|it| it == Showing::Entry), sum(|it| matches!(it, Showing::Refused(_))));
        lines.sort_by(|a, b| a.order().cmp(&b.order()));
        Self { token, session, entry, refused, lines }
    }

    /// All requests that were counted.
    pub fn total(&self) -> u64 {
        [self.session, self.entry, self.refused].into_iter().fold(self.token, u64::saturating_add)
    }
}

impl Line {
    pub(super) fn of(key: &Key, cell: &Cell) -> Self {
        Self {
            showing: key.showing,
            kind: key.kind,
            method: key.method.to_string(),
            shape: key.shape.clone(),
            page: cell.page.clone(),
            element: cell.element.clone(),
            count: cell.count,
            rule: rule(key),
        }
    }

    fn order(&self) -> impl Ord + '_ {
        (Reverse(self.showing), Reverse(self.count), self.kind, &self.method, &self.shape)
    }
}

/// Only what is right without a page can be let in by a rule; a script that reads in strict mode, a page that has expired or
/// a token of somebody else's is not.
fn rule(key: &Key) -> Option<String> {
    let settles = match (key.showing, key.kind) {
        (Showing::Entry, Kind::Navigation) => true,
        (Showing::Refused(Refusal::CrossSite), kind) => kind != Kind::WebSocket,
        (Showing::Refused(Refusal::NoPage), kind) => !matches!(kind, Kind::ScriptRead | Kind::Prefetch | Kind::Part),
        (Showing::Token | Showing::Session | Showing::Entry | Showing::Refused(_), _) => false,
    };
    let method = if key.method == "HEAD" { "GET" } else { &*key.method };
    let writable = settles && key.shape.is_pattern() && !method.starts_with('(');
    let text = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let path = text(key.shape.as_str());
    writable.then(|| format!("entry = [\"{method} {path}\"]"))
}
