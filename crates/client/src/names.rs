//! How people name services: `db`, `db:5432`, `db.localhost`, or the `host:port` of the upstream behind it.
//!
//! Nothing else is ever opened, and no other name leaves this machine: what isn't a service is refused here.

use crate::error::ClientError;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{ServiceInfo, ServiceKind, Target};

/// The end of the local names of web services. Browsers resolve such names to loopback by themselves (RFC 6761 section 6.3).
const LOCAL_SUFFIX: &str = ".localhost";

/// The service that `asked` names: a service's name first (any port behind it says nothing), else the upstream that it
/// is the `host:port` of.
///
/// # Errors
/// [`ClientError::NoService`]; [`ClientError::OtherKind`] for a UDP service: it carries no connections.
pub fn find(services: &[ServiceInfo], asked: &str) -> Result<Target, ClientError> {
    search(services, asked, |kind| kind != ServiceKind::Udp).map(Target::Service)
}

/// The UDP service that `asked` names, as [`find`] does.
///
/// # Errors
/// [`ClientError::NoService`]; [`ClientError::OtherKind`] for a service that carries connections.
pub fn find_udp(services: &[ServiceInfo], asked: &str) -> Result<ServiceName, ClientError> {
    search(services, asked, |kind| kind == ServiceKind::Udp)
}

fn search(
    services: &[ServiceInfo],
    asked: &str,
    fits: impl Fn(ServiceKind) -> bool,
) -> Result<ServiceName, ClientError> {
    let asked_host = asked.trim().to_ascii_lowercase();
    let (host, port) = split(&asked_host);
    let name = host.strip_suffix(LOCAL_SUFFIX).unwrap_or(host);
    let by_name = services.iter().find(|service| service.name.as_str() == name);
    let by_upstream = services.iter().filter(|service| {
        let upstream = service.upstream.to_ascii_lowercase();
        port.is_some() && split(&upstream) == (host, port)
    });
    // One upstream may stand behind two services: DNS is asked over both.
    let mut candidates = by_name.into_iter().chain(by_upstream);
    let first = candidates.next().ok_or_else(|| ClientError::NoService { asked: shortened(asked) })?;
    let found = std::iter::once(first).chain(candidates).find(|service| fits(service.kind));
    found
        .map(|service| service.name.clone())
        .ok_or_else(|| ClientError::OtherKind { service: first.name.to_string(), is: first.kind })
}

/// What a browser's `Host` means to the local web port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebName {
    /// A web service.
    Web(ServiceName),
    /// A service, but not one that speaks HTTP to browsers.
    NotWeb(ServiceName),
    /// `NAME.localhost`, but no service of that name.
    Unknown(String),
    /// Not under `.localhost`: somebody else's name that leads here (DNS rebinding), or no name at all.
    Foreign,
}

/// Which web service `host` (`NAME.localhost`, with or without port) stands for.
pub(crate) fn web_service(services: &[ServiceInfo], host: &str) -> WebName {
    let host = host.to_ascii_lowercase();
    let Some(name) = split(&host).0.strip_suffix(LOCAL_SUFFIX) else { return WebName::Foreign };
    match services.iter().find(|service| service.name.as_str() == name) {
        Some(ServiceInfo { name, kind: ServiceKind::Web, .. }) => WebName::Web(name.clone()),
        Some(ServiceInfo { name, kind: ServiceKind::Tcp | ServiceKind::Udp, .. }) => WebName::NotWeb(name.clone()),
        None => WebName::Unknown(shortened(name)),
    }
}

/// The name of `target` if it does not speak HTTP to browsers.
pub(crate) fn not_web<'a>(services: &[ServiceInfo], target: &'a Target) -> Option<&'a ServiceName> {
    let Target::Service(name) = target else { return None };
    let is_web = services.iter().any(|service| service.name == *name && service.kind == ServiceKind::Web);
    (!is_web).then_some(name)
}

/// Host (without brackets and final dot) and port of `host:port`, `[v6]:port` or a bare host.
fn split(text: &str) -> (&str, Option<u16>) {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        // Two colons without brackets are an address of IPv6 without a port.
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    (host.strip_suffix('.').unwrap_or(host), port.and_then(|port| port.parse().ok()))
}

