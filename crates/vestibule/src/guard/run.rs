//! `guard`: runs in the foreground, from options or from a file.

use super::front::{self, Front, Terms};
use crate::cli::GuardRunArgs;
use crate::config::{self, AppConfig, GuardFileConfig, GuardSessionConfig, LogConfig, TlsConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output;
use crate::roles::{self, service};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vestibule_guard::{Guard, GuardConfig, GuardError};
use vestibule_store::RoleLock;

/// Where the configuration comes plan.
enum Plan {
    /// From a file, which is read again when it changes.
    File(PathBuf),
    /// From the command line.
    Options(Box<GuardFileConfig>),
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(arguments: GuardRunArgs) -> Result<ExitCode, Fault> {
    let dir = Role::Guard.dir(arguments.dir.dir.as_deref())?;
    let plan = Plan::of(arguments, &dir)?;
    let config = plan.load()?;
    crate::logging::start(&config.log);
    roles::role_runtime()?.block_on(serve(&plan, config, &dir))
}

async fn serve(plan: &Plan, config: GuardFileConfig, dir: &Path) -> Result<ExitCode, Fault> {
    let base = plan.base()?;
    let (apps, terms) = (config.apps(&base)?, terms(&config, &base)?);
    let listeners = front::bind(&config.listen).await?;
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    vestibule_store::ensure_directory(dir).map_err(|error| roles::store_fault(&error))?;
    let _lock = RoleLock::wait(&dir.join("guard.lock")).map_err(|error| roles::lock_fault(&error))?;
    let guard = Guard::open(config.settings(dir)).await.map_err(|error| open_fault(&error))?;
    guard.set_apps(apps).map_err(|error| Fault::configuration(error.to_string()))?;
    let mut outside = service::Outside::new(&plan.watched(&config, &base))?;
    let front = Front::open(&guard, listeners, terms);
    tell(&config, &addresses, &guard, dir).await?;
    service::tell_ready("guarding");
    while outside.next().await == service::Told::Reload {
        service::tell_reloading();
        if let Err(fault) = reload(plan, &guard, &front) {
            tracing::error!("the configuration was not taken: {}", fault.in_one_line());
        }
        service::tell_ready("guarding");
    }
    tracing::info!("the guard stops");
    service::tell_stopping();
    front.stop(&guard).await;
    Ok(ExitCode::SUCCESS)
}

/// Takes changed applications, certificates and the log's filter; one that is wrong changes nothing.
fn reload(plan: &Plan, guard: &Guard, front: &Front) -> Result<(), Fault> {
    let (config, base) = (plan.load()?, plan.base()?);
    let (apps, terms) = (config.apps(&base)?, terms(&config, &base)?);
    guard.set_apps(apps).map_err(|error| Fault::configuration(error.to_string()))?;
    front.set_terms(terms);
    crate::logging::reload(&config.log);
    tracing::info!("the configuration was read again");
    Ok(())
}

fn terms(config: &GuardFileConfig, base: &Path) -> Result<Terms, Fault> {
    Ok(Terms {
        tls: config.tls.as_ref().map(|tls| front::acceptor(tls, base)).transpose()?,
        https_outside: config.https_outside,
        balancers: config.proxy_protocol_from.clone(),
    })
}

/// Says where the applications are, and who can sign in.
async fn tell(config: &GuardFileConfig, addresses: &[SocketAddr], guard: &Guard, dir: &Path) -> Result<(), Fault> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    for address in addresses {
        tracing::info!(%address, "the guard serves");
        for (name, app) in &config.apps {
            output::note(&format!("{name}: {}", app.address(name, scheme, *address, config.apps.len() == 1)));
        }
    }
    let users = guard.users().list().await.map_err(|error| roles::store_fault(&error))?;
    if users.is_empty() {
        output::note(&format!(
            "Nobody can sign in yet. Add a user, in another terminal:\n  {}",
            roles::command("guard user add alice", Role::Guard, dir)
        ));
    }
    Ok(())
}

impl AppConfig {
    /// The application's address in a browser.
    fn address(&self, name: &str, scheme: &str, at: SocketAddr, alone: bool) -> String {
        let host = match self.hosts.first() {
            Some(host) => host.clone(),
            None if alone && at.is_ipv6() => format!("[{}]", at.ip()),
            None if alone => at.ip().to_string(),
            None => format!("{name}.localhost"),
        };
        // Browsers leave the scheme's own port out, and so does the origin that they send.
        match (scheme, at.port()) {
            ("https", 443) | ("http", 80) => format!("{scheme}://{host}/"),
            (_, port) => format!("{scheme}://{host}:{port}/"),
        }
    }
}

impl Plan {
    fn of(arguments: GuardRunArgs, dir: &Path) -> Result<Self, Fault> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .map_err(|error| Fault::files(format!("{} is not a usable path: {error}", path.display())))
        };
        if let Some(file) = arguments.config {
            return Ok(Self::File(absolute(file)?));
        }
        let app =
            AppConfig { upstream: arguments.upstream, cgi: arguments.cgi, files: arguments.files, hosts: Vec::new() };
        if app.upstream.is_empty() && app.cgi.is_none() && app.files.is_none() {
            let file = Role::Guard.configuration(dir);
            if file.exists() {
                return Ok(Self::File(file));
            }
            return Err(Fault::usage("what is to be guarded?")
                .detail(format!("Neither options nor {} say it.", file.display()))
                .next("vestibule guard --upstream http://127.0.0.1:8000"));
        }
        let name = arguments.name.0.to_string();
        let guard = GuardConfig { mode: arguments.mode, ..GuardConfig::default() };
        let listen = if arguments.listen.is_empty() { config::default_listen() } else { arguments.listen };
        Ok(Self::Options(Box::new(GuardFileConfig {
            listen,
            plain_http: arguments.plain_http,
            https_outside: arguments.https_outside,
            proxy_protocol_from: arguments.proxy_protocol_from,
            tls: arguments.tls_cert.zip(arguments.tls_key).map(|(cert, key)| TlsConfig { cert, key }),
            session: GuardSessionConfig::default(),
            apps: BTreeMap::from([(name.clone(), app)]),
            guard: BTreeMap::from([(name, guard)]),
            log: LogConfig::default(),
        })))
    }

    /// The configuration, checked.
    fn load(&self) -> Result<GuardFileConfig, Fault> {
        match self {
            Self::File(file) => config::load(file),
            Self::Options(config) => config::Checked::check(&**config).map(|()| (**config).clone()),
        }
    }

    /// Where relative paths begin.
    fn base(&self) -> Result<PathBuf, Fault> {
        match self {
            Self::File(file) => Ok(file.parent().unwrap_or(Path::new("/")).to_owned()),
            Self::Options(_) => {
                std::env::current_dir().map_err(|error| Fault::files(format!("there is no working directory: {error}")))
            }
        }
    }

    /// The file whose change is taken at once: the configuration, or else the certificate.
    fn watched(&self, config: &GuardFileConfig, base: &Path) -> PathBuf {
        match (self, &config.tls) {
            (Self::File(file), _) => file.clone(),
            (Self::Options(_), Some(tls)) => base.join(&tls.cert),
            // An empty path names no file, whose change is never seen.
            (Self::Options(_), None) => PathBuf::new(),
        }
    }
}

fn open_fault(error: &GuardError) -> Fault {
    match error {
        GuardError::Store(error) => roles::store_fault(error),
        GuardError::Once(_) => Fault::files(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(hosts: &[&str]) -> AppConfig {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        AppConfig { upstream: Vec::new(), cgi: None, files: None, hosts }
    }

    #[test]
    fn addresses_as_browsers_write_them() {
        let at = |text: &str| text.parse().unwrap();
        let named = app(&["orders.example.org"]);
        assert_eq!(named.address("orders", "https", at("10.0.0.8:443"), true), "https://orders.example.org/");
        assert_eq!(named.address("orders", "https", at("10.0.0.8:80"), true), "https://orders.example.org:80/");
        assert_eq!(named.address("orders", "http", at("10.0.0.8:443"), true), "http://orders.example.org:443/");
        assert_eq!(app(&[]).address("orders", "http", at("127.0.0.1:80"), true), "http://127.0.0.1/");
        assert_eq!(app(&[]).address("orders", "http", at("[::1]:8080"), true), "http://[::1]:8080/");
        assert_eq!(app(&[]).address("orders", "https", at("[::1]:443"), false), "https://orders.localhost/");
    }
}
