//! The ways to an application on which its scenario is tried: what goes without the guard goes with it.

use crate::app::{App, PASSWORD};
use crate::front::{By, Front};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use vestibule_guard::ModeConfig;
use vestibule_lab::browser::{Browser, in_browser};

/// How long a download may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A person before a browser, on their way to an application.
pub(crate) struct Desk {
    pub(crate) browser: Browser,
    /// The application's origin, as the browser knows it.
    pub(crate) origin: String,
    /// Whether the guard stands between.
    pub(crate) guarded: bool,
    /// A folder for files that are sent and received.
    pub(crate) files: PathBuf,
    by: Option<By>,
    /// What the console said of the application up to now.
    errors: Mutex<BTreeSet<String>>,
    by_chance: Mutex<&'static [&'static str]>,
}

/// Tries a scenario without the guard, then with it, through a tunnel, in the mode. The console gets no error with it that it
/// doesn't get without it, and after signing off nothing is answered any more.
pub(crate) async fn tried(name: &str, mode: ModeConfig, by: By, scenario: impl AsyncFn(&Desk)) {
    let without = {
        let app = App::start(name);
        visited(&app.origin(), None, &scenario).await
    };
    let app = App::start(name);
    let front = Front::start(name, &app.origin(), mode, by).await;
    let with = visited(&front.origin, Some(by), &scenario).await;
    let new: Vec<_> = with.difference(&without).collect();
    assert!(new.is_empty(), "{name}, {mode:?}: the guard brings errors to the console: {new:#?}");
    front.guard.stop().await;
}

/// Goes through the scenario in a fresh browser; the errors of its console.
async fn visited(origin: &str, by: Option<By>, scenario: &impl AsyncFn(&Desk)) -> BTreeSet<String> {
    let files = tempfile::TempDir::new().unwrap();
    let mut errors = BTreeSet::new();
    in_browser(async |browser| {
        let (origin, files) = (origin.to_owned(), files.path().to_owned());
        let desk = Desk {
            browser,
            origin,
            guarded: by.is_some(),
            by,
            files,
            errors: Mutex::default(),
            by_chance: Mutex::default(),
        };
        desk.browser.downloads_into(&desk.kept_files()).await;
        scenario(&desk).await;
        desk.listen().await;
        errors = std::mem::take(&mut *desk.errors.lock().unwrap());
        if by.is_some() {
            desk.sign_off().await;
        }
    })
    .await;
    errors
}

/// A message without what differs between two visits: the origin, names made by chance, numbers, and a page's token in an address.
fn plain(error: &str, origin: &str) -> String {
    let host = origin.trim_start_matches("http://");
    let mut text: String = error.replace(host, "HOST");
    while let Some((before, rest)) = text.split_once(".vestibule=") {
        let before = before.strip_suffix(['?', '&']).unwrap_or(before);
        text = format!(
            "{before}{}",
            rest.trim_start_matches(|letter: char| letter.is_alphanumeric() || "-_.".contains(letter))
        );
    }
    text = without_ids(&text).replace(|letter: char| letter.is_ascii_digit(), "#");
    while text.contains("##") {
        text = text.replace("##", "#");
    }
    text
}

fn without_ids(text: &str) -> String {
    let belongs = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    let short = |piece: &str| {
        let id = piece.trim_end_matches(|letter| !belongs(letter));
        if id.len() >= 32 { piece.replacen(id, "ID", 1) } else { piece.to_owned() }
    };
    text.split_inclusive(|letter| !belongs(letter)).map(short).collect()
}

impl Desk {
    /// Opens a path of the application, as by typing its address: without a tunnel, the guard may want to know who does.
    pub(crate) async fn open(&self, path: &str) {
        self.listen().await;
        self.browser.goto(&format!("{}{path}", self.origin)).await.unwrap();
        if self.by == Some(By::Password) {
            self.browser.until("document.readyState === 'complete' && !document.querySelector('p#entry')").await;
            self.sign_in_where_asked().await;
        }
    }

    /// Back, by way of the guard's own page at the entry where that stands between.
    pub(crate) async fn back(&self) {
        self.browser.back().await.unwrap();
        if self.by == Some(By::Password) {
            self.browser.until("document.readyState === 'complete' && !document.querySelector('p#entry')").await;
        }
    }

    async fn sign_in_where_asked(&self) {
        if self.browser.run("return Boolean(document.querySelector('form#login'))").await == true {
            self.browser.fill("input[name=user]", "alice").await;
            self.browser.fill("input[type=password]", PASSWORD).await;
            self.browser.click("form#login button").await;
            self.browser.until("!document.querySelector('form#login')").await;
            // What the console said of the guard's own page is not the application's.
            self.browser.errors().await;
        }
    }

    /// After impatient clicks: where the guard says that it has been done, the console says that this page is no success.
    pub(crate) async fn told_or_done(&self) {
        if self.browser.run("return /already processed/i.test(document.body.innerText)").await == true {
            self.browser.errors().await;
        }
    }

    /// Errors with one of these in them come by chance, with the guard and without: they say nothing of it.
    pub(crate) fn by_chance(&self, parts: &'static [&'static str]) {
        *self.by_chance.lock().unwrap() = parts;
    }

    /// Keeps what the console has said.
    async fn listen(&self) {
        let said = self.browser.errors().await;
        let by_chance = *self.by_chance.lock().unwrap();
        let counting = said.iter().filter(|error| !by_chance.iter().any(|part| error.contains(part)));
        self.errors.lock().unwrap().extend(counting.map(|error| plain(error, &self.origin)));
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.files.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What the browser has kept of a download, when it is whole: the file of which the name ends like this.
    pub(crate) async fn kept(&self, ending: &str) -> Vec<u8> {
        let start = Instant::now();
        loop {
            let files = std::fs::read_dir(self.kept_files()).into_iter().flatten();
            let mut paths = files.map(|file| file.unwrap().path());
            if let Some(path) = paths.find(|path| path.to_string_lossy().ends_with(ending)) {
                return std::fs::read(path).unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "no download {ending}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn kept_files(&self) -> PathBuf {
        self.files.join("kept")
    }

    /// Signs off in another tab: the page there says so, and what an open page sends is refused.
    async fn sign_off(&self) {
        let browser = &self.browser;
        browser.new_tab().await;
        self.open("/.vestibule/").await;
        browser.click("form[action$='sign-off'] button").await;
        browser.until("/signed off/i.test(document.body.innerText)").await;
        browser.tab(0).await;
        browser.until("(await fetch(location.href)).status === 401").await;
        let refused = browser.run("return (await fetch(location.href, { method: 'POST' })).status").await;
        assert_eq!(refused, 401);
        browser.until("/You are signed off/.test(document.querySelector('[role=alert]').innerText)").await;
    }
}
