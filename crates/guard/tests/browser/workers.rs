//! Workers of an application, through the whole guard: what they send bears a token of their own.

use crate::house::{self, PASSWORD};
use crate::site::{Seen, answer, read};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use vestibule_guard::{Backend, Guard, GuardConfig, ModeConfig};
use vestibule_lab::browser::{Browser, in_browser, run};

/// Sends with all that it has, as soon as it runs, and says what it was answered.
const WORK: &str = r#"
const send = (method, path) => new Promise((done) => { const one = new XMLHttpRequest(); one.open(method, path);
    one.onloadend = () => done(one.status); one.send(method === "POST" ? "x" : null); });
const work = async () => [
    (await fetch("/read")).status, (await fetch("/write", { method: "POST", body: "a=b" })).status,
    (await fetch(new Request("again", { method: "PUT", body: "c" }))).status,
    self.XMLHttpRequest ? await send("GET", "/read") : 200, self.XMLHttpRequest ? await send("POST", "/write") : 200,
    await new Promise((done) => { const socket = new WebSocket("ws://" + location.host + "/refused"); socket.onclose = () => done(socket.url.endsWith("/refused")); }),
    (function () { return this === undefined; })(),
];
"#;
const DEDICATED: &str = "work().then((said) => postMessage(said), (error) => postMessage(String(error)));";
const SHARED: &str = "let users = 0; onconnect = ({ ports: [port] }) => { users += 1;
    work().then((said) => port.postMessage([...said, users]), (error) => port.postMessage(String(error))); };";

struct House {
    _dir: TempDir,
    guard: Guard,
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn application(seen: Arc<Mutex<Vec<Seen>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let one = read(&mut stream).await?;
                let path = one.target.split('?').next()?.to_owned();
                seen.lock().unwrap().push(one);
                let (kind, body) = match path.as_str() {
                    "/worker.js" => ("text/javascript", format!("{WORK}{DEDICATED}")),
                    "/strict.js" => ("application/javascript", format!("/* x */ 'use strict';{WORK}{DEDICATED}")),
                    "/module.js" => ("text/javascript", format!("import './part.js'; {WORK}{DEDICATED}")),
                    "/part.js" => ("text/javascript", "self.part = 1;".to_owned()),
                    "/outer.js" => {
                        let inner = "new Worker('/worker.js').onmessage = ({ data }) => postMessage(data);";
                        ("text/javascript", inner.to_owned())
                    }
                    "/shared.js" => ("text/javascript", format!("{WORK}{SHARED}")),
                    _ => ("text/html", "<!doctype html><title>x</title><p id=there>x</p>".to_owned()),
                };
                let status = if path == "/refused" { "404 Not Found" } else { "200 OK" };
                stream
                    .write_all(&answer(status, &[("content-type", kind), ("etag", "\"1\"")], body.as_bytes()))
                    .await
                    .ok()
            });
        }
    });
    format!("http://{address}")
}

impl House {
    async fn build(mode: ModeConfig, tunnel: bool) -> Self {
        let (dir, seen) = (TempDir::new().unwrap(), Arc::default());
        let backend = Backend::Http(vec![application(Arc::clone(&seen)).await]);
        let config = GuardConfig { mode, ..GuardConfig::default() };
        let guard = house::guard(&dir, vec![config.meant(house::app("orders"), &backend).unwrap()], &["alice"]).await;
        let origin = format!("http://orders.localhost:{}", house::serve(&guard, tunnel, None).await);
        Self { _dir: dir, guard, origin, seen }
    }

    async fn open(&self, browser: &Browser) {
        browser.goto(&format!("{}/", self.origin)).await.unwrap();
        browser.until("document.readyState === 'complete' && document.querySelector('#there, form#login')").await;
        if run(browser, "return Boolean(document.querySelector('form#login'))").await == true {
            browser.fill("input[name=user]", "alice").await;
            browser.fill("input[type=password]", PASSWORD).await;
            browser.click("form#login button").await;
            browser.until("document.querySelector('#there')").await;
        }
    }

