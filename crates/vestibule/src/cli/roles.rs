//! `controller …` and `gateway …`.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What can be done with the controller.
#[derive(Subcommand)]
pub(crate) enum ControllerCommand {
    /// Make the controller's keys, database and configuration file.
    #[command(after_help = "Example:\n  vestibule controller init --public controller.example.org:4433")]
    Init(ControllerInitArgs),
    /// Run the controller in the foreground; SIGTERM ends it, SIGHUP reloads its configuration.
    #[command(after_help = "Examples:\n  vestibule controller run\n  vestibule controller run --dir /srv/controller")]
    Run(RoleArgs),
    /// Invite a gateway: prints a single-use link for `vestibule gateway init --controller`.
    #[command(
        after_help = "Examples:\n  vestibule controller invite office --expires 1d\n  vestibule controller invite office --gateway ID    # for a gateway that exists: vestibule gateway relink"
    )]
    Invite {
        /// How the gateway is called in lists and in its users' credentials: 1 to 64 letters, digits, `.`, `_`, `-`.
        #[arg(value_parser = gateway_name)]
        name: String,
        /// How long the link may be used.
        #[arg(long, default_value = "1d", value_name = "TIME", value_parser = crate::config::parse_span)]
        expires: std::time::Duration,
        /// The id of a gateway that exists already and is to be linked anew (`vestibule gateway status` tells it).
        #[arg(long, value_name = "ID")]
        gateway: Option<String>,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// List the gateways and whether their links stand.
    #[command(after_help = "Example:\n  vestibule controller gateways")]
    Gateways(RoleArgs),
    /// Forget a gateway, its link and its rows.
    #[command(after_help = "Example:\n  vestibule controller remove office")]
    Remove {
        /// The gateway's name.
        name: String,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Make a new realm key: gateways and devices get it over their links and in their sessions; the present one counts beside it for a while.
    #[command(
        after_help = "Examples:\n  vestibule controller rotate                 # the former key counts for 30 days\n  vestibule controller rotate --keep 7d\n  vestibule controller status                 # knocks.former_realm: who still comes with it\n  vestibule controller rotate --finish        # it counts no more\n\nA device that does not come in while both count needs a new invitation."
    )]
    Rotate {
        /// How long the present key counts beside the new one.
        #[arg(long, default_value = "30d", value_name = "TIME", value_parser = crate::config::parse_span)]
        keep: std::time::Duration,
        /// End the former key now instead of making a new one.
        #[arg(long, conflicts_with = "keep")]
        finish: bool,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Counters of the running controller.
    #[command(after_help = "Examples:\n  vestibule controller status\n  vestibule controller status --json")]
    Status(RoleArgs),
}

fn gateway_name(text: &str) -> Result<String, String> {
    if vestibule_controller::admin::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a gateway's name has 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first".to_owned())
    }
}

/// What can be done with the gateway.
#[derive(Subcommand)]
pub(crate) enum GatewayCommand {
    /// Make the gateway's keys, database and configuration file.
    #[command(
        after_help = "Example (the link is what `vestibule controller invite` printed):\n  vestibule gateway init --controller vestibule-gateway:… --listen 0.0.0.0:4434 --public 203.0.113.7:4434"
    )]
    Init(GatewayInitArgs),
    /// Link a gateway that exists anew: after it was removed at its controller, missed a rotation there, or gets another controller.
    #[command(
        after_help = "Keys, users, devices and services stay. The gateway must not run meanwhile.\n\nExample (the link was made for this very gateway: vestibule controller invite office --gateway ID):\n  vestibule gateway relink vestibule-gateway:…"
    )]
    Relink {
        /// The link that `vestibule controller invite NAME --gateway ID` printed; `-` reads it from stdin.
        #[arg(value_name = "LINK")]
        link: String,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Run the gateway in the foreground; SIGTERM ends it, SIGHUP reloads its services.
    #[command(after_help = "Examples:\n  vestibule gateway run\n  vestibule gateway run --dir /srv/gateway")]
    Run(RoleArgs),
    /// The link, the door, sessions and counters of the running gateway.
    #[command(after_help = "Examples:\n  vestibule gateway status\n  vestibule gateway status --json")]
    Status(RoleArgs),
    /// Make a new TLS key: the controller gets it over the link, devices in their sessions; the present one counts beside it for a while.
    #[command(
        after_help = "Examples:\n  vestibule gateway rotate                 # the former key counts for 30 days\n  vestibule gateway rotate --keep 7d\n  vestibule gateway status                 # gateway.contacts_former_key: how often devices still came with it\n  vestibule gateway rotate --finish        # it counts no more\n  vestibule gateway rotate --now           # it was stolen: the new key alone counts\n\nA device that does not come in while both count needs a new invitation; with --now every device that is not connected."
    )]
    Rotate {
        /// How long the present key counts beside the new one.
        #[arg(long, default_value = "30d", value_name = "TIME", value_parser = crate::config::parse_span)]
        keep: std::time::Duration,
        /// Let the new key alone count from now on, also while a rotation is under way.
        #[arg(long, conflicts_with_all = ["keep", "finish"])]
        now: bool,
        /// End the former key now instead of making a new one.
        #[arg(long, conflicts_with = "keep")]
        finish: bool,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// What each kind of door lacks here, and what to do; changes nothing. Run it as the user that the gateway runs as.
    #[command(
        after_help = "Examples:\n  vestibule gateway doctor\n  sudo -u vestibule-gateway vestibule gateway doctor"
    )]
    Doctor(RoleArgs),
}

/// A role's directory.
#[derive(Args, Clone)]
pub(crate) struct RoleArgs {
    /// The role's directory [default: /var/lib/vestibule/ROLE for root, else in the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `controller init`.
#[derive(Args)]
pub(crate) struct ControllerInitArgs {
    /// UDP addresses to listen on; repeat for several.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:4433", value_parser = crate::config::parse_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// How clients and gateways reach this controller: goes into every invitation; repeat for several.
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub(crate) public: Vec<String>,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

/// `gateway init`.
#[derive(Args)]
pub(crate) struct GatewayInitArgs {
    /// The link that `vestibule controller invite NAME` printed; `-` reads it from stdin.
    #[arg(long, value_name = "LINK")]
    pub(crate) controller: String,
    /// UDP addresses to listen on; repeat for several.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:4434", value_parser = crate::config::parse_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// How clients reach this gateway, told to them only once it is ready for them; repeat for several.
    #[arg(long, value_name = "ADDR:PORT", required = true, value_parser = crate::config::parse_address)]
    pub(crate) public: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}
