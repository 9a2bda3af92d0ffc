//! `vestibule controller …`.

use super::service::{self, Outside, Told};
use crate::cli::{ControllerCommand, ControllerInitArgs, RoleArgs};
use crate::config::{self, ControllerConfig};
use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::{self, Output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vestibule_controller::admin::{self, Answer, RealmView, Request};
use vestibule_controller::keys::{Keys, KeysError};
use vestibule_controller::rows::Rows;
use vestibule_controller::{Controller, Settings, StartError, settings};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_store::RoleLock;

/// Carries out a `controller` command.
pub(crate) fn run(command: ControllerCommand, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        ControllerCommand::Init(arguments) => init(&arguments, output),
        ControllerCommand::Run(arguments) => serve(&arguments),
        ControllerCommand::Invite { name, expires, gateway, role } => {
            ask(&role, Request::Invite { name, expires_in: expires.as_secs(), gateway }, output)
        }
        ControllerCommand::Gateways(role) => ask(&role, Request::Gateways, output),
        ControllerCommand::Remove { name, role } => ask(&role, Request::Remove { name }, output),
        ControllerCommand::Rotate { finish: true, role, .. } => ask(&role, Request::FinishRotation, output),
        ControllerCommand::Rotate { keep, role, .. } => {
            ask(&role, Request::Rotate { keep_for: keep.as_secs() }, output)
        }
        ControllerCommand::Status(role) => ask(&role, Request::Status, output),
    }
}

fn dir(arguments: &RoleArgs) -> Result<PathBuf, Fault> {
    Role::Controller.dir(arguments.dir.as_deref())
}

