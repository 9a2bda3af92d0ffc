//! An application of `tests/apps/run`: installed once, started with data of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use vestibule_lab::Group;

/// The user of every application.
pub(crate) const USER: &str = "admin";
/// Their password.
pub(crate) const PASSWORD: &str = "nine violet herons";

/// How long an application may take to listen.
const STARTING: Duration = Duration::from_secs(90);
/// How long it may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// A running application; it ends with the value.
pub(crate) struct App {
    process: Group,
    port: u16,
    data: PathBuf,
    log: PathBuf,
}

impl App {
    /// Installs it where it isn't yet, and starts it on a port of its own.
    pub(crate) fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps");
        let installed = Group::start(&mut script(name, &folder, "install")).unwrap().leader().wait().unwrap();
        assert!(installed.success(), "{name} can't be installed; above stands why, and what to do");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = folder.join(format!("{name}-{port}.log"));
        let output = File::create(&log).unwrap();
        let mut serve = script(name, &folder, "serve");
        serve.arg(port.to_string()).stdout(output.try_clone().unwrap()).stderr(output);
        let data = folder.join(format!("{name}-data-{port}"));
        let mut app = Self { process: Group::start(&mut serve).unwrap(), port, data, log };
        app.wait();
        app
    }

    /// Its origin, without the guard.
    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let gone = self.process.leader().try_wait().unwrap();
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(gone.is_none() && start.elapsed() < STARTING, "it does not start: {gone:?} {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.process.end(ENDING);
        if !std::thread::panicking() {
            let _left = (std::fs::remove_dir_all(&self.data), std::fs::remove_file(&self.log));
        }
    }
}

fn script(name: &str, folder: &Path, verb: &str) -> Command {
    let mut command = Group::command(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/apps/run"));
    command.arg(name).arg(folder).arg(verb);
    command
}
