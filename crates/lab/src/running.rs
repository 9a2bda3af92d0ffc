//! Commands left running in a host.

use std::{
    fmt::Display,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Context, Failure, Host, Result,
    process::{tail, text},
    until,
};

/// A command left running in a host, which stays as long as this; killed when this is dropped.
pub struct Running {
    child: Child,
    what: String,
    log: PathBuf,
    /// Its standard input, where spawned with pipes; taken by the test that writes, dropped to end it.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, where spawned with pipes.
    pub stdout: Option<ChildStdout>,
    /// Dropped after the command was killed.
    _host: Host,
}

impl Running {
    pub(crate) fn new(child: Child, what: String, log: PathBuf, host: Host) -> Self {
        Self { child, what, log, stdin: None, stdout: None, _host: host }
    }

    /// The process id of the command itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system doesn't say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends it a signal; nothing happens where it has already ended.
    ///
    /// # Errors
    /// The system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running()? {
            return Ok(());
        }
        let pid = i32::try_from(self.pid())?;
        kill_process(Pid::from_raw(pid).context("process id 0")?, signal).context(format!("signal to {}", self.what))
    }

    /// Kills it as a power cut would (`SIGKILL`), and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end, for `within` at most, and gives its exit code (`128 + n` where signal n ended it).
    ///
    /// # Errors
    /// It still runs; the text holds the end of its log.
    pub fn wait(&mut self, within: Duration) -> Result<i32> {
        let what = format!("the end of `{}`", self.what);
        let ended = until(within, &what, || Ok(self.child.try_wait()?));
        let status = ended.context(format!("log so far:\n{}", self.log_tail()))?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Waits until its log holds `words`, for `within` at most.
    ///
    /// # Errors
    /// The limit has passed, or it ended before; the text holds the end of its log.
    pub fn wait_for_log(&mut self, words: &str, within: Duration) -> Result<()> {
        let what = format!("{words:?} in the log of `{}`", self.what);
        let found = until(within, &what, || {
            // Asked before the log is read: what it said last must not be missed.
            let runs = self.is_running()?;
            if self.log().contains(words) {
                return Ok(Some(()));
            }
            if runs { Ok(None) } else { Err(Failure::new(format!("ended before {what}"))) }
        });
        found.context(format!("log so far:\n{}", self.log_tail()))
    }

    /// Everything it said so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| text(&bytes)).unwrap_or_default()
    }

    /// The last lines of what it said.
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// The words of the command.
    pub fn what(&self) -> impl Display {
        &self.what
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
