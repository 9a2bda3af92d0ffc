//! `user`, `device`, `invite`, `service`, `session`, `audit`: the owner's commands.

use super::{AppNameArg, DirArgs};
use clap::{ArgGroup, Args, Subcommand};
use std::time::Duration;

/// Users.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user.
    #[command(after_help = "Example:\n  vestibule user add alice --group sales --group ops")]
    Add {
        /// 1 to 64 characters of a-z, 0-9, `.`, `_`, `-`, `@`.
        name: String,
        /// A group that the user belongs to; repeat for several.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Replace a user's groups.
    #[command(after_help = "Example:\n  vestibule user groups alice --group sales")]
    Groups {
        /// The user.
        name: String,
        /// A group; repeat for several, none for no groups.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// List users.
    #[command(after_help = "Examples:\n  vestibule user list\n  vestibule user list --json")]
    List(DirArgs),
    /// Show a user with devices and sessions.
    #[command(after_help = "Example:\n  vestibule user show alice")]
    Show(Named),
    /// Remove a user: every session is cut, every device revoked.
    #[command(after_help = "Example:\n  vestibule user remove alice")]
    Remove(Named),
    /// Suspend a user: every session is cut; devices stay enrolled.
    #[command(after_help = "Example:\n  vestibule user suspend alice")]
    Suspend(Named),
    /// Lift a suspension.
    #[command(after_help = "Example:\n  vestibule user resume alice")]
    Resume(Named),
}

/// Devices.
#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// List devices.
    #[command(after_help = "Examples:\n  vestibule device list\n  vestibule device list --user alice")]
    List {
        /// Only this user's.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Show a device.
    #[command(after_help = "Example:\n  vestibule device show alice/laptop")]
    Show(Named),
    /// Let a device be used that waits for your word (`approve` in gateway.toml): first compare its six words with those on its screen.
    #[command(
        after_help = "Example:\n  vestibule device list                 # shows who waits, and the words\n  vestibule device approve alice/laptop"
    )]
    Approve(Named),
    /// Revoke a device for good: its sessions are cut within a second.
    #[command(after_help = "Example:\n  vestibule device revoke alice/laptop")]
    Revoke(Named),
    /// Lift the suspension that too many wrong passwords caused.
    #[command(after_help = "Example:\n  vestibule device resume alice/laptop")]
    Resume(Named),
}

/// `invite USER`, or one of the commands below it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Examples:\n  vestibule invite alice\n  vestibule invite alice --expires 2h\n  vestibule invite list"
)]
pub(crate) struct InviteArgs {
    #[command(subcommand)]
    pub(crate) command: Option<InviteCommand>,
    #[command(flatten)]
    pub(crate) add: InviteAddArgs,
}

/// What an invitation needs.
#[derive(Args)]
pub(crate) struct InviteAddArgs {
    /// The user to invite.
    #[arg(value_name = "USER")]
    pub(crate) user: Option<String>,
    /// How long the link may be used.
    #[arg(long, default_value = "1d", value_name = "TIME", value_parser = crate::config::parse_span)]
    pub(crate) expires: Duration,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
}

/// Invitations.
#[derive(Subcommand)]
pub(crate) enum InviteCommand {
    /// Invite a user: the same as `vestibule invite USER`.
    #[command(after_help = "Example:\n  vestibule invite add alice --expires 2h")]
    Add(InviteAddArgs),
    /// List invitations.
    #[command(after_help = "Example:\n  vestibule invite list")]
    List(DirArgs),
    /// Show an invitation (never its secrets).
    #[command(after_help = "Examples:\n  vestibule invite list        # tells the ids\n  vestibule invite show ID")]
    Show(Named),
    /// Withdraw an invitation.
    #[command(after_help = "Example:\n  vestibule invite revoke ID")]
    Revoke(Named),
}

/// Services.
#[derive(Subcommand)]
pub(crate) enum ServiceCommand {
    /// Publish a service to those whom `--allow` names.
    #[command(
        after_help = "Examples:\n  vestibule service add db --tcp 10.0.0.5:5432 --allow group:sales\n  vestibule service add dns --udp 10.0.0.53:53 --allow everyone\n  vestibule service add orders --web http://10.0.0.8:8000 --allow everyone"
    )]
    Add(ServiceAddArgs),
    /// List services.
    #[command(after_help = "Example:\n  vestibule service list")]
    List(DirArgs),
    /// Show a service.
    #[command(after_help = "Example:\n  vestibule service show db")]
    Show(Named),
    /// Remove a service: its flows are cut within a second.
    #[command(after_help = "Example:\n  vestibule service remove db")]
    Remove(Named),
}

/// `service add`.
#[derive(Args)]
#[command(group = ArgGroup::new("upstream").required(true).args(["tcp", "udp", "web"]))]
pub(crate) struct ServiceAddArgs {
    /// 1 to 63 characters of a-z, 0-9 and `-`.
    pub(crate) name: String,
    /// A TCP service at this address, as seen from the gateway.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp: Option<String>,
    /// A UDP service at this address, as seen from the gateway.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) udp: Option<String>,
    /// A web application at this address, as seen from the gateway.
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) web: Option<String>,
    /// Who may use it: `everyone`, `user:NAME`, `group:NAME`; repeat for several. Nobody else may.
    #[arg(long, value_name = "WHO", required = true)]
    pub(crate) allow: Vec<String>,
    /// Of a TCP service at an address: this TCP port of the gateway's machine is shut to everybody, and leads those who may to
    /// the service, through the kernel alone. Needs the door `nftables`.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with_all = ["web", "udp"])]
    pub(crate) direct: Option<u16>,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
}

/// Sessions.
#[derive(Subcommand)]
pub(crate) enum SessionCommand {
    /// List sessions.
    #[command(after_help = "Examples:\n  vestibule session list\n  vestibule session list --all --json")]
    List {
        /// Also those that have ended.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Show a session.
    #[command(after_help = "Examples:\n  vestibule session list        # tells the ids\n  vestibule session show ID")]
    Show(Named),
    /// End a session: its flows are cut within a second and it can't be resumed.
    #[command(after_help = "Example:\n  vestibule session revoke ID")]
    Revoke(Named),
}

/// One thing by its name or id.
#[derive(Args)]
pub(crate) struct Named {
    /// Its name or id, as the list shows it.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
}

/// `audit`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule audit --user alice\n  vestibule audit --user alice --app orders --since 2h\n  vestibule audit --app orders --json            # one JSON object a line"
)]
pub(crate) struct AuditArgs {
    /// Only what concerns this user.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The commands that were given to this guarded web application, instead of what happened at the gateway.
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<AppNameArg>,
    /// Only since then: so long ago (`2h`, `7d`) or a moment in UTC (`2026-11-22 08:30`).
    #[arg(long, value_name = "TIME", value_parser = crate::guard::parse_since)]
    pub(crate) since: Option<u64>,
    /// At most so many entries, the newest.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: u32,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
}
