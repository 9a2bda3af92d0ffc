//! Where the programs under test are, and that they are as new as their source.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::{Context, Failure, Result};

/// Set by `cargo xtask test`, which has just built everything: the directory of the programs.
const BUILT: &str = "VESTIBULE_LAB_PROGRAMS";

type Found = OnceLock<std::result::Result<PathBuf, String>>;

/// The program under test, `vestibule`, built from the source as it is now: once per test process, under a lock that
/// all of them share.
///
/// # Errors
/// It can't be built; the compiler's words are on standard error.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: Found = OnceLock::new();
    fresh(&PROGRAM, "vestibule", "vestibule")
}

/// What the lab itself runs inside hosts.
pub(crate) fn peer() -> Result<&'static Path> {
    static PEER: Found = OnceLock::new();
    fresh(&PEER, "vestibule-lab", "lab-peer")
}

fn fresh(found: &'static Found, package: &str, name: &str) -> Result<&'static Path> {
    let found = found.get_or_init(|| find(package, name).map_err(|failure| failure.to_string()));
    found.as_deref().map_err(|reason| Failure::new(reason.clone()))
}

fn find(package: &str, name: &str) -> Result<PathBuf> {
    let dir = match env::var_os(BUILT) {
        Some(dir) => PathBuf::from(dir),
        None => build(package)?,
    };
    let path = dir.join(name);
    if path.is_file() { Ok(path) } else { Err(Failure::new(format!("no program at {}", path.display()))) }
}

/// Has cargo build it beside the running test (`target/PROFILE/deps/TEST`): nothing to do where it is fresh, and
/// never a stale one.
fn build(package: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    let dir = test.ancestors().nth(2).context("a test outside of a target directory")?;
    let (target, profile) = (dir.parent().context("no target directory")?, dir.file_name().context("no profile")?);
    let lock = File::options().create(true).append(true).open(target.join("lab.lock"))?;
    lock.lock()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bins", "--target-dir"]).arg(target);
    cargo.current_dir(workspace()?).stdin(Stdio::null());
    if profile != "debug" {
        cargo.arg("--profile").arg(profile);
    }
    let status = cargo.status().context("cargo build")?;
    if !status.success() {
        return Err(Failure::new(format!("cargo can't build {package} ({status})")));
    }
    Ok(dir.to_owned())
}

fn workspace() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::canonicalize(&here).context(here.display())
}
