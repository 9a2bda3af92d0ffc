//! Errors as a person meets them: what happened, what it means, what to do next, and an exit code that a script can tell apart.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// Something unexpected inside the program or its surroundings.
pub(crate) const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// The invitation can't be used.
pub(crate) const INVITATION: u8 = 50;
/// The configuration is wrong.
pub(crate) const CONFIGURATION: u8 = 40;
/// A directory or file can't be used: disk full, read-only, permission.
pub(crate) const FILES: u8 = 41;
/// The role is already running, or isn't running.
pub(crate) const NOT_RUNNING: u8 = 42;
/// What was named does not exist, or exists already.
pub(crate) const NO_SUCH: u8 = 43;

/// The password may not be chosen.
pub(crate) const WEAK_PASSWORD: u8 = 51;

/// A stranger sees something.
pub(crate) const SEEN: u8 = 60;

/// An error on its way to the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What happened, to which thing.
    pub(crate) headline: String,
    /// What it means.
    pub(crate) detail: Option<String>,
    /// What to do next.
    pub(crate) next: Option<String>,
}

impl Fault {
    /// A fault with this exit code and headline.
    pub(crate) fn new(code: u8, headline: impl Into<String>) -> Self {
        Self { code, headline: headline.into(), detail: None, next: None }
    }

    /// Something unexpected.
    pub(crate) fn unexpected(headline: impl Into<String>) -> Self {
        Self::new(UNEXPECTED, headline)
    }

    /// A wrong command line.
    pub(crate) fn usage(headline: impl Into<String>) -> Self {
        Self::new(USAGE, headline)
    }

    /// A wrong configuration.
    pub(crate) fn configuration(headline: impl Into<String>) -> Self {
        Self::new(CONFIGURATION, headline)
    }

    /// A file or directory that can't be used.
    pub(crate) fn files(headline: impl Into<String>) -> Self {
        Self::new(FILES, headline)
    }

    /// The same, found in a configuration file.
    pub(crate) fn into_configuration(mut self) -> Self {
        self.code = CONFIGURATION;
        self
    }

    /// The same, naming the file in which it was found.
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        self.headline = format!("{}: {}", file.display(), self.headline);
        self
    }

    /// Adds what it means.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The whole of it in one line, for a log.
    pub(crate) fn in_one_line(&self) -> String {
        let parts = [Some(&self.headline), self.detail.as_ref(), self.next.as_ref()];
        let lines = parts.into_iter().flatten().flat_map(|part| part.lines());
        lines.map(str::trim).collect::<Vec<_>>().join("; ")
    }

    /// Prints the fault to stderr and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        crate::output::error_lines(self);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.headline)?;
        if let Some(detail) = &self.detail {
            for line in detail.lines() {
                write!(formatter, "\n  {line}")?;
            }
        }
        if let Some(next) = &self.next {
            write!(formatter, "\n  → {next}")?;
        }
        Ok(())
    }
}
