//! Services: what the gateway publishes, and to whom.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use vestibule_policy::Grant;
use vestibule_proto::id::{ServiceName, Stamp};
use vestibule_proto::session::ServiceKind;
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{parsed, service_name};
use super::error::{DirectoryError, What};
use super::{Directory, Effect};

/// Services that a gateway may publish.
const SERVICES: usize = 1_000;
/// Grants that a service may bear.
const GRANTS: usize = 256;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique at this gateway.
    pub name: ServiceName,
    /// What it carries.
    pub kind: ServiceKind,
    /// `host:port`, as seen from the gateway; see [`upstream_of`].
    pub upstream: String,
    /// Who may use it; nobody else may.
    pub grants: Vec<Grant>,
    /// Where it is defined.
    pub source: Source,
    /// The TCP port of the gateway's machine at which admitted clients reach it without the tunnel; `None`: the tunnel alone.
    pub direct: Option<u16>,
}

impl Service {
    /// The upstream's address, if it is one and no name.
    #[must_use]
    pub fn upstream_address(&self) -> Option<SocketAddr> {
        self.upstream.parse().ok()
    }
}

/// Where a service is defined, and so where it can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the configuration file.
    File,
    /// In the directory, by its owner's command.
    Directory,
}

/// Reads an upstream: `host:port`, or for a web service also `http://host[:port][/]`, into `host:port`.
///
/// Errors: one clause that says what is wrong with it.
pub fn upstream_of(kind: ServiceKind, text: &str) -> Result<String, String> {
    let rest = match kind {
        ServiceKind::Tcp | ServiceKind::Udp => text,
        ServiceKind::Web if text.starts_with("https://") => {
            return Err(format!("`{text}`: a web service is reached by http; publish an https server as --tcp"));
        }
        ServiceKind::Web => text.strip_prefix("http://").map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest)),
    };
    let with_port = match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => rest.to_owned(),
        Some(_) | None if text.starts_with("http://") => format!("{rest}:80"),
        Some(_) | None => return Err(format!("`{text}` is not HOST:PORT")),
    };
    if is_host_and_port(&with_port) {
        Ok(with_port.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is not HOST:PORT"))
    }
}

impl Directory {
    /// Adds a service of [`Source::Directory`].
    ///
    /// Errors: [`DirectoryError::Exists`], [`DirectoryError::Invalid`] for upstream or grants.
    pub async fn add_service(&self, service: Service, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        let service = checked(Service { source: Source::Directory, ..service })?;
        self.write(move |c| {
            if services(c)?.len() >= SERVICES {
                return Err(DirectoryError::Invalid(format!("there are {SERVICES} services already")));
            }
            insert(c, &service)?;
            ports_differ(services(c)?.iter())?;
            let detail = format!("{} {}", service.name, service.upstream);
            record(c, &AuditEntry::of(AuditKind::ServiceAdded, now).detail(detail))?;
            Ok(vec![Effect::ReloadServices])
        })
        .await
    }

    /// Removes a service of [`Source::Directory`]; its flows are cut.
    ///
    /// Errors: [`DirectoryError::NotFound`], [`DirectoryError::Invalid`] for one of the configuration file.
    pub async fn remove_service(&self, name: ServiceName, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            let found = services(c)?.into_iter().find(|service| service.name == name);
            match found.ok_or_else(|| DirectoryError::not_found(What::Service, &name))?.source {
                Source::Directory => {}
                Source::File => {
                    let why = format!("the service `{name}` stands in the configuration file; remove it there");
                    return Err(DirectoryError::Invalid(why));
                }
            }
            remove(c, &name)?;
            record(c, &AuditEntry::of(AuditKind::ServiceRemoved, now).detail(name.to_string()))?;
            Ok(vec![Effect::ReloadServices, Effect::CutService(name.clone())])
        })
        .await
    }

    /// Makes `configured` the whole of the services of [`Source::File`]. Flows to those that are gone, or lead elsewhere
    /// now, are cut; the others go on.
    ///
    /// Errors: [`DirectoryError::Invalid`], and [`DirectoryError::Exists`] for a name that a service of the directory
    /// bears; the former services stand then.
    pub async fn set_configured_services(
        &self,
        configured: Vec<Service>,
        now: Stamp,
    ) -> Result<Vec<Effect>, DirectoryError> {
        let mut wanted = BTreeMap::new();
        for service in configured {
            let service = checked(Service { source: Source::File, ..service })?;
            if let Some(twice) = wanted.insert(service.name.clone(), service) {
                return Err(DirectoryError::exists(What::Service, twice.name));
            }
        }
        if wanted.len() > SERVICES {
            return Err(DirectoryError::Invalid(format!("there are more than {SERVICES} services")));
        }
        self.write(move |c| replace_configured(c, &wanted, now)).await
    }

    /// All services, by name.
    pub async fn services(&self) -> Result<Vec<Service>, StoreError> {
        self.list(services).await
    }
}

