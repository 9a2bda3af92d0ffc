//! A guard before the application, and browsers before the guard.

use crate::application::Application;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use vestibule_guard::{
    AppName, AppSettings, Backend, Guard, GuardConfig, GuardSettings, Live, Peer, Stamp, Standing, Tunnel,
    TunnelSession, UserName, UsersSettings,
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(15);
pub(crate) const HOST: &str = "orders.localhost:8080";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// A guard in a directory of its own, with one application.
pub(crate) struct World {
    pub(crate) guard: Guard,
    pub(crate) app: Application,
    pub(crate) dir: Arc<TempDir>,
}

/// Where everybody stands who came through a tunnel.
pub(crate) struct Stand(pub(crate) Mutex<Vec<String>>);

impl Standing for Stand {
    fn groups(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn may_open(&self) -> Vec<AppName> {
        vec![orders()]
    }

    fn device_name(&self, device: &str) -> Option<String> {
        (device == "laptop-1").then(|| "Alice's <laptop>".to_owned())
    }
}

/// A browser: at the end of a tunnel, or with the cookie that it has got.
#[derive(Clone)]
pub(crate) struct Browser {
    guard: Guard,
    pub(crate) peer: Peer,
    pub(crate) host: String,
    pub(crate) cookie: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A form on a page of the guard's.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) button: String,
}

pub(crate) fn orders() -> AppName {
    AppName::new("orders").unwrap()
}

pub(crate) fn now() -> Stamp {
    Stamp(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// Settings as an owner writes them.
pub(crate) fn config(toml: serde_json::Value) -> GuardConfig {
    serde_json::from_value(toml).unwrap()
}

pub(crate) fn settings(config: &GuardConfig, app: &Application) -> AppSettings {
    config.meant(orders(), &Backend::Http(vec![format!("http://{}", app.address)])).unwrap()
}

pub(crate) fn guard_settings(dir: &TempDir) -> GuardSettings {
    let mut settings = GuardSettings::at(dir.path().join("guard"));
    settings.users = UsersSettings { memory_kib: 64, passes: 1, at_once: 4 };
    settings
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(serde_json::json!({})).await
    }

    pub(crate) async fn with(written: serde_json::Value) -> Self {
        Self::with_settings(written, |_| {}).await
    }

    pub(crate) async fn with_settings(written: serde_json::Value, change: impl FnOnce(&mut GuardSettings)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let app = Application::start().await;
        let mut made = guard_settings(&dir);
        change(&mut made);
        let guard = Guard::open(made).await.unwrap();
        guard.set_apps(vec![settings(&config(written), &app)]).unwrap();
        Self { guard, app, dir }
    }

    /// The same directory after a restart.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn restarted_with(self, change: impl FnOnce(&mut GuardSettings)) -> Self {
        self.guard.stop().await;
        let (app, dir) = (self.app.clone(), self.dir.clone());
        drop(self);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut made = guard_settings(&dir);
        change(&mut made);
        let guard = Guard::open(made).await.unwrap();
        guard.set_apps(vec![settings(&GuardConfig::default(), &app)]).unwrap();
        Self { guard, app, dir }
    }

    pub(crate) fn change(&self, written: serde_json::Value) {
        self.guard.set_apps(vec![settings(&config(written), &self.app)]).unwrap();
    }

    /// A browser at the end of tunnel `number`.
    pub(crate) fn tunnel(&self, user: &str, number: u8) -> Browser {
        self.tunnel_with(user, number, Arc::new(Stand(Mutex::default())))
    }

    pub(crate) fn tunnel_with(&self, user: &str, number: u8, standing: Arc<Stand>) -> Browser {
        let tunnel = Tunnel {
            app: orders(),
            user: UserName::new(user).unwrap(),
            device: format!("laptop-{number}"),
            session: TunnelSession::new(&[number; 16]),
            standing,
        };
        let peer = Peer { client: Some("127.0.0.1".parse().unwrap()), tls: false, tunnel: Some(Arc::new(tunnel)) };
        Browser { guard: self.guard.clone(), peer, host: HOST.to_owned(), cookie: None }
    }

    /// A browser without the client, signed in by nobody.
    pub(crate) fn stranger(&self) -> Browser {
        let peer = Peer { client: Some("127.0.0.1".parse().unwrap()), tls: false, tunnel: None };
        Browser { guard: self.guard.clone(), peer, host: HOST.to_owned(), cookie: None }
    }

    pub(crate) async fn add_user(&self, user: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>();
        let name = UserName::new(user).unwrap();
        self.guard.users().add(&name, &groups, PASSWORD, now()).await.unwrap();
    }

    /// A browser whose user has signed in by password.
    pub(crate) async fn signed_in(&self, user: &str) -> Browser {
        if !self.guard.users().list().await.unwrap().iter().any(|known| known.name.as_str() == user) {
            self.add_user(user, &[]).await;
        }
        let mut browser = self.stranger();
        let answer = browser.log_in(user, "/").await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    /// The session of this user.
    pub(crate) fn session_of(&self, user: &str) -> Arc<Live> {
        self.guard.sessions().into_iter().find(|live| live.session().user.as_str() == user).unwrap()
    }

    /// The lines of the audit log, `OUTCOME[:WORD] METHOD PATH STATUS`, each.
    pub(crate) fn audit(&self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.dir.path().join("guard/audit.jsonl")).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let line = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let word = entry.get("word").map(|word| format!(":{}", text(word))).unwrap_or_default();
            let status = entry["status"].as_u64().map(|status| format!(" {status}")).unwrap_or_default();
            format!("{}{word} {} {}{status}", text(&entry["outcome"]), text(&entry["method"]), text(&entry["path"]))
        };
        lines.lines().map(line).collect()
    }
}

impl Browser {
    /// A typed address.
    pub(crate) fn get(&self, target: &str) -> Builder {
        self.read(target, "none", "navigate", "document").header("accept", "text/html,*/*;q=0.8")
    }

    /// A read that says of itself what browsers say.
    pub(crate) fn read(&self, target: &str, site: &str, mode: &str, dest: &str) -> Builder {
        let builder = self.bare(Method::GET, target);
        builder.header("sec-fetch-site", site).header("sec-fetch-mode", mode).header("sec-fetch-dest", dest)
    }

    /// A form that a page of the application posts.
    pub(crate) fn post(&self, target: &str) -> Builder {
        let builder = self.bare(Method::POST, target).header("accept", "text/html,*/*;q=0.8");
        let builder = builder.header("origin", self.origin()).header("content-type", FORM);
        builder
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    }

    /// A script's call.
    pub(crate) fn call(&self, method: Method, target: &str, token: Option<&str>) -> Builder {
        let builder = self.bare(method, target).header("accept", "*/*").header("origin", self.origin());
        let builder = builder.header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "cors");
        let builder = builder.header("sec-fetch-dest", "empty").header("content-type", "application/json");
        match token {
            Some(token) => builder.header("vestibule-page", token),
            None => builder,
        }
    }

    pub(crate) fn bare(&self, method: Method, target: &str) -> Builder {
        let builder = Request::builder().method(method).uri(target).header("host", &self.host);
        match &self.cookie {
            Some(cookie) => builder.header("cookie", format!("mine=1; vestibule={cookie}; other=2")),
            None => builder,
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn open(&self, request: Builder, body: impl Into<Bytes>) -> Response<Incoming> {
        self.try_open(request, body).await.unwrap()
    }

    /// The same, where the answer may break off before it has begun.
    pub(crate) async fn try_open(
        &self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.open_served(request, body).await.0
    }

    /// The same, and the task that serves this connection.
    pub(crate) async fn open_served(
        &self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> (Result<Response<Incoming>, hyper::Error>, JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (guard, peer) = (self.guard.clone(), self.peer.clone());
        let serving = tokio::spawn(async move { guard.serve(server, peer).await });
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(async move { connection.with_upgrades().await });
        (sender.send_request(request.body(Full::new(body.into())).unwrap()).await, serving)
    }

    pub(crate) async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Answer {
        let answer = async {
            let (head, body) = self.open(request, body).await.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        };
        tokio::time::timeout(LONG, answer).await.expect("an answer in time")
    }

    /// Reads a page as a person does.
    pub(crate) async fn page(&self, target: &str) -> Answer {
        self.send(self.get(target), "").await
    }

    /// What the first form of the page at this address sends as its token.
    pub(crate) async fn token(&self, target: &str) -> String {
        self.page(target).await.token()
    }

    /// Posts a form with this token.
    pub(crate) async fn order(&self, target: &str, token: &str, rest: &str) -> Answer {
        self.send(self.post(target), format!(".vestibule={token}&{rest}")).await
    }

    /// Signs in by password, and keeps the cookie.
    pub(crate) async fn log_in(&mut self, user: &str, to: &str) -> Answer {
        self.log_in_with(user, &format!("to={}", encoded(to))).await
    }

    pub(crate) async fn log_in_with(&mut self, user: &str, rest: &str) -> Answer {
        let body = format!("user={user}&password={}&{rest}", encoded(PASSWORD));
        let answer = self.send(self.post("/.vestibule/login"), body).await;
        if let Some(cookie) = answer.cookie() {
            self.cookie = Some(cookie);
        }
        answer
    }

    /// Signs off by the portal's button.
    pub(crate) async fn sign_off(&self) -> Answer {
        let portal = self.page("/.vestibule/").await;
        let form = portal.forms().pop().unwrap();
        self.press(&form).await
    }

    /// Presses the button of a form.
    pub(crate) async fn press(&self, form: &Form) -> Answer {
        let pairs = form.fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        self.send(self.post(&form.action), pairs.collect::<Vec<_>>().join("&")).await
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap())
    }

    /// The word of a refusal.
    pub(crate) fn word(&self) -> &str {
        self.header("vestibule-refused")
    }

    /// Status and word.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status, self.word())
    }

    pub(crate) fn cookie(&self) -> Option<String> {
        let value = self.headers.get("set-cookie")?.to_str().unwrap().strip_prefix("vestibule=")?;
        Some(value.split(';').next().unwrap().to_owned())
    }

    pub(crate) fn token(&self) -> String {
        let text = self.text();
        let (_, rest) = text.split_once("name=\".vestibule\" value=\"").unwrap_or_else(|| panic!("a token in {text}"));
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn forms(&self) -> Vec<Form> {
        let text = self.text();
        text.split("<form ").skip(1).map(|form| Form::read(form.split("</form>").next().unwrap())).collect()
    }

    /// The form with this button.
    pub(crate) fn form(&self, button: &str) -> Form {
        let forms = self.forms();
        forms.into_iter().find(|form| form.button == button).unwrap_or_else(|| panic!("{button} in {}", self.text()))
    }
}

impl Form {
    fn read(text: &str) -> Self {
        let field = |tag: &str| (attribute(tag, "name"), attribute(tag, "value"));
        let button = text.split("<button").nth(1).and_then(|button| button.split('>').nth(1)).unwrap_or_default();
        Self {
            action: attribute(text, "action"),
            fields: text.split("<input ").skip(1).map(field).collect(),
            button: button.split('<').next().unwrap().to_owned(),
        }
    }
}

/// An attribute in quotes, read as browsers read it.
pub(crate) fn attribute(tag: &str, name: &str) -> String {
    let tag = tag.split('>').next().unwrap();
    let value = tag.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest.split('"').next().unwrap());
    [("&#38;", "&"), ("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&amp;", "&")]
        .into_iter()
        .fold(value.to_owned(), |value, (entity, text)| value.replace(entity, text))
}

/// As browsers encode a form's value.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_');
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
