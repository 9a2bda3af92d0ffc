//! Completions and man pages, made from the command line's own data.

use super::Cli;
use crate::fault::Fault;
use clap::{Command, CommandFactory};
use std::path::Path;
use std::process::ExitCode;

/// Prints the completions for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Fault> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut shown(), "vestibule", &mut text);
    crate::output::write_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The command line without what its help hides, which the completions would tell.
fn shown() -> Command {
    let whole = Cli::command();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("vestibule")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(commands)
}

/// Writes `vestibule.1` and a page for every command into `folder`.
pub(crate) fn man(folder: &Path) -> Result<ExitCode, Fault> {
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Fault::files(format!("the man pages can't be written to {}: {error}", folder.display())))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn completions_tell_every_command_but_the_hidden_one() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut shown(), "vestibule", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in Cli::command().get_subcommands() {
                let told = text.contains(command.get_name());
                assert_eq!(told, !command.is_hide_set(), "{shell}: {}", command.get_name());
            }
            // Fish writes an option without its dashes.
            assert!(text.contains("json"), "{shell}");
        }
    }
}
