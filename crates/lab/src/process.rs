//! Commands inside a host, and how they end.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Seek, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Context, Failure, Host, Result, Running, until};

const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command about to be given to a host. It inherits nothing of the environment but a search path.
#[must_use = "an invocation does nothing until it is run or spawned"]
pub struct Invocation {
    host: Host,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    within: Duration,
    ordinary: bool,
}

impl Invocation {
    pub(crate) fn new(host: &Host, program: impl AsRef<OsStr>) -> Self {
        Self {
            host: host.clone(),
            argv: vec![program.as_ref().to_owned()],
            env: Vec::new(),
            dir: None,
            stdin: Vec::new(),
            within: DEFAULT_LIMIT,
            ordinary: false,
        }
    }

    /// Adds one word.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.argv.push(word.as_ref().to_owned());
        self
    }

    /// Adds several words.
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.argv.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory (default `/`).
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// What it reads on standard input (default: nothing, at its end).
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take (default 60 s); afterwards it is killed and the run has failed.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Runs it as somebody who is not root, for programs that refuse to be root: as the caller, or as `nobody` where
    /// the caller is root. It keeps no privilege over the host.
    pub fn as_ordinary_user(mut self) -> Self {
        self.ordinary = true;
        self
    }

    /// Runs it to its end, whatever its exit code.
    ///
    /// # Errors
    /// It can't be started, or took longer than it may.
    pub fn run(self) -> Result<Ran> {
        let what = self.words();
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let start = Instant::now();
        let within = self.within;
        let mut child = self
            .command()?
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .context(format!("cannot run {what}"))?;
        let ended = until(within, &format!("the end of `{what}`"), || Ok(child.try_wait()?));
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let took = start.elapsed();
        let (stdout, stderr) = (from_start(&mut stdout)?, from_start(&mut stderr)?);
        let status = ended.context(format!("it said\n{}{}", tail(&text(&stdout)), tail(&text(&stderr))))?;
        Ok(Ran { what, status, stdout, stderr, took })
    }

    /// Leaves it running, its standard output and error appended to the file `log`.
    ///
    /// # Errors
    /// It can't be started, or the log can't be written.
    pub fn spawn(self, log: impl Into<PathBuf>) -> Result<Running> {
        let log = log.into();
        let file = File::options().create(true).append(true).open(&log).context(log.display())?;
        let what = self.words();
        let child =
            self.command()?.stdout(file.try_clone()?).stderr(file).spawn().context(format!("cannot run {what}"))?;
        Ok(Running::new(child, what, log, self.host))
    }

    /// Leaves it running with standard input and output as pipes to the test, its standard error appended to `log`.
    ///
    /// # Errors
    /// It can't be started, or the log can't be written.
    pub fn spawn_piped(self, log: impl Into<PathBuf>) -> Result<Running> {
        let log = log.into();
        let file = File::options().create(true).append(true).open(&log).context(log.display())?;
        let what = self.words();
        let mut child = self
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .context(format!("cannot run {what}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut running = Running::new(child, what, log, self.host);
        (running.stdin, running.stdout) = (stdin, stdout);
        Ok(running)
    }

    fn words(&self) -> String {
        self.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn command(&self) -> Result<Command> {
        let mut argv = self.host.prefix();
        if self.ordinary {
            argv.extend(ordinary_user());
        }
        if let Some(dir) = &self.dir {
            argv.extend(["env".into(), "-C".into(), dir.as_os_str().to_owned()]);
        }
        argv.extend(self.argv.iter().cloned());
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(self.stdin_file()?);
        if self.host.is_contained() {
            // The host's watchdog ends it; a Ctrl-C to the tests need not.
            command.process_group(0);
        }
        Ok(command)
    }

    /// A file and not a pipe: a command that doesn't read must not hold up the test.
    fn stdin_file(&self) -> Result<Stdio> {
        if self.stdin.is_empty() {
            return Ok(Stdio::null());
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.stdin)?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// A user namespace in which the caller is not 0: its own id, or `nobody` for root.
fn ordinary_user() -> Vec<OsString> {
    const NOBODY: u32 = 65534;
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let (user, group) = if user.is_root() { (NOBODY, NOBODY) } else { (user.as_raw(), group.as_raw()) };
    let words =
        ["unshare".into(), "-U".into(), format!("--map-user={user}"), format!("--map-group={group}"), "--".into()];
    words.map(OsString::from).into()
}

/// How a command ended.
pub struct Ran {
    what: String,
    status: ExitStatus,
    /// Standard output, as bytes.
    pub stdout: Vec<u8>,
    /// Standard error, as bytes.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub took: Duration,
}

impl Ran {
    /// The exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text, without the white space at its ends.
    pub fn out(&self) -> String {
        text(&self.stdout).trim().to_owned()
    }

    /// Standard error as text, without the white space at its ends.
    pub fn err(&self) -> String {
        text(&self.stderr).trim().to_owned()
    }

    /// Itself, where the exit code is 0.
    ///
    /// # Errors
    /// Another code; the text holds what the command said.
    pub fn ok(self) -> Result<Self> {
        self.exits(0)
    }

    /// Itself, where the exit code is `code`.
    ///
    /// # Errors
    /// Another code, or a signal; the text holds what the command said.
    pub fn exits(self, code: i32) -> Result<Self> {
        if self.code() == Some(code) {
            return Ok(self);
        }
        let ended = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        Err(Failure::new(format!(
            "`{}` ended with {ended}, not with exit code {code}\n{}{}",
            self.what,
            tail(&text(&self.stdout)),
            tail(&text(&self.stderr))
        )))
    }

    /// Standard output read as JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout).context(format!("`{}` printed no JSON but {}", self.what, self.out()))
    }

    /// Fails unless standard output or error holds `words`.
    ///
    /// # Errors
    /// Neither holds them; the text holds what the command said.
    pub fn says(self, words: &str) -> Result<Self> {
        let said = format!("{}\n{}", self.out(), self.err());
        if said.contains(words) {
            return Ok(self);
        }
        Err(Failure::new(format!("`{}` did not say {words:?} but\n{said}", self.what)))
    }
}

fn from_start(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last lines, indented.
pub(crate) fn tail(text: &str) -> String {
    const LINES_SHOWN: usize = 40;
    let all: Vec<&str> = text.lines().collect();
    let shown = &all[all.len().saturating_sub(LINES_SHOWN)..];
    shown.iter().map(|line| format!("  | {line}\n")).collect()
}
