//! `guard …`: the page guard without controller and gateway, and commands beside any guard.

mod audit;
mod coverage;
mod front;
mod run;
mod sessions;
mod users;

pub(crate) use audit::{commands as audit, parse_since};

use crate::cli::{GuardArgs, GuardCommand};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::Output;
use crate::roles;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vestibule_guard::Files;

/// Carries out a `guard` command, or runs the guard.
pub(crate) fn run(arguments: GuardArgs, output: &Output) -> Result<ExitCode, Fault> {
    match arguments.command {
        None => run::run(arguments.run),
        Some(GuardCommand::User(command)) => users::run(command, output),
        Some(GuardCommand::Session(command)) => sessions::run(command, output),
        Some(GuardCommand::Coverage { app, dir }) => coverage::run(&app.0, dir.dir.as_deref(), output),
    }
}

/// The files of the guard that is meant: of one that runs alone, or of a gateway's. `first`: whose comes first where both are
/// on this machine and nothing was said.
fn any(given: Option<&Path>, first: Role) -> Result<Files, Fault> {
    let places = match given {
        Some(_) => {
            let dir = Role::Guard.dir(given)?;
            vec![vestibule_gateway::web::directory(&dir), dir]
        }
        None => {
            let (alone, gateway) =
                (Role::Guard.dir(None)?, vestibule_gateway::web::directory(&Role::Gateway.dir(None)?));
            if first == Role::Guard { vec![alone, gateway] } else { vec![gateway, alone] }
        }
    };
    match places.iter().find(|place| Files::store_in(place).exists()) {
        Some(place) => open(place),
        None => Err(nothing_in(places.last().unwrap_or(&PathBuf::new()))),
    }
}

/// The files of a guard that was made in `dir`.
fn existing(dir: &Path) -> Result<Files, Fault> {
    if Files::store_in(dir).exists() { open(dir) } else { Err(nothing_in(dir)) }
}

fn open(dir: &Path) -> Result<Files, Fault> {
    Files::open(dir).map_err(|error| roles::store_fault(&error))
}

fn nothing_in(dir: &Path) -> Fault {
    Fault::configuration(format!("there is no guard in {}", dir.display())).next(format!(
        "make one: {}; or name its directory with --dir",
        roles::command("guard user add NAME", Role::Guard, dir)
    ))
}
