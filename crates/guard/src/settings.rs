//! What an application behind the guard is set to: as written by its owner, and as meant.

use crate::AppName;
use crate::classify::{AppRules, EntryPoint, Mode};
use crate::upstream::{CgiSettings, FilesSettings, HostHeader, HttpSettings, Source, UpstreamSettings};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use vestibule_policy::web::{InvalidPattern, PathPattern, WebPolicy, WebRule};

/// How many seconds a CGI program may take, where nothing else is said.
const CGI_SECONDS: u64 = 60;

/// How an application is guarded, as its owner writes it. Everything has a default: an application that nobody knows anything
/// about goes unharmed in the standard mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// What the portal calls it; its name else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `standard`, `strict` or `observe`.
    pub mode: ModeConfig,
    /// `token`: reads need the page's token too, as in strict mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,
    /// Paths whose reads need the token whatever the mode.
    pub strict_paths: Vec<PathPattern>,
    /// Where another site may send its users with a command, as `POST /saml/acs`.
    pub entry: Vec<String>,
    /// Paths on which a GET is a command.
    pub commands: Vec<PathPattern>,
    /// `body`: the same form with another content is a new command. `form`: one command per form of a page.
    pub once: OncePer,
    /// Who can grant what is missing, in words for the page that refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who may do what; nothing listed: everybody who may use the application may do everything.
    pub rules: Vec<WebRule>,
    /// Whether the upstream is told the host name of its own address instead of the browser's.
    pub own_host: bool,
    /// PEM file of the authorities that may vouch for an `https` upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether connections to the upstream begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Whether connections to the upstream come from the session's logical address, where the host routes the pool.
    pub true_source: bool,
    /// Whether to speak HTTP/2 to the upstream.
    pub h2: bool,
    /// Seconds that the upstream may leave a request without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_within: Option<u64>,
}

/// The mode as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeConfig {
    /// Commands need a page's token; reads need the session.
    #[default]
    Standard,
    /// Reads need a page's token too.
    Strict,
    /// Everything is measured, nothing refused.
    Observe,
}

/// What reads need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// The session alone.
    Session,
    /// A page's token.
    Token,
}

/// What makes two commands of one page the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OncePer {
    /// The same form, address and content.
    #[default]
    Body,
    /// The same form and address, whatever the content.
    Form,
}

/// Where an application's answers come from, as its owner writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Addresses of its web server, `http://…` or `https://…`; tried in turn.
    Http(Vec<String>),
    /// A directory of CGI programs.
    Cgi(PathBuf),
    /// A directory of files.
    Files(PathBuf),
}

/// An application, as the guard takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// Its name: it is reached at `NAME.localhost`.
    pub name: AppName,
    /// Other host names at which it is reached, without ports.
    pub hosts: Vec<String>,
    /// What the portal calls it.
    pub title: String,
    /// Where its answers come from.
    pub upstream: UpstreamSettings,
    /// Which request needs what.
    pub rules: AppRules,
    /// Paths whose reads bear the token, as the script needs them.
    pub strict: Vec<String>,
    /// Who may do what.
    pub policy: WebPolicy,
    /// What makes two commands the same.
    pub once: OncePer,
}

/// What an owner wrote makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// An entry point that isn't one.
    #[error("{0:?} is not an entry point: write a method and a path, as in POST /saml/acs")]
    Entry(String),
    /// A pattern in it that isn't one.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An address that isn't one.
    #[error("{0:?} is not the address of a web server: write http://HOST:PORT")]
    Address(String),
}

impl GuardConfig {
    /// The settings of the application `name` behind `backend`.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the owner.
    pub fn meant(&self, name: AppName, backend: &Backend) -> Result<AppSettings, SettingsError> {
        Ok(AppSettings {
            hosts: Vec::new(),
            title: self.title.clone().unwrap_or_else(|| name.to_string()),
            upstream: self.upstream(backend)?,
            rules: self.app_rules()?,
            strict: self.strict().iter().map(ToString::to_string).collect(),
            policy: WebPolicy { rules: self.rules.clone(), owner: self.owner.clone() },
            once: self.once,
            name,
        })
    }

    fn upstream(&self, backend: &Backend) -> Result<UpstreamSettings, SettingsError> {
        Ok(match backend {
            Backend::Http(addresses) => UpstreamSettings::Http(self.http(addresses)?),
            Backend::Cgi(directory) => UpstreamSettings::Cgi(CgiSettings {
                directory: directory.clone(),
                timeout: Duration::from_secs(self.answer_within.unwrap_or(CGI_SECONDS).clamp(1, 86_400)),
            }),
            Backend::Files(root) => {
                UpstreamSettings::Files(FilesSettings { root: root.clone(), index: vec!["index.html".to_owned()] })
            }
        })
    }

    fn http(&self, addresses: &[String]) -> Result<HttpSettings, SettingsError> {
        let plain = |address: &&String| !address.starts_with("http://") && !address.starts_with("https://");
        if let Some(address) = addresses.iter().find(plain) {
            return Err(SettingsError::Address(address.clone()));
        }
        let mut http = HttpSettings::new(addresses.to_vec());
        http.ca = self.ca.clone();
        http.h2 = self.h2;
        http.proxy_protocol = self.proxy_protocol;
        http.host = if self.own_host { HostHeader::Upstream } else { HostHeader::Outer };
        http.source = if self.true_source { Source::Logical } else { Source::Own };
        if let Some(seconds) = self.answer_within {
            http.first_byte_timeout = Duration::from_secs(seconds.clamp(1, 86_400));
        }
        Ok(http)
    }

    fn app_rules(&self) -> Result<AppRules, SettingsError> {
        Ok(AppRules {
            mode: self.mode(),
            entry_points: self.entry.iter().map(|text| entry(text)).collect::<Result<_, _>>()?,
            get_commands: self.commands.clone(),
            strict_paths: self.strict_paths.clone(),
        })
    }

    fn mode(&self) -> Mode {
        match (self.mode, self.reads) {
            (ModeConfig::Observe, _) => Mode::Observe,
            (ModeConfig::Strict, None | Some(Reads::Token)) | (ModeConfig::Standard, Some(Reads::Token)) => {
                Mode::Strict
            }
            (ModeConfig::Standard, None | Some(Reads::Session)) | (ModeConfig::Strict, Some(Reads::Session)) => {
                Mode::Standard
            }
        }
    }

    fn strict(&self) -> Vec<String> {
        match self.mode() {
            Mode::Strict => vec!["/**".to_owned()],
            Mode::Standard | Mode::Observe => self.strict_paths.iter().map(ToString::to_string).collect(),
        }
    }
}

fn entry(text: &str) -> Result<EntryPoint, SettingsError> {
    let wrong = || SettingsError::Entry(text.to_owned());
    let (method, path) = text.trim().split_once(' ').ok_or_else(wrong)?;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong());
    }
    Ok(EntryPoint { method: method.to_owned(), path: PathPattern::parse(path.trim())? })
}
