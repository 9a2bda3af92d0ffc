//! The applications in force.

use crate::AppName;
use crate::settings::AppSettings;
use crate::upstream::{Upstream, UpstreamSettingsError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// An application in force.
pub(crate) struct App {
    pub(crate) settings: AppSettings,
    pub(crate) upstream: Arc<Upstream>,
    /// Hosts by which whoever opens it through a tunnel may know it; IPv6 without brackets.
    known_as: BTreeSet<String>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Apps {
    by_name: BTreeMap<AppName, Arc<App>>,
    by_host: BTreeMap<String, AppName>,
}

/// An application's upstream can't be set up.
#[derive(Debug, Error)]
#[error("application `{app}`: {error}")]
pub struct AppError {
    /// The application.
    pub app: AppName,
    /// Why.
    pub error: UpstreamSettingsError,
}

/// An application as the portal offers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortalLink {
    /// What it is called.
    pub title: String,
    /// Its name.
    pub app: AppName,
    /// A host name of its own, if it has one besides `NAME.localhost`.
    pub host: Option<String>,
}

impl App {
    fn new(settings: AppSettings, upstream: Arc<Upstream>) -> Self {
        let name = settings.name.as_str();
        let own = ["localhost".to_owned(), name.to_ascii_lowercase(), format!("{name}.localhost").to_ascii_lowercase()];
        let hosts = settings.hosts.iter().map(|host| host.to_ascii_lowercase());
        let known_as = own.into_iter().chain(hosts).chain(settings.upstream.hosts()).collect();
        Self { settings, upstream, known_as }
    }

    /// Whether this `Host` is one by which somebody at the end of a tunnel can mean this application: a local port, a name of
    /// its own, or the upstream's address, typed into a browser that asks a proxy. Any other name is somebody else's, who
    /// leads browsers here (DNS rebinding) and would own what this guard takes for the application's origin.
    pub(crate) fn is_known_as(&self, host: &str) -> bool {
        let host = without_port(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        self.known_as.contains(host) || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Apps {
    /// Sets up what has changed and takes over what has not.
    pub(crate) fn new(settings: Vec<AppSettings>, former: &Self) -> Result<Self, AppError> {
        let mut apps = Self::default();
        for settings in settings {
            let name = settings.name.clone();
            let upstream = former.upstream_of(&settings).map_or_else(|| set_up(&settings), Ok)?;
            for host in &settings.hosts {
                apps.by_host.insert(host.to_ascii_lowercase(), name.clone());
            }
            apps.by_name.insert(name, Arc::new(App::new(settings, upstream)));
        }
        Ok(apps)
    }

    /// The application of this name.
    pub(crate) fn named(&self, name: &AppName) -> Option<&Arc<App>> {
        self.by_name.get(name)
    }

    /// The application that a browser means by this `Host`: one that has it, one of the name before `.localhost`, or the only
    /// one there is.
    pub(crate) fn at_host(&self, host: &str) -> Option<&Arc<App>> {
        let host = without_port(host).to_ascii_lowercase();
        if let Some(name) = self.by_host.get(&host) {
            return self.named(name);
        }
        if let Some(app) = host.strip_suffix(".localhost").and_then(|label| AppName::new(label).ok()) {
            return self.named(&app);
        }
        // With names to tell applications apart by, a name that is unknown must not lead to just any of them (DNS rebinding).
        let mut all = self.by_name.values();
        match (all.next(), all.next()) {
            (Some(only), None) if only.settings.hosts.is_empty() => Some(only),
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    /// What the portal offers, of those for which `may` says yes.
    pub(crate) fn portal(&self, may: impl Fn(&AppName) -> bool) -> Vec<PortalLink> {
        let shown = self.by_name.iter().filter(|(name, _)| may(name));
        let link = |(name, app): (&AppName, &Arc<App>)| PortalLink {
            title: app.settings.title.clone(),
            app: name.clone(),
            host: app.settings.hosts.first().cloned(),
        };
        shown.map(link).collect()
    }

    fn upstream_of(&self, settings: &AppSettings) -> Option<Arc<Upstream>> {
        let app = self.by_name.get(&settings.name)?;
        (app.settings.upstream == settings.upstream).then(|| app.upstream.clone())
    }
}

fn set_up(settings: &AppSettings) -> Result<Arc<Upstream>, AppError> {
    let made = Upstream::from_settings(&settings.upstream);
    made.map(Arc::new).map_err(|error| AppError { app: settings.name.clone(), error })
}

/// A host without its port; an IPv6 address keeps its brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}
