//! Small secret files (private keys, a local credential): 0600, created or replaced as a whole, refused when open to
//! others.
//!
//! A reader sees the old contents or the new, never a part, also after `kill -9` or power loss at any moment. A crash
//! in the middle of a write may leave a `.NAME.new-*` beside the file, 0600 like the file itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::error::{StoreErrorKind, kind_of_io};
use crate::private;

/// Largest secret file that is read, in bytes.
pub const MAX_LEN: u64 = 1 << 20;

/// What is wrong with a secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such file.
    Missing,
    /// [`write_new`] found one.
    Exists,
    /// Group or others have rights on it; the mode bits.
    TooOpen(u32),
    /// Larger than [`MAX_LEN`], or not a regular file.
    NotASecretFile,
    /// The file system refused: full, read-only, no permission, or another error.
    Storage(StoreErrorKind),
}

/// A failed operation on one secret file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", path.display())]
pub struct SecretFileError {
    /// What is wrong.
    pub trouble: Trouble,
    /// Which file.
    pub path: PathBuf,
    detail: String,
}

impl SecretFileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.trouble == Trouble::Missing
    }

    /// Whether [`write_new`] found one that exists already.
    pub fn already_exists(&self) -> bool {
        self.trouble == Trouble::Exists
    }

    /// A file of the role that must not be there yet is.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self::new(Trouble::Exists, path, "it exists already")
    }

    fn new(trouble: Trouble, path: &Path, detail: impl Into<String>) -> Self {
        Self { trouble, path: path.to_owned(), detail: detail.into() }
    }

    fn from_io(error: &io::Error, path: &Path) -> Self {
        let kind = error.kind();
        let trouble = if kind == io::ErrorKind::NotFound {
            Trouble::Missing
        } else if kind == io::ErrorKind::AlreadyExists {
            Trouble::Exists
        } else {
            Trouble::Storage(kind_of_io(error))
        };
        Self::new(trouble, path, error.to_string())
    }
}

/// Creates `path` with `contents`, durably. Errors: [`Trouble::Exists`] leaves the existing file as it is.
pub fn write_new(path: &Path, contents: &[u8]) -> Result<(), SecretFileError> {
    put(path, contents, |from, to| {
        // A hard link, unlike a rename, never takes the place of an existing file.
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    })
}

/// Creates or replaces `path` with `contents`, durably and as a whole.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), SecretFileError> {
    put(path, contents, |from, to| fs::rename(from, to))
}

/// Reads `path`. Errors: [`Trouble::TooOpen`] if anybody but the owner has a right on it (chmod 600 is the remedy, after
/// thinking about who may have read it), [`Trouble::Missing`], [`Trouble::NotASecretFile`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |error: io::Error| SecretFileError::from_io(&error, path);
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.len() > MAX_LEN {
        return Err(SecretFileError::new(Trouble::NotASecretFile, path, "not a regular file of at most 1 MiB"));
    }
    if let Some(mode) = private::too_open(&found) {
        let detail = format!("open to others (mode {mode:o}); it must be 0600");
        return Err(SecretFileError::new(Trouble::TooOpen(mode), path, detail));
    }
    // Reserved at once: a growing vector would leave copies behind.
    let mut contents = Zeroizing::new(vec![0; usize::try_from(found.len()).unwrap_or(0)]);
    file.read_exact(&mut contents).map_err(failed)?;
    Ok(contents)
}

fn put(path: &Path, contents: &[u8], publish: fn(&Path, &Path) -> io::Result<()>) -> Result<(), SecretFileError> {
    let new = beside(path);
    let outcome = write_beside(&new, contents).and_then(|()| publish(&new, path));
    if let Err(error) = outcome {
        // It holds a secret and nobody will look for it.
        let _ = fs::remove_file(&new);
        return Err(SecretFileError::from_io(&error, path));
    }
    sync_directory(path).map_err(|error| SecretFileError::from_io(&error, path))
}

fn write_beside(new: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = private::create_new(new)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(private::directory_of(path))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    private::directory_of(path).join(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(root: &Path) -> Vec<OsString> {
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn created_once_replaced_as_a_whole_and_nothing_left_beside() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gateway.key");
        assert_eq!(read(&path).unwrap_err().trouble, Trouble::Missing);
        write_new(&path, b"first").unwrap();
        assert_eq!(write_new(&path, b"second").unwrap_err().trouble, Trouble::Exists);
        assert_eq!(&read(&path).unwrap()[..], b"first");
        replace(&path, b"third").unwrap();
        assert_eq!(&read(&path).unwrap()[..], b"third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(root.path()), ["gateway.key"]);
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("alice.credential");
        write_new(&path, b"secret").unwrap();
        for mode in [0o604, 0o640, 0o644, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap_err().trouble, Trouble::TooOpen(mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        read(&path).unwrap();
    }

    #[test]
    fn what_is_no_secret_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()).unwrap_err().trouble, Trouble::NotASecretFile);
        let path = root.path().join("large");
        private::create_new(&path).unwrap().set_len(MAX_LEN + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().trouble, Trouble::NotASecretFile);
    }

    #[test]
    fn readers_see_old_or_new_while_writers_replace() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("k");
        write_new(&path, &[0; 5000]).unwrap();
        std::thread::scope(|scope| {
            for writer in 1..=2_u8 {
                let path = &path;
                scope.spawn(move || (0..50).for_each(|_| replace(path, &[writer; 5000]).unwrap()));
            }
            for _ in 0..200 {
                let seen = read(&path).unwrap();
                assert!(seen.len() == 5000 && seen.iter().all(|byte| *byte == seen[0]));
            }
        });
        assert_eq!(names(root.path()), ["k"]);
    }
}
