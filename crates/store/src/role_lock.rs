//! One running role per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// How long a role that starts waits for another process in its directory: one that is stopping, or a command on the files.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a lock that is waited for is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Held by a running role, and by an administration command that works on the files directly, for as long as it lives.
///
/// The kernel lets go of it when the process ends, in whatever way. Take it before opening the [`Store`](crate::Store):
/// who holds it is the only one whose decisions about live sessions count.
#[derive(Debug)]
pub struct RoleLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is held by process {}: the role is running", .pid.map_or("?".to_owned(), |pid| pid.to_string()))]
    Held {
        /// Process id of the holder, where it could be read.
        pid: Option<u32>,
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RoleLock {
    /// Takes the lock file at `path` for a role that starts: waits, for five seconds at most, until its holder lets go of it. Blocks.
    ///
    /// # Errors
    /// [`LockError::Held`] when it is held still, [`LockError::Store`].
    pub fn wait(path: &Path) -> Result<Self, LockError> {
        Self::acquire_within(path, PATIENCE)
    }

    fn acquire_within(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        loop {
            match Self::acquire(path) {
                Err(LockError::Held { .. }) if Instant::now() < until => std::thread::sleep(TRY_EVERY),
                done => return done,
            }
        }
    }

    /// Takes the lock file at `path` (by convention `ROLE.lock` in the data directory) without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`], [`LockError::Store`].
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |error: std::io::Error| LockError::Store(StoreError::from_io(&error, path));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { pid: read_pid(&mut file), path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The number is a courtesy to the reader of the error; a full disk must not keep the lock from being taken.
        let _ = write_pid(&mut file);
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gateway.lock");
        let held = RoleLock::acquire(&path).unwrap();
        let refused = RoleLock::acquire(&path).unwrap_err();
        assert_eq!(refused, LockError::Held { pid: Some(std::process::id()), path: path.clone() });
        assert!(refused.to_string().contains("the role is running"));
        let waited = RoleLock::acquire_within(&path, TRY_EVERY * 2).unwrap_err();
        assert!(matches!(waited, LockError::Held { .. }));
        drop(held);
        RoleLock::acquire(&path).unwrap();
    }

    #[test]
    fn one_that_is_let_go_of_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gateway.lock");
        let held = RoleLock::acquire(&path).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || RoleLock::acquire_within(&path, Duration::from_secs(60)).map(drop)
        });
        drop(held);
        waiting.join().unwrap().unwrap();
    }
}
