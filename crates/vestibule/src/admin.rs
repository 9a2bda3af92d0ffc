//! `user`, `device`, `invite`, `service`, `session`, `audit`: through the running gateway's socket, or on its files when it isn't running.

mod show;

pub(crate) use show::answer as show;

use crate::cli::{
    AuditArgs, Command, DeviceCommand, InviteArgs, InviteCommand, ServiceAddArgs, ServiceCommand, SessionCommand,
    UserCommand,
};
use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::Output;
use crate::roles;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;
use vestibule_gateway::admin::{
    self, AdminError, AdminErrorKind, Answer, DeviceRequest, InviteRequest, Reply, Request, ServiceRequest,
    SessionRequest, UserRequest,
};
use vestibule_gateway::directory::{AuditQuery, Directory};
use vestibule_gateway::keys::Keys;
use vestibule_gateway::{rotation, settings};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{Stamp, UserName};
use vestibule_proto::session::ServiceKind;
use vestibule_store::RoleLock;

/// Carries out one of the owner's commands.
pub(crate) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    let (dir, request) = meant(command)?;
    let dir = Role::Gateway.dir(dir.as_deref())?;
    let answer = ask(&dir, request)?;
    show(&answer, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the running gateway, or does it on the files.
pub(crate) fn ask(dir: &Path, request: Request) -> Result<Answer, Fault> {
    let reply = match roles::ask::<_, Reply>(&settings::socket(dir), &request)? {
        Some(reply) => reply,
        None => offline(dir, request)?,
    };
    reply.into_result().map_err(|error| admin_fault(&error))
}

fn offline(dir: &Path, request: Request) -> Result<Reply, Fault> {
    if request == Request::Status {
        return Err(roles::not_running(Role::Gateway, dir));
    }
    roles::must_exist(Role::Gateway, dir)?;
    let _lock = RoleLock::acquire(&settings::lock_file(dir)).map_err(|error| roles::lock_fault(&error))?;
    let keys = Keys::read(dir).map_err(|error| roles::gateway::keys_fault(&error, dir))?;
    if let Request::Key(request) = &request {
        let now = Stamp::from_system(SystemTime::now());
        return Ok(Reply::from(rotation::execute_on_keys(&keys, dir, request, now)));
    }
    let directory =
        Directory::open(&settings::database(dir), keys.identity()).map_err(|error| roles::store_fault(&error))?;
    let config = roles::gateway::load(&Role::Gateway.configuration(dir))?;
    let services = config.services().map_err(Fault::into_configuration)?;
    roles::brief_runtime()?.block_on(async {
        // A name that stands in both places is told when the service is added, not when another command is given.
        let now = Stamp::from_system(SystemTime::now());
        if let Err(error) = directory.set_configured_services(services, now).await {
            crate::output::note(&format!("note: {}", roles::gateway::directory_fault(&error, dir)));
        }
        let done = admin::execute(&directory, request, now, &mut SystemEntropy).await;
        Ok(Reply::from(done.map(|(answer, _)| answer)))
    })
}

fn admin_fault(error: &AdminError) -> Fault {
    let code = match error.kind {
        AdminErrorKind::NotFound | AdminErrorKind::Exists => fault::NO_SUCH,
        AdminErrorKind::Invalid => fault::USAGE,
        AdminErrorKind::Store => fault::FILES,
    };
    let fault = Fault::new(code, error.message.clone());
    match &error.next {
        Some(next) => fault.next(next.clone()),
        None => fault,
    }
}

/// From the command line as typed to what is meant: whose directory, and the request.
fn meant(command: Command) -> Result<(Option<PathBuf>, Request), Fault> {
    Ok(match command {
        Command::User(command) => user(command),
        Command::Device(command) => device(command),
        Command::Invite(arguments) => invite(arguments)?,
        Command::Service(command) => service(command),
        Command::Session(command) => session(command),
        Command::Audit(arguments) => audit(arguments)?,
        Command::Controller(_)
        | Command::Gateway(_)
        | Command::Enroll(_)
        | Command::Passwd(_)
        | Command::Up(_)
        | Command::Down(_)
        | Command::Status(_)
        | Command::Services(_)
        | Command::Devices(_)
        | Command::Pipe(_)
        | Command::Forward(_)
        | Command::Guard(_)
        | Command::Check(_)
        | Command::Demo(_)
        | Command::DemoUpstream { .. }
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Why(_)
        | Command::Selftest(_) => return Err(Fault::unexpected("this is no command of the gateway's owner")),
    })
}

fn user(command: UserCommand) -> (Option<PathBuf>, Request) {
    let (dir, request) = match command {
        UserCommand::Add { name, groups, dir } => (dir, UserRequest::Add { name, groups }),
        UserCommand::Groups { name, groups, dir } => (dir, UserRequest::Groups { name, groups }),
        UserCommand::List(dir) => (dir, UserRequest::List),
        UserCommand::Show(named) => (named.dir, UserRequest::Show { name: named.name }),
        UserCommand::Remove(named) => (named.dir, UserRequest::Remove { name: named.name }),
        UserCommand::Suspend(named) => (named.dir, UserRequest::Suspend { name: named.name }),
        UserCommand::Resume(named) => (named.dir, UserRequest::Resume { name: named.name }),
    };
    (dir.dir, Request::User(request))
}

fn device(command: DeviceCommand) -> (Option<PathBuf>, Request) {
    let (dir, request) = match command {
        DeviceCommand::List { user, dir } => (dir, DeviceRequest::List { user }),
        DeviceCommand::Show(named) => (named.dir, DeviceRequest::Show { device: named.name }),
        DeviceCommand::Approve(named) => (named.dir, DeviceRequest::Approve { device: named.name }),
        DeviceCommand::Revoke(named) => (named.dir, DeviceRequest::Revoke { device: named.name }),
        DeviceCommand::Resume(named) => (named.dir, DeviceRequest::Resume { device: named.name }),
    };
    (dir.dir, Request::Device(request))
}

fn invite(arguments: InviteArgs) -> Result<(Option<PathBuf>, Request), Fault> {
    let (dir, request) = match arguments.command {
        Some(InviteCommand::List(dir)) => (dir, InviteRequest::List),
        Some(InviteCommand::Show(named)) => (named.dir, InviteRequest::Show { invitation: named.name }),
        Some(InviteCommand::Revoke(named)) => (named.dir, InviteRequest::Revoke { invitation: named.name }),
        other => {
            let add = match other {
                Some(InviteCommand::Add(add)) => add,
                Some(InviteCommand::List(_) | InviteCommand::Show(_) | InviteCommand::Revoke(_)) | None => {
                    arguments.add
                }
            };
            let user = add.user.ok_or_else(|| Fault::usage("who is to be invited?").next("vestibule invite alice"))?;
            (add.dir, InviteRequest::Add { user, expires_in: add.expires.as_secs() })
        }
    };
    Ok((dir.dir, Request::Invite(request)))
}

fn service(command: ServiceCommand) -> (Option<PathBuf>, Request) {
    let (dir, request) = match command {
        ServiceCommand::Add(ServiceAddArgs { name, tcp, udp, web, allow, direct, dir }) => {
            let (kind, upstream) = match (tcp, udp, web) {
                (Some(tcp), _, _) => (ServiceKind::Tcp, tcp),
                (None, Some(udp), _) => (ServiceKind::Udp, udp),
                (None, None, web) => (ServiceKind::Web, web.unwrap_or_default()),
            };
            (dir, ServiceRequest::Add { name, kind, upstream, allow, direct })
        }
        ServiceCommand::List(dir) => (dir, ServiceRequest::List),
        ServiceCommand::Show(named) => (named.dir, ServiceRequest::Show { name: named.name }),
        ServiceCommand::Remove(named) => (named.dir, ServiceRequest::Remove { name: named.name }),
    };
    (dir.dir, Request::Service(request))
}

fn session(command: SessionCommand) -> (Option<PathBuf>, Request) {
    let (dir, request) = match command {
        SessionCommand::List { all, dir } => (dir, SessionRequest::List { all }),
        SessionCommand::Show(named) => (named.dir, SessionRequest::Show { session: named.name }),
        SessionCommand::Revoke(named) => (named.dir, SessionRequest::Revoke { session: named.name }),
    };
    (dir.dir, Request::Session(request))
}

fn audit(arguments: AuditArgs) -> Result<(Option<PathBuf>, Request), Fault> {
    let user = arguments.user.map(|user| UserName::parse(&user)).transpose();
    let user = user.map_err(|error| Fault::usage(format!("this is no user name: {error}")))?;
    let query =
        AuditQuery { user, kinds: Vec::new(), since: arguments.since.map(Stamp::from_millis), last: arguments.last };
    Ok((arguments.dir.dir, Request::Audit(query)))
}
