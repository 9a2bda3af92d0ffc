//! How much of an application's traffic bears tokens, and which rule would settle the rest: what observe mode is for.
//!
//! Counted per kind, outcome, method and shape of path; never a query, a body, or who it was. In memory, saved once in a while.

mod report;
mod saved;

pub use report::{Line, Report};
pub(crate) use saved::SCHEMA;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vestibule_store::{Store, StoreError};

use crate::classify::{Kind, Outcome, Refusal, TokenState, Verdict};
use crate::names::AppName;
use crate::path::PathShape;

/// The most cells that are kept of one application; what comes later is counted together.
pub const CELLS_MOST: usize = 1_000;

/// The counts of all applications. Shared: every method takes `&self`.
#[derive(Debug, Default)]
pub struct Coverage {
    counts: Mutex<Counts>,
}

/// One request, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The application.
    pub app: &'a AppName,
    /// What was said of it.
    pub verdict: Verdict,
    /// What became of its token.
    pub token: TokenState,
    /// Its method.
    pub method: &'a str,
    /// The shape of its path.
    pub shape: &'a PathShape,
    /// The shape of the page that it came from, by its `Referer`, where known.
    pub page: Option<&'a PathShape>,
    /// What on that page it came from, where known: the action of its token (`f0`, the first form).
    pub element: Option<&'a str>,
}

/// What a request had to show for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Showing {
    /// A token that opens.
    Token,
    /// A session only, and that was enough.
    Session,
    /// A session only; an interstitial page would have stood before it.
    Entry,
    /// It was, or would have been, refused.
    Refused(Refusal),
}

#[derive(Debug, Default)]
struct Counts {
    cells: HashMap<AppName, HashMap<Key, Cell>>,
    /// Those whose `unsaved` is set.
    unsaved: Vec<(AppName, Key)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    kind: Kind,
    showing: Showing,
    method: Cow<'static, str>,
    shape: PathShape,
}

/// Where it was last seen stands for where it comes from.
#[derive(Clone, Default, Debug)]
struct Cell {
    count: u64,
    page: Option<PathShape>,
    element: Option<String>,
    unsaved: bool,
}

impl Coverage {
    /// Goes on from what was saved.
    ///
    /// # Errors
    /// [`StoreError`]: it can't be read.
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        let cells = saved::load(store)?;
        Ok(Self { counts: Mutex::new(Counts { cells, unsaved: Vec::new() }) })
    }

    /// Counts a request. Who has yet to sign in is not counted, and a body that is yet to be looked at neither: it comes again.
    pub fn record(&self, sighting: &Sighting<'_>) {
        if let Some(showing) = Showing::of(sighting) {
            self.counts().add(sighting, showing);
        }
    }

    /// Saves what was counted since the last time; what can't be saved is tried again then.
    ///
    /// # Errors
    /// [`StoreError`]: it can't be written.
    pub async fn save(&self, store: &Store) -> Result<(), StoreError> {
        let (rows, unsaved) = self.counts().take_unsaved();
        if rows.is_empty() {
            return Ok(());
        }
        let outcome = saved::save(store, rows).await;
        if outcome.is_err() {
            self.counts().put_back(unsaved);
        }
        outcome
    }

    /// What was counted of an application.
    pub fn report(&self, app: &AppName) -> Report {
        let counts = self.counts();
        let cells = counts.cells.get(app).into_iter().flatten();
        Report::of(cells.map(|(key, cell)| Line::of(key, cell)).collect())
    }

    /// The applications of which anything was counted, by name.
    pub fn apps(&self) -> Vec<AppName> {
        let mut apps: Vec<_> = self.counts().cells.keys().cloned().collect();
        apps.sort();
        apps
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, sighting: &Sighting<'_>, showing: Showing) {
        if !self.cells.contains_key(sighting.app) {
            self.cells.insert(sighting.app.clone(), HashMap::new());
        }
        let Some(cells) = self.cells.get_mut(sighting.app) else { return };
        let mut key =
            Key { kind: sighting.verdict.kind, showing, method: known(sighting.method), shape: sighting.shape.clone() };
        // Most requests are of a kind that has been counted since the last saving: nothing is made for them.
        if let Some(cell) = cells.get_mut(&key).filter(|cell| cell.unsaved) {
            return cell.count(sighting);
        }
        if cells.len() >= CELLS_MOST && !cells.contains_key(&key) {
            key.shape = PathShape::of_the_rest();
        }
        let cell = cells.entry(key.clone()).or_default();
        cell.count(sighting);
        if !std::mem::replace(&mut cell.unsaved, true) {
            self.unsaved.push((sighting.app.clone(), key));
        }
    }

    fn take_unsaved(&mut self) -> (Vec<saved::Row>, Vec<(AppName, Key)>) {
        let unsaved = std::mem::take(&mut self.unsaved);
        let rows = unsaved.iter().filter_map(|(app, key)| {
            let cell = self.cells.get_mut(app)?.get_mut(key)?;
            cell.unsaved = false;
            Some((app.clone(), key.clone(), cell.clone()))
        });
        (rows.collect(), unsaved)
    }

    /// What could not be saved; some of it may have been counted again meanwhile.
    fn put_back(&mut self, unsaved: Vec<(AppName, Key)>) {
        for (app, key) in unsaved {
            let cell = self.cells.get_mut(&app).and_then(|cells| cells.get_mut(&key));
            if cell.is_some_and(|cell| !std::mem::replace(&mut cell.unsaved, true)) {
                self.unsaved.push((app, key));
            }
        }
    }
}

