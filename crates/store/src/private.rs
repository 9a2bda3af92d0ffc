//! Files and directories that belong to one user alone.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{StoreError, StoreErrorKind};

/// Bits that let group or others in.
const OTHERS: u32 = 0o077;

/// Creates the data directory (0700, with its parents) where it is missing, and refuses one that is open to others.
///
/// Errors: [`Permission`](StoreErrorKind::Permission) for a directory with any right for group or others.
pub fn ensure_directory(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(StoreError::new(StoreErrorKind::Other, "not a directory").at(path)),
        Ok(found) => refuse_open(&found, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_directory(path),
        Err(error) => Err(StoreError::from_io(&error, path)),
    }
}

fn create_directory(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| StoreError::from_io(&error, path))
}

/// Creates the file (0600) where it is missing, and refuses one that is open to others.
pub(crate) fn ensure_file(path: &Path) -> Result<(), StoreError> {
    let made = match create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return check_file(path),
        Err(error) => return Err(StoreError::from_io(&error, path)),
    };
    made.sync_all().map_err(|error| StoreError::from_io(&error, path))
}

fn check_file(path: &Path) -> Result<(), StoreError> {
    let found = std::fs::metadata(path).map_err(|error| StoreError::from_io(&error, path))?;
    refuse_open(&found, path)
}

/// A new file, 0600 whatever the umask, owned by who owns the directory (root may work on a role's files).
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    give_to_owner_of_directory(&file, path)?;
    Ok(file)
}

fn give_to_owner_of_directory(file: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let directory = std::fs::metadata(directory_of(path))?;
    if directory.uid() == 0 {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(directory.uid()), Some(directory.gid()))
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The permission bits that let others in, if any.
pub(crate) fn too_open(found: &Metadata) -> Option<u32> {
    let mode = found.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

fn refuse_open(found: &Metadata, path: &Path) -> Result<(), StoreError> {
    match too_open(found) {
        Some(mode) => {
            Err(StoreError::new(StoreErrorKind::Permission, format!("mode {mode:o} is open to others")).at(path))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made_private_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        ensure_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(root.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn directories_and_files_open_to_others_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o750, 0o701] {
            std::fs::set_permissions(root.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(ensure_directory(root.path()).unwrap_err().kind(), StoreErrorKind::Permission);
        }
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();
        ensure_directory(root.path()).unwrap();

        let file = root.path().join("f");
        ensure_file(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(ensure_file(&file).unwrap_err().kind(), StoreErrorKind::Permission);
    }
}
