//! Passwords: where they come from, and which ones are refused at enrolment.
//!
//! A password never comes from an argument or from the environment: other users see the first, and children inherit the
//! second. It is typed without echo (the program's job), read from standard input, or asked for by another program.

mod askpass;
mod common;

use std::io::{self, ErrorKind, Read};

use subtle::ConstantTimeEq as _;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

pub use common::{LEAST_CHARACTERS, Weak, refuse_if_common};

/// Longest password, in bytes of UTF-8, before and after normalisation.
pub const MOST_BYTES: usize = 1_024;

/// A password in Unicode Normalization Form C, so that it is the same from every keyboard. Erased when dropped, never
/// printed.
pub struct Password(Zeroizing<String>);

/// Why what was read is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Nothing was typed, or the input was at its end.
    #[error("no password was given")]
    Empty,
    /// Longer than [`MOST_BYTES`].
    #[error("the password has more than {MOST_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the password is not UTF-8 text")]
    NotText,
    /// The input can't be read.
    #[error("the password can not be read: {0}")]
    Io(ErrorKind),
    /// The askpass program can't be started.
    #[error("the askpass program can not be started: {0}")]
    AskpassNotStarted(ErrorKind),
    /// The askpass program ended without success: the person cancelled, or it failed.
    #[error("the askpass program gave no password ({})", exit(*.code))]
    AskpassFailed {
        /// Its exit code, `None` if it was killed.
        code: Option<i32>,
    },
    /// The askpass program did not end in time, and was killed.
    #[error("the askpass program did not answer in time")]
    AskpassTimeout,
}

impl Password {
    /// The password that was typed. The caller's copy is the caller's to erase: keep it in a `Zeroizing<String>`.
    ///
    /// # Errors
    /// [`PasswordError::Empty`], [`PasswordError::TooLong`].
    pub fn new(typed: &str) -> Result<Self, PasswordError> {
        if typed.is_empty() {
            return Err(PasswordError::Empty);
        }
        if typed.len() > MOST_BYTES {
            return Err(PasswordError::TooLong);
        }
        // Composition makes UTF-8 at most three times as long: with the room there from the start no copy stays behind.
        let mut normal = Zeroizing::new(String::with_capacity(3 * typed.len()));
        normal.extend(typed.nfc());
        if normal.len() > MOST_BYTES { Err(PasswordError::TooLong) } else { Ok(Self(normal)) }
    }

    /// The first line of `reader`, without its line end (`\n` or `\r\n`). Not a byte behind the line is consumed.
    ///
    /// # Errors
    /// [`PasswordError`], but none of the askpass ones.
    pub fn from_reader(reader: impl Read) -> Result<Self, PasswordError> {
        let line = first_line(reader)?;
        let text = std::str::from_utf8(&line).map_err(|_| PasswordError::NotText)?;
        Self::new(text.strip_suffix('\r').unwrap_or(text))
    }

    /// The UTF-8 bytes of the password.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether the person typed the same password twice. In constant time for equal lengths.
    #[must_use]
    pub fn matches(&self, repeated: &Self) -> bool {
        self.expose().ct_eq(repeated.expose()).into()
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

/// One byte at a time: what stands behind the line belongs to whoever reads on.
fn first_line(mut reader: impl Read) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    // Room for `\r` and one byte too many.
    let mut line = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2));
    let mut byte = Zeroizing::new([0]);
    while line.len() < MOST_BYTES + 2 {
        match reader.read(byte.as_mut()) {
            Ok(0) => return Ok(line),
            Ok(_) if byte[0] == b'\n' => return Ok(line),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(&error)),
        }
    }
    Err(PasswordError::TooLong)
}

fn io_error(error: &io::Error) -> PasswordError {
    PasswordError::Io(error.kind())
}

fn exit(code: Option<i32>) -> String {
    code.map_or_else(|| "killed".to_owned(), |code| format!("exit code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, PasswordError> {
        Password::from_reader(bytes).map(|password| password.expose().to_vec())
    }

    #[test]
    fn the_first_line_counts() {
        for input in ["pass word\n", "pass word", "pass word\r\n", "pass word\nsecond\n"] {
            assert_eq!(read(input.as_bytes()), Ok(b"pass word".to_vec()), "{input:?}");
        }
        assert_eq!(read(b" a\rb \n"), Ok(b" a\rb ".to_vec()), "only the line end is no part of it");
    }

    #[test]
    fn what_stands_behind_the_line_is_not_consumed() {
        let mut input = &b"password\nrest"[..];
        Password::from_reader(&mut input).unwrap();
        assert_eq!(input, b"rest");
    }

    #[test]
    fn no_password_is_told() {
        for input in [&b""[..], b"\n", b"\r\n", b"\nsecond"] {
            assert_eq!(read(input), Err(PasswordError::Empty));
        }
    }

    #[test]
    fn the_length_is_bounded() {
        let longest = "x".repeat(MOST_BYTES);
        assert_eq!(read(longest.as_bytes()).map(|read| read.len()), Ok(MOST_BYTES));
        assert_eq!(read(format!("{longest}\r\n").as_bytes()).map(|read| read.len()), Ok(MOST_BYTES));
        assert_eq!(read(format!("{longest}x\n").as_bytes()), Err(PasswordError::TooLong));
        assert_eq!(Password::new(&format!("{longest}x")).err(), Some(PasswordError::TooLong));
        let endless = io::repeat(b'x');
        assert_eq!(Password::from_reader(endless).err(), Some(PasswordError::TooLong));
    }

    #[test]
    fn what_grows_beyond_the_bound_is_refused() {
        // U+1D160 is twelve bytes in form C, four as typed.
        let typed = "\u{1d160}".repeat(MOST_BYTES / 4);
        assert_eq!(Password::new(&typed).err(), Some(PasswordError::TooLong));
    }

    #[test]
    fn other_bytes_than_text_are_told() {
        assert_eq!(read(b"pass\xffword\n"), Err(PasswordError::NotText));
    }

    #[test]
    fn a_broken_input_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        assert_eq!(Password::from_reader(Broken).err(), Some(PasswordError::Io(ErrorKind::ConnectionReset)));
    }

    #[test]
    fn composed_and_decomposed_are_one_password() {
        let composed = Password::new("pass\u{e9}").unwrap();
        let decomposed = Password::new("passe\u{301}").unwrap();
        assert_eq!(composed.expose(), decomposed.expose());
        assert!(composed.matches(&decomposed));
        assert!(!composed.matches(&Password::new("passe").unwrap()));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(typed in "\\PC{1,80}") {
            let once = Password::new(&typed).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let twice = Password::new(once.as_str()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(once.matches(&twice));
        }
    }
}
