//! `vestibule gateway …`.

use super::service::{self, Outside, Told};
use crate::admin;
use crate::cli::{GatewayCommand, GatewayInitArgs, RoleArgs};
use crate::config::{self, GatewayConfig};
use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::Output;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;
use vestibule_gateway::admin::{KeyRequest, Request};
use vestibule_gateway::directory::DirectoryError;
use vestibule_gateway::keys::KeysError;
use vestibule_gateway::{Gateway, StartError, settings};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::Stamp;
use vestibule_proto::invitation::{GatewayInvitation, LINK_LIMIT};

/// Carries out a `gateway` command.
pub(crate) fn run(command: GatewayCommand, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        GatewayCommand::Init(arguments) => init(&arguments, output),
        GatewayCommand::Relink { link, role } => relink(&link, &role, output),
        GatewayCommand::Run(arguments) => serve(&arguments),
        GatewayCommand::Status(arguments) => ask(&arguments, Request::Status, output),
        GatewayCommand::Rotate { finish: true, role, .. } => ask(&role, Request::Key(KeyRequest::Finish), output),
        GatewayCommand::Rotate { now: true, role, .. } => {
            ask(&role, Request::Key(KeyRequest::Rotate { keep_for: 0 }), output)
        }
        GatewayCommand::Rotate { keep, role, .. } => {
            ask(&role, Request::Key(KeyRequest::Rotate { keep_for: keep.as_secs() }), output)
        }
        GatewayCommand::Doctor(arguments) => super::doctor::run(&dir(&arguments)?, output),
    }
}

fn dir(arguments: &RoleArgs) -> Result<PathBuf, Fault> {
    Role::Gateway.dir(arguments.dir.as_deref())
}

/// The gateway's configuration, checked.
pub(crate) fn load(file: &Path) -> Result<GatewayConfig, Fault> {
    config::load(file)
}

