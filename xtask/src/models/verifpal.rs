//! Verifpal: a program of its own, built once by cargo and kept in the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use super::{
    file,
    list::{Variant, Verifpal},
    row::Row,
};
use crate::run::{Result, cargo, output, target};

/// The version whose result codes `formal/models.toml` has.
const VERSION: &str = "1.6.7";

/// The program, or why there is none.
pub(super) type Program = std::result::Result<PathBuf, String>;

/// Builds it where it isn't yet; that takes some minutes and the network.
pub(super) fn provide(may_install: bool) -> Program {
    let place = target().join("tools").join(format!("verifpal-{VERSION}"));
    let program = place.join("bin/verifpal");
    if program.is_file() {
        return Ok(program);
    }
    if !may_install {
        return Err("Verifpal is not installed (--no-install)".to_owned());
    }
    match install(&place) {
        Ok(()) if program.is_file() => Ok(program),
        Ok(()) => Err(format!("cargo install brought no {}", program.display())),
        Err(error) => Err(format!("Verifpal could not be installed: {error}")),
    }
}

fn install(place: &Path) -> Result<()> {
    let (build, root) = (place.join("build"), place.display().to_string());
    let mut command = cargo(&["install", "verifpal", "--version", VERSION, "--locked", "--quiet"]);
    // Its manifest asks for a compiler that is newer than it needs.
    command.args(["--ignore-rust-version", "--no-track", "--root", &root, "--target-dir"]).arg(&build);
    output(&mut command)?;
    Ok(fs::remove_dir_all(build)?)
}

/// Runs a model, then its variants, in the folder `place`.
pub(super) fn run(model: &Verifpal, program: &Program, place: &Path) -> Vec<Row> {
    let whole = judge(&model.file, "as built", &model.result, program, || Ok(file(&model.file)));
    let variants = model.variants.iter().map(|variant| {
        judge(&model.file, &variant.name, &variant.result, program, || altered(&model.file, variant, place))
    });
    std::iter::once(whole).chain(variants).collect()
}

fn judge(model: &str, variant: &str, expected: &str, program: &Program, text: impl Fn() -> Result<PathBuf>) -> Row {
    let (row, start) = (Row::new(model, "Verifpal", variant, expected), Instant::now());
    let got = match program {
        Ok(program) => text().and_then(|path| code(program, &path)).unwrap_or_else(|error| format!("not run: {error}")),
        Err(why) => format!("not run: {why}"),
    };
    row.got(got, start.elapsed())
}

/// The variant as a file of its own.
fn altered(model: &str, variant: &Variant, place: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(file(model))?;
    let path = place.join(model);
    fs::write(&path, replaced(&text, variant)?)?;
    Ok(path)
}

fn replaced(text: &str, variant: &Variant) -> Result<String> {
    if !text.contains(&variant.from) {
        return Err(format!("the model has no {:?} to be replaced", variant.from).into());
    }
    Ok(text.replace(&variant.from, &variant.to))
}

fn code(program: &Path, model: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["verify", "--result-code", "--quiet"]).arg(model).stdin(Stdio::null());
    Ok(output(&mut command)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(from: &str) -> Variant {
        let [name, from, to, result] = ["", from, "label)", "a1"].map(str::to_owned);
        Variant { name, from, to, result }
    }

    #[test]
    fn a_variant_that_changes_nothing_is_an_error() {
        assert_eq!(replaced("(code, mr) (refusal, mr)", &variant("mr)")).unwrap(), "(code, label) (refusal, label)");
        assert!(replaced("(code, mr)", &variant("mz)")).is_err());
    }

    #[test]
    fn what_can_not_be_run_says_why_and_is_wrong() {
        let row = judge("connect.vp", "as built", "a0", &Err("no network".to_owned()), || Ok(PathBuf::new()));
        assert!(!row.is_right());
        assert!(format!("{row:?}").contains("not run: no network"));
    }
}
