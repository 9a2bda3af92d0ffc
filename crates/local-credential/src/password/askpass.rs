//! A password asked for by another program, as `ssh` does with `SSH_ASKPASS`.

use std::io;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Password, PasswordError, io_error};

/// How often it is looked whether the program has ended.
const POLL: Duration = Duration::from_millis(10);

/// How long the password is waited for once the program has ended: what it wrote lies in the pipe already.
const LAST_BYTES: Duration = Duration::from_secs(3);

impl Password {
    /// Runs `program` with the text to show as its only argument, and takes the first line that it prints. Its standard
    /// input is empty, its errors go where ours go.
    ///
    /// The program is killed after `timeout`.
    ///
    /// # Errors
    /// [`PasswordError::AskpassNotStarted`], [`PasswordError::AskpassFailed`], [`PasswordError::AskpassTimeout`], and
    /// those of [`Password::from_reader`].
    pub fn from_askpass(program: &Path, prompt: &str, timeout: Duration) -> Result<Self, PasswordError> {
        let deadline = Instant::now() + timeout;
        let mut child = Command::new(program)
            .arg(prompt)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| PasswordError::AskpassNotStarted(error.kind()))?;
        let answer = read_in_background(&mut child);
        let status = wait(&mut child, deadline)?;
        if !status.success() {
            // The reader says that it has had enough before it closes the pipe, of which the program then dies.
            let flooded = answer.try_recv().is_ok_and(|answer| answer.err() == Some(PasswordError::TooLong));
            let failed = PasswordError::AskpassFailed { code: status.code() };
            return Err(if flooded { PasswordError::TooLong } else { failed });
        }
        answer.recv_timeout(LAST_BYTES).unwrap_or(Err(PasswordError::AskpassTimeout))
    }
}

/// On a thread of its own: a program that prints nothing, or leaves a child behind that keeps the pipe open, would hold us
/// beyond the time-out. The thread ends with the pipe.
fn read_in_background(child: &mut Child) -> Receiver<Result<Password, PasswordError>> {
    let (sender, receiver) = sync_channel(1);
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || read_all(output, &sender));
    }
    receiver
}

fn read_all(mut output: ChildStdout, sender: &SyncSender<Result<Password, PasswordError>>) {
    let answer = Password::from_reader(&mut output);
    let complete = answer.is_ok();
    // Nobody waits any more once the time is over.
    let _ = sender.send(answer);
    if complete {
        // A program that prints more than a line would die of a closed pipe, and its answer with it.
        let _ = io::copy(&mut output, &mut io::sink());
    }
}

fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, PasswordError> {
    loop {
        if let Some(status) = child.try_wait().map_err(|error| io_error(&error))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // Both fail only where the program has ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(PasswordError::AskpassTimeout);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::path::PathBuf;

    fn ask(program: &str, timeout: Duration) -> Result<Vec<u8>, PasswordError> {
        let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/askpass")).join(program);
        Password::from_askpass(&program, "Password for alice", timeout).map(|password| password.expose().to_vec())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn takes_the_first_line() {
        assert_eq!(ask("answers", LONG), Ok(b"swordfish for Password for alice".to_vec()));
    }

    /// Regression: the pipe was closed behind the first line, so that a program with more to say died of it now and then.
    #[test]
    fn a_program_may_say_more_than_a_line() {
        assert_eq!(ask("chatters", LONG), Ok(b"swordfish".to_vec()));
    }

    #[test]
    fn a_cancelled_question_is_told() {
        assert_eq!(ask("cancels", LONG), Err(PasswordError::AskpassFailed { code: Some(3) }));
        assert_eq!(ask("dies", LONG), Err(PasswordError::AskpassFailed { code: None }));
    }

    #[test]
    fn no_answer_is_told() {
        assert_eq!(ask("says-nothing", LONG), Err(PasswordError::Empty));
    }

    #[test]
    fn a_flood_is_bounded() {
        assert_eq!(ask("floods", LONG), Err(PasswordError::TooLong));
    }

    #[test]
    fn a_hanging_program_is_killed() {
        let start = Instant::now();
        assert_eq!(ask("hangs", Duration::from_millis(200)), Err(PasswordError::AskpassTimeout));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_child_that_keeps_the_pipe_open_does_not_hold_us() {
        let start = Instant::now();
        assert_eq!(ask("leaves-a-child", LONG), Err(PasswordError::AskpassTimeout));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_told() {
        assert_eq!(ask("missing", LONG), Err(PasswordError::AskpassNotStarted(ErrorKind::NotFound)));
    }
}
