//! `guard session …`: who is signed in, and the end of it.

use crate::cli::GuardSessionCommand;
use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::{self, Output};
use crate::roles;
use serde::Serialize;
use std::process::ExitCode;
use vestibule_guard::{LogicalAddress, Recorded, Selector, UserName};

/// A session, as printed; times are milliseconds since 1970.
#[derive(Serialize)]
struct SessionView {
    address: LogicalAddress,
    user: UserName,
    groups: Vec<String>,
    device: Option<String>,
    client: Option<std::net::IpAddr>,
    started: u64,
    last_use: u64,
    expires: u64,
}

/// What was cut.
#[derive(Serialize)]
struct Cut {
    cut: Vec<LogicalAddress>,
}

/// Carries out a `guard session` command.
pub(super) fn run(command: GuardSessionCommand, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        GuardSessionCommand::List(dir) => {
            let files = super::any(dir.dir.as_deref(), Role::Guard)?;
            let sessions = roles::brief_runtime()?.block_on(files.sessions());
            let sessions: Vec<_> =
                sessions.map_err(|error| roles::store_fault(&error))?.into_iter().map(view).collect();
            output.list(&sessions, &["address", "user", "device", "client", "began", "last used", "expires"], cells)?;
        }
        GuardSessionCommand::Cut { address, user, dir } => {
            let (selector, what) = match (address, user) {
                (Some(address), _) => (Selector::Address(address), format!("there is no session at {address}")),
                (None, Some(user)) => (Selector::User(user.clone()), format!("there is no session of `{user}`")),
                (None, None) => return Err(Fault::usage("whose session?").next("name its address, or --user NAME")),
            };
            let files = super::any(dir.dir.as_deref(), Role::Guard)?;
            let cut = roles::brief_runtime()?.block_on(files.cut(selector));
            let cut = cut.map_err(|error| roles::store_fault(&error))?;
            if cut.is_empty() {
                return Err(Fault::new(fault::NO_SUCH, what).next("vestibule guard session list"));
            }
            output.say(&Cut { cut: cut.clone() }, || {
                cut.iter().map(|address| format!("cut: {address}")).collect::<Vec<_>>().join("\n")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn view(recorded: Recorded) -> SessionView {
    let Recorded { session, last_use } = recorded;
    SessionView {
        address: session.address,
        user: session.user,
        groups: session.groups,
        device: session.device,
        client: session.client,
        started: session.started.0,
        last_use: last_use.0,
        expires: session.expires.0,
    }
}

fn cells(session: &SessionView) -> Vec<String> {
    vec![
        session.address.to_string(),
        session.user.to_string(),
        session.device.clone().unwrap_or_default(),
        session.client.map(|client| client.to_string()).unwrap_or_default(),
        output::moment(session.started),
        output::moment(session.last_use),
        output::moment(session.expires),
    ]
}
