//! Proofs whose tools no package client brings: their verdicts are recorded, and hold for the files as they were.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{file, list::Recorded, row::Row};
use crate::run::output;

/// Whether the file is still that of its verdicts.
pub(super) fn check(proof: &Recorded) -> Row {
    let (row, start) = (Row::new(&proof.file, &proof.tool, "recorded, not run", "unchanged"), Instant::now());
    let sum = output(Command::new("sha256sum").arg(file(&proof.file)).stdin(Stdio::null()));
    match sum {
        Ok(line) if line.starts_with(&format!("{} ", proof.sha256)) => row.got("unchanged", start.elapsed()),
        Ok(_) => row.got("changed since its verdicts were recorded", start.elapsed()),
        Err(error) => row.got(format!("not read: {error}"), Duration::ZERO),
    }
}
