//! `guard.toml`: the page guard alone.

use super::{Checked, LogConfig, span};
use crate::fault::Fault;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vestibule_guard::{AppName, AppSettings, Backend, GuardConfig, GuardSettings, SessionSettings};

/// The configuration of a guard that runs alone. Relative paths are taken from the file's directory.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardFileConfig {
    /// TCP addresses to listen on.
    #[serde(default = "default_listen")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether other machines may speak to it without TLS.
    #[serde(default)]
    pub(crate) plain_http: bool,
    /// Whether browsers come through a proxy that speaks HTTPS with them.
    #[serde(default)]
    pub(crate) https_outside: bool,
    /// Balancers whose connections begin with a PROXY protocol header.
    #[serde(default)]
    pub(crate) proxy_protocol_from: Vec<IpAddr>,
    /// Certificate and key.
    pub(crate) tls: Option<TlsConfig>,
    /// Limits of sessions.
    #[serde(default)]
    pub(crate) session: GuardSessionConfig,
    /// The applications, by name.
    pub(crate) apps: BTreeMap<String, AppConfig>,
    /// How they are guarded, by name, as in `gateway.toml`; one that is not named is guarded in the standard mode.
    #[serde(default)]
    pub(crate) guard: BTreeMap<String, GuardConfig>,
    /// How it logs.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// What it speaks HTTPS with.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConfig {
    /// PEM file of the certificate and its chain.
    pub(crate) cert: PathBuf,
    /// PEM file of its private key.
    pub(crate) key: PathBuf,
}

/// Limits of sessions.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GuardSessionConfig {
    /// How long a session lives.
    #[serde(deserialize_with = "span")]
    pub(crate) expires: Duration,
    /// How long it may stay unused.
    #[serde(deserialize_with = "span")]
    pub(crate) idle: Duration,
    /// Whether a session is good only from the address that it began at.
    pub(crate) same_address: bool,
}

impl Default for GuardSessionConfig {
    fn default() -> Self {
        let SessionSettings { expires, idle, bind_client_address: same_address, .. } = SessionSettings::default();
        Self { expires, idle, same_address }
    }
}

/// One application.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AppConfig {
    /// Addresses of its web server; tried in turn.
    #[serde(deserialize_with = "one_or_several")]
    pub(crate) upstream: Vec<String>,
    /// A directory of CGI programs.
    pub(crate) cgi: Option<PathBuf>,
    /// A directory of files.
    pub(crate) files: Option<PathBuf>,
    /// Host names at which browsers know it, besides `NAME.localhost`.
    pub(crate) hosts: Vec<String>,
}

/// Where it listens when nothing is said.
pub(crate) fn default_listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([127, 0, 0, 1], 8080))]
}

impl Checked for GuardFileConfig {
    fn check(&self) -> Result<(), Fault> {
        if self.listen.is_empty() {
            return Err(Fault::configuration("`listen` is empty: the guard needs a TCP address"));
        }
        if self.apps.is_empty() {
            return Err(
                Fault::configuration("there is no application").next("[apps.NAME]\nupstream = \"http://HOST:PORT\"")
            );
        }
        if let Some(name) = self.guard.keys().find(|name| !self.apps.contains_key(*name)) {
            return Err(Fault::configuration(format!("guard of `{name}`: there is no application of this name"))
                .next(format!("[apps.{name}]\nupstream = \"http://HOST:PORT\"")));
        }
        self.check_plain()?;
        self.apps(Path::new("/"))?;
        self.log.check()
    }
}

impl GuardFileConfig {
    /// The applications, as the guard wants them.
    ///
    /// # Errors
    /// Exit code 40, naming the application.
    pub(crate) fn apps(&self, base: &Path) -> Result<Vec<AppSettings>, Fault> {
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        let mut apps = Vec::new();
        for (name, app) in &self.apps {
            for host in &app.hosts {
                if let Some(other) = taken.insert(host.to_ascii_lowercase(), name) {
                    return Err(Fault::configuration(format!("`{host}` is a host of `{other}` and of `{name}`")));
                }
            }
            let config = self.guard.get(name).cloned().unwrap_or_default();
            apps.push(app.meant(name, config, base)?);
        }
        Ok(apps)
    }

    /// The settings of a guard in `dir`.
    pub(crate) fn settings(&self, dir: &Path) -> GuardSettings {
        let mut settings = GuardSettings::at(dir.to_owned());
        settings.sessions.expires = self.session.expires;
        settings.sessions.idle = self.session.idle;
        settings.sessions.bind_client_address = self.session.same_address;
        settings
    }

