//! A role of the program as a process: started, ready, killed, started again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;

use crate::{Context, Failure, Host, Result, Running, notify::NotifySocket, until};

const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(15);

/// The words and the surroundings that start a role; kept, so that it can be started again.
#[derive(Clone)]
pub struct RoleCommand {
    /// Its name in messages, and of its log file (`NAME.log`).
    pub name: String,
    /// The program and its words.
    pub argv: Vec<String>,
    /// Variables of the environment.
    pub env: Vec<(String, String)>,
    /// What it reads on standard input.
    pub stdin: String,
}

/// A running role. Dropping it kills it, and prints the end of its log, which the test runner shows if the test failed.
pub struct Role {
    host: Host,
    command: RoleCommand,
    log: PathBuf,
    notify: NotifySocket,
    running: Running,
}

impl Role {
    /// Starts it on `host` and waits until it says that it is ready (`READY=1` by `sd_notify`). Its log and the
    /// socket it says so on lie in `dir`, which all hosts see.
    ///
    /// # Errors
    /// It ends, or isn't ready in 30 s; the text holds the end of its log.
    pub fn start(host: &Host, dir: &Path, command: RoleCommand) -> Result<Self> {
        let mut role = Self::start_unready(host, dir, command)?;
        role.wait_ready()?;
        Ok(role)
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_unready(host: &Host, dir: &Path, command: RoleCommand) -> Result<Self> {
        let log = dir.join(format!("{}.log", command.name));
        let notify = NotifySocket::bind(&dir.join(format!("{}.notify", command.name)))?;
        let running = spawn(host, &command, &log, &notify)?;
        Ok(Self { host: host.clone(), command, log, notify, running })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It ends, or isn't ready in 30 s; the text holds the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("{} to be ready", self.command.name);
        let ready = until(READY_WITHIN, &what, || {
            if self.notify.is_ready()? {
                return Ok(Some(()));
            }
            if self.running.is_running()? { Ok(None) } else { Err(Failure::new(format!("ended before {what}"))) }
        });
        ready.context(format!("log so far:\n{}", self.running.log_tail()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The last line it gave the service manager about its state.
    pub fn status(&mut self) -> Option<&str> {
        self.notify.status()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system doesn't say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.running.is_running()
    }

    /// Kills it as a power cut would (`SIGKILL`).
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    /// Asks it to end (`SIGTERM`) and gives its exit code.
    ///
    /// # Errors
    /// It still runs after 15 s; the text holds the end of its log.
    pub fn terminate(&mut self) -> Result<i32> {
        self.running.signal(Signal::TERM)?;
        self.running.wait(END_WITHIN)
    }

    /// Asks it to read its configuration again (`SIGHUP`).
    ///
    /// # Errors
    /// The system refuses.
    pub fn reload(&mut self) -> Result<()> {
        self.running.signal(Signal::HUP)
    }

    /// Stops it in its tracks (`SIGSTOP`), as a machine that hangs; [`Role::resume`] lets it go on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn freeze(&mut self) -> Result<()> {
        self.running.signal(Signal::STOP)
    }

    /// Lets it go on after [`Role::freeze`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn resume(&mut self) -> Result<()> {
        self.running.signal(Signal::CONT)
    }

    /// Starts it again with the same words, where it still runs after killing it, and waits until it is ready. The
    /// log goes on in the same file.
    ///
    /// # Errors
    /// As [`Role::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.running.kill()?;
        self.notify.reset()?;
        self.running = spawn(&self.host, &self.command, &self.log, &self.notify)?;
        self.wait_ready()
    }

    /// Waits for its end by itself, and gives its exit code (`128 + n` where signal n ended it).
    ///
    /// # Errors
    /// It still runs; the text holds the end of its log.
    pub fn wait(&mut self, within: Duration) -> Result<i32> {
        self.running.wait(within)
    }

    /// Waits until its log holds `words`.
    ///
    /// # Errors
    /// The limit has passed, or it ended; the text holds the end of its log.
    pub fn wait_for_log(&mut self, words: &str, within: Duration) -> Result<()> {
        self.running.wait_for_log(words, within)
    }

    /// Everything it logged, over all its starts.
    pub fn log(&self) -> String {
        self.running.log()
    }
}

impl Drop for Role {
    #[allow(clippy::print_stderr, reason = "the test runner keeps it, and shows it with a test that failed")]
    fn drop(&mut self) {
        eprintln!("last words of {} on {}:\n{}", self.command.name, self.host.name(), self.running.log_tail());
    }
}

fn spawn(host: &Host, command: &RoleCommand, log: &Path, notify: &NotifySocket) -> Result<Running> {
    let program = command.argv.first().context("a role without a program")?;
    let mut invocation = host.command(program).args(&command.argv[1..]).stdin(command.stdin.as_str());
    for (name, value) in &command.env {
        invocation = invocation.env(name, value);
    }
    invocation.env("NOTIFY_SOCKET", notify.path()).spawn(log)
}