fn init(arguments: &GatewayInitArgs, output: &Output) -> Result<ExitCode, Fault> {
    let link = read_link(&arguments.controller)?;
    let dir = dir(&arguments.role)?;
    settings::init(&dir, &link, &mut SystemEntropy).map_err(|error| start_fault(&error, &dir))?;
    let file = Role::Gateway.configuration(&dir);
    super::write_configuration(&file, &GatewayConfig::template(&arguments.listen, &arguments.public))
        .inspect_err(|_| settings::forget_made(&dir))?;
    let made = serde_json::json!({ "dir": dir, "configuration": file, "name": link.name });
    output.say(&made, || {
        format!(
            "The gateway `{}` is made in {}.\n\
             Next:  {}\n\
             Then:  {}\n\
             \x20      {} && {}",
            link.name,
            dir.display(),
            super::command("gateway run", Role::Gateway, &dir),
            super::command("service add NAME --tcp HOST:PORT --allow everyone", Role::Gateway, &dir),
            super::command("user add alice", Role::Gateway, &dir),
            super::command("invite alice", Role::Gateway, &dir),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn relink(link: &str, role: &RoleArgs, output: &Output) -> Result<ExitCode, Fault> {
    let link = read_link(link)?;
    let dir = dir(role)?;
    super::must_exist(Role::Gateway, &dir)?;
    let another = settings::relink(&dir, &link).map_err(|error| start_fault(&error, &dir))?;
    let told = serde_json::json!({ "dir": dir, "name": link.name, "devices_enrol_again": another });
    output.say(&told, || {
        let run = super::command("gateway run", Role::Gateway, &dir);
        let devices = if another {
            "\nIt is another controller than before: devices know the former one. Invite their people again; users, groups and services are as they were."
        } else {
            ""
        };
        format!("The gateway `{}` links anew when it starts.{devices}\nNext:  {run}", link.name)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The controller's link, from the command line or stdin. One that its controller no longer knows is refused at once, not at the
/// gateway's first start.
fn read_link(given: &str) -> Result<GatewayInvitation, Fault> {
    let text = if given == "-" { link_from_stdin()? } else { given.to_owned() };
    let link = GatewayInvitation::from_link(&text).map_err(|error| {
        let fault = Fault::new(fault::INVITATION, error.to_string());
        if text.trim().starts_with("vestibule:") {
            return fault.next("this one invites a person's device: vestibule enroll");
        }
        fault.next("copy the whole link, or have a new one made: vestibule controller invite NAME")
    })?;
    if link.expires <= Stamp::from_system(SystemTime::now()) {
        let expired = crate::output::moment(link.expires.as_millis());
        return Err(Fault::new(fault::INVITATION, format!("this link expired at {expired}"))
            .next("have a new one made: vestibule controller invite NAME (with --gateway ID for one that exists)"));
    }
    Ok(link)
}

fn link_from_stdin() -> Result<String, Fault> {
    use std::io::Read;
    let mut line = String::new();
    std::io::BufReader::new(std::io::stdin().lock().take(LINK_LIMIT as u64 + 2))
        .read_line(&mut line)
        .map_err(|error| Fault::usage(format!("the link can't be read from stdin: {error}")))?;
    Ok(line)
}

fn serve(arguments: &RoleArgs) -> Result<ExitCode, Fault> {
    let dir = dir(arguments)?;
    super::must_exist(Role::Gateway, &dir)?;
    let file = Role::Gateway.configuration(&dir);
    let config = load(&file)?;
    crate::logging::start(&config.log);
    let settings = config.settings(&dir)?;
    super::role_runtime()?.block_on(async {
        let gateway = Gateway::start(settings).await.map_err(|error| start_fault(&error, &dir))?;
        let mut outside = Outside::new(&file)?;
        tracing::info!(listen = ?gateway.local_addrs(), "the gateway serves");
        service::tell_ready("serving those who are admitted");
        while outside.next().await == Told::Reload {
            service::tell_reloading();
            reload(&gateway, &file, &dir).await;
            service::tell_ready("serving those who are admitted");
        }
        tracing::info!("the gateway stops");
        service::tell_stopping();
        gateway.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Takes a changed configuration; one that is wrong is told, and what runs goes on.
async fn reload(gateway: &Gateway, file: &Path, dir: &Path) {
    if let Err(fault) = try_reload(gateway, file, dir).await {
        tracing::error!("the configuration was not taken: {}", fault.in_one_line());
    }
}

async fn try_reload(gateway: &Gateway, file: &Path, dir: &Path) -> Result<(), Fault> {
    let config = load(file)?;
    let settings = config.settings(dir)?;
    gateway.reload(settings).await.map_err(|error| directory_fault(&error, dir))?;
    crate::logging::reload(&config.log);
    Ok(())
}

fn ask(arguments: &RoleArgs, request: Request, output: &Output) -> Result<ExitCode, Fault> {
    let answer = admin::ask(&dir(arguments)?, request)?;
    admin::show(&answer, output)?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong at the start, for the screen.
fn start_fault(error: &StartError, dir: &Path) -> Fault {
    match error {
        StartError::Keys(error) => keys_fault(error, dir),
        StartError::Store(error) => super::store_fault(error),
        StartError::Running(error) => super::lock_fault(error),
        StartError::Listen { .. } | StartError::NoAddress => Fault::configuration(error.to_string())
            .next(format!("change `listen` in {}", Role::Gateway.configuration(dir).display())),
        StartError::Door(lack) => Fault::configuration(lack.to_string())
            .detail("The configuration wants this door, so the gateway does not start without it.")
            .next(format!(
                "{}; or door = \"auto\" in {}",
                lack.next_step(),
                Role::Gateway.configuration(dir).display()
            )),
        StartError::Direct(lack) => Fault::configuration(lack.to_string())
            .detail("A service is published with `direct`. Without this its port would stand open, so the gateway does not start.")
            .next(lack.next_step()),
        StartError::Directory(error) => directory_fault(error, dir),
        StartError::Socket(_) | StartError::Guard(_) => Fault::files(error.to_string()),
    }
}

/// Services of the configuration file that the database does not go together with, for the screen.
pub(crate) fn directory_fault(error: &DirectoryError, dir: &Path) -> Fault {
    let file = Role::Gateway.configuration(dir);
    match error {
        DirectoryError::Exists { name, .. } => {
            let remove = super::command(&format!("service remove {name}"), Role::Gateway, dir);
            Fault::configuration(error.to_string())
                .detail(format!("It stands in {} and was added by command as well.", file.display()))
                .next(format!("take it out of the file, or: {remove}"))
        }
        DirectoryError::NotFound { .. } | DirectoryError::Invalid(_) => {
            Fault::configuration(error.to_string()).in_file(&file)
        }
        DirectoryError::Store(error) => super::store_fault(error),
    }
}

/// What is wrong with the keys, for the screen.
pub(crate) fn keys_fault(error: &KeysError, dir: &Path) -> Fault {
    match error {
        KeysError::File(file) => super::key_file_fault(file, Role::Gateway, dir),
        KeysError::OtherGateway { name, gateway } => Fault::new(fault::INVITATION, error.to_string())
            .detail("Devices know a gateway by its id, so the link must bear it.")
            .next(format!("have one made for it: vestibule controller invite {name} --gateway {gateway}")),
        KeysError::Damaged => Fault::files(error.to_string()).next("put back a backup of the directory"),
    }
}
