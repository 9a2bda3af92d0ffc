//! Where a request on the local web port leads: decided from its head alone.

use super::page::Page;
use crate::error::ClientError;
use crate::names::{self, WebName};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, StatusCode};
use vestibule_proto::session::{ServiceInfo, Target};

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// CONNECT: bytes both ways.
    Connect(Target),
    /// A request to pass on.
    Pass(Pass),
    /// A page instead.
    Refuse(Page),
}

/// A request to pass on to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// The service.
    pub(super) target: Target,
    /// `Host`, as the browser sent it.
    pub(super) host: HeaderValue,
    /// Path and query, as the browser sent them.
    pub(super) path: PathAndQuery,
}

/// Decides over a request's head.
pub(super) fn route(head: &Parts, services: &[ServiceInfo]) -> Route {
    decide(head, services).unwrap_or_else(Route::Refuse)
}

fn decide(head: &Parts, services: &[ServiceInfo]) -> Result<Route, Page> {
    if head.method == Method::CONNECT {
        let authority = head.uri.authority().ok_or_else(|| bad("CONNECT names no host and port."))?;
        return names::find(services, authority.as_str()).map(Route::Connect).map_err(refused);
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match head.uri.authority() {
        Some(authority) => by_authority(head.uri.scheme(), authority, path, services),
        None => by_host(head, path, services),
    }
}

/// An absolute-form request, from a program that uses this port as its proxy. `Host` counts for nothing then (RFC 9112 section 3.2.2).
fn by_authority(
    scheme: Option<&Scheme>,
    authority: &Authority,
    path: PathAndQuery,
    services: &[ServiceInfo],
) -> Result<Route, Page> {
    if scheme != Some(&Scheme::HTTP) {
        return Err(bad("A proxy is asked for http:// addresses; for https:// a program uses CONNECT."));
    }
    if authority.as_str().contains('@') {
        return Err(bad("The address holds a user name or password, which a proxy must not be told."));
    }
    let target = names::find(services, authority.as_str()).map_err(refused)?;
    // A page elsewhere could make a browser behind this proxy speak HTTP to a database.
    if let Some(name) = names::not_web(services, &target) {
        return Err(not_web(name.as_str()));
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("The address is malformed."))?;
    Ok(Route::Pass(Pass { target, host, path }))
}

/// A request of a browser that was led here by the name `NAME.localhost`.
fn by_host(head: &Parts, path: PathAndQuery, services: &[ServiceInfo]) -> Result<Route, Page> {
    let mut hosts = head.headers.get_all(HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad("A request must have exactly one Host header."));
    };
    match names::web_service(services, host.to_str().unwrap_or_default()) {
        WebName::Web(name) => Ok(Route::Pass(Pass { target: Target::Service(name), host: host.clone(), path })),
        WebName::NotWeb(name) => match names::find(services, name.as_str()) {
            Ok(_) => Err(not_web(name.as_str())),
            Err(error) => Err(Page::of(&error)),
        },
        WebName::Unknown(name) => Err(Page::of(&ClientError::NoService { asked: name })),
        WebName::Foreign => Err(Page::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this name does not belong here",
            "This port serves names that end in .localhost only. A page elsewhere may have tried to reach your services \
             through a name of its own (DNS rebinding).",
            "open a service by its own name: http://NAME.localhost with this port (vestibule services shows the names)",
        )),
    }
}

fn not_web(name: &str) -> Page {
    Page::new(
        StatusCode::NOT_FOUND,
        &format!("'{name}' is not a web service"),
        "It is a TCP service: a browser can't show it.",
        &format!("forward a local port to it: vestibule forward PORT={name} (or use CONNECT)"),
    )
}

/// A proxy's client is told *forbidden*: not found would speak of a page.
fn refused(error: ClientError) -> Page {
    Page { status: StatusCode::FORBIDDEN, ..Page::of(&error) }
}

fn bad(detail: &str) -> Page {
    Page::new(StatusCode::BAD_REQUEST, "this request can't be understood", detail, "report it to the program's author")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::service;
    use hyper::Request;
    use vestibule_proto::id::ServiceName;
    use vestibule_proto::session::ServiceKind;

    fn services() -> Vec<ServiceInfo> {
        vec![service("orders", ServiceKind::Web, "10.0.0.3:8000"), service("db", ServiceKind::Tcp, "10.0.0.2:5432")]
    }

    fn decided(method: Method, uri: &str, hosts: &[&str]) -> Route {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        route(&request.body(()).unwrap().into_parts().0, &services())
    }

    fn target(name: &str) -> Target {
        Target::Service(ServiceName::parse(name).unwrap())
    }

    fn status(route: Route) -> u16 {
        let Route::Refuse(page) = route else { panic!("not refused: {route:?}") };
        page.status.as_u16()
    }

    #[test]
    fn connect_leads_to_services_only() {
        for to in ["db:5432", "10.0.0.2:5432", "db.localhost:1"] {
            assert_eq!(decided(Method::CONNECT, to, &["ignored"]), Route::Connect(target("db")), "{to}");
        }
        for to in ["example.org:443", "127.0.0.1:22", "10.0.0.2:22"] {
            assert_eq!(status(decided(Method::CONNECT, to, &[])), 403, "{to}");
        }
    }

    #[test]
    fn the_address_of_an_absolute_request_decides_and_not_its_host() {
        for (uri, host) in [
            ("http://orders.localhost/a?b=c", "orders.localhost"),
            ("http://orders:80/a?b=c", "orders:80"),
            ("http://10.0.0.3:8000/a?b=c", "10.0.0.3:8000"),
        ] {
            let pass = Pass {
                target: target("orders"),
                host: HeaderValue::from_static(host),
                path: PathAndQuery::from_static("/a?b=c"),
            };
            assert_eq!(decided(Method::GET, uri, &["evil.example"]), Route::Pass(pass), "{uri}");
        }
        assert_eq!(status(decided(Method::GET, "http://example.org/", &["orders.localhost"])), 403);
        assert_eq!(status(decided(Method::GET, "http://db:5432/", &[])), 404);
        assert_eq!(status(decided(Method::GET, "https://orders.localhost/", &[])), 400);
        assert_eq!(status(decided(Method::GET, "http://me:pw@orders.localhost/", &[])), 400);
    }

    #[test]
    fn browsers_reach_web_services_by_local_names_only() {
        let Route::Pass(pass) = decided(Method::POST, "/x", &["Orders.localhost:8118"]) else { panic!("refused") };
        assert_eq!((pass.target, pass.host), (target("orders"), HeaderValue::from_static("Orders.localhost:8118")));
        for (hosts, code) in [
            (&["db.localhost"][..], 404),
            (&["nothing.localhost"], 404),
            (&["evil.example"], 421),
            (&["127.0.0.1:8118"], 421),
            (&["localhost"], 421),
            (&["orders"], 421),
            (&[""], 421),
            (&[], 400),
            (&["orders.localhost", "orders.localhost"], 400),
        ] {
            assert_eq!(status(decided(Method::GET, "/", hosts)), code, "{hosts:?}");
        }
    }
}