    /// Paths of commands that arrived, with what must never arrive.
    fn commands(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        for one in seen.iter() {
            assert!(!one.target.contains(".vestibule") && !one.headers.contains_key("vestibule-page"), "{one:?}");
            assert!(!one.headers.get("referer").is_some_and(|from| from.contains(".vestibule")), "{one:?}");
        }
        let commands = seen.iter().filter(|one| one.method != "GET");
        commands.map(|one| format!("{} {}", one.method, one.target)).collect()
    }
}

async fn said(browser: &Browser, made: &str) -> Value {
    let script = format!(
        "const worker = {made}; const end = worker.port || worker;
         return await new Promise((done) => {{ end.onmessage = ({{ data }}) => done(data);
             worker.onerror = (event) => done('error ' + event.message); setTimeout(() => done('silence'), 8000); }})"
    );
    run(browser, &script).await
}

/// An expression that makes a worker of a blob with this text, of which the address is gone at once.
fn of_blob(text: &str, made: &str, more: &str) -> String {
    let text = Value::from(text);
    format!(
        "(() => {{ const address = URL.createObjectURL(new Blob([{text}], {{ type: 'text/javascript' }}));
             const one = new {made}(address{more}); URL.revokeObjectURL(address); return one; }})()"
    )
}

/// The work where no address is relative to anything.
fn work_of_blob(then: &str) -> String {
    let work = WORK.replace("\"/", "origin + \"/").replace("\"again\"", "origin + \"/again\"");
    let work = work.replace("location.host", "new URL(origin).host").replace("origin + \"/refused", "\"/refused");
    format!("const origin = self.origin;{work}{then}")
}

async fn tried(mode: ModeConfig, tunnel: bool) {
    let house = House::build(mode, tunnel).await;
    in_browser(async |browser| {
        house.open(&browser).await;
        let done = |strict: bool| json!([200, 200, 200, 200, 200, true, strict]);
        assert_eq!(said(&browser, "new Worker('/worker.js?a=b')").await, done(false), "{mode:?}");
        assert_eq!(said(&browser, "new Worker(new URL('/strict.js', location))").await, done(true), "{mode:?}");
        assert_eq!(said(&browser, "new Worker('/module.js', { type: 'module' })").await, done(true), "{mode:?}");
        assert_eq!(said(&browser, "new Worker('/outer.js')").await, done(false), "{mode:?}");
        let mut expected = 12;
        // Without a page or a device nobody vouches for what all tabs share.
        if mode != ModeConfig::Strict || tunnel {
            let made = "new SharedWorker('/shared.js')";
            assert_eq!(said(&browser, made).await, json!([200, 200, 200, 200, 200, true, false, 1]), "{mode:?}");
            assert_eq!(said(&browser, made).await[7], 2, "the same one");
            expected += 6;
        }
        // What is made of a blob bears the token of the page that made it.
        let (work, sloppy, strict) = (work_of_blob(DEDICATED), done(false), done(true));
        assert_eq!(said(&browser, &of_blob(&work, "Worker", "")).await, sloppy, "{mode:?}");
        assert_eq!(said(&browser, &of_blob(&work, "Worker", ", { type: 'module' }")).await, strict, "{mode:?}");
        let outer = format!("{}.onmessage = ({{ data }}) => postMessage(data);", of_blob(&work, "Worker", ""));
        assert_eq!(said(&browser, &of_blob(&outer, "Worker", "")).await, sloppy, "one in another, {mode:?}");
        let shared = of_blob(&work_of_blob(SHARED), "SharedWorker", "");
        assert_eq!(said(&browser, &shared).await, json!([200, 200, 200, 200, 200, true, false, 1]), "{mode:?}");
        expected += 12;
        let is = run(
            &browser,
            "const one = new Worker('/part.js'); return [one instanceof Worker, one.constructor === Worker]",
        );
        assert_eq!(is.await, json!([true, true]));
        for _ in 0..100 {
            if house.commands().len() >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let commands = house.commands();
        assert_eq!(commands.iter().filter(|one| *one == "PUT /again").count() * 3, commands.len(), "{commands:?}");
    })
    .await;
    house.guard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_workers_send_bears_a_token() {
    tried(ModeConfig::Standard, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_workers_send_bears_a_token_in_strict_mode() {
    tried(ModeConfig::Strict, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_workers_send_bears_a_token_in_strict_mode_by_password() {
    tried(ModeConfig::Strict, false).await;
}
