//! The real applications that the page guard is tried on (`crates/guard/tests/apps`), and their installation.

use std::process::Command;

use crate::{
    report::Tally,
    run::{Result, cargo, root, run, run_reading, target},
    tools,
};

/// Tried at every run.
const ALWAYS: &[&str] = &["django", "dokuwiki", "copyparty"];
/// Take longer to install; tried with `--apps`.
const MORE: &[&str] = &["jupyter", "nodered"];

/// Installs those that aren't yet, into the target folder: the first time this takes the network, afterwards nothing.
///
/// # Errors
/// The script can't be started.
pub(crate) fn install(all: bool) -> Result<bool> {
    let mut done = true;
    for name in ALWAYS.iter().chain(MORE.iter().filter(|_| all)) {
        let mut script = Command::new(root().join("tests/apps/run"));
        done &= run(script.arg(name).arg(target().join("tmp/apps")).arg("install"))?;
    }
    Ok(done)
}

/// Runs the scenarios of [`MORE`], which other runs leave out.
///
/// # Errors
/// cargo can't be started.
pub(crate) fn test_more(filter: Option<&str>, tally: &mut Tally) -> Result<bool> {
    let words: &[&str] = if tools::has_subcommand("nextest") {
        &["nextest", "run", "--workspace", "--test=apps", "--no-fail-fast", "--no-tests=pass", "--run-ignored=only"]
    } else {
        &["test", "--workspace", "--test=apps", "--no-fail-fast", "--quiet", "--", "--ignored"]
    };
    let words: Vec<&str> = words.iter().copied().chain(filter).collect();
    run_reading(&mut cargo(&words), |line| tally.take(line))
}
