//! Why a test can't go on, in words.

use std::fmt;

/// A reason in words. Prints the same by `Debug` and `Display`, so that a test that returns [`Result`] ends with
/// readable text and not with a quoted struct.
pub struct Failure(String);

/// What every function of the lab returns; tests return `vestibule_lab::Result<()>` and use `?`.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with this text. The text says what was expected, of which thing, and what was there.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Failure` itself is not an `Error`, so that this covers every error type for `?`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Adds to an error, or to an absent value, what was being done.
pub trait Context<T> {
    /// Puts `what` before the reason.
    ///
    /// # Errors
    /// The failure, with `what` before it.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into())))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Failure(what.to_string()))
    }
}
