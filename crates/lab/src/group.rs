//! Commands with all that they start: they end together.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Runs the command that follows, and kills its whole group when our end of its standard input is closed.
const WATCHED: &str = r#"exec 3<&0; { read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;
/// How long killed processes are waited for.
const ENDING: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// A command and its descendants, as far as they stay in its process group. They are killed when this is dropped, also by
/// a panic, and when the process that holds this is killed itself.
pub struct Group {
    leader: Child,
    /// Closed by the system when this process is gone. Kept apart, because waiting for a child closes its input.
    keeper: Option<ChildStdin>,
}

impl Group {
    /// A command to be given arguments, output and environment, and then to [`Group::start`].
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHED, "watched"]).arg(program);
        command
    }

    /// Starts such a command; its standard input is empty.
    ///
    /// # Errors
    /// There is no shell. Where the program itself is missing, it ends with exit code 127.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut leader = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { keeper: leader.stdin.take(), leader })
    }

    /// The command itself, where its output or its exit code is wanted.
    pub fn leader(&mut self) -> &mut Child {
        &mut self.leader
    }

    /// Asks all of them to end, and waits for the command itself until `within` has passed.
    pub fn end(&mut self, within: Duration) {
        let start = Instant::now();
        let _gone = self.pid().map(|group| kill_process_group(group, Signal::TERM));
        while matches!(self.leader.try_wait(), Ok(None)) && start.elapsed() < within {
            std::thread::sleep(PAUSE);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.keeper.take());
        let Some(group) = self.pid() else { return };
        let _gone = kill_process_group(group, Signal::KILL);
        let _status = self.leader.wait();
        let start = Instant::now();
        while test_kill_process_group(group).is_ok() && start.elapsed() < ENDING {
            std::thread::sleep(PAUSE);
        }
    }
}