    fn check_plain(&self) -> Result<(), Fault> {
        let open = self.listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
        match open {
            Some(address) if self.tls.is_none() && !self.plain_http => {
                Err(Fault::configuration(format!("{address} can be reached by other machines, and there is no TLS"))
                    .detail("Passwords, cookies and pages would cross the network in clear; whoever reads a cookie there is signed in.")
                    .next("--tls-cert FILE --tls-key FILE ([tls] cert, key); or, if the way there is safe all the same, --plain-http (plain_http = true)"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl AppConfig {
    fn meant(&self, name: &str, mut config: GuardConfig, base: &Path) -> Result<AppSettings, Fault> {
        let wrong = |what: String| Fault::configuration(format!("application `{name}`: {what}"));
        let backend = match (self.upstream.is_empty(), &self.cgi, &self.files) {
            (false, None, None) => Backend::Http(self.upstream.clone()),
            (true, Some(cgi), None) => Backend::Cgi(base.join(cgi)),
            (true, None, Some(files)) => Backend::Files(base.join(files)),
            (_, _, _) => {
                return Err(
                    wrong("it needs `upstream`, `cgi` or `files`".to_owned()).next("upstream = \"http://HOST:PORT\"")
                );
            }
        };
        if let Some(host) = self.hosts.iter().find(|host| host.is_empty() || host.contains(['/', ':', ' '])) {
            return Err(wrong(format!("`{host}` is no host name"))
                .next("without scheme and port: hosts = [\"orders.example.org\"]"));
        }
        config.ca = config.ca.map(|ca| base.join(ca));
        let app = AppName::new(name).map_err(|error| wrong(error.to_string()))?;
        let mut settings = config.meant(app, &backend).map_err(|error| wrong(error.to_string()))?;
        settings.hosts = self.hosts.clone();
        Ok(settings)
    }
}

/// A text, or a list of them.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("\"http://HOST:PORT\", or a list of such")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(Texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(text: &str) -> Result<GuardFileConfig, Fault> {
        let config: GuardFileConfig = parse(text, "guard.toml")?;
        config.check().map(|()| config)
    }

    fn refused(text: &str) -> String {
        read(text).expect_err(text).headline
    }

    #[test]
    fn several_applications_with_rules() {
        let config = read(
            "[apps.orders]\nupstream = [\"http://10.0.0.8:8000\", \"http://10.0.0.9:8000\"]\nhosts = [\"orders.example.org\"]\n\
             [apps.reports]\nfiles = \"reports\"\n[apps.tools]\ncgi = \"/usr/lib/cgi-bin\"\n\
             [guard.orders]\nmode = \"strict\"\n[[guard.orders.rules]]\nwho = \"group:sales\"\npaths = [\"/orders/**\"]\n",
        )
        .unwrap();
        let apps = config.apps(Path::new("/etc/vestibule")).unwrap();
        assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["orders", "reports", "tools"]);
        assert_eq!(apps[0].policy.rules.len(), 1);
        assert!(format!("{:?}", apps[1].upstream).contains("/etc/vestibule/reports"));
    }

    #[test]
    fn what_is_wrong_names_its_line_or_its_application() {
        assert_eq!(
            refused("[apps.a]\nupstream = \"http://h:1\"\nhost = [\"x\"]\n"),
            "guard.toml, line 3: there is no key `host`"
        );
        assert_eq!(
            refused("[apps.a]\nupstream = \"http://h:1\"\n[guard.a]\nmode = \"strikt\"\n"),
            "guard.toml, line 4: there is no value `strikt`"
        );
        assert_eq!(refused("[apps.a]\n"), "application `a`: it needs `upstream`, `cgi` or `files`");
        assert!(refused("[apps.a]\nupstream = \"h:1\"\n").contains("is not the address of a web server"));
        assert!(refused("[apps.a]\nupstream = 7\n").starts_with("guard.toml, line 2:"));
        assert!(
            refused("[apps.a]\nupstream = \"http://h:1\"\n[guard.b]\n")
                .contains("there is no application of this name")
        );
        assert!(refused("[apps.a]\nfiles = \"x\"\nhosts = [\"http://h\"]\n").contains("is no host name"));
        let twice = "[apps.a]\nfiles = \"x\"\nhosts = [\"h\"]\n[apps.b]\nfiles = \"y\"\nhosts = [\"H\"]\n";
        assert_eq!(refused(twice), "`H` is a host of `a` and of `b`");
    }

    #[test]
    fn without_tls_only_this_machine_is_served() {
        let at = |listen: &str, more: &str| format!("listen = [\"{listen}\"]\n{more}\n[apps.a]\nfiles = \"x\"\n");
        for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            assert!(refused(&at(address, "")).contains("there is no TLS"), "{address}");
            assert!(refused(&at(address, "https_outside = true")).contains("there is no TLS"), "{address}");
            read(&at(address, "plain_http = true")).unwrap();
            read(&at(address, "tls = { cert = \"c\", key = \"k\" }")).unwrap();
        }
        for address in ["127.0.0.1:8080", "[::1]:8080", "127.9.9.9:80"] {
            read(&at(address, "")).unwrap();
        }
    }
}
