//! `gateway.toml`.

use super::{Checked, LogConfig, span};
use crate::fault::Fault;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use vestibule_gateway::directory::{Service, Source, upstream_of};
use vestibule_gateway::{DoorChoice as Choice, SessionLimits, Settings};
use vestibule_guard::{AppName, Backend, GuardConfig};
use vestibule_policy::Grant;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::ServiceKind;
use vestibule_proto::ticket::NatPolicy;

/// The gateway's configuration.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayConfig {
    /// UDP addresses to listen on.
    pub(crate) listen: Vec<SocketAddr>,
    /// Addresses at which clients reach this gateway.
    pub(crate) public: Vec<SocketAddr>,
    /// What holds the door before `listen`.
    #[serde(default)]
    pub(crate) door: DoorConfig,
    /// The interfaces that the door `xdp` guards; by default those that carry the addresses of `listen`, loopback ones excepted.
    #[serde(default)]
    pub(crate) door_interfaces: Vec<String>,
    /// From where an admitted client may come in.
    #[serde(default)]
    pub(crate) nat: Nat,
    /// Whether clients may come over TCP where their networks drop QUIC.
    #[serde(default = "yes")]
    pub(crate) tcp: bool,
    /// Typo bits of credentials enrolled from now on: so much of a wrong password is told before anything is sent, and so much a thief
    /// of the credential file may test off line. At most 16.
    #[serde(default = "default_typo_bits")]
    pub(crate) typo_bits: u8,
    /// Whether a newly enrolled device waits until its owner has compared its words: `vestibule device approve`.
    #[serde(default)]
    pub(crate) approve: bool,
    /// Limits of sessions.
    #[serde(default)]
    pub(crate) session: SessionConfig,
    /// Services, by name; `vestibule service add` adds others.
    #[serde(default)]
    pub(crate) services: BTreeMap<String, ServiceConfig>,
    /// How web services are guarded, by name; one that is not named is guarded in the standard mode.
    #[serde(default)]
    pub(crate) guard: BTreeMap<String, GuardConfig>,
    /// How it logs.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// What holds the door. `vestibule gateway doctor` tells what each lacks here.
#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DoorConfig {
    /// A program in the drivers of `door_interfaces`, if any are named and all take it; else the kernel's packet filter where
    /// it works, else the gateway's own socket.
    #[default]
    Auto,
    /// The gateway's own socket.
    Socket,
    /// The kernel's packet filter; without it the gateway does not start.
    Nftables,
    /// A program in the network's drivers; without it the gateway does not start.
    Xdp,
}

impl From<DoorConfig> for Choice {
    fn from(door: DoorConfig) -> Self {
        match door {
            DoorConfig::Auto => Self::Auto,
            DoorConfig::Socket => Self::Socket,
            DoorConfig::Nftables => Self::Nftables,
            DoorConfig::Xdp => Self::Xdp,
        }
    }
}

/// Where an admitted client's first packet may come from; its tag is needed in any case.
#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Nat {
    /// The very address that the controller saw.
    Strict,
    /// The same /24 (IPv4) or /56 (IPv6).
    Net,
    /// Anywhere: carriers send one host's flows from several addresses.
    #[default]
    Follow,
}

/// Limits of sessions.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionConfig {
    /// How long a session lives.
    #[serde(deserialize_with = "span")]
    pub(crate) expires: Duration,
    /// How long it may stay without traffic.
    #[serde(deserialize_with = "span")]
    pub(crate) idle: Duration,
    /// Connections and flows of datagrams that one session may have open at a time.
    pub(crate) connections: u32,
    /// How long a flow of datagrams may be silent before it ends.
    #[serde(deserialize_with = "span")]
    pub(crate) udp_idle: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            expires: Duration::from_secs(12 * 3_600),
            idle: Duration::from_secs(30 * 60),
            connections: 1_024,
            udp_idle: Duration::from_secs(120),
        }
    }
}

/// One service.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceConfig {
    /// `host:port` of a TCP service.
    pub(crate) tcp: Option<String>,
    /// `host:port` of a UDP service.
    pub(crate) udp: Option<String>,
    /// `http://host:port` of a web application.
    pub(crate) web: Option<String>,
    /// Who may use it: `everyone`, `user:NAME`, `group:NAME`.
    pub(crate) allow: Vec<String>,
    /// The TCP port of this machine at which admitted clients reach a TCP service without the tunnel.
    pub(crate) direct: Option<u16>,
}

fn yes() -> bool {
    true
}

fn default_typo_bits() -> u8 {
    10
}

