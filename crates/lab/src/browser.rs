//! A Chromium of the test's own, driven through WebDriver.

use fantoccini::ClientBuilder;
pub use fantoccini::{Client, Locator, key::Key};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{
    future::Future,
    ops::Deref,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdout,
    sync::Mutex,
};

use crate::Group;

/// Browsers are heavy: one at a time.
static ONE: Mutex<()> = Mutex::const_new(());

/// How long a page may take to come to what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,800",
];

/// A browser while its scenario lasts. What WebDriver itself offers is [`Client`]'s.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    driver: String,
}

impl Deref for Browser {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Runs a scenario in a fresh browser, and puts that away whatever comes of it.
///
/// # Panics
/// Chromium or its driver can't be started: tests that need them fail where they are missing.
pub async fn in_browser<F: Future<Output = ()>>(scenario: impl FnOnce(Browser) -> F) {
    in_browser_like(&[], None, scenario).await;
}

/// The same with more arguments, and as on a screen of this width in CSS pixels.
///
/// # Panics
/// As [`in_browser`].
pub async fn in_browser_like<F: Future<Output = ()>>(
    more: &[&str],
    width: Option<u32>,
    scenario: impl FnOnce(Browser) -> F,
) {
    let _one = ONE.lock().await;
    let profile = TempDir::new().expect("a folder for the browser");
    let (_driver, port) = start().await;
    let mut arguments: Vec<String> = ARGUMENTS.iter().chain(more).map(ToString::to_string).collect();
    arguments.push(format!("--user-data-dir={}", profile.path().display()));
    let mut options = json!({ "args": arguments });
    if let Some(width) = width {
        options["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": width, "height": 800, "pixelRatio": 1.0, "touch": false } });
    }
    let wanted = json!({
        "goog:chromeOptions": options,
        "goog:loggingPrefs": { "browser": "ALL" },
        "unhandledPromptBehavior": "accept",
    });
    let Value::Object(capabilities) = wanted else { unreachable!() };
    let driver = format!("http://127.0.0.1:{port}");
    let mut builder = ClientBuilder::new(HttpConnector::new());
    let client = builder.capabilities(capabilities).connect(&driver).await.expect("chromedriver starts a Chromium");
    scenario(Browser { client: client.clone(), driver }).await;
    client.close().await.expect("the browser ends");
}

/// A chromedriver on a port that it chose; it ends with the value, and takes its browser along.
async fn start() -> (Group, u16) {
    let mut command = Group::command("chromedriver");
    let mut driver =
        Group::start(command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null())).expect("a shell");
    let output = driver.leader().stdout.take().and_then(|output| ChildStdout::from_std(output).ok());
    let mut lines = BufReader::new(output.expect("it is piped")).lines();
    while let Some(line) = lines.next_line().await.expect("chromedriver's output") {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse().expect("a port");
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver does not start: these tests need Debian's chromium and chromium-driver");
}

/// Runs a script in the page; what it returns, or what its promise comes to.
///
/// # Panics
/// The script threw, or the page went away under it.
pub async fn run(client: &Client, script: &str) -> Value {
    try_run(client, script).await.unwrap_or_else(|error| panic!("{error} in {script}"))
}

async fn try_run(client: &Client, script: &str) -> Result<Value, String> {
    let script = format!(
        "const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (error) => done('error: ' + error));"
    );
    let value = client.execute_async(&script, Vec::new()).await.map_err(|error| error.to_string())?;
    match value.as_str().filter(|text| text.starts_with("error: ")) {
        Some(error) => Err(error.to_owned()),
        None => Ok(value),
    }
}

impl Browser {
    /// Runs a script in the page; what it returns, or what its promise comes to.
    ///
    /// # Panics
    /// As [`run`].
    pub async fn run(&self, script: &str) -> Value {
        run(&self.client, script).await
    }