/// What was asked for, cut to a length that fits on a screen.
fn shortened(asked: &str) -> String {
    asked.trim().chars().filter(|character| !character.is_control()).take(80).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn service(name: &str, kind: ServiceKind, upstream: &str) -> ServiceInfo {
        ServiceInfo { name: ServiceName::parse(name).unwrap(), kind, upstream: upstream.to_owned() }
    }

    fn services() -> Vec<ServiceInfo> {
        vec![
            service("db", ServiceKind::Tcp, "10.0.0.5:5432"),
            service("orders", ServiceKind::Web, "Shop.Example:8000"),
            service("six", ServiceKind::Tcp, "[fd00::5]:22"),
        ]
    }

    #[test]
    fn services_are_found_by_name_and_by_upstream() {
        for (asked, name) in [
            ("db", "db"),
            (" DB\n", "db"),
            ("db:22", "db"),
            ("db.localhost", "db"),
            ("db.localhost.:80", "db"),
            ("10.0.0.5:5432", "db"),
            ("shop.example:8000", "orders"),
            ("[fd00::5]:22", "six"),
            ("[FD00::5]:22", "six"),
        ] {
            let target = Target::Service(ServiceName::parse(name).unwrap());
            assert_eq!(find(&services(), asked), Ok(target), "{asked}");
        }
    }

    #[test]
    fn everything_else_is_no_service() {
        for asked in [
            "",
            "dbx",
            "10.0.0.5",
            "10.0.0.5:22",
            "shop.example",
            "example.org:443",
            "localhost",
            "x.db.localhost",
            "fd00::5:22",
            ":5432",
        ] {
            assert!(matches!(find(&services(), asked), Err(ClientError::NoService { .. })), "{asked}");
        }
        let Err(ClientError::NoService { asked }) = find(&services(), &"\x1b[31mx".repeat(90)) else {
            panic!("found");
        };
        assert_eq!(asked.chars().count(), 80);
        assert!(!asked.contains('\x1b'));
    }

    #[test]
    fn a_name_beats_an_upstream_of_the_same_text() {
        let services = [service("pg", ServiceKind::Tcp, "db:5432"), service("db", ServiceKind::Tcp, "10.0.0.5:5432")];
        assert_eq!(find(&services, "db:5432"), Ok(Target::Service(ServiceName::parse("db").unwrap())));
    }

    #[test]
    fn a_service_is_found_by_who_can_use_it() {
        let services = [
            service("dns", ServiceKind::Udp, "10.0.0.53:53"),
            service("dns-tcp", ServiceKind::Tcp, "10.0.0.53:53"),
            service("ntp", ServiceKind::Udp, "10.0.0.53:123"),
        ];
        let name = |text: &str| ServiceName::parse(text).unwrap();
        for (asked, udp, bytes) in [
            ("dns", Ok("dns"), Err("dns")),
            ("DNS:53", Ok("dns"), Err("dns")),
            ("dns-tcp", Err("dns-tcp"), Ok("dns-tcp")),
            ("10.0.0.53:53", Ok("dns"), Ok("dns-tcp")),
            ("10.0.0.53:123", Ok("ntp"), Err("ntp")),
        ] {
            let other = |service: &str, is| ClientError::OtherKind { service: service.to_owned(), is };
            let udp = udp.map(name).map_err(|service| other(service, ServiceKind::Tcp));
            let bytes =
                bytes.map(|text| Target::Service(name(text))).map_err(|service| other(service, ServiceKind::Udp));
            assert_eq!((find_udp(&services, asked), find(&services, asked)), (udp, bytes), "{asked}");
        }
        let nothing = |asked: &str| ClientError::NoService { asked: asked.to_owned() };
        assert_eq!(find_udp(&services, "10.0.0.53:54"), Err(nothing("10.0.0.53:54")));
        assert_eq!(web_service(&services, "dns.localhost"), WebName::NotWeb(name("dns")));
    }

    #[test]
    fn only_local_names_are_web_names() {
        let web = |host: &str| web_service(&services(), host);
        assert_eq!(web("orders.localhost"), WebName::Web(ServiceName::parse("orders").unwrap()));
        assert_eq!(web("Orders.localhost:8118"), WebName::Web(ServiceName::parse("orders").unwrap()));
        assert_eq!(web("db.localhost:8118"), WebName::NotWeb(ServiceName::parse("db").unwrap()));
        assert_eq!(web("nothing.localhost"), WebName::Unknown("nothing".to_owned()));
        assert_eq!(web("a.orders.localhost"), WebName::Unknown("a.orders".to_owned()));
        for foreign in ["orders", "localhost", "127.0.0.1:8118", "evil.example", "orders.localhost.evil.example", ""] {
            assert_eq!(web(foreign), WebName::Foreign, "{foreign}");
        }
    }
}
