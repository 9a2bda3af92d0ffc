//! The ways to an application on which its scenario is tried: what goes without the guard goes with it.

use crate::app::{App, PASSWORD};
use crate::front::{By, Front};
use std::collections::BTreeSet;
use std::path::PathBuf;
use vestibule_guard::ModeConfig;
use vestibule_lab::browser::{Browser, in_browser};

/// A person before a browser, on their way to an application.
pub(crate) struct Desk {
    pub(crate) browser: Browser,
    /// The application's origin, as the browser knows it.
    pub(crate) origin: String,
    /// Whether the guard stands between.
    pub(crate) guarded: bool,
    /// A folder for files that are sent and received.
    pub(crate) files: PathBuf,
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
        let desk = Desk { browser, origin: origin.to_owned(), guarded: by.is_some(), files: files.path().to_owned() };
        if by == Some(By::Password) {
            desk.sign_in().await;
        }
        // What the log-in page of the guard said is not the application's.
        desk.browser.errors().await;
        scenario(&desk).await;
        errors = desk.browser.errors().await.iter().map(|error| plain(error, origin)).collect();
        if by.is_some() {
            desk.sign_off().await;
        }
    })
    .await;
    errors
}

/// A message without what differs between two visits: the origin, and numbers in it.
fn plain(error: &str, origin: &str) -> String {
    let host = origin.trim_start_matches("http://");
    let mut text: String = error.replace(host, "HOST").replace(|letter: char| letter.is_ascii_digit(), "#");
    while text.contains("##") {
        text = text.replace("##", "#");
    }
    text
}

impl Desk {
    /// Opens a path of the application.
    pub(crate) async fn open(&self, path: &str) {
        self.browser.goto(&format!("{}{path}", self.origin)).await.unwrap();
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.files.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn sign_in(&self) {
        self.open("/").await;
        self.browser.fill("input[name=user]", "alice").await;
        self.browser.fill("input[type=password]", PASSWORD).await;
        self.browser.click("main button, form button").await;
        self.browser.until("!document.querySelector('input[name=user]')").await;
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
