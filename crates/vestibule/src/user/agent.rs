//! `vestibule status | services | down`: asking a running `up`.

use crate::cli::AgentArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::agent::{RunningUp, SessionState, Status};
use vestibule_client::home::CredentialFile;
use vestibule_client::timings::Timings;

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
    span.as_secs_f64() * 1_000.0
}

/// Tells what `up` is doing.
pub(crate) fn status(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let status = crate::roles::brief_runtime()?.block_on(async { RunningUp::find(&file).await?.status().await })?;
    if output.is_json() {
        let mut told = serde_json::to_value(&status).unwrap_or_default();
        told["timings"] = serde_json::to_value(Millis::from(status.timings)).unwrap_or_default();
        told["expires_in"] = status.expires_in.as_secs().into();
        told["idle_limit"] = status.idle_limit.as_secs().into();
        told["up_for"] = status.up_for.as_secs().into();
        told["round_trip"] = status.round_trip.map(millis).into();
        output.say(&told, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.show(&status, &lines(&status))?;
    Ok(ExitCode::SUCCESS)
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
        ("round trip", status.round_trip.map_or_else(|| "-".to_owned(), |trip| format!("{:.2} ms", millis(trip)))),
        ("session", status.session.to_string()),
        ("up for", output::span(status.up_for.as_secs())),
        ("expires in", output::span(status.expires_in.as_secs())),
        ("resumed", format!("{} times", status.resumptions)),
        ("connections", status.streams.to_string()),
        ("sent", format!("{} bytes", status.sent)),
        ("received", format!("{} bytes", status.received)),
    ];
    lines.extend(status.listening.iter().map(|listening| (listening.what.as_str(), listening.address.to_string())));
    lines
}

/// Lists the services that this user may use.
pub(crate) fn services(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    let (services, status) = crate::roles::brief_runtime()?.block_on(async {
        let up = RunningUp::find(&file).await?;
        Ok::<_, vestibule_client::ClientError>((up.services().await?, up.status().await?))
    })?;
    let http = status.listening.iter().find(|listening| listening.what == "http").map(|listening| listening.address);
    output.list(&services, &["service", "kind", "upstream", "address here"], |service| {
        let kind = super::kind(service.kind);
        let address =
            http.filter(|_| kind == "web").map(|http| format!("http://{}.localhost:{}/", service.name, http.port()));
        vec![
            service.name.to_string(),
            kind.to_owned(),
            service.upstream.clone(),
            address.unwrap_or_else(|| "-".to_owned()),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Signs off.
pub(crate) fn down(arguments: AgentArgs, output: &Output) -> Result<ExitCode, Fault> {
    let file = file(&arguments)?;
    crate::roles::brief_runtime()?.block_on(async { RunningUp::find(&file).await?.sign_off().await })?;
    output.say(&serde_json::json!({ "signed_off": file.name() }), || format!("{} is signed off", file.name()))?;
    Ok(ExitCode::SUCCESS)
}

fn file(arguments: &AgentArgs) -> Result<CredentialFile, Fault> {
    Ok(super::home(&arguments.credential)?.choose(arguments.credential.credential.as_deref())?)
}
