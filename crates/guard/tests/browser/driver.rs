//! A Chromium of the test's own, driven through WebDriver.

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::future::Future;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// Browsers are heavy: one at a time.
static ONE: Mutex<()> = Mutex::const_new(());

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

/// Runs a scenario in a fresh browser, and puts that away whatever comes of it.
pub(crate) async fn in_browser<F: Future<Output = ()>>(scenario: impl FnOnce(Client) -> F) {
    in_browser_like(&[], None, scenario).await;
}

/// The same with more arguments, and as on a screen of this width in CSS pixels.
pub(crate) async fn in_browser_like<F: Future<Output = ()>>(
    more: &[&str],
    width: Option<u32>,
    scenario: impl FnOnce(Client) -> F,
) {
    let _one = ONE.lock().await;
    let profile = TempDir::new().unwrap();
    let (_driver, port) = start().await;
    let mut arguments: Vec<String> = ARGUMENTS.iter().chain(more).map(ToString::to_string).collect();
    arguments.push(format!("--user-data-dir={}", profile.path().display()));
    let mut options = json!({ "args": arguments });
    if let Some(width) = width {
        options["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": width, "height": 800, "pixelRatio": 1.0, "touch": false } });
    }
    let Value::Object(capabilities) = json!({ "goog:chromeOptions": options }) else { unreachable!() };
    let mut builder = ClientBuilder::new(HttpConnector::new());
    let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
    scenario(client.clone()).await;
    client.close().await.unwrap();
}

/// A chromedriver on a port that it chose; it ends with the value, and takes its browser along.
async fn start() -> (Child, u16) {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut driver = command.spawn().expect("these tests need Debian's chromium and chromium-driver");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse().unwrap();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver named no port");
}

/// Runs a script in the page; what it returns, or what its promise comes to.
pub(crate) async fn run(client: &Client, script: &str) -> Value {
    let script = format!(
        "const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (error) => done('error: ' + error));"
    );
    let value = client.execute_async(&script, Vec::new()).await.unwrap();
    assert!(!value.as_str().is_some_and(|text| text.starts_with("error: ")), "{value} in {script}");
    value
}
