//! The command line, as data: help, completions and man pages are made from it.

mod administration;
pub(crate) mod documents;
mod guard;
mod roles;
mod user;

pub(crate) use administration::{
    AuditArgs, DeviceCommand, InviteArgs, InviteCommand, ServiceAddArgs, ServiceCommand, SessionCommand, UserCommand,
};
pub(crate) use guard::{
    AppNameArg, GuardArgs, GuardCommand, GuardDirArgs, GuardRunArgs, GuardSessionCommand, GuardUserCommand,
};
pub(crate) use roles::{ControllerCommand, ControllerInitArgs, GatewayCommand, GatewayInitArgs, RoleArgs};
pub(crate) use user::{
    AgentArgs, CheckArgs, CredentialArgs, DemoArgs, EnrollArgs, ForwardArgs, PasswdArgs, PasswordArgs, PipeArgs,
    UpArgs, WhyArgs,
};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Publishes private services to named people on named devices; to everybody else there is nothing there.
#[derive(Parser)]
#[command(
    name = "vestibule",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Try it on this machine, without any right:\n  vestibule demo\n\nEvery exit code has a meaning of its own: see the book, chapter `Exit codes`."
)]
pub(crate) struct Cli {
    /// Print JSON instead of tables and sentences.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands, grouped by who gives them.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run and manage the controller, the blind broker to which clients knock.
    #[command(subcommand)]
    Controller(ControllerCommand),
    /// Run and manage the gateway, which owns users, devices and services.
    #[command(subcommand)]
    Gateway(GatewayCommand),

    /// Users of the gateway.
    #[command(subcommand)]
    User(UserCommand),
    /// Devices of the gateway's users.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Invite a user to enrol a device: prints a single-use link.
    Invite(InviteArgs),
    /// Services behind the gateway.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Sessions at the gateway.
    #[command(subcommand)]
    Session(SessionCommand),
    /// What has happened at the gateway: logins, refusals, revocations; with --app, the commands given to a web application.
    Audit(AuditArgs),

    /// Run the page guard alone in front of a web application; manage its users and sessions.
    Guard(Box<GuardArgs>),

    /// Enrol this device with an invitation.
    Enroll(EnrollArgs),
    /// Change the password, or renew the keys that it protects.
    Passwd(PasswdArgs),
    /// Log in and offer the services on this machine until `down` or Ctrl-C.
    Up(UpArgs),
    /// Sign off: end the session that `up` holds.
    Down(AgentArgs),
    /// What `up` is doing.
    Status(AgentArgs),
    /// The services that this user may use.
    Services(AgentArgs),
    /// The enrolled credentials on this machine.
    Devices(CredentialArgs),
    /// Connect stdin and stdout to a service, as OpenSSH's ProxyCommand wants it.
    Pipe(PipeArgs),
    /// Forward local ports to services.
    Forward(ForwardArgs),
    /// Find out why a connect does not come about: every step of one, and which says no.
    Why(WhyArgs),

    /// Check configuration files without running anything.
    Check(CheckArgs),
    /// Run everything on this machine over loopback addresses and tell what happens.
    Demo(DemoArgs),
    /// Serve one of the demo's sample upstreams.
    #[command(hide = true)]
    DemoUpstream {
        /// Which one.
        sample: crate::demo::upstream::Sample,
        /// Where it listens.
        address: std::net::SocketAddr,
    },
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    Man {
        /// An existing folder.
        folder: PathBuf,
    },
}

/// Where the gateway's directory lies, for commands that manage it.
#[derive(Args, Clone)]
pub(crate) struct DirArgs {
    /// The gateway's directory [default: /var/lib/vestibule/gateway for root, else in the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