pub(super) fn services(c: &Connection) -> Result<Vec<Service>, StoreError> {
    let mut services: Vec<Service> = c
        .prepare_cached("SELECT name, kind, upstream, source, direct FROM service ORDER BY name")?
        .query_map([], service_of)?
        .collect::<Result<_, _>>()?;
    let mut grants = c.prepare_cached("SELECT service, who FROM service_grant ORDER BY service, who")?;
    let mut rows = grants.query([])?;
    while let Some(row) = rows.next()? {
        let name = service_name(row, 0)?;
        if let Ok(position) = services.binary_search_by(|service| service.name.cmp(&name)) {
            services[position].grants.push(parsed(row, 1)?);
        }
    }
    Ok(services)
}

fn replace_configured(
    c: &Connection,
    wanted: &BTreeMap<ServiceName, Service>,
    now: Stamp,
) -> Result<Vec<Effect>, DirectoryError> {
    let former: Vec<_> = services(c)?.into_iter().filter(|service| service.source == Source::File).collect();
    if former.iter().eq(wanted.values()) {
        return Ok(Vec::new());
    }
    // The catalogue first: what opens between the two is cut, or leads to the new upstream already. The other way round a
    // flow that began in between would go on to the old one.
    let mut effects = vec![Effect::ReloadServices];
    for service in &former {
        remove(c, &service.name)?;
        let leads = |service: &Service| (service.kind, service.upstream.clone(), service.direct);
        let leads_there_still = wanted.get(&service.name).is_some_and(|new| leads(new) == leads(service));
        if !leads_there_still {
            effects.push(Effect::CutService(service.name.clone()));
        }
    }
    for service in wanted.values() {
        insert(c, service)?;
    }
    ports_differ(services(c)?.iter())?;
    let names: Vec<_> = wanted.keys().map(ServiceName::as_str).collect();
    record(c, &AuditEntry::of(AuditKind::ServicesConfigured, now).detail(names.join(" ")))?;
    Ok(effects)
}

fn insert(c: &Connection, service: &Service) -> Result<(), DirectoryError> {
    let kind = match service.kind {
        ServiceKind::Tcp => "tcp",
        ServiceKind::Web => "web",
        ServiceKind::Udp => "udp",
    };
    let source = match service.source {
        Source::File => "file",
        Source::Directory => "directory",
    };
    let added = c.execute(
        "INSERT INTO service (name, kind, upstream, source, direct) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (service.name.as_str(), kind, &service.upstream, source, service.direct),
    )?;
    if added == 0 {
        return Err(DirectoryError::exists(What::Service, &service.name));
    }
    let mut insert = c.prepare_cached("INSERT INTO service_grant (service, who) VALUES (?1, ?2)")?;
    for grant in &service.grants {
        insert.execute((service.name.as_str(), grant.to_string()))?;
    }
    Ok(())
}

fn remove(c: &Connection, name: &ServiceName) -> Result<(), DirectoryError> {
    c.execute("DELETE FROM service WHERE name = ?1", [name.as_str()])?;
    Ok(())
}

