//! Where a password comes from: the terminal without echo, stdin, or a program that asks. Never argv, never the environment.

use crate::cli::PasswordArgs;
use crate::fault::Fault;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;
use vestibule_local_credential::password::Password;
use zeroize::Zeroizing;

/// How long the person may take to answer a program that asks.
const ASK_WITHIN: Duration = Duration::from_secs(300);

/// How often a person may choose a new password before the command gives up.
const TRIES: u32 = 3;

/// Where this run's passwords come from.
pub(crate) enum Source {
    /// The controlling terminal, without echo.
    Terminal,
    /// Lines of stdin.
    Stdin,
    /// A program that asks the person and prints the password.
    Askpass(PathBuf),
}

/// Standard input without the buffer of the standard library, which would keep the password in memory, and from a pipe's stream
/// whatever came along with it.
pub(crate) fn unbuffered_stdin() -> Result<File, Fault> {
    let own = std::io::stdin().as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|error| Fault::usage(format!("stdin can't be read: {error}")))
}

/// Asks for an invitation's link on the terminal, without showing it: until it is used, whoever has it is the one who is invited.
pub(crate) fn ask_link() -> Result<Zeroizing<String>, Fault> {
    if !has_terminal() {
        return Err(Fault::usage("there is no terminal to ask for the invitation's link on")
            .next("write it to stdin: vestibule enroll - --password-stdin"));
    }
    let typed = rpassword::prompt_password("Invitation link (not shown): ");
    let typed =
        typed.map_err(|error| Fault::unexpected(format!("the link can't be read from the terminal: {error}")))?;
    Ok(Zeroizing::new(typed))
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| terminal.is_terminal())
}

impl Source {
    /// What the arguments and the surroundings say. Without a terminal a program named by `VESTIBULE_ASKPASS` or `SSH_ASKPASS` is asked.
    ///
    /// # Errors
    /// When there is no way to ask anybody.
    pub(crate) fn choose(arguments: &PasswordArgs) -> Result<Self, Fault> {
        if arguments.password_stdin {
            return Ok(Self::Stdin);
        }
        if let Some(program) = &arguments.askpass {
            return Ok(Self::Askpass(program.clone()));
        }
        if has_terminal() {
            return Ok(Self::Terminal);
        }
        let program = ["VESTIBULE_ASKPASS", "SSH_ASKPASS"].into_iter().find_map(std::env::var_os);
        program.map(|program| Self::Askpass(program.into())).ok_or_else(|| {
            Fault::usage("there is no terminal to ask for the password on")
                .next("use --password-stdin or --askpass PROGRAM")
        })
    }

    /// Asks once.
    pub(crate) fn ask(&self, prompt: &str) -> Result<Password, Fault> {
        match self {
            Self::Terminal => {
                let typed = rpassword::prompt_password(prompt).map_err(|error| {
                    Fault::unexpected(format!("the password can't be read from the terminal: {error}"))
                })?;
                let typed = Zeroizing::new(typed);
                Password::new(&typed).map_err(|error| Fault::usage(error.to_string()))
            }
            Self::Stdin => Password::from_reader(unbuffered_stdin()?).map_err(|error| {
                Fault::usage(format!("the password can't be read from stdin: {error}"))
                    .next("write it there as one line")
            }),
            Self::Askpass(program) => Password::from_askpass(program, prompt, ASK_WITHIN).map_err(|error| {
                Fault::usage(format!("no password came from {}", program.display()))
                    .detail(format!("{error}."))
                    .next("name a program that prints it: --askpass PROGRAM; or use --password-stdin")
            }),
        }
    }

    /// Asks for a new password: twice on a terminal, so that a slip does not lock the person out; but not again for one that is
    /// refused by `check`. At a terminal the person may think of another one, [`TRIES`] times in all.
    pub(crate) fn ask_new(
        &self,
        prompt: &str,
        check: impl Fn(&Password) -> Result<(), Fault>,
    ) -> Result<Password, Fault> {
        let tries = if matches!(self, Self::Terminal) { TRIES } else { 1 };
        for _ in 1..tries {
            match self.ask_new_once(prompt, &check) {
                Err(fault) => crate::output::error_lines(&fault),
                chosen => return chosen,
            }
        }
        self.ask_new_once(prompt, &check)
    }

    fn ask_new_once(&self, prompt: &str, check: impl Fn(&Password) -> Result<(), Fault>) -> Result<Password, Fault> {
        let first = self.ask(prompt)?;
        check(&first)?;
        match self {
            Self::Terminal => {
                let again = self.ask("Again: ")?;
                if first.matches(&again) {
                    Ok(first)
                } else {
                    Err(Fault::usage("the two passwords differ").next("type it again; nothing was sent"))
                }
            }
            Self::Stdin | Self::Askpass(_) => Ok(first),
        }
    }
}
