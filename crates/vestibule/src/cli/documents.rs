//! Completions and man pages, made from the command line's own data.

use super::Cli;
use crate::fault::Fault;
use clap::CommandFactory;
use std::path::Path;
use std::process::ExitCode;

/// Prints the completions for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Fault> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vestibule", &mut text);
    crate::output::write_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `vestibule.1` and a page for every command into `folder`.
pub(crate) fn man(folder: &Path) -> Result<ExitCode, Fault> {
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Fault::files(format!("the man pages can't be written to {}: {error}", folder.display())))?;
    Ok(ExitCode::SUCCESS)
}
