//! `vestibule check`: is a configuration valid, before anything runs with it?

use super::{ClientConfig, ControllerConfig, GatewayConfig, GuardFileConfig, load};
use crate::cli::CheckArgs;
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::Output;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was found in one file.
#[derive(Serialize)]
struct Found {
    file: PathBuf,
    valid: bool,
    problem: Option<String>,
}

/// Checks the files named, or those in the default directories.
pub(crate) fn run(arguments: CheckArgs, output: &Output) -> Result<ExitCode, Fault> {
    let files = if arguments.files.is_empty() { existing()? } else { arguments.files };
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        let problem = check(&file).err();
        found.push(Found { file, valid: problem.is_none(), problem: problem.as_ref().map(ToString::to_string) });
        faults.extend(problem);
    }
    output.list(&found, &["file", "state"], |found| {
        vec![found.file.display().to_string(), if found.valid { "valid" } else { "not valid" }.to_owned()]
    })?;
    // Each is told; the first one makes the exit code.
    let mut faults = faults.into_iter();
    let Some(first) = faults.next() else { return Ok(ExitCode::SUCCESS) };
    let code = first.report();
    faults.for_each(|fault| {
        fault.report();
    });
    Ok(code)
}

fn existing() -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for role in [Role::Controller, Role::Gateway, Role::Client, Role::Guard] {
        let file = role.configuration(&role.dir(None)?);
        if file.exists() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Fault::configuration("there is no configuration in the default directories")
            .next("name a file: vestibule check FILE"));
    }
    Ok(files)
}

/// Checks one file, by the role that its name tells.
fn check(file: &Path) -> Result<(), Fault> {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("controller.toml") => load::<ControllerConfig>(file).map(drop),
        Some("gateway.toml") => load::<GatewayConfig>(file).map(drop),
        Some("client.toml") => load::<ClientConfig>(file).map(drop),
        Some("guard.toml") => load::<GuardFileConfig>(file).map(drop),
        _ => Err(Fault::usage(format!("{} names no role", file.display()))
            .next("call it controller.toml, gateway.toml, client.toml or guard.toml")),
    }
}
