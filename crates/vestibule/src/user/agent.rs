//! `vestibule status | services | down`: asking a running `up`.

use crate::cli::AgentArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::ClientError;
use vestibule_client::agent::{RunningUp, SessionState, Status};
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
}

impl Offer {
    pub(super) const HEADS: [&'static str; 4] = ["service", "kind", "upstream", "address here"];

    /// `service`, with the HTTP proxy that offers it.
    pub(super) fn of(service: &ServiceInfo, http: Option<SocketAddr>) -> Self {
        let url = match service.kind {
            ServiceKind::Web => http.map(|http| format!("http://{}.localhost:{}/", service.name, http.port())),
            ServiceKind::Tcp | ServiceKind::Udp => None,
        };
        let upstream = service.upstream.clone();
        Self { name: service.name.to_string(), kind: super::kind(service.kind), upstream, url }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let url = self.url.clone().unwrap_or_default();
        vec![self.name.clone(), self.kind.to_owned(), self.upstream.clone(), url]
    }
}

/// Lists the services that this user may use.
pub(crate) fn services(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let (services, status) = crate::roles::brief_runtime()?.block_on(async {
        let up = RunningUp::find(&file).await?;
        Ok::<_, vestibule_client::ClientError>((up.services().await?, up.status().await?))
    })?;
    let http = status.listening.iter().find(|listening| listening.what == "http").map(|listening| listening.address);
    let offers: Vec<Offer> = services.iter().map(|service| Offer::of(service, http)).collect();
    output.list(&offers, &Offer::HEADS, Offer::cells)?;
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
