//! Private files: read only if nobody else can have touched them, replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a private file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("the file does not exist")]
    Missing,
    /// The path is a symbolic link; what it points at could be anybody's.
    #[error("the path is a symbolic link")]
    Symlink,
    /// A directory, device, socket or pipe.
    #[error("the path is not a regular file")]
    NotAFile,
    /// The file belongs to another user.
    #[error("the file belongs to user {uid}, not to the one that runs this program")]
    ForeignOwner {
        /// Numeric id of its owner.
        uid: u32,
    },
    /// Group or others have access.
    #[error("the file is open to others (mode {mode:04o}); it must be 0600")]
    TooOpen {
        /// Permission bits of the file.
        mode: u32,
    },
    /// Longer than such a file can be.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// Most bytes that such a file has.
        limit: u64,
    },
    /// The operating system refused for another reason.
    #[error("the file can not be read: {0}")]
    Io(ErrorKind),
}

/// Why a private file was not written. The former file, if there was one, is untouched (or replaced, if all that failed was
/// the last step, waiting for the directory: then the new file is there and may not outlast a crash of the machine).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SaveError {
    /// No room: the disk or the quota is exhausted.
    #[error("the disk is full")]
    Full,
    /// The filesystem is mounted read-only.
    #[error("the filesystem is read-only")]
    ReadOnly,
    /// This user may not write to the directory.
    #[error("no permission to write to the directory")]
    Denied,
    /// The directory does not exist.
    #[error("the directory does not exist")]
    NoDirectory,
    /// The operating system refused for another reason.
    #[error("the file can not be written: {0}")]
    Io(ErrorKind),
}

/// How long a replacement must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk before the call returns.
    Synced,
    /// Whole or absent after a crash of the machine; not waited for.
    Relaxed,
}

/// Reads a file of at most `limit` bytes that nobody but this user has access to.
///
/// # Errors
/// See [`ReadError`]; each is the first of owner, mode and size that is wrong.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| ReadError::Io(error.kind()))?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    admissible(&metadata, rustix::process::geteuid().as_raw())?;
    // Room for one byte too many, so that the buffer never moves and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| ReadError::Io(error.kind()))?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit }) } else { Ok(bytes) }
}

fn open(path: &Path) -> Result<File, ReadError> {
    // Without NONBLOCK a pipe in the file's place would hold the program for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => ReadError::Missing,
        Some(Errno::LOOP) => ReadError::Symlink,
        Some(Errno::NXIO) => ReadError::NotAFile,
        _ => ReadError::Io(error.kind()),
    })
}

