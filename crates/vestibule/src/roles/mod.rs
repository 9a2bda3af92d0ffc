//! `controller …` and `gateway …`: making, running and asking the two roles.

pub(crate) mod controller;
mod doctor;
pub(crate) mod gateway;
pub(crate) mod service;

use crate::directories::Role;
use crate::fault::{self, Fault};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;
use std::time::Duration;
use vestibule_store::local_socket::{self, SocketError};
use vestibule_store::secret_file::{SecretFileError, Trouble};
use vestibule_store::{LockError, StoreError};

/// How long a running role may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime for one short conversation.
pub(crate) fn brief_runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::unexpected(format!("the program can't start its event loop: {error}")))
}

/// The runtime of a client: one thread. What comes in by a socket leaves by another without a second thread being woken for
/// it, which costs more than the work itself; what takes long, Argon2id and names, has threads of its own.
pub(crate) fn client_runtime() -> Result<tokio::runtime::Runtime, Fault> {
    brief_runtime()
}

/// The runtime of a role. One core is left to what is not its own: the kernel's share of each datagram, the disk's thread,
/// Argon2id. With two cores that leaves one thread, which hands nothing over to another.
pub(crate) fn role_runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .map_err(|error| Fault::unexpected(format!("the program can't start its event loop: {error}")))
}

/// Asks the running role; `None` when it isn't running.
pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(socket: &Path, request: &Q) -> Result<Option<A>, Fault> {
    let line = serde_json::to_vec(request)
        .map_err(|error| Fault::unexpected(format!("the request can't be written as JSON: {error}")))?;
    match brief_runtime()?.block_on(local_socket::ask(socket, &line, PATIENCE)) {
        Ok(answer) => serde_json::from_slice(&answer).map(Some).map_err(|_| {
            Fault::unexpected("the running role gave an answer that this program does not understand")
                .next("restart the role, so that both are of the same version")
        }),
        Err(SocketError::NotRunning(_)) => Ok(None),
        Err(error) => Err(Fault::new(fault::NOT_RUNNING, error.to_string())),
    }
}

/// A database fault, for the screen.
pub(crate) fn store_fault(error: &StoreError) -> Fault {
    Fault::files(error.to_string()).next(error.next_step())
}

/// A command of this program for the role in `dir`, with `--dir` where `dir` is not the role's default.
pub(crate) fn command(words: &str, role: Role, dir: &Path) -> String {
    if role.dir(None).is_ok_and(|default| default == dir) {
        format!("vestibule {words}")
    } else {
        format!("vestibule {words} --dir {}", dir.display())
    }
}

/// Refuses to go on where no role was made: without its configuration there is none.
pub(crate) fn must_exist(role: Role, dir: &Path) -> Result<(), Fault> {
    let file = role.configuration(dir);
    match std::fs::symlink_metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(nothing_here(role, dir)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// There is no role in `dir`.
pub(crate) fn nothing_here(role: Role, dir: &Path) -> Fault {
    let init = match role {
        Role::Controller => command("controller init --public HOST:PORT", role, dir),
        Role::Gateway => command("gateway init --controller LINK --public ADDR:PORT", role, dir),
        Role::Client => command("enroll LINK", role, dir),
        Role::Guard => command("guard --upstream http://HOST:PORT", role, dir),
    };
    Fault::configuration(format!("there is no {} in {}", role.word(), dir.display()))
        .next(format!("make one: {init}; or name its directory with --dir"))
}

/// The role isn't running, and what was asked only a running one can tell.
pub(crate) fn not_running(role: Role, dir: &Path) -> Fault {
    if let Err(fault) = must_exist(role, dir) {
        return fault;
    }
    let word = role.word();
    Fault::new(fault::NOT_RUNNING, format!("the {word} is not running"))
        .next(format!("start it: {}", command(&format!("{word} run"), role, dir)))
}

/// A role was made in `dir` before.
pub(crate) fn exists_already(role: Role, dir: &Path) -> Fault {
    let word = role.word();
    Fault::new(fault::NO_SUCH, format!("there is a {word} in {} already", dir.display()))
        .detail("Its keys are never overwritten: whoever was invited holds their counterparts.")
        .next(match role {
            Role::Gateway => format!(
                "run it: {}; link it anew: {}; or choose another --dir",
                command("gateway run", role, dir),
                command("gateway relink LINK", role, dir)
            ),
            Role::Controller | Role::Client | Role::Guard => {
                format!("run it: {}; or choose another --dir", command(&format!("{word} run"), role, dir))
            }
        })
}

/// A key file that can't be used, for the screen.
pub(crate) fn key_file_fault(error: &SecretFileError, role: Role, dir: &Path) -> Fault {
    let fault = Fault::files(error.to_string());
    match error.trouble {
        Trouble::Missing => nothing_here(role, dir),
        Trouble::Exists => exists_already(role, dir),
        Trouble::TooOpen(_) => {
            fault.next(format!("think about who could read it, then: chmod 600 {}", error.path.display()))
        }
        Trouble::NotASecretFile | Trouble::Storage(_) => fault,
    }
}

/// Refuses what is not `host:port`.
pub(crate) fn check_host_port(text: &str) -> Result<(), Fault> {
    let fine = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.len() <= 255 && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if fine {
        Ok(())
    } else {
        Err(Fault::usage(format!("`{text}` is not HOST:PORT")).next("as in controller.example.org:4433"))
    }
}

/// Writes a new configuration file; one that exists is kept as it is.
pub(crate) fn write_configuration(file: &Path, text: &str) -> Result<(), Fault> {
    use std::io::Write;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()));
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Fault::files(format!("{} can't be written: {error}", file.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A role's lock that can't be taken, for the screen.
pub(crate) fn lock_fault(error: &LockError) -> Fault {
    match error {
        LockError::Held { pid, path } => {
            let role = path.file_stem().unwrap_or_default().to_string_lossy();
            let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            Fault::new(fault::NOT_RUNNING, format!("the {role} is running already{process}"))
                .detail(format!("It holds {}.", path.display()))
                .next("stop it first, or use another --dir")
        }
        LockError::Store(error) => store_fault(error),
    }
}
