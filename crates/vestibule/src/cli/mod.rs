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
    SelftestArgs, UpArgs, WhyArgs,
};

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
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

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::of(std::env::args_os().collect())
    }

    /// `pipe` is started with every connection, and to describe all commands takes as long as all else before its first packet.
    /// So it is tried alone; whatever is not right with it the whole description tells.
    fn of(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let is_pipe = words.get(1).is_some_and(|word| word == "pipe");
        match is_pipe.then(|| PipeAlone::try_parse_from(&words)) {
            Some(Ok(PipeAlone { json, command: PipeCommand::Pipe(pipe) })) => {
                Ok(Self { json, command: Command::Pipe(pipe) })
            }
            Some(Err(_)) | None => Self::try_parse_from(words),
        }
    }
}

/// A part of [`Cli`].
#[derive(Parser)]
struct PipeAlone {
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: PipeCommand,
}

/// A part of [`Command`].
#[derive(Subcommand)]
enum PipeCommand {
    Pipe(PipeArgs),
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
    #[command(after_help = "Examples:\n  vestibule down\n  vestibule down --as alice@office")]
    Down(AgentArgs),
    /// What `up` is doing.
    #[command(after_help = "Examples:\n  vestibule status\n  vestibule status --json")]
    Status(AgentArgs),
    /// The services that this user may use.
    #[command(after_help = "Example:\n  vestibule services")]
    Services(AgentArgs),
    /// The enrolled credentials on this machine.
    #[command(after_help = "Example:\n  vestibule devices")]
    Devices(CredentialArgs),
    /// Connect stdin and stdout to a service, as OpenSSH's ProxyCommand wants it.
    Pipe(PipeArgs),
    /// Forward local ports to services.
    Forward(ForwardArgs),
    /// Find out why a connect does not come about: every step of one, and which says no.
    Why(WhyArgs),
    /// See what strangers see of a controller and a gateway: nothing, or something is wrong.
    Selftest(SelftestArgs),

    /// Check configuration files without running anything.
    Check(CheckArgs),
    /// Run everything on this machine over loopback addresses and tell what happens.
    #[command(
        after_help = "Examples:\n  vestibule demo               # stays, to be clicked through\n  vestibule demo --once        # ends after the story; the exit code tells whether it went well"
    )]
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
    #[command(
        after_help = "Example:\n  vestibule completions bash > ~/.local/share/bash-completion/completions/vestibule"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    #[command(after_help = "Example:\n  vestibule man ~/.local/share/man/man1")]
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
    use super::{Cli, Command, PipeAlone, PipeCommand};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        PipeAlone::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn without(command: &clap::Command, above: &str, missing: &mut Vec<String>) {
            let name = format!("{above} {}", command.get_name());
            let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let has_one = shown.contains("Example") && shown.contains(name.trim());
            let needs_none = command.is_subcommand_required_set() || command.is_hide_set();
            if !has_one && !needs_none {
                missing.push(name.clone());
            }
            command.get_subcommands().for_each(|command| without(command, &name, missing));
        }
        let mut missing = Vec::new();
        without(&Cli::command(), "", &mut missing);
        assert_eq!(missing, [""; 0]);
    }

    fn words(line: &str) -> Vec<std::ffi::OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn pipe_alone_is_read_as_among_all_commands() {
        for line in [
            "vestibule pipe db",
            "vestibule pipe host1:22 --alone --password-stdin --timings --dir /d --as alice",
            "vestibule pipe --json --askpass /bin/ask db",
        ] {
            let Ok(PipeAlone { json, command: PipeCommand::Pipe(alone) }) = PipeAlone::try_parse_from(words(line))
            else {
                panic!("{line}: not read alone")
            };
            let among = Cli::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
            let Command::Pipe(pipe) = among.command else { panic!("{line}: another command") };
            assert_eq!((json, format!("{alone:?}")), (among.json, format!("{pipe:?}")));
        }
    }

    #[test]
    fn what_is_wrong_with_a_pipe_is_told_as_among_all_commands() {
        for line in ["vestibule pipe", "vestibule pipe db --alnoe", "vestibule pipe --help", "vestibule pipe --version"]
        {
            let told = |read: Result<Cli, clap::Error>| read.err().map(|error| error.render().to_string());
            let among = told(Cli::try_parse_from(words(line)));
            assert!(among.is_some(), "{line}");
            assert_eq!(told(Cli::of(words(line))), among, "{line}");
        }
    }
}
