//! Where each role keeps its things.

use crate::fault::Fault;
use std::path::{Path, PathBuf};

/// The roles that keep a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The controller.
    Controller,
    /// The gateway.
    Gateway,
    /// The client.
    Client,
    /// The page guard alone.
    Guard,
}

impl Role {
    /// The word that names the role in paths and files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Gateway => "gateway",
            Self::Client => "client",
            Self::Guard => "guard",
        }
    }

    /// The configuration file in `dir`.
    pub(crate) fn configuration(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.toml", self.word()))
    }

    /// The role's directory: the one given, `/var/lib/vestibule/ROLE` for root, else `vestibule/ROLE` in the user's data directory
    /// (XDG Base Directory Specification).
    pub(crate) fn dir(self, given: Option<&Path>) -> Result<PathBuf, Fault> {
        if let Some(given) = given {
            return std::path::absolute(given)
                .map_err(|error| Fault::files(format!("{} is not a usable path: {error}", given.display())));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Path::new("/var/lib/vestibule").join(self.word()));
        }
        let data =
            std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(|| {
                std::env::var_os("HOME")
                    .map(|home| PathBuf::from(home).join(".local/share"))
                    .filter(|path| path.is_absolute())
            });
        data.map(|data| data.join("vestibule").join(self.word())).ok_or_else(|| {
            Fault::files("this user has no home directory to keep files in")
                .next(format!("name one: --dir DIR (for the {})", self.word()))
        })
    }
}
