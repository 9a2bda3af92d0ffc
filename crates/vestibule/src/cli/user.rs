//! What a person does: enrol, up, pipe, forward; and `check` and `demo`.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use vestibule_client::Transport;
use vestibule_client::enrol::TpmChoice;

/// Where credentials lie and which of them is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct CredentialArgs {
    /// The client's directory [default: /var/lib/vestibule/client for root, else in the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The credential, when this machine has several: `USER@GATEWAY`, or `USER` where that tells it.
    #[arg(long = "as", value_name = "USER@GATEWAY")]
    pub(crate) credential: Option<String>,
}

/// Where the password comes from. Never from the command line or the environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct PasswordArgs {
    /// Read the password from the first line of stdin.
    #[arg(long, conflicts_with = "askpass")]
    pub(crate) password_stdin: bool,
    /// Let this program ask for the password and print it [default: the program in VESTIBULE_ASKPASS or SSH_ASKPASS, where there is no terminal].
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) askpass: Option<PathBuf>,
}

/// `enroll`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule enroll                      # asks for the link, without showing it\n  vestibule enroll - < link             # reads it from a file\n\nA link on the command line is seen by other users of this machine and stays in the shell's history; whoever uses it first is enrolled."
)]
pub(crate) struct EnrollArgs {
    /// The invitation [default: asked for on the terminal]; `-` reads it from stdin's first line (with --password-stdin the password is the second).
    pub(crate) link: Option<String>,
    /// How this device is called in the gateway's lists [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<String>,
    /// Replace an existing credential for the same user and gateway.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Seal the credential to this machine's TPM, so that a copy of the file opens nowhere else: `auto` where there is one
    /// that this user may use, `require` or else not enrol, `never`.
    #[arg(long, value_name = "auto|require|never", default_value = "auto")]
    pub(crate) tpm: TpmChoice,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `passwd`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule passwd\n  vestibule passwd --keep-password\n\nWith --password-stdin the first line is the present password, the second the new one. Run it again if it was interrupted."
)]
pub(crate) struct PasswdArgs {
    /// Keep the password: only make new keys, protected as strongly as is the default today.
    #[arg(long)]
    pub(crate) keep_password: bool,
    /// As with `enroll`; a credential that is sealed to a TPM stays so unless `never` is said.
    #[arg(long, value_name = "auto|require|never", default_value = "auto")]
    pub(crate) tpm: TpmChoice,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `up`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule up\n  vestibule up --forward 5432=db\n\nWeb services then are at http://NAME.localhost:PORT/, everything else through the SOCKS5 or HTTP proxy."
)]
pub(crate) struct UpArgs {
    /// The SOCKS5 proxy's local address [default: 127.0.0.1:1080, or what client.toml says].
    #[arg(long, value_name = "ADDR:PORT", value_parser = crate::config::parse_address)]
    pub(crate) socks: Option<SocketAddr>,
    /// The local address of the HTTP proxy and of the `NAME.localhost` web services [default: 127.0.0.1:8118, or what client.toml says].
    #[arg(long, value_name = "ADDR:PORT", value_parser = crate::config::parse_address)]
    pub(crate) http: Option<SocketAddr>,
    /// Also forward `LOCAL=SERVICE`; repeat for several.
    #[arg(long, value_name = "LOCAL=SERVICE")]
    pub(crate) forward: Vec<String>,
    /// Serve the programs of every user of this machine, not only this user's and root's: for a shared container.
    #[arg(long)]
    pub(crate) any_local_user: bool,
    /// Which way to the gateway: `quic`, `tcp` for networks that drop QUIC's datagrams, or `auto`, which tries both
    /// [default: auto, or what client.toml says].
    #[arg(long, value_name = "auto|quic|tcp")]
    pub(crate) transport: Option<Transport>,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// Which running `up` is meant.
#[derive(Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
}

/// `pipe`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ssh -o ProxyCommand='vestibule pipe %h:%p' host1\n  vestibule pipe db")]
pub(crate) struct PipeArgs {
    /// A service's name, or the `HOST:PORT` of its upstream.
    #[arg(value_name = "HOST:PORT|SERVICE")]
    pub(crate) target: String,
    /// Don't use a running `up`: knock and log in for this one connection.
    #[arg(long)]
    pub(crate) alone: bool,
    /// Print the measured times to stderr when the connection ends.
    #[arg(long)]
    pub(crate) timings: bool,
    /// Which way to the gateway: `quic`, `tcp` for networks that drop QUIC's datagrams, or `auto`, which tries both
    /// [default: auto, or what client.toml says].
    #[arg(long, value_name = "auto|quic|tcp")]
    pub(crate) transport: Option<Transport>,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `why`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule why           # each step of a connect, and the first that fails\n  vestibule why db        # and whether that service opens\n  vestibule why --json db\n\nIt knocks and logs in on its own, beside a running `up`, and signs off. The exit code is that of the step that failed."
)]
pub(crate) struct WhyArgs {
    /// A service's name, or the `HOST:PORT` of its upstream.
    #[arg(value_name = "HOST:PORT|SERVICE")]
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `selftest`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule selftest --from-outside                             # your controller and gateway, before, during and after an admission\n  vestibule selftest --from-outside --markdown > outside.md\n  vestibule selftest --from-outside --target 203.0.113.5:4434   # any address, without a device\n\nRun it as root for packets that only raw sockets can send. Any byte that comes back is a failure, with exit code 60."
)]
pub(crate) struct SelftestArgs {
    /// Look as a stranger does: TCP and UDP with everything that might provoke an answer, fragments, every type of ICMP.
    #[arg(long)]
    pub(crate) from_outside: bool,
    /// Look at this address alone, again and again for several; needs no device and makes no connect.
    #[arg(long = "target", value_name = "HOST:PORT")]
    pub(crate) targets: Vec<String>,
    /// Let pass what the machine says of any port, as to ping: strangers may know that it is there.
    #[arg(long)]
    pub(crate) known_machine: bool,
    /// Print the report as Markdown.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `forward`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule forward 5432=db\n  vestibule forward 127.0.0.1:2222=host1:22 8080=orders\n  vestibule forward 5353/udp=dns"
)]
pub(crate) struct ForwardArgs {
    /// A local port (or address and port) and the service it leads to; with `/udp` behind the port for a UDP service.
    #[arg(value_name = "LOCAL=SERVICE", required = true)]
    pub(crate) forwards: Vec<String>,
    /// Serve the programs of every user of this machine, not only this user's and root's: for a shared container.
    #[arg(long)]
    pub(crate) any_local_user: bool,
    /// Which way to the gateway: `quic`, `tcp` for networks that drop QUIC's datagrams, or `auto`, which tries both
    /// [default: auto, or what client.toml says].
    #[arg(long, value_name = "auto|quic|tcp")]
    pub(crate) transport: Option<Transport>,
    #[command(flatten)]
    pub(crate) credential: CredentialArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `check`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  vestibule check                     # the files in the default directories\n  vestibule check gateway.toml"
)]
pub(crate) struct CheckArgs {
    /// Files to check; the role is told by the file's name (controller.toml, gateway.toml, client.toml, guard.toml).
    pub(crate) files: Vec<PathBuf>,
}

/// `demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// End after the story: exit code 0 when every step happened as told, 1 when not.
    #[arg(long)]
    pub(crate) once: bool,
}
