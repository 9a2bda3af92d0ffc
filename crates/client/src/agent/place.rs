//! Where the socket lies, however long the path is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Longest path that fits into a socket address with room to spare, in bytes (the address holds 108).
const ADDRESS_LEN: usize = 100;

/// A path short enough for a socket address: a long one is reached through its opened directory.
pub(super) struct Place {
    path: PathBuf,
    _directory: Option<File>,
}

impl Place {
    /// For the socket at `path`, whose directory must exist.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        if path.as_os_str().len() <= ADDRESS_LEN {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let directory = File::open(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    /// The path to bind or to connect to, for as long as this lives.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Who may use the agent: the user that it runs as, and root.
pub(super) fn is_welcome(peer: u32) -> bool {
    peer == 0 || peer == rustix::process::geteuid().as_raw()
}
