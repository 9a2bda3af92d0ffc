//! An owner's machine, an application, and browsers by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "seven quiet otters";
/// Longer than a running guard needs to see what a command beside it did.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// What a command left behind.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// An owner's machine with nothing on it.
pub(crate) struct Owner {
    pub(crate) home: TempDir,
}

impl Owner {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> String {
        self.path("guard")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(words).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command with `--dir`, and what it is told on stdin.
    pub(crate) fn says(&self, words: &[&str], stdin: &str) -> Said {
        let mut command = self.command(words);
        let mut child = command.args(["--dir", &self.dir()]).stdin(Stdio::piped()).spawn().unwrap();
        // A command that refuses before it reads is no failure of this.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn does(&self, words: &[&str]) -> String {
        let said = self.says(words, "");
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.does(&[words, &["--json"]].concat())).unwrap()
    }

    pub(crate) fn adds(&self, user: &str) {
        let said = self.says(&["guard", "user", "add", user, "--password-stdin"], &format!("{PASSWORD}\n"));
        assert_eq!(said.code, 0, "{}", said.err);
    }

    /// A running guard that was told `words`.
    pub(crate) fn guards(&self, words: &[&str]) -> Running {
        self.guards_with(&[], words)
    }

    /// The same in an environment with these variables.
    pub(crate) fn guards_with(&self, environment: &[(&str, &str)], words: &[&str]) -> Running {
        let dir = self.dir();
        let mut command = self.command(&[&["guard", "--dir", &dir], words].concat());
        let mut child = command.envs(environment.iter().copied()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let at = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            // `app: http://127.0.0.1:40123/`
            let port =
                line.strip_suffix('/').and_then(|line| line.rsplit_once("://")?.1.rsplit_once(':')?.1.parse().ok());
            said.push(line);
            if let Some(port) = port {
                break SocketAddr::from(([127, 0, 0, 1], port));
            }
        };
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Running { child, at, rest: Some(rest) }
    }
}

/// A running guard.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) at: SocketAddr,
    pub(crate) rest: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends it as a service manager does; what else it had said.
    pub(crate) fn stops(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.rest.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An application that counts the orders that it gets.
pub(crate) struct Shop {
    pub(crate) at: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) orders: Arc<AtomicUsize>,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (requests, orders) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let shop = Self { at, requests: requests.clone(), orders: orders.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, orders) = (requests.clone(), orders.clone());
                std::thread::spawn(move || serve(&stream, &requests, &orders));
            }
        });
        shop
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.at)
    }

    pub(crate) fn orders(&self) -> usize {
        self.orders.load(Ordering::SeqCst)
    }
}

pub(crate) fn serve(mut stream: &TcpStream, requests: &AtomicUsize, orders: &AtomicUsize) {
    let mut lines = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    lines.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut lines.take(length), &mut std::io::sink()).unwrap();
    requests.fetch_add(1, Ordering::SeqCst);
    if first.starts_with("POST /orders") {
        orders.fetch_add(1, Ordering::SeqCst);
    }
    let page = "<html><head><title>Orders</title></head><body><form method=post action=/orders><input name=item></form></body></html>";
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}", page.len());
    let _ = stream.write_all(format!("{head}\r\n\r\n{page}").as_bytes());
}

/// What a browser says of itself when its person opens an address.
const READS: &str = "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// A browser, by hand: one cookie.
pub(crate) struct Browser {
    pub(crate) at: SocketAddr,
    pub(crate) host: String,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn at(at: SocketAddr) -> Self {
        Self { at, host: at.to_string(), cookie: None }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.asks("GET", path, READS, "")
    }

    pub(crate) fn post(&mut self, path: &str, form: &str) -> Answer {
        let fields = format!(
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nOrigin: http://{}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            self.host,
            form.len()
        );
        self.asks("POST", path, &fields, form)
    }

    pub(crate) fn asks(&mut self, method: &str, path: &str, fields: &str, form: &str) -> Answer {
        let answer = Answer::read(self.sends(method, path, fields, form));
        let set = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some(set) = set {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        answer
    }

    fn sends(&self, method: &str, path: &str, fields: &str, form: &str) -> TcpStream {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let host = &self.host;
        let mut stream = TcpStream::connect(self.at).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n{cookie}{fields}\r\n{form}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    pub(crate) fn signs_in(&mut self, user: &str, password: &str) -> u16 {
        let form = format!("user={user}&password={}&to=%2F", password.replace(' ', "+"));
        self.post("/.vestibule/login", &form).status
    }

    /// Whether the session has ended within the time that a running guard has for it. A request that is under way at
    /// that moment is cut without an answer, so only the next one is told.
    pub(crate) fn is_cut(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SOON {
            if Answer::of(self.sends("GET", "/", READS, "")).is_ok_and(|answer| answer.status == 401) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Answer {
    pub(crate) fn read(stream: impl Read) -> Self {
        Self::of(stream).unwrap_or_else(|text| panic!("no answer: {text}"))
    }

    /// The answer; what came instead of one, if the connection ended before its head was whole.
    fn of(mut stream: impl Read) -> Result<Self, String> {
        let mut bytes = Vec::new();
        // A peer that closes TLS without a word is no failure.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Err(text) };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The token of the page's form.
    pub(crate) fn token(&self) -> String {
        let (_, rest) = self.body.split_once("name=\".vestibule\" value=\"").unwrap_or_else(|| panic!("{}", self.body));
        rest.split_once('"').unwrap().0.to_owned()
    }
}