impl ServiceConfig {
    fn meant(&self, name: &str) -> Result<Service, Fault> {
        let wrong = |what: String| Fault::configuration(format!("service `{name}`: {what}"));
        let upstreams = [(ServiceKind::Tcp, &self.tcp), (ServiceKind::Udp, &self.udp), (ServiceKind::Web, &self.web)];
        let mut named = upstreams.iter().filter_map(|(kind, text)| Some((*kind, text.as_ref()?)));
        let (Some((kind, text)), None) = (named.next(), named.next()) else {
            return Err(wrong("it needs one of `tcp`, `udp` and `web`".to_owned())
                .next("tcp = \"host:port\", or udp = \"host:port\", or web = \"http://host:port\""));
        };
        let grants = self.allow.iter().map(|who| who.parse::<Grant>());
        Ok(Service {
            name: ServiceName::parse(name).map_err(|error| wrong(format!("this is no service name: {error}")))?,
            kind,
            upstream: upstream_of(kind, text).map_err(wrong)?,
            grants: grants.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?,
            source: Source::File,
            direct: self.direct,
        })
    }
}

impl Checked for GatewayConfig {
    fn check(&self) -> Result<(), Fault> {
        if self.listen.is_empty() {
            return Err(Fault::configuration("`listen` is empty: the gateway needs a UDP address"));
        }
        if self.public.len() > 4 {
            return Err(Fault::configuration("`public` has at most four addresses"));
        }
        if self.session.udp_idle < Duration::from_secs(1) {
            return Err(Fault::configuration("`udp_idle` is less than a second: every flow would end at once")
                .next("udp_idle = \"2m\" is the default"));
        }
        if self.typo_bits > 16 {
            return Err(Fault::configuration("`typo_bits` is more than 16")
                .detail("Each bit halves the list of a thief who has the credential file; with 16 the file alone nearly tells the password."));
        }
        self.services()?;
        self.guarded()?;
        self.log.check()
    }
}

impl GatewayConfig {
    /// The services, as the gateway wants them.
    ///
    /// # Errors
    /// Exit code 40, naming the service.
    pub(crate) fn services(&self) -> Result<Vec<Service>, Fault> {
        self.services.iter().map(|(name, service)| service.meant(name)).collect()
    }

    /// How web services are guarded, as the gateway wants it.
    ///
    /// # Errors
    /// Exit code 40, naming the service.
    fn guarded(&self) -> Result<BTreeMap<ServiceName, GuardConfig>, Fault> {
        let mut guarded = BTreeMap::new();
        for (name, config) in &self.guard {
            let wrong = |what: String| Fault::configuration(format!("guard of `{name}`: {what}"));
            let service = ServiceName::parse(name).map_err(|error| wrong(error.to_string()))?;
            let app = AppName::new(name).map_err(|error| wrong(error.to_string()))?;
            config.meant(app, &Backend::Http(Vec::new())).map_err(|error| wrong(error.to_string()))?;
            guarded.insert(service, config.clone());
        }
        Ok(guarded)
    }

    /// The settings of a gateway in `dir`.
    ///
    /// # Errors
    /// Exit code 40 and what is wrong.
    pub(crate) fn settings(&self, dir: &Path) -> Result<Settings, Fault> {
        let mut settings = Settings::new(dir.to_owned(), self.listen.clone());
        settings.door = self.door.into();
        settings.door_interfaces = self.door_interfaces.clone();
        settings.public = self.public.clone();
        settings.services = self.services()?;
        settings.guard = self.guarded()?;
        settings.session = SessionLimits { expires: self.session.expires, idle: self.session.idle };
        settings.limits.connections_per_session = usize::try_from(self.session.connections).unwrap_or(usize::MAX);
        settings.limits.udp_idle = self.session.udp_idle;
        settings.typo_bits = self.typo_bits;
        settings.approve = self.approve;
        settings.tcp = self.tcp;
        settings.nat = match self.nat {
            Nat::Strict => NatPolicy::Strict,
            Nat::Net => NatPolicy::Net,
            Nat::Follow => NatPolicy::Follow,
        };
        Ok(settings)
    }

    /// The text of a new configuration file.
    pub(crate) fn template(listen: &[SocketAddr], public: &[SocketAddr]) -> String {
        format!(
            "# The gateway's configuration. `vestibule check` validates it; SIGHUP or saving it reloads services\n\
             # without dropping sessions.\n\n\
             # UDP addresses to listen on: silent to everybody who bears no tag.\n\
             listen = {}\n\n\
             # Addresses that clients are told once the gateway is ready for them.\n\
             public = {}\n\n\
             # What drops strangers: auto, socket, nftables (the kernel) or xdp (the network's drivers); see `gateway doctor`.\n\
             door = \"auto\"\n\n\
             # Where an admitted client may come from: strict, net or follow.\n\
             nat = \"follow\"\n\n\
             # Whether clients may come over TCP, at the same port numbers, where their networks drop QUIC.\n\
             tcp = true\n\n\
             # How much of a wrong password the client itself notices, in bits; 10 lets one in 1,024 through to a counted refusal.\n\
             typo_bits = 10\n\n\
             # true: a new device can't be used before `vestibule device approve`, by six words that you compare.\n\
             approve = false\n\n\
             [session]\nexpires = \"12h\"\nidle = \"30m\"\nconnections = 1024\n\n\
             # [services.db]\n# tcp = \"10.0.0.5:5432\"\n# allow = [\"group:sales\"]\n\n\
             # [services.dns]\n# udp = \"10.0.0.53:53\"\n# allow = [\"everyone\"]\n\n\
             # [services.orders]\n# web = \"http://10.0.0.8:8000\"\n# allow = [\"everyone\"]\n\n\
             # How a web service is guarded: standard, strict or observe; who may do what (the book, chapter `Page guard`).\n\
             # [guard.orders]\n# mode = \"standard\"\n# owner = \"the sales office\"\n\
             # [[guard.orders.rules]]\n# who = \"group:clerks\"\n# methods = \"all\"\n# paths = [\"/\", \"/orders/**\"]\n\n\
             [log]\n# human or json\nformat = \"human\"\nfilter = \"info\"\n",
            toml_list(listen),
            toml_list(public),
        )
    }
}

