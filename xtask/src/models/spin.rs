//! SPIN: the model becomes a C program that visits every state.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use super::{file, list::Spin, row::Row};
use crate::run::{Result, which};

/// Steps that one path of the search may have; none of ours comes near it, and to reach it is an error.
const DEPTH: &str = "-m1000000";

/// Runs a model's scenarios, one after the other, in the folder `place`.
pub(super) fn run<'a>(model: &'a Spin, place: &'a Path) -> impl Iterator<Item = Row> + 'a {
    let with = |expected| move |flags: &'a Vec<String>| (expected, flags);
    let scenarios = model.holds.iter().map(with("holds")).chain(model.fails.iter().map(with("fails")));
    scenarios.map(move |(expected, flags)| {
        let variant = if flags.is_empty() { "as built".to_owned() } else { flags.join(" ") };
        let (row, start) = (Row::new(&model.file, "SPIN", &variant, expected), Instant::now());
        match search(&model.file, flags, place) {
            Ok(output) => {
                let (verdict, states) = read(&output);
                row.got(verdict, start.elapsed()).states(states)
            }
            Err(error) => row.got(format!("not run: {error}"), start.elapsed()),
        }
    })
}

/// What the search prints.
fn search(model: &str, flags: &[String], place: &Path) -> Result<String> {
    let spin = which("spin").ok_or("spin is not installed (apt-get install spin)")?;
    let macros = flags.iter().map(|flag| format!("-D{flag}"));
    said(Command::new(spin).args(macros).arg("-a").arg(file(model)).current_dir(place))?;
    said(Command::new("cc").args(["-O2", "-DSAFETY", "-DCOLLAPSE", "-w", "-o", "pan", "pan.c"]).current_dir(place))?;
    said(Command::new(place.join("pan")).arg(DEPTH).current_dir(place))
}

/// What a program prints, if it ends well.
fn said(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(text.into()) }
}

/// "holds" is said of a complete search without an error, "fails" of a violated assertion, and nothing else.
fn read(output: &str) -> (&'static str, Option<u64>) {
    let number_before =
        |word: &str| output.lines().find(|line| line.contains(word))?.split_whitespace().next()?.parse().ok();
    let states = number_before("states, stored");
    let complete =
        !["search depth too small", "out of memory", "Search not completed"].iter().any(|bad| output.contains(bad));
    let verdict = if output.contains("assertion violated") {
        "fails"
    } else if complete && output.contains("errors: 0") {
        "holds"
    } else {
        "neither: the search was not complete"
    };
    (verdict, states)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "State-vector 36 byte, depth reached 73, errors: 0\n      443 states, stored\n";

    #[test]
    fn a_whole_search_without_an_error_holds() {
        assert_eq!(read(WHOLE), ("holds", Some(443)));
    }

    #[test]
    fn a_violated_assertion_fails() {
        let output = "pan:1: assertion violated (ran[s]<=1) (at depth 8)\nWarning: Search not completed\n errors: 1\n  17 states, stored\n";
        assert_eq!(read(output), ("fails", Some(17)));
    }

    #[test]
    fn anything_else_is_neither() {
        for output in [
            "",
            "errors: 1\n invalid end state",
            &format!("error: max search depth too small\n{WHOLE}"),
            &format!("pan: out of memory\n{WHOLE}"),
        ] {
            assert_eq!(read(output).0, "neither: the search was not complete", "{output}");
        }
    }
}