fn service_of(row: &Row<'_>) -> rusqlite::Result<Service> {
    let (kind, source): (String, String) = (row.get(1)?, row.get(3)?);
    Ok(Service {
        name: service_name(row, 0)?,
        kind: match kind.as_str() {
            "web" => ServiceKind::Web,
            "udp" => ServiceKind::Udp,
            _ => ServiceKind::Tcp,
        },
        upstream: row.get(2)?,
        grants: Vec::new(),
        source: if source == "file" { Source::File } else { Source::Directory },
        direct: row.get(4)?,
    })
}

/// With its upstream read, its grants in the order in which they come back from the table, each once.
fn checked(mut service: Service) -> Result<Service, DirectoryError> {
    service.upstream = upstream_of(service.kind, &service.upstream).map_err(DirectoryError::Invalid)?;
    service.grants.sort_by_key(Grant::to_string);
    service.grants.dedup();
    if service.grants.len() > GRANTS {
        return Err(DirectoryError::Invalid(format!("the service `{}` has more than {GRANTS} grants", service.name)));
    }
    if service.direct.is_some() {
        check_direct(&service).map_err(DirectoryError::Invalid)?;
    }
    Ok(service)
}

/// The kernel leads to addresses, and knows nothing of pages.
fn check_direct(service: &Service) -> Result<(), String> {
    let name = &service.name;
    let other = match service.kind {
        ServiceKind::Tcp => None,
        ServiceKind::Web => Some("a web service"),
        ServiceKind::Udp => Some("a UDP service"),
    };
    if let Some(other) = other {
        return Err(format!("the service `{name}` is {other}: only a TCP service can be direct"));
    }
    if service.direct == Some(0) {
        return Err(format!("the service `{name}`: a direct service needs a port from 1 to 65535"));
    }
    match service.upstream_address() {
        Some(address) if !address.ip().is_unspecified() => Ok(()),
        Some(_) | None => {
            Err(format!("the service `{name}`: the upstream of a direct service is an address, and no name"))
        }
    }
}

fn ports_differ<'a>(services: impl Iterator<Item = &'a Service>) -> Result<(), DirectoryError> {
    let mut taken = BTreeMap::new();
    for service in services {
        let Some(port) = service.direct else { continue };
        if let Some(other) = taken.insert(port, &service.name) {
            let why = format!("the services `{other}` and `{}` have the same direct port {port}", service.name);
            return Err(DirectoryError::Invalid(why));
        }
    }
    Ok(())
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+');
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| {
        (1..=253).contains(&host.len())
            && host.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            })
    };
    is_port && v6.map_or_else(|| is_name(host), |address| address.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_that_are_read() {
        use ServiceKind::{Tcp, Udp, Web};
        for (kind, text, expected) in [
            (Tcp, "10.0.0.5:5432", "10.0.0.5:5432"),
            (Tcp, "DB.internal:5432", "db.internal:5432"),
            (Tcp, "[::1]:22", "[::1]:22"),
            (Web, "http://10.0.0.8:8000", "10.0.0.8:8000"),
            (Web, "http://orders/", "orders:80"),
            (Web, "http://[2001:db8::1]/", "[2001:db8::1]:80"),
            (Web, "orders:8000", "orders:8000"),
            (Udp, "NS.internal:53", "ns.internal:53"),
            (Udp, "[fd00::53]:53", "[fd00::53]:53"),
        ] {
            assert_eq!(upstream_of(kind, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn upstreams_that_are_refused() {
        use ServiceKind::{Tcp, Udp, Web};
        for (kind, text) in [
            (Tcp, ""),
            (Tcp, "host"),
            (Tcp, ":22"),
            (Tcp, "host:0"),
            (Tcp, "host:65536"),
            (Tcp, "host:+22"),
            (Tcp, "a b:22"),
            (Tcp, "::1:22"),
            (Tcp, "[::1]"),
            (Tcp, "[nonsense]:22"),
            (Tcp, "http://host:80"),
            (Tcp, "a..b:22"),
            (Web, "https://orders"),
            (Web, "http://orders:80/path"),
            (Web, "http://user@orders:80"),
            (Web, "orders"),
            (Udp, "10.0.0.53"),
            (Udp, "udp://10.0.0.53:53"),
        ] {
            upstream_of(kind, text).expect_err(text);
        }
    }
}
