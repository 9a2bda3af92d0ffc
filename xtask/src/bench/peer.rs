//! Programs of others that a measurement is compared with, where they are installed.

use std::path::PathBuf;

use super::Row;
use crate::run::which;

/// A program that may be absent.
pub(crate) struct Peer {
    program: &'static str,
    package: &'static str,
}

impl Peer {
    /// The program by its name, and the Debian package that brings it.
    pub(crate) const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Its path, or the row that says that it was skipped.
    pub(crate) fn path_or_skip(&self, row: &str, unit: &'static str) -> Result<PathBuf, Row> {
        let why = || format!("{} not installed (Debian package {})", self.program, self.package);
        which(self.program).ok_or_else(|| Row::skipped(row, unit, &why()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_peer_is_skipped_with_a_word() {
        let peer = Peer::new("no-such-program", "no-such-package");
        let row = peer.path_or_skip("no such time", "ms").unwrap_err();
        let row = serde_json::to_value(row).unwrap();
        assert_eq!(row["note"], "skipped: no-such-program not installed (Debian package no-such-package)");
        assert!(Peer::new("sh", "dash").path_or_skip("", "").is_ok());
    }
}
