//! The compromise matrix: who holds what, what that is good for, and the test that shows it.
//!
//! `tests/attacks.toml` says what is claimed. `cargo xtask test --attacks` runs the tests that it names and prints the
//! matrix with what came out; `cargo xtask attacks --write` writes `docs/threat-model.md` from the same file.

mod book;
mod matrix;
mod runner;
mod sources;
mod verdict;

use std::fs;

use crate::{
    report::Report,
    run::{Result, root},
    tools,
};

use matrix::Matrix;
use sources::Sources;
use verdict::Outcomes;

const BOOK: &str = "docs/threat-model.md";

/// What to do with the matrix.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write docs/threat-model.md; without it, say whether it is up to date.
    #[arg(long)]
    write: bool,
}

/// Writes the book's page, or says whether it is up to date.
///
/// # Errors
/// The matrix can't be read, or names a test that is not there; the page can't be written.
pub(crate) fn attacks(args: &Args) -> Result<bool> {
    let matrix = Matrix::read()?;
    Sources::read()?.find_all(&matrix.named())?;
    let (path, page) = (root().join(BOOK), book::page(&matrix));
    if args.write {
        fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{BOOK} is written");
        return Ok(true);
    }
    let is_new = fs::read_to_string(&path).is_ok_and(|text| text == page);
    println!("{BOOK} is {}", if is_new { "up to date" } else { "old: cargo xtask attacks --write" });
    Ok(is_new)
}

/// Runs every test that the matrix names and prints the matrix with what came out, as JSON rows where asked for. True
/// where every one has passed.
///
/// # Errors
/// The matrix can't be read, or names a test that is not there.
pub(crate) fn test(json: bool, may_install: bool) -> Result<bool> {
    let matrix = Matrix::read()?;
    let found = Sources::read()?.find_all(&matrix.named())?;
    let mut report = Report::default();
    report.step("tools", || tools::provide(may_install, false).map(|_| true));
    let mut outcomes = Outcomes::default();
    if report.step("build", runner::build) {
        report.tests("attacks", |tally| runner::run(&found, tally, &mut outcomes));
    }
    let rows = verdict::rows(&matrix, &found, &outcomes);
    println!("\n{}\n{}", verdict::table(&matrix, &rows), verdict::list(&rows));
    let held = rows.iter().all(|row| !row.is_broken());
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", report.summary());
    }
    Ok(held && report.is_green())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_test_that_the_matrix_names_is_there() {
        let matrix = Matrix::read().unwrap();
        let named = matrix.named();
        assert!(named.len() > 60, "{}", named.len());
        Sources::read().unwrap().find_all(&named).unwrap();
    }

    #[test]
    fn every_test_that_the_book_names_as_trying_the_guard_is_there() {
        let book = fs::read_to_string(root().join("docs/reference/guard-tests.md")).unwrap();
        let named = book.split('`').skip(1).step_by(2).filter(|span| span.contains("::") && *span != "FILE::test");
        let named: BTreeSet<String> = named.map(str::to_owned).collect();
        assert!(named.len() > 100, "{}", named.len());
        let sources = Sources::read().unwrap();
        let missing: Vec<_> = named.iter().filter(|name| !sources.have(name)).collect();
        assert!(missing.is_empty(), "the book names tests that are not there: {missing:#?}");
    }

    #[test]
    fn the_book_says_what_the_matrix_says() {
        let written = fs::read_to_string(root().join(BOOK)).unwrap();
        let page = book::page(&Matrix::read().unwrap());
        assert!(written == page, "{BOOK} is old: cargo xtask attacks --write");
    }

    /// T1 to T28 in their order, and every cell of the matrix says something.
    #[test]
    fn the_matrix_is_whole() {
        let matrix = Matrix::read().unwrap();
        let numbers: Vec<u8> = matrix.tests.iter().map(|test| test.t).collect();
        assert_eq!(numbers, (1..=28).collect::<Vec<u8>>());
        assert_eq!((matrix.goals.len(), matrix.attackers.len()), (6, 21));
        assert_eq!(matrix.complaints(), Vec::<String>::new());
    }
}
