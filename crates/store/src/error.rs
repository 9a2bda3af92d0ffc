//! Errors of the store: comparable, and each with a next step for the person who runs the role.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// What kind of trouble the store is in; decides the exit code and what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No space (or quota) left on the file system.
    Full,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The files belong to another user, or are open to others (they must be 0600 in a 0700 directory).
    Permission,
    /// The file is damaged or is not one of ours.
    Corrupt,
    /// The file was written by a newer program.
    TooNew,
    /// Another process held the file for longer than the busy timeout (5 s).
    Busy,
    /// Anything else, e.g. an I/O error of the disk.
    Other,
}

/// A failed operation of the [`Store`](crate::Store). Nothing of the operation was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: String,
    path: Option<PathBuf>,
}

impl StoreError {
    /// An error of `kind`; `detail` is one clause without a full stop.
    pub fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), path: None }
    }

    /// From a failed system call on `path`.
    pub fn from_io(error: &io::Error, path: &Path) -> Self {
        let kind = kind_of_io(error);
        let detail = if kind == StoreErrorKind::Other { error.to_string() } else { String::new() };
        Self::new(kind, detail).at(path)
    }

    /// The same error, naming the file. An I/O error whose cause SQLite swallowed is looked up at the file system.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        // SQLite names the file, too.
        let named = format!(": {}", path.display());
        self.detail = self.detail.strip_suffix(&named).unwrap_or(&self.detail).to_owned();
        if self.kind == StoreErrorKind::Other {
            self.kind = kind_of_file_system(path).unwrap_or(StoreErrorKind::Other);
        }
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The file or directory concerned, where known.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the owner can do about it: one sentence, starting in lower case.
    pub fn next_step(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::Full => "free some space on that file system; the role goes on by itself then",
            StoreErrorKind::ReadOnly => "mount the file system for writing, or choose another directory with --dir",
            StoreErrorKind::Permission => {
                "run as the user that owns the directory, and let nobody else in: chmod 700 the directory, 600 its files"
            }
            StoreErrorKind::Corrupt => "put back a backup of this file; keep the damaged one for a look with sqlite3",
            StoreErrorKind::TooNew => "use the newer program that wrote it; there is no way back to an older one",
            StoreErrorKind::Busy => "stop the other process that uses this file (fuser shows it), then try again",
            StoreErrorKind::Other => "look at the system's log for errors of this disk",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Full => "no space left",
            StoreErrorKind::ReadOnly => "the file system is read-only",
            StoreErrorKind::Permission => "permission denied",
            StoreErrorKind::Corrupt => "the file is damaged or not a Vestibule database",
            StoreErrorKind::TooNew => "the file belongs to a newer version",
            StoreErrorKind::Busy => "another process is using the file",
            StoreErrorKind::Other => "storage failed",
        };
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(what)?;
        // Of these the system says the same in other words.
        let said = matches!(self.kind, StoreErrorKind::Full | StoreErrorKind::ReadOnly | StoreErrorKind::Busy);
        if said || self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = error.sqlite_error_code().map_or(StoreErrorKind::Other, kind_of_sqlite);
        Self::new(kind, error.to_string())
    }
}

// `ErrorCode` is SQLite's own list, open to additions: what we don't know is `Other`.
#[allow(clippy::wildcard_enum_match_arm)]
fn kind_of_sqlite(code: ErrorCode) -> StoreErrorKind {
    match code {
        ErrorCode::DiskFull => StoreErrorKind::Full,
        ErrorCode::ReadOnly => StoreErrorKind::ReadOnly,
        ErrorCode::PermissionDenied => StoreErrorKind::Permission,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreErrorKind::Corrupt,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Busy,
        _ => StoreErrorKind::Other,
    }
}

// `io::ErrorKind` is open too.
#[allow(clippy::wildcard_enum_match_arm)]
pub(crate) fn kind_of_io(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
        _ => StoreErrorKind::Other,
    }
}

/// SQLite reports a full or read-only file system as a bare I/O error in some places (the shared-memory file, opening):
/// the file system itself knows better.
fn kind_of_file_system(path: &Path) -> Option<StoreErrorKind> {
    let directory = path.ancestors().find(|ancestor| ancestor.exists())?;
    let state = rustix::fs::statvfs(directory).ok()?;
    if state.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Some(StoreErrorKind::ReadOnly);
    }
    (state.f_blocks > 0 && state.f_bavail == 0).then_some(StoreErrorKind::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let path = Path::new("/tmp/x.db");
        for (number, text) in [
            (13, "/tmp/x.db: permission denied"),
            (28, "/tmp/x.db: no space left"),
            (30, "/tmp/x.db: the file system is read-only"),
        ] {
            assert_eq!(StoreError::from_io(&io::Error::from_raw_os_error(number), path).to_string(), text);
        }
        let unopened = rusqlite::Connection::open("/nonexistent/x.db").unwrap_err();
        let told = StoreError::from(unopened).at(Path::new("/nonexistent/x.db")).to_string();
        assert_eq!(told.matches("/nonexistent/x.db").count(), 1, "{told}");
        let mode = StoreError::new(StoreErrorKind::Permission, "mode 755 is open to others").at(path).to_string();
        assert_eq!(mode, "/tmp/x.db: permission denied (mode 755 is open to others)");
    }

    #[test]
    fn every_kind_says_what_to_do_and_names_the_file() {
        use StoreErrorKind::*;
        for kind in [Full, ReadOnly, Permission, Corrupt, TooNew, Busy] {
            let error = StoreError::new(kind, "detail").at(Path::new("/tmp/x.db"));
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("/tmp/x.db: "), "{error}");
            assert!(error.next_step().len() > 20);
        }
    }

    #[test]
    fn system_calls_map_to_kinds() {
        for (errno, kind) in [
            (28, StoreErrorKind::Full),
            (30, StoreErrorKind::ReadOnly),
            (13, StoreErrorKind::Permission),
            (122, StoreErrorKind::Full),
        ] {
            assert_eq!(StoreError::from_io(&io::Error::from_raw_os_error(errno), Path::new("/tmp")).kind(), kind);
        }
    }
}
