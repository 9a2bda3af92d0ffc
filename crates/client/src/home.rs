//! The client's directory: one local credential per user and gateway, and beside each the files of its use.
//!
//! `alice@home.credential` (0600), `alice@home.credential.state` (last acknowledged stamp), `alice@home.sock` and
//! `alice@home.lock` (a running `up`).

use crate::error::{ClientError, CredentialTrouble};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use vestibule_proto::id::UserName;

const CREDENTIAL_SUFFIX: &str = ".credential";
/// Longest gateway's name in a file's name, in bytes.
const GATEWAY_NAME_LEN: usize = 64;

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// Where one credential lies, and whose it is by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialFile {
    /// The user.
    pub user: UserName,
    /// The gateway's name, as far as it can stand in a file's name.
    pub gateway: String,
    /// The file.
    pub path: PathBuf,
}

impl Home {
    /// The directory at `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory where it is missing, and closes it to others (0700).
    ///
    /// # Errors
    /// [`ClientError::Files`].
    pub fn prepare(&self) -> Result<(), ClientError> {
        let failed = |error: io::Error| ClientError::files(&self.dir, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let mode = std::fs::metadata(&self.dir).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    /// The file for `user` at the gateway of this name.
    #[must_use]
    pub fn file(&self, user: &UserName, gateway: &str) -> CredentialFile {
        let gateway = file_part(gateway);
        let path = self.dir.join(format!("{user}@{gateway}{CREDENTIAL_SUFFIX}"));
        CredentialFile { user: user.clone(), gateway, path }
    }

    /// All credentials by their files' names, in order.
    ///
    /// # Errors
    /// [`ClientError::Files`]; a missing directory holds none.
    pub fn credentials(&self) -> Result<Vec<CredentialFile>, ClientError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ClientError::files(&self.dir, &error)),
        };
        let mut found: Vec<_> = entries.flatten().filter_map(|entry| CredentialFile::of(entry.path())).collect();
        found.sort();
        Ok(found)
    }

    /// The credential that is meant: the one named `USER@GATEWAY` or `USER`, else the only one.
    ///
    /// # Errors
    /// [`CredentialTrouble::Missing`] if there is none that fits, [`ClientError::Ambiguous`] if several do.
    pub fn choose(&self, named: Option<&str>) -> Result<CredentialFile, ClientError> {
        let mut fitting = self.credentials()?;
        if let Some(named) = named {
            fitting.retain(|file| file.name() == named || file.user.as_str() == named);
        }
        match fitting.len() {
            0 => {
                let path = named
                    .map_or_else(|| self.dir.clone(), |named| self.dir.join(format!("{named}{CREDENTIAL_SUFFIX}")));
                let path = path.display().to_string();
                Err(ClientError::Credential { trouble: CredentialTrouble::Missing, path })
            }
            1 => Ok(fitting.remove(0)),
            _ => Err(ClientError::Ambiguous { names: fitting.iter().map(CredentialFile::name).collect() }),
        }
    }
}

impl CredentialFile {
    /// `USER@GATEWAY`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}@{}", self.user, self.gateway)
    }

    /// The socket of an `up` that runs with this credential.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.beside(".sock")
    }

    /// The file that a running `up` holds locked.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.beside(".lock")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.path.with_file_name(format!("{}{suffix}", self.name()))
    }

    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(CREDENTIAL_SUFFIX)?;
        // A user's name may hold an @ itself; a gateway's, as it stands here, does not.
        let (user, gateway) = name.rsplit_once('@')?;
        let (user, gateway) = (UserName::parse(user).ok()?, gateway.to_owned());
        Some(Self { user, gateway, path })
    }
}

/// `name` with everything that may not stand in a file's name made a dash.
fn file_part(name: &str) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        plain @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => plain,
        _ => '-',
    };
    let part: String = name.chars().map(plain).take(GATEWAY_NAME_LEN).collect();
    if part.is_empty() { "gateway".to_owned() } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn home_with(names: &[&str]) -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(directory.path().join(name), b"x").unwrap();
        }
        let home = Home::new(directory.path());
        (directory, home)
    }

    #[test]
    fn files_are_named_for_user_and_gateway() {
        let home = Home::new("/h");
        let file = home.file(&user("alice@example.org"), "../The Büro");
        assert_eq!(file.path, Path::new("/h/alice@example.org@..-the-b-ro.credential"));
        assert_eq!(CredentialFile::of(file.path.clone()), Some(file.clone()));
        assert_eq!(file.socket(), Path::new("/h/alice@example.org@..-the-b-ro.sock"));
        assert_eq!(home.file(&user("a"), "").name(), "a@gateway");
        assert_eq!(home.file(&user("a"), &"x".repeat(500)).gateway.len(), GATEWAY_NAME_LEN);
    }

    #[test]
    fn the_credential_that_is_meant_is_found() {
        let (_directory, home) = home_with(&[
            "alice@home.credential",
            "alice@work.credential",
            "bob@home.credential",
            "alice@home.credential.state",
            "x",
        ]);
        assert_eq!(home.credentials().unwrap().len(), 3);
        assert_eq!(home.choose(Some("alice@work")).unwrap().name(), "alice@work");
        assert_eq!(home.choose(Some("bob")).unwrap().name(), "bob@home");
        let both = ["alice@home", "alice@work"].map(str::to_owned).to_vec();
        assert_eq!(home.choose(Some("alice")), Err(ClientError::Ambiguous { names: both }));
        assert!(matches!(home.choose(None), Err(ClientError::Ambiguous { names }) if names.len() == 3));
        assert_eq!(home.choose(Some("carol")).unwrap_err().exit_code(), 11);
    }

    #[test]
    fn the_only_one_needs_no_name() {
        let (_directory, home) = home_with(&["alice@home.credential"]);
        assert_eq!(home.choose(None).unwrap().name(), "alice@home");
        let empty = Home::new("/nonexistent/vestibule");
        assert_eq!(empty.credentials(), Ok(Vec::new()));
        assert_eq!(empty.choose(None).unwrap_err().exit_code(), 11);
    }

    #[test]
    fn the_directory_is_closed_to_others() {
        let (directory, home) = home_with(&[]);
        let home = Home::new(home.dir().join("a/b"));
        home.prepare().unwrap();
        let mode = || std::fs::metadata(home.dir()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(home.dir(), Permissions::from_mode(0o755)).unwrap();
        home.prepare().unwrap();
        assert_eq!(mode(), 0o700);
        let blocked = Home::new(directory.path().join("file/x"));
        std::fs::write(directory.path().join("file"), b"").unwrap();
        assert_eq!(blocked.prepare().unwrap_err().exit_code(), 41);
    }
}
