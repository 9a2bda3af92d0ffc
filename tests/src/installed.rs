//! Programs of others that scenarios use.

use std::path::{Path, PathBuf};

use vestibule_lab::{Failure, Result};

const DIRECTORIES: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The path of a program that the Debian package `package` brings.
///
/// # Errors
/// It isn't installed; the text says how to.
pub fn installed(program: &str, package: &str) -> Result<PathBuf> {
    let found = DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::new(format!("{program} isn't installed: `cargo xtask test` or `apt-get install {package}` brings it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_of_what_is_missing() {
        assert!(installed("sh", "dash").is_ok());
        let failure = installed("no-such-program", "no-such-package").unwrap_err().to_string();
        assert!(failure.contains("apt-get install no-such-package"), "{failure}");
    }
}
