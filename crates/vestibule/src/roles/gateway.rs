//! `vestibule gateway …`.

use super::service::{self, Outside, Told};
use crate::admin;
use crate::cli::{GatewayCommand, GatewayInitArgs, RoleArgs};
use crate::config::{self, GatewayConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::Output;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vestibule_gateway::admin::Request;
use vestibule_gateway::keys::KeysError;
use vestibule_gateway::{Gateway, StartError, settings};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::invitation::{GatewayInvitation, LINK_LIMIT};

/// Carries out a `gateway` command.
pub(crate) fn run(command: GatewayCommand, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        GatewayCommand::Init(arguments) => init(&arguments, output),
        GatewayCommand::Run(arguments) => serve(&arguments),
        GatewayCommand::Status(arguments) => status(&arguments, output),
    }
}

fn dir(arguments: &RoleArgs) -> Result<PathBuf, Fault> {
    Role::Gateway.dir(arguments.dir.as_deref())
}

/// The gateway's configuration, checked.
pub(crate) fn load(file: &Path) -> Result<GatewayConfig, Fault> {
    let config: GatewayConfig = config::load(file)?;
    config.check()?;
    Ok(config)
}

fn init(arguments: &GatewayInitArgs, output: &Output) -> Result<ExitCode, Fault> {
    let text = if arguments.controller == "-" { link_from_stdin()? } else { arguments.controller.clone() };
    let link = GatewayInvitation::from_link(&text).map_err(|error| {
        Fault::new(50, error.to_string())
            .next("ask the controller's owner for a new one: vestibule controller invite NAME")
    })?;
    let dir = dir(&arguments.role)?;
    settings::init(&dir, &link, &mut SystemEntropy).map_err(|error| start_fault(&error, &dir))?;
    let file = Role::Gateway.configuration(&dir);
    super::write_configuration(&file, &GatewayConfig::template(&arguments.listen, &arguments.public))?;
    let made = serde_json::json!({ "dir": dir, "configuration": file, "name": link.name });
    output.say(&made, || {
        format!(
            "The gateway `{}` is made in {}.\n\
             Next:  vestibule gateway run\n\
             Then:  vestibule service add NAME --tcp HOST:PORT --allow everyone\n\
             \x20      vestibule user add alice && vestibule invite alice",
            link.name,
            dir.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
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
    let file = Role::Gateway.configuration(&dir);
    let config = load(&file)?;
    crate::logging::start(&config.log);
    let settings = config.settings(&dir)?;
    super::full_runtime()?.block_on(async {
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
    let settings = load(file).and_then(|config| config.settings(dir));
    let taken = match settings {
        Ok(settings) => gateway.reload(settings).await.map_err(|error| Fault::configuration(error.to_string())),
        Err(fault) => Err(fault),
    };
    match taken {
        Ok(()) => tracing::info!("the configuration was reloaded"),
        Err(fault) => tracing::error!("the configuration was not taken: {fault}"),
    }
}

fn status(arguments: &RoleArgs, output: &Output) -> Result<ExitCode, Fault> {
    let answer = admin::ask(&dir(arguments)?, Request::Status)?;
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
        StartError::Directory(_) => Fault::configuration(error.to_string()),
        StartError::Socket(_) => Fault::files(error.to_string()),
    }
}

/// What is wrong with the keys, for the screen.
pub(crate) fn keys_fault(error: &KeysError, dir: &Path) -> Fault {
    let fault = Fault::files(error.to_string());
    match error {
        KeysError::File(file) if file.is_missing() => fault
            .next(format!("make a gateway first: vestibule gateway init --dir {} --controller LINK", dir.display())),
        KeysError::File(file) if file.already_exists() => {
            fault.next("a gateway was made here before; its keys are never overwritten")
        }
        KeysError::File(_) | KeysError::Damaged => fault,
    }
}
