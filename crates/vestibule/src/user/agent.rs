//! `vestibule status | services | down`: asking a running `up`.

use crate::cli::AgentArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::ClientError;
use vestibule_client::agent::{Listening, RunningUp, SessionState, Status};
use vestibule_client::home::CredentialFile;
use vestibule_client::local;
use vestibule_client::timings::Timings;
use vestibule_proto::session::{ServiceInfo, ServiceKind};

/// How long an `up` may take to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The times of the latest connect, in milliseconds.
#[derive(Serialize)]
pub(super) struct Millis {
    local_ms: f64,
    argon2id_ms: f64,
    knock_to_ready_ms: f64,
    dial_ms: f64,
    login_ms: f64,
    ksf_ms: f64,
}

impl From<Timings> for Millis {
    fn from(timings: Timings) -> Self {
        Self {
            local_ms: millis(timings.local.device),
            argon2id_ms: millis(timings.local.argon2id),
            knock_to_ready_ms: millis(timings.knock),
            dial_ms: millis(timings.dial),
            login_ms: millis(timings.login),
            ksf_ms: millis(timings.ksf),
        }
    }
}

pub(super) fn millis(span: Duration) -> f64 {
    // Microseconds are as fine as it is measured.
    (span.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// Tells what `up` is doing.
pub(crate) fn status(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let status = crate::roles::brief_runtime()?.block_on(async { RunningUp::find(&file).await?.status().await });
    let status = status.map_err(|error| not_running(&file, error))?;
    if output.is_json() {
        let mut told = serde_json::to_value(&status).unwrap_or_default();
        told["timings"] = serde_json::to_value(Millis::from(status.timings)).unwrap_or_default();
        told["expires_in"] = status.expires_in.as_secs().into();
        told["idle_limit"] = status.idle_limit.as_secs().into();
        told["up_for"] = status.up_for.as_secs().into();
        if let Some(told) = told.as_object_mut() {
            told.remove("round_trip");
        }
        told["round_trip_ms"] = status.round_trip.map(millis).into();
        output.say(&told, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.show(&status, &lines(&status))?;
    Ok(ExitCode::SUCCESS)
}

/// Why no `up` runs, where this machine knows: the device may still wait for approval.
fn not_running(file: &CredentialFile, error: ClientError) -> ClientError {
    if error != ClientError::NotRunning {
        return error;
    }
    let recognised = local::recognise(file, &super::sources()).ok();
    let words = recognised.and_then(|recognised| local::awaits_approval(file, recognised.sealed()));
    words.map_or(error, |words| ClientError::AwaitsApproval { words: words.to_string() })
}

fn lines(status: &Status) -> Vec<(&str, String)> {
    let state = match status.state {
        SessionState::Connected => "connected",
        SessionState::Reconnecting => "reconnecting",
        SessionState::Over => "over",
    };
    let mut lines = vec![
        ("user", format!("{}@{}", status.user, status.gateway)),
        ("state", state.to_owned()),
        ("gateway", status.address.map_or_else(|| "-".to_owned(), |address| address.to_string())),
        ("transport", status.transport.clone().unwrap_or_else(|| "-".to_owned())),
        ("round trip", status.round_trip.map_or_else(|| "-".to_owned(), |trip| format!("{:.2} ms", millis(trip)))),
        ("session", status.session.to_string()),
        ("up for", output::span(status.up_for.as_secs())),
        ("expires in", output::span(status.expires_in.as_secs())),
        ("moved", format!("{} times", status.moves)),
        ("resumed", format!("{} times", status.resumptions)),
        ("connections", status.streams.to_string()),
        ("sent", format!("{} bytes", status.sent)),
        ("received", format!("{} bytes", status.received)),
    ];
    let direct = &status.direct;
    if !direct.services.is_empty() {
        lines.push(("direct", format!("{} without the tunnel, {} through it", direct.opened, direct.fell_back)));
    }
    if direct.moved > 0 {
        let ended = format!("{} direct connections: they can't follow to another address; connect again", direct.moved);
        lines.push(("ended by a move", ended));
    }
    if let Some(trouble) = &direct.trouble {
        lines.push(("not direct", trouble.to_string()));
    }
    if status.turned_away > 0 {
        lines.push(("turned away", format!("{} local connections of other users", status.turned_away)));
    }
    if status.needs_raise {
        lines.push(("credential", "weaker than one made today: vestibule passwd --keep-password".to_owned()));
    }
    lines.extend(status.listening.iter().map(|listening| (listening.what.as_str(), listening.address.to_string())));
    lines
}

/// A service, and where it is on this machine.
#[derive(Serialize)]
pub(super) struct Offer {
    name: String,
    kind: &'static str,
    upstream: String,
    /// Of a web service, while `up` runs.
    url: Option<String>,
    /// Where a forward of `up` leads to it.
    forward: Option<SocketAddr>,
}

impl Offer {
    pub(super) const HEADS: [&'static str; 4] = ["service", "kind", "upstream", "address here"];

    /// The services, with what `up` has opened on this machine: the HTTP proxy, the SOCKS proxy, then the forwards.
    pub(super) fn all(services: &[ServiceInfo], listening: &[Listening]) -> Vec<Self> {
        let (http, forwards) = match listening {
            [http, _, forwards @ ..] => (Some(http.address), forwards),
            [] | [_] => (None, listening),
        };
        services.iter().map(|service| Self::of(service, http, forwards)).collect()
    }

    fn of(service: &ServiceInfo, http: Option<SocketAddr>, forwards: &[Listening]) -> Self {
        let (name, upstream) = (service.name.to_string(), service.upstream.clone());
        let url = match service.kind {
            ServiceKind::Web => http.map(|http| format!("http://{name}.localhost:{}/", http.port())),
            ServiceKind::Tcp | ServiceKind::Udp => None,
        };
        let forward = forwards.iter().find(|forward| [&name, &upstream].contains(&&forward.what));
        let forward = forward.map(|forward| forward.address);
        Self { name, kind: super::kind(service.kind), upstream, url, forward }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let here = self.url.clone().or_else(|| self.forward.map(|forward| forward.to_string()));
        vec![self.name.clone(), self.kind.to_owned(), self.upstream.clone(), here.unwrap_or_default()]
    }

    /// How to come to a service that has no address on this machine, where there is such a one.
    pub(super) fn hint(offers: &[Self]) -> Option<String> {
        let offer = offers.iter().find(|offer| offer.url.is_none() && offer.forward.is_none())?;
        let (name, local) = (&offer.name, if offer.kind == "udp" { "5353/udp" } else { "7000" });
        let without = if offer.kind == "udp" { "" } else { "; or through the SOCKS proxy, or `vestibule pipe`" };
        Some(format!("An address here for `{name}`: vestibule forward {local}={name}{without}."))
    }
}

/// Lists the services that this user may use.
pub(crate) fn services(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let (services, status) = crate::roles::brief_runtime()?.block_on(async {
        let up = RunningUp::find(&file).await?;
        Ok::<_, vestibule_client::ClientError>((up.services().await?, up.status().await?))
    })?;
    let offers = Offer::all(&services, &status.listening);
    output.list(&offers, &Offer::HEADS, Offer::cells)?;
    if let Some(hint) = Offer::hint(&offers).filter(|_| !output.is_json()) {
        output::note(&format!("\n{hint}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs off.
pub(crate) fn down(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let untold = crate::roles::brief_runtime()?.block_on(async {
        match RunningUp::find(&file).await?.sign_off().await {
            Ok(()) => Ok(None),
            // It ends in any case; that the gateway could not be told is no failure of `down`.
            Err(error) if ends(&file).await => Ok(Some(error)),
            Err(error) => Err(error),
        }
    })?;
    let told = serde_json::json!({ "signed_off": file.name(), "gateway_told": untold.is_none() });
    output.say(&told, || format!("{} is signed off", file.name()))?;
    if let Some(error) = untold {
        output::note(&format!("note: {}: there, the session ends by its own limits", error.headline()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the `up` that was told to end does so.
async fn ends(file: &CredentialFile) -> bool {
    let until = tokio::time::Instant::now() + END_WITHIN;
    while tokio::time::Instant::now() < until {
        if RunningUp::find(file).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

fn file(arguments: &AgentArgs) -> Result<CredentialFile, Fault> {
    super::choose(&super::home(&arguments.credential)?, &arguments.credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_proto::id::ServiceName;

    fn service(name: &str, kind: ServiceKind, upstream: &str) -> ServiceInfo {
        ServiceInfo { name: ServiceName::parse(name).unwrap(), kind, upstream: upstream.to_owned() }
    }

    fn listening(what: &str, port: u16) -> Listening {
        Listening { what: what.to_owned(), address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    #[test]
    fn a_service_tells_where_it_is_on_this_machine() {
        let services = [
            service("orders", ServiceKind::Web, "http://10.0.0.8:8000"),
            service("db", ServiceKind::Tcp, "10.0.0.5:5432"),
            service("host1", ServiceKind::Tcp, "10.0.0.6:22"),
            service("socks", ServiceKind::Tcp, "10.0.0.7:1080"),
        ];
        let open = [listening("http", 8118), listening("socks", 1080), listening("db", 5432)];
        let by_upstream = listening("10.0.0.6:22", 2222);
        let offers = Offer::all(&services, &[&open[..], &[by_upstream]].concat());
        let here: Vec<String> = offers.iter().filter_map(|offer| offer.cells().pop()).collect();
        assert_eq!(here, ["http://orders.localhost:8118/", "127.0.0.1:5432", "127.0.0.1:2222", ""]);
        assert!(Offer::hint(&offers).is_some_and(|hint| hint.contains("vestibule forward 7000=socks")));
        assert_eq!(Offer::hint(&Offer::all(&services[..2], &open)), None);
        let away = Offer::all(&services, &[]);
        assert!(away.iter().all(|offer| offer.cells().pop().is_some_and(|cell| cell.is_empty())));
    }
}