impl Cell {
    fn count(&mut self, sighting: &Sighting<'_>) {
        self.count = self.count.saturating_add(1);
        if let Some(page) = sighting.page.filter(|page| self.page.as_ref() != Some(*page)) {
            self.page = Some(page.clone());
        }
        if let Some(element) = sighting.element.filter(|element| self.element.as_deref() != Some(*element)) {
            self.element = Some(element.to_owned());
        }
    }
}

impl Showing {
    fn of(sighting: &Sighting<'_>) -> Option<Self> {
        match sighting.verdict.measured {
            Outcome::Admit { .. } if sighting.token == TokenState::Good => Some(Self::Token),
            Outcome::Admit { .. } if sighting.token == TokenState::Entered => Some(Self::Entry),
            Outcome::Admit { .. } => Some(Self::Session),
            Outcome::ProveEntry { .. } => Some(Self::Entry),
            Outcome::Refuse(Refusal::SignedOff) | Outcome::SignIn | Outcome::LookInBody => None,
            Outcome::Refuse(why) => Some(Self::Refused(why)),
        }
    }

    /// Its word in the store and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Entry => "entry",
            Self::Refused(why) => why.word(),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "token" => Some(Self::Token),
            "session" => Some(Self::Session),
            "entry" => Some(Self::Entry),
            _ => Refusal::from_word(word).map(Self::Refused),
        }
    }
}

/// Clients may invent methods; only those of RFC 9110 and 5789 are counted apart.
fn known(method: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("(other)").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Needs, TokenNeed};
    use crate::path::NormalPath;

    fn shape(path: &str) -> PathShape {
        PathShape::of(&NormalPath::from_request(path).unwrap())
    }

    fn verdict(kind: Kind, measured: Outcome) -> Verdict {
        let needs = Needs { token: TokenNeed::Free, origin: false, claim: false, part: false };
        Verdict { kind, needs, outcome: measured, measured }
    }

    fn see(coverage: &Coverage, kind: Kind, measured: Outcome, token: TokenState, method: &str, path: &str) {
        let (app, page) = (AppName::new("orders").unwrap(), shape("/cart"));
        let (verdict, shape) = (verdict(kind, measured), shape(path));
        let sighting =
            Sighting { app: &app, verdict, token, method, shape: &shape, page: Some(&page), element: Some("f0") };
        coverage.record(&sighting);
    }

    const ADMIT: Outcome = Outcome::Admit { command: false, unseen: false };

    fn example() -> Coverage {
        let coverage = Coverage::default();
        for order in 0..6 {
            see(&coverage, Kind::FormPost, ADMIT, TokenState::Good, "POST", &format!("/orders/{order}"));
        }
        let refused = Outcome::Refuse(Refusal::NoPage);
        for _ in 0..3 {
            see(&coverage, Kind::Beacon, refused, TokenState::None, "POST", "/collect");
        }
        see(&coverage, Kind::Part, ADMIT, TokenState::None, "GET", "/logo.png");
        see(&coverage, Kind::Navigation, Outcome::SignIn, TokenState::None, "GET", "/");
        see(&coverage, Kind::FormPost, Outcome::LookInBody, TokenState::InBody, "POST", "/orders/1");
        coverage
    }

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    #[test]
    fn shares_and_the_rule_that_settles() {
        let report = example().report(&app("orders"));
        assert_eq!((report.token, report.session, report.entry, report.refused), (6, 1, 0, 3));
        let first = &report.lines[0];
        assert_eq!((first.count, first.page.as_ref().map(PathShape::as_str)), (3, Some("/cart")));
        assert_eq!(first.rule.as_deref(), Some("entry = [\"POST /collect\"]"));
        assert_eq!(report.lines.len(), 3, "ids are folded");
        assert_eq!(example().report(&app("wiki")).total(), 0);
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::open(&folder.path().join("guard/guard.sqlite")).unwrap();
        let coverage = example();
        runtime.block_on(coverage.save(&store)).unwrap();
        see(&coverage, Kind::Part, ADMIT, TokenState::None, "GET", "/logo.png");
        runtime.block_on(coverage.save(&store)).unwrap();
        assert_eq!(Coverage::open(&store).unwrap().report(&app("orders")), coverage.report(&app("orders")));
        assert_eq!(coverage.report(&app("orders")).session, 2);
    }

    #[test]
    fn it_stays_bounded_and_still_counts() {
        let coverage = Coverage::default();
        let refused = Outcome::Refuse(Refusal::CrossSite);
        for path in 0..3_000_u32 {
            // Digits would be folded.
            let name: String = path.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            see(&coverage, Kind::CrossSite, refused, TokenState::None, "BREW", &format!("/{name}"));
        }
        let report = coverage.report(&app("orders"));
        assert_eq!((report.refused, report.lines.len()), (3_000, CELLS_MOST + 1));
    }
}