fn init(arguments: &ControllerInitArgs, output: &Output) -> Result<ExitCode, Fault> {
    for public in &arguments.public {
        super::check_host_port(public)?;
    }
    let dir = dir(&arguments.role)?;
    settings::init(&dir, &mut SystemEntropy).map_err(|error| start_fault(&error, &dir))?;
    let file = Role::Controller.configuration(&dir);
    super::write_configuration(&file, &ControllerConfig::template(&arguments.listen, &arguments.public))
        .inspect_err(|_| settings::forget_made(&dir))?;
    let made = serde_json::json!({ "dir": dir, "configuration": file });
    output.say(&made, || {
        format!(
            "The controller's keys and database are in {}.\n\
             Next:  {}\n\
             Then:  {}   (a link for the first gateway)",
            dir.display(),
            super::command("controller run", Role::Controller, &dir),
            super::command("controller invite NAME", Role::Controller, &dir),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn serve(arguments: &RoleArgs) -> Result<ExitCode, Fault> {
    let dir = dir(arguments)?;
    super::must_exist(Role::Controller, &dir)?;
    let file = Role::Controller.configuration(&dir);
    let config: ControllerConfig = config::load(&file)?;
    crate::logging::start(&config.log);
    super::role_runtime()?.block_on(async {
        let mut settings = Settings::new(dir.clone(), config.listen, config.public);
        settings.rows_per_gateway = config.rows_per_gateway;
        let controller = Controller::start(settings).await.map_err(|error| start_fault(&error, &dir))?;
        let mut outside = Outside::new(&file)?;
        tracing::info!(listen = ?controller.local_addrs(), "the controller serves");
        service::tell_ready("serving knocks and links");
        while outside.next().await == Told::Reload {
            service::tell_reloading();
            match config::load::<ControllerConfig>(&file) {
                Ok(config) => {
                    crate::logging::reload(&config.log);
                    tracing::info!("the log's filter was reloaded; everything else changes with a restart only");
                }
                Err(fault) => tracing::error!("the configuration was not taken: {}", fault.in_one_line()),
            }
            service::tell_ready("serving knocks and links");
        }
        tracing::info!("the controller stops");
        service::tell_stopping();
        controller.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Asks the running role, or does it on the files.
fn ask(arguments: &RoleArgs, request: Request, output: &Output) -> Result<ExitCode, Fault> {
    let dir = dir(arguments)?;
    let answer = match super::ask(&settings::socket(&dir), &request)? {
        Some(answer) => answer,
        None => offline(&dir, request)?,
    };
    print(&answer, output)?;
    Ok(ExitCode::SUCCESS)
}

fn offline(dir: &Path, request: Request) -> Result<Answer, Fault> {
    if request == Request::Status {
        return Err(super::not_running(Role::Controller, dir));
    }
    super::must_exist(Role::Controller, dir)?;
    let config: ControllerConfig = config::load(&Role::Controller.configuration(dir))?;
    let _lock = RoleLock::acquire(&settings::lock_file(dir)).map_err(|error| super::lock_fault(&error))?;
    let keys = Keys::read(&settings::key_file(dir)).map_err(|error| keys_fault(&error, dir))?;
    let rows = Rows::open(&settings::database(dir)).map_err(|error| super::store_fault(&error))?;
    let answer = admin::execute_on_keys(&rows, &keys, &settings::key_file(dir), &request);
    Ok(answer.unwrap_or_else(|| admin::execute(&rows, &keys, &config.public, request).0))
}

fn print(answer: &Answer, output: &Output) -> Result<(), Fault> {
    match answer {
        Answer::Invited(invited) => {
            output.say(invited, || invited.link.clone())?;
            if !output.is_json() {
                output::note(&format!(
                    "Whoever has this link can link one gateway, once, as `{}`, until {}:\n  \
                     vestibule gateway init --controller 'LINK' --public ADDR:PORT",
                    invited.name,
                    output::moment(invited.expires)
                ));
                if invited.replaces {
                    output::note(&format!("An earlier link for `{}` no longer works.", invited.name));
                }
            }
            Ok(())
        }
        Answer::Gateways(list) => output.list(
            list,
            &["name", "state", "link from", "tells clients", "for", "devices", "left out", "id"],
            |view| {
                vec![
                    view.name.clone(),
                    view.state.clone(),
                    view.from.map(|from| from.to_string()).unwrap_or_default(),
                    view.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                    view.linked_for.map(output::span).unwrap_or_default(),
                    view.rows.to_string(),
                    view.left_out.to_string(),
                    view.id.clone(),
                ]
            },
        ),
        Answer::Removed { name } => output.say(&serde_json::json!({ "removed": name }), || {
            format!("The gateway `{name}` is forgotten; its devices can no longer knock here.")
        }),
        Answer::Realm(realm) => rotated(realm, output),
        Answer::Status(status) => {
            let mut lines = vec![
                ("up for", output::span(status.uptime)),
                ("listens on", status.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
                ("links", status.links.to_string()),
                ("rows", format!("{}, at most {} of one gateway", status.rows, status.rows_per_gateway)),
                ("realm key", realm_line(status.realm_epoch, status.former_realm_until)),
            ];
            for (name, value) in &status.counters {
                lines.push((name, value.to_string()));
            }
            output.show(status, &lines)
        }
        Answer::Failed { message, next } => {
            let fault = Fault::new(fault::NO_SUCH, message.clone());
            Err(match next {
                Some(next) => fault.next(next.clone()),
                None => fault,
            })
        }
    }
}

fn rotated(realm: &RealmView, output: &Output) -> Result<(), Fault> {
    output.show(
        realm,
        &[
            ("realm key", realm_line(realm.epoch, realm.former_until)),
            ("gateways that have it", realm.told.join(" ")),
            ("that get it later", realm.untold.join(" ")),
        ],
    )
}

fn realm_line(epoch: u64, former_until: Option<u64>) -> String {
    match former_until {
        Some(until) => format!("rotated {epoch} times; the former one counts until {}", output::moment(until)),
        None if epoch == 0 => "never rotated".to_owned(),
        None => format!("rotated {epoch} times; it alone counts"),
    }
}

fn start_fault(error: &StartError, dir: &Path) -> Fault {
    match error {
        StartError::Keys(error) => keys_fault(error, dir),
        StartError::Store(error) => super::store_fault(error),
        StartError::Running(error) => super::lock_fault(error),
        StartError::Listen { .. } => Fault::configuration(error.to_string())
            .next(format!("change `listen` in {}", Role::Controller.configuration(dir).display())),
        StartError::Socket(_) => Fault::files(error.to_string()),
        StartError::Rows(_) => Fault::files(error.to_string()).next("restore the database from a backup"),
    }
}

fn keys_fault(error: &KeysError, dir: &Path) -> Fault {
    match error {
        KeysError::File(file) => super::key_file_fault(file, Role::Controller, dir),
        KeysError::Damaged => Fault::files(error.to_string()).next("put back a backup of the directory"),
    }
}
