//! `guard …`: the page guard alone, its users, its sessions and what it has counted.

use super::PasswordArgs;
use clap::{ArgGroup, Args, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use vestibule_guard::{AppName, LogicalAddress, ModeConfig, UserName};

/// `guard`, or one of the commands below it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Examples:\n  vestibule guard user add alice\n  vestibule guard --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080\n  vestibule guard --upstream http://127.0.0.1:8000 --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem\n  vestibule guard --files /srv/reports --name reports --mode strict\n  vestibule guard --config guard.toml      # several applications, rules\n\nWithout --upstream, --cgi, --files and --config it runs with DIR/guard.toml. SIGTERM ends it, SIGHUP reloads it."
)]
pub(crate) struct GuardArgs {
    #[command(subcommand)]
    pub(crate) command: Option<GuardCommand>,
    #[command(flatten)]
    pub(crate) run: GuardRunArgs,
}

/// What runs.
#[derive(Args)]
#[command(group = ArgGroup::new("what").args(["upstream", "cgi", "files", "config"]))]
pub(crate) struct GuardRunArgs {
    /// The application's own address, which only the guard should reach; repeat for several that are tried in turn.
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) upstream: Vec<String>,
    /// Guard a directory of CGI programs.
    #[arg(long, value_name = "DIR")]
    pub(crate) cgi: Option<PathBuf>,
    /// Guard a directory of files.
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Everything from this file instead: several applications, rules, host names.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "name", "mode", "tls_cert", "tls_key", "plain_http", "https_outside", "proxy_protocol_from"])]
    pub(crate) config: Option<PathBuf>,
    /// TCP addresses to listen on; repeat for several [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR:PORT", value_parser = crate::config::parse_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// How the application is called: 1 to 63 characters of a-z, 0-9 and `-`.
    #[arg(long, value_name = "APP", default_value = "app")]
    pub(crate) name: AppNameArg,
    /// What a request needs: `standard`, `strict` (reads need a page too) or `observe` (measure, refuse nothing).
    #[arg(long, default_value = "standard", value_parser = mode)]
    pub(crate) mode: ModeConfig,
    /// Speak HTTPS with this certificate (PEM, with its chain).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen without TLS where other machines can reach it: whoever is on the way reads passwords and pages.
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) plain_http: bool,
    /// Browsers reach the guard through a proxy that speaks HTTPS with them.
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) https_outside: bool,
    /// Connections from this balancer begin with a PROXY protocol header (version 2); repeat for several.
    #[arg(long, value_name = "ADDR")]
    pub(crate) proxy_protocol_from: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) dir: GuardDirArgs,
}

/// Where a guard that runs alone keeps its things.
#[derive(Args, Clone)]
pub(crate) struct GuardDirArgs {
    /// The guard's directory [default: /var/lib/vestibule/guard for root, else in the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Where some guard keeps its things.
#[derive(Args, Clone)]
pub(crate) struct AnyGuardArgs {
    /// The directory of a guard, or of a gateway [default: that of the guard on this machine, else of the gateway].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What can be done beside a running guard, or without it.
#[derive(Subcommand)]
pub(crate) enum GuardCommand {
    /// Users who sign in at a guard that runs alone.
    #[command(subcommand)]
    User(GuardUserCommand),
    /// Sessions at a guard; a gateway's too.
    #[command(subcommand)]
    Session(GuardSessionCommand),
    /// How much of an application's traffic bears a page's token, what would have been refused, and the rule that settles it.
    #[command(
        after_help = "Examples:\n  vestibule guard coverage app\n  vestibule guard coverage orders --dir /var/lib/vestibule/gateway --json"
    )]
    Coverage {
        /// The application.
        #[arg(value_name = "APP")]
        app: AppNameArg,
        #[command(flatten)]
        dir: AnyGuardArgs,
    },
}

/// Users.
#[derive(Subcommand)]
pub(crate) enum GuardUserCommand {
    /// Add a user; asks for the password.
    #[command(after_help = "Example:\n  vestibule guard user add alice --group sales")]
    Add {
        /// 1 to 64 characters of a-z, 0-9, `.`, `_`, `-`, `@`.
        #[arg(value_parser = user_name)]
        name: UserName,
        /// A group that the user belongs to; repeat for several.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        dir: GuardDirArgs,
    },
    /// List users.
    #[command(after_help = "Example:\n  vestibule guard user list")]
    List(GuardDirArgs),
    /// Remove a user: every session is cut within a second.
    #[command(after_help = "Example:\n  vestibule guard user remove alice")]
    Remove {
        /// The user.
        #[arg(value_parser = user_name)]
        name: UserName,
        #[command(flatten)]
        dir: GuardDirArgs,
    },
    /// Give a user another password; sessions go on.
    #[command(after_help = "Example:\n  vestibule guard user passwd alice")]
    Passwd {
        /// The user.
        #[arg(value_parser = user_name)]
        name: UserName,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        dir: GuardDirArgs,
    },
    /// Replace a user's groups, in sessions that go on too.
    #[command(after_help = "Example:\n  vestibule guard user groups alice --group sales")]
    Groups {
        /// The user.
        #[arg(value_parser = user_name)]
        name: UserName,
        /// A group; repeat for several, none for no groups.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        dir: GuardDirArgs,
    },
}

/// Sessions.
#[derive(Subcommand)]
pub(crate) enum GuardSessionCommand {
    /// List sessions that go on.
    #[command(
        after_help = "Examples:\n  vestibule guard session list\n  vestibule guard session list --dir /var/lib/vestibule/gateway"
    )]
    List(AnyGuardArgs),
    /// End sessions: their pages are worthless, what they have open is cut within a second.
    #[command(
        group = ArgGroup::new("whose").required(true).args(["address", "user"]),
        after_help = "Examples:\n  vestibule guard session cut fd3a:…::7\n  vestibule guard session cut --user alice"
    )]
    Cut {
        /// The session's logical address, as the list shows it.
        #[arg(value_parser = address)]
        address: Option<LogicalAddress>,
        /// All sessions of this user.
        #[arg(long, value_name = "NAME", value_parser = user_name)]
        user: Option<UserName>,
        #[command(flatten)]
        dir: AnyGuardArgs,
    },
}

/// An application's name on the command line.
#[derive(Clone)]
pub(crate) struct AppNameArg(pub(crate) AppName);

impl std::str::FromStr for AppNameArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        AppName::new(text).map(Self).map_err(|error| error.to_string())
    }
}

/// Reads a user's name.
pub(crate) fn user_name(text: &str) -> Result<UserName, String> {
    UserName::new(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<LogicalAddress, String> {
    text.parse().map(LogicalAddress).map_err(|_| format!("`{text}` is no address: see `vestibule guard session list`"))
}

fn mode(text: &str) -> Result<ModeConfig, String> {
    match text {
        "standard" => Ok(ModeConfig::Standard),
        "strict" => Ok(ModeConfig::Strict),
        "observe" => Ok(ModeConfig::Observe),
        _ => Err("write standard, strict or observe".to_owned()),
    }
}