    /// Asks the page until the expression is true; it may go from page to page meanwhile.
    ///
    /// # Panics
    /// It did not become true within half a minute. The text holds the page's.
    pub async fn until(&self, expression: &str) {
        let (start, script) = (Instant::now(), format!("return Boolean({expression})"));
        loop {
            let said = try_run(&self.client, &script).await;
            if said == Ok(Value::Bool(true)) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let page =
                    "return location.href + '\\n' + (document.body ? document.body.innerText.slice(0, 3000) : '')";
                let page = try_run(&self.client, page).await;
                panic!("waited in vain for {expression} ({said:?}) at {page:?}; console: {:?}", self.errors().await);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for an element and clicks on it, as a person would.
    ///
    /// # Panics
    /// There is none within half a minute, or it can't be clicked on.
    pub async fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({css:?})")).await;
        let start = Instant::now();
        loop {
            let clicked = match self.client.find(Locator::Css(css)).await {
                Ok(element) => element.click().await,
                Err(error) => Err(error),
            };
            match clicked {
                Ok(()) => return,
                Err(error) if start.elapsed() > PATIENCE => panic!("{css} can't be clicked on: {error}"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Waits for a field and types into it, in place of what it held.
    ///
    /// # Panics
    /// There is none within half a minute, or it can't be typed into.
    pub async fn fill(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({css:?})")).await;
        let field = self.client.find(Locator::Css(css)).await.expect("it was there a moment ago");
        field.clear().await.unwrap_or_else(|error| panic!("{css}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Types into whatever takes keys, after what is there.
    ///
    /// # Panics
    /// There is no such element within half a minute, or it takes none.
    pub async fn type_into(&self, css: &str, keys: &str) {
        self.until(&format!("document.querySelector({css:?})")).await;
        let element = self.client.find(Locator::Css(css)).await.expect("it was there a moment ago");
        element.send_keys(keys).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Chooses a file in a field that takes one.
    ///
    /// # Panics
    /// There is no such field within half a minute.
    pub async fn choose(&self, css: &str, file: &std::path::Path) {
        self.until(&format!("document.querySelector({css:?})")).await;
        let field = self.client.find(Locator::Css(css)).await.expect("it was there a moment ago");
        field.send_keys(&file.display().to_string()).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Opens a tab and goes on in it.
    ///
    /// # Panics
    /// The browser refuses.
    pub async fn new_tab(&self) {
        let tab = self.client.new_window(true).await.expect("a tab");
        self.client.switch_to_window(tab.handle).await.expect("the tab is there");
    }

    /// Goes on in the tab that was opened as the `number`th, from 0.
    ///
    /// # Panics
    /// There is none.
    pub async fn tab(&self, number: usize) {
        let mut tabs = self.client.windows().await.expect("tabs");
        self.client.switch_to_window(tabs.swap_remove(number)).await.expect("the tab is there");
    }

    /// The errors that the console has got since this was last asked.
    ///
    /// # Panics
    /// The driver does not say.
    pub async fn errors(&self) -> Vec<String> {
        let said = self.ask("se/log", &json!({ "type": "browser" })).await;
        let entries = said["value"].as_array().unwrap_or_else(|| panic!("no log: {said}"));
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.filter_map(|entry| Some(entry["message"].as_str()?.to_owned())).collect()
    }
    /// Has files that are downloaded kept in this folder, under the names that they come with.
    ///
    /// # Panics
    /// The browser refuses.
    pub async fn downloads_into(&self, folder: &std::path::Path) {
        let params = json!({ "behavior": "allow", "downloadPath": folder });
        let command = json!({ "cmd": "Browser.setDownloadBehavior", "params": params });
        self.ask("chromium/send_command", &command).await;
    }

    /// What the driver alone can do, beyond what WebDriver's client offers.
    async fn ask(&self, what: &str, body: &Value) -> Value {
        let session = self.client.session_id().await.ok().flatten().expect("a session");
        let request = Request::post(format!("{}/session/{session}/{what}", self.driver))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let client = HttpClient::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await.expect("chromedriver answers");
        let text = answer.into_body().collect().await.expect("chromedriver answers").to_bytes();
        let said: Value = serde_json::from_slice(&text).expect("JSON");
        assert!(said["value"].get("error").is_none(), "{what}: {said}");
        said
    }
}
