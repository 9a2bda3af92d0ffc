//! The models of `formal/`: each is run, and so is every scenario in which it must fail.

mod list;
mod recorded;
mod row;
mod spin;
mod verifpal;

use std::fs;

use crate::{
    run::{Result, root, target},
    tools,
};
use list::List;
use row::{Row, table};

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// Those that take seconds and a Debian package: SPIN's, and whether recorded proofs are still those.
    Quick,
    /// Verifpal's too, for which it is built, once.
    All,
}

/// Runs them and prints the table; false where one came out otherwise than `formal/models.toml` says, or was not run.
///
/// # Errors
/// The list can't be read.
pub(crate) fn check(which: Which, may_install: bool) -> Result<bool> {
    let rows = rows(which, may_install)?;
    print!("{}", table(&rows));
    Ok(rows.iter().all(Row::is_right))
}

/// `cargo xtask test --models`: the models, and nothing else.
///
/// # Errors
/// As [`check`], and an installation that can't be begun.
pub(crate) fn all(may_install: bool, json: bool) -> Result<bool> {
    tools::provide_for_models(may_install)?;
    if !json {
        return check(Which::All, may_install);
    }
    let rows = rows(Which::All, may_install)?;
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(rows.iter().all(Row::is_right))
}

fn rows(which: Which, may_install: bool) -> Result<Vec<Row>> {
    let list = List::read()?;
    let place = target().join("tmp/models");
    fs::create_dir_all(&place)?;
    let mut rows = Vec::new();
    for model in &list.spin {
        rows.extend(spin::run(model, &place));
    }
    if which == Which::All {
        let program = verifpal::provide(may_install);
        for model in &list.verifpal {
            rows.extend(verifpal::run(model, &program, &place));
        }
    }
    rows.extend(list.recorded.iter().map(recorded::check));
    Ok(rows)
}

/// A file of `formal/`.
fn file(name: &str) -> std::path::PathBuf {
    root().join("formal").join(name)
}