fn admissible(metadata: &fs::Metadata, user: u32) -> Result<(), ReadError> {
    if metadata.uid() != user {
        return Err(ReadError::ForeignOwner { uid: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 { Err(ReadError::TooOpen { mode }) } else { Ok(()) }
}

/// Writes `bytes` to a new file of mode 0600 beside `path` and renames it over `path`.
///
/// Whoever is killed on the way leaves the former file as it was, and perhaps a file `.NAME.*.new` beside it that a later
/// replacement removes.
///
/// # Errors
/// See [`SaveError`].
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), SaveError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let name = path.file_name().ok_or(SaveError::Io(ErrorKind::InvalidFilename))?;
    write_and_rename(directory, path, &temporary_prefix(name), bytes, durability).map_err(save_error)?;
    remove_leftovers(directory, &temporary_prefix(name));
    Ok(())
}

const TEMPORARY_SUFFIX: &str = ".new";

fn temporary_prefix(name: &std::ffi::OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

fn write_and_rename(
    directory: &Path,
    path: &Path,
    prefix: &OsString,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    // Exclusive creation with mode 0600 is what the crate does by itself; it removes the file again on every error.
    let mut file: NamedTempFile =
        tempfile::Builder::new().prefix(prefix).suffix(TEMPORARY_SUFFIX).tempfile_in(directory)?;
    file.write_all(bytes)?;
    if durability == Durability::Synced {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durability == Durability::Synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// By kind alone: `tempfile` wraps errors so that nothing else is left of them.
fn save_error(error: io::Error) -> SaveError {
    let known = [
        (ErrorKind::StorageFull, SaveError::Full),
        (ErrorKind::QuotaExceeded, SaveError::Full),
        (ErrorKind::ReadOnlyFilesystem, SaveError::ReadOnly),
        (ErrorKind::PermissionDenied, SaveError::Denied),
        (ErrorKind::NotFound, SaveError::NoDirectory),
        (ErrorKind::NotADirectory, SaveError::NoDirectory),
    ];
    let told = known.into_iter().find(|(kind, _)| *kind == error.kind());
    told.map_or(SaveError::Io(error.kind()), |(_, told)| told)
}

/// A replacement takes milliseconds: what is older than this was left by a killed program.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Best effort: a leftover costs space, and it is as well sealed as the file itself.
fn remove_leftovers(directory: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_leftover(path, prefix)) {
        let _ = fs::remove_file(path);
    }
}

fn is_leftover(path: &PathBuf, prefix: &OsString) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ours = name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(TEMPORARY_SUFFIX.as_bytes());
    let age = || SystemTime::now().duration_since(fs::symlink_metadata(path).ok()?.modified().ok()?).ok();
    ours && age().is_some_and(|age| age > LEFTOVER_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.credential");
        (directory, path)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_written_is_read_with_mode_0600_and_nothing_beside_it() {
        let (directory, path) = place();
        replace(&path, b"one", Durability::Synced).unwrap();
        replace(&path, b"two", Durability::Relaxed).unwrap();
        assert_eq!(read(&path, 3).unwrap().as_slice(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(directory.path()), ["alice.credential"]);
    }

    #[test]
    fn replacing_an_open_file_closes_it_to_others() {
        let (_directory, path) = place();
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new", Durability::Synced).unwrap();
        assert_eq!(read(&path, 3).unwrap().as_slice(), b"new");
    }

    #[test]
    fn a_missing_file_is_told() {
        let (_directory, path) = place();
        assert_eq!(read(&path, 3), Err(ReadError::Missing));
        assert_eq!(read(&path.join("below"), 3), Err(ReadError::Missing));
    }

    #[test]
    fn every_bit_for_others_is_too_open() {
        let (_directory, path) = place();
        replace(&path, b"x", Durability::Relaxed).unwrap();
        for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            let mode = 0o600 | bit;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path, 3), Err(ReadError::TooOpen { mode }));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path, 3).is_ok());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (directory, path) = place();
        replace(&path, b"x", Durability::Relaxed).unwrap();
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 3), Err(ReadError::Symlink));
    }

    #[test]
    fn a_link_in_the_files_place_is_replaced_and_not_written_through() {
        let (directory, path) = place();
        let elsewhere = directory.path().join("elsewhere");
        fs::write(&elsewhere, b"untouched").unwrap();
        symlink(&elsewhere, &path).unwrap();
        replace(&path, b"new", Durability::Synced).unwrap();
        assert_eq!(read(&path, 3).unwrap().as_slice(), b"new");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"untouched");
    }

    #[test]
    fn directories_devices_and_pipes_are_not_files() {
        let (directory, path) = place();
        assert_eq!(read(directory.path(), 3), Err(ReadError::NotAFile));
        assert_eq!(read(Path::new("/dev/null"), 3), Err(ReadError::NotAFile));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(&path, 3), Err(ReadError::NotAFile));
    }

    #[test]
    fn a_foreign_owner_is_told() {
        let (_directory, path) = place();
        replace(&path, b"x", Durability::Relaxed).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let owner = metadata.uid();
        assert_eq!(admissible(&metadata, owner), Ok(()));
        assert_eq!(admissible(&metadata, owner + 1), Err(ReadError::ForeignOwner { uid: owner }));
    }

    #[test]
    fn a_file_of_another_user_is_not_read() {
        let (_directory, path) = place();
        if rustix::process::geteuid().is_root() {
            replace(&path, b"x", Durability::Relaxed).unwrap();
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert_eq!(read(&path, 3), Err(ReadError::ForeignOwner { uid: 65_534 }));
        } else {
            assert_eq!(read(Path::new("/etc/passwd"), 1 << 20), Err(ReadError::ForeignOwner { uid: 0 }));
        }
    }

    #[test]
    fn the_size_is_bounded() {
        let (_directory, path) = place();
        replace(&path, b"1234", Durability::Relaxed).unwrap();
        assert_eq!(read(&path, 3), Err(ReadError::TooLarge { limit: 3 }));
        assert!(read(&path, 4).is_ok());
    }

    #[test]
    fn a_missing_directory_is_told() {
        let (_directory, path) = place();
        assert_eq!(replace(&path.join("below"), b"x", Durability::Synced), Err(SaveError::NoDirectory));
        replace(&path, b"x", Durability::Synced).unwrap();
        assert_eq!(replace(&path.join("below"), b"x", Durability::Synced), Err(SaveError::NoDirectory));
    }

    #[test]
    fn leftovers_of_a_killed_program_do_no_harm_and_go_when_old() {
        let (directory, path) = place();
        replace(&path, b"whole", Durability::Synced).unwrap();
        let young = directory.path().join(".alice.credential.AAAAAA.new");
        let old = directory.path().join(".alice.credential.BBBBBB.new");
        let other = directory.path().join(".bob.credential.CCCCCC.new");
        for leftover in [&young, &old, &other] {
            fs::write(leftover, b"ha").unwrap();
        }
        for leftover in [&old, &other] {
            let long_ago = SystemTime::now() - 2 * LEFTOVER_AGE;
            File::options().write(true).open(leftover).unwrap().set_modified(long_ago).unwrap();
        }
        assert_eq!(read(&path, 9).unwrap().as_slice(), b"whole");
        replace(&path, b"newer", Durability::Synced).unwrap();
        assert_eq!(read(&path, 9).unwrap().as_slice(), b"newer");
        assert!(young.exists() && other.exists() && !old.exists());
    }
}
