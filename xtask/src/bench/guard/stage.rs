//! A guard of the release build in front of the site.

use super::nginx::{NGINX, Nginx};
use super::site;
use crate::bench::Row;
use crate::bench::connect::example;
use crate::run::{self, Result};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// Sizes of pages and style sheets, in KiB.
pub(super) const SIZES: [usize; 2] = [10, 100];

/// What is measured; gone with its owner.
pub(super) struct Stage {
    guard: Child,
    /// Where the guard listens.
    pub(super) guard_at: SocketAddr,
    /// Where the application does.
    pub(super) site: SocketAddr,
    folder: PathBuf,
}

impl Stage {
    /// Starts the application and a guard with one thread in front of it.
    pub(super) fn set() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("vestibule-bench-guard-{}-{number}", process::id()));
        fs::create_dir(&folder)?;
        let site = site::start(&SIZES)?;
        let mut command = Command::new(example("alone"));
        let command = command.arg(format!("http://{site}")).env("TMPDIR", &folder);
        let mut guard = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(guard.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        Ok(Self { guard, guard_at: line.trim().parse()?, site, folder })
    }

    /// Process id of the guard.
    pub(super) fn guard(&self) -> u32 {
        self.guard.id()
    }

    /// The peer in front of the same application, or the row that says that it was skipped.
    pub(super) fn nginx(&self) -> Result<std::result::Result<Nginx, Row>> {
        let path = match NGINX.path_or_skip("beside nginx", "x") {
            Ok(path) => path,
            Err(row) => return Ok(Err(row)),
        };
        Ok(Ok(Nginx::start(&path, &self.folder, self.site)?))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The guard's measuring tools, as it is shipped: optimised.
pub(super) fn build() -> Result<()> {
    let words = ["build", "--release", "--quiet", "--package=vestibule-guard"];
    let examples = ["alone", "claim_cost", "token_cost"].map(|example| ["--example", example]);
    // Standard output is for the rows.
    if !run::cargo(&words).args(examples.as_flattened()).stdout(Stdio::null()).status()?.success() {
        return Err("the release can't be built".into());
    }
    Ok(())
}