/// A TOML array of strings.
pub(crate) fn toml_list<T: Display>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| toml::Value::String(item.to_string()).to_string()).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ControllerConfig, parse};

    #[test]
    fn the_templates_are_valid() {
        let listen: SocketAddr = "[::]:4434".parse().unwrap();
        let text = GatewayConfig::template(&[listen], &[listen]);
        let config: GatewayConfig = parse(&text, "gateway.toml").unwrap();
        assert_eq!(config.listen, [listen]);
        assert_eq!(config.session.expires, Duration::from_secs(43_200));
        assert_eq!(config.door, DoorConfig::Auto);
        let text = ControllerConfig::template(&[listen], &["c.example:4433".to_owned()]);
        let config: ControllerConfig = parse(&text, "controller.toml").unwrap();
        assert_eq!(config.public, ["c.example:4433"]);
    }

    #[test]
    fn a_door_is_chosen_by_its_name() {
        let door = |line: &str| {
            let text = format!("listen = [\"[::]:1\"]\npublic = []\n{line}\n");
            parse::<GatewayConfig>(&text, "gateway.toml").map(|config| config.settings(Path::new("/")).unwrap().door)
        };
        assert_eq!(door("").unwrap(), Choice::Auto);
        assert_eq!(door("door = \"socket\"").unwrap(), Choice::Socket);
        assert_eq!(door("door = \"nftables\"").unwrap(), Choice::Nftables);
        assert_eq!(door("door = \"xdp\"\ndoor_interfaces = [\"eth0\"]").unwrap(), Choice::Xdp);
        assert!(door("door = \"iptables\"").is_err());
    }

    #[test]
    fn a_service_may_be_direct() {
        let text = "listen = [\"[::]:1\"]\npublic = []\n[services.ssh]\ntcp = \"10.0.0.7:22\"\nallow = []\ndirect = ";
        let direct = |port: &str| {
            let config = parse::<GatewayConfig>(&format!("{text}{port}\n"), "gateway.toml")?;
            Ok::<_, Fault>(config.services()?[0].direct)
        };
        assert_eq!(direct("2222").unwrap(), Some(2222));
        assert!(direct("65536").is_err() && direct("\"ssh\"").is_err());
    }

    #[test]
    fn the_services_of_the_template_are_valid_once_uncommented() {
        let listen: SocketAddr = "[::]:4434".parse().unwrap();
        let text = GatewayConfig::template(&[listen], &[listen])
            .lines()
            .map(|line| {
                line.strip_prefix("# ").filter(|rest| rest.contains('[') || rest.contains("= \"")).unwrap_or(line)
            })
            .collect::<Vec<_>>()
            .join("\n");
        let config: GatewayConfig = parse(&text, "gateway.toml").unwrap();
        assert_eq!(config.services.keys().collect::<Vec<_>>(), ["db", "dns", "orders"]);
        let kinds: Vec<_> = config.services().unwrap().iter().map(|service| service.kind).collect();
        assert_eq!(kinds, [ServiceKind::Tcp, ServiceKind::Udp, ServiceKind::Web]);
    }

    #[test]
    fn a_service_has_one_upstream_and_a_span_of_silence_is_read() {
        let services = |lines: &str| {
            let text = format!(
                "listen = [\"[::]:1\"]\npublic = []\n[session]\nudp_idle = \"45s\"\n[services.dns]\nallow = []\n{lines}\n"
            );
            parse::<GatewayConfig>(&text, "gateway.toml").and_then(|config| config.settings(Path::new("/")))
        };
        let settings = services("udp = \"10.0.0.53:53\"").unwrap();
        assert_eq!(settings.services[0].kind, ServiceKind::Udp);
        assert_eq!(settings.limits.udp_idle, Duration::from_secs(45));
        for wrong in ["", "udp = \"10.0.0.53:53\"\ntcp = \"10.0.0.53:53\"", "udp = \"10.0.0.53\""] {
            assert_eq!(services(wrong).unwrap_err().code, 40, "{wrong}");
        }
    }
}
