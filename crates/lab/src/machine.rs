//! What makes a host another machine: its own files in the places that name a machine, and disks that fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Context, Host, Result};

/// Files that name a machine. A host gets its own of those that this machine has.
const NAMES_OF_A_MACHINE: [&str; 4] =
    ["/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_serial"];

impl Host {
    /// Makes it another machine than any with another `seed`: every file that names a machine has other content in
    /// it. The same seed gives the same machine again. `scratch` is a directory that outlives the host.
    ///
    /// # Errors
    /// The files can't be written or mounted.
    pub fn become_machine(&self, seed: &str, scratch: &Path) -> Result<()> {
        let id = machine_id(seed);
        for path in NAMES_OF_A_MACHINE.map(Path::new) {
            let Ok(real) = fs::canonicalize(path) else { continue };
            let content = if path.ends_with("product_uuid") { uuid(&id) } else { id.clone() };
            let own =
                scratch.join(format!("{}-{}", self.name(), path.file_name().context("a file")?.to_string_lossy()));
            fs::write(&own, content + "\n").context(own.display())?;
            self.mount_over(&own, &real)?;
        }
        Ok(())
    }

    /// Takes away one of the files that name a machine: it reads as empty from now on.
    ///
    /// # Errors
    /// There is no such file, or it can't be mounted over.
    pub fn hide(&self, path: &Path) -> Result<()> {
        self.mount_over(Path::new("/dev/null"), &fs::canonicalize(path).context(path.display())?)
    }

    /// Shows `own` (a file or a directory) in place of `path`, in this host alone.
    ///
    /// # Errors
    /// One of them doesn't exist, or the system refuses.
    pub fn mount_over(&self, own: &Path, path: &Path) -> Result<()> {
        self.mount(&["--bind".into(), own.into(), path.into()])
    }

    /// Makes a directory and all in it read-only, in this host alone.
    ///
    /// # Errors
    /// It doesn't exist, or the system refuses.
    pub fn mount_read_only(&self, dir: &Path) -> Result<()> {
        self.mount_over(dir, dir)?;
        self.mount(&["-o".into(), "remount,bind,ro".into(), dir.into()])
    }

    /// Puts an empty disk of `bytes` over a directory, in this host alone; what was there is hidden.
    ///
    /// # Errors
    /// The directory doesn't exist, or the system refuses.
    pub fn mount_small(&self, dir: &Path, bytes: u64) -> Result<()> {
        self.mount(&[
            "-t".into(),
            "tmpfs".into(),
            "-o".into(),
            format!("size={bytes}").into(),
            "tmpfs".into(),
            dir.into(),
        ])
    }

    /// Undoes the last mount over `path`.
    ///
    /// # Errors
    /// Nothing is mounted there, or it is in use.
    pub fn unmount(&self, path: &Path) -> Result<()> {
        self.contained()?;
        self.command("umount").arg(path).run()?.ok().map(drop)
    }

    fn mount(&self, words: &[PathBuf]) -> Result<()> {
        self.contained()?;
        self.command("mount").args(words).run()?.ok().map(drop)
    }
}

/// 32 hex digits that differ for different seeds (FNV-1a, twice).
pub(crate) fn machine_id(seed: &str) -> String {
    let hash =
        |start: u64| seed.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x9ae1_6a3b_2f90_404f))
}

fn uuid(id: &str) -> String {
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_of_the_right_form() {
        assert_eq!(machine_id("laptop"), machine_id("laptop"));
        assert_ne!(machine_id("laptop"), machine_id("desk"));
        assert_eq!(machine_id("").len(), 32);
        assert_eq!(uuid(&machine_id("laptop")).len(), 36);
    }
}
