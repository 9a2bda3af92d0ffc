//! `vestibule up`: log in, and offer the services on this machine until `down` or Ctrl-C.

use super::agent::Offer;
use crate::cli::UpArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::roles::service;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use vestibule_client::agent::{Agent, Listening};
use vestibule_client::forward::{Forward, Forwarder};
use vestibule_client::keeper::Event;
use vestibule_client::proxy::{HttpProxy, SocksProxy};
use vestibule_client::{Client, ClientError, Neighbours, Options, Tunnel};
use vestibule_proto::session::Reason;

/// Runs in the foreground.
pub(crate) fn run(arguments: UpArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments.credential)?;
    let config = super::configuration(&home)?;
    crate::logging::start(&config.log);
    let file = super::choose(&home, &arguments.credential)?;
    let mut forwards = config.forwards()?;
    for text in &arguments.forward {
        forwards.push(text.parse()?);
    }
    let (http, socks) = (arguments.http.unwrap_or(config.http), arguments.socks.unwrap_or(config.socks));
    let neighbours = super::neighbours(arguments.any_local_user || config.any_local_user);
    let options = Options { transport: arguments.transport.unwrap_or(config.transport), ..Options::default() };
    let runtime = crate::roles::client_runtime()?;
    // A second `up` is told before the person types a password.
    let agent = runtime.block_on(async { Agent::bind(&file) })?;
    [http, socks].into_iter().try_for_each(super::try_listen)?;
    forwards.iter().try_for_each(super::try_forward)?;
    let unlocked = super::unlock(&file, &arguments.password, output)?;
    runtime.block_on(async {
        let client = super::patiently(Client::connect(unlocked, options)).await?;
        let listening = match listen(&client, &neighbours, http, socks, &forwards).await {
            Ok(listening) => listening,
            Err(error) => return Err(super::give_up(&client, error).await),
        };
        tell(&client, &file.name(), &listening, output)?;
        tokio::spawn(agent.serve(client.clone(), listening, neighbours));
        service::tell_ready("logged in");
        let ended = stay(&client).await;
        service::tell_stopping();
        ended
    })
}

/// Opens every local listener.
async fn listen(
    client: &Client,
    neighbours: &Neighbours,
    http: std::net::SocketAddr,
    socks: std::net::SocketAddr,
    forwards: &[Forward],
) -> Result<Vec<Listening>, ClientError> {
    let http = HttpProxy::bind(http, client.clone(), neighbours.clone()).await?;
    let socks = SocksProxy::bind(socks, client.clone(), neighbours.clone()).await?;
    let mut listening = vec![
        Listening { what: "http".to_owned(), address: http.local_addr() },
        Listening { what: "socks".to_owned(), address: socks.local_addr() },
    ];
    tokio::spawn(http.serve());
    tokio::spawn(socks.serve());
    for forward in forwards {
        let forwarder = Forwarder::bind(forward, client.clone(), neighbours.clone()).await?;
        listening.push(Listening { what: forward.service.clone(), address: forwarder.local_addr() });
        tokio::spawn(forwarder.serve());
    }
    Ok(listening)
}

fn tell(client: &Client, name: &str, listening: &[Listening], output: &Output) -> Result<(), Fault> {
    let services = Offer::all(&client.services(), listening);
    if output.is_json() {
        return output.say(&serde_json::json!({ "listening": listening, "services": services }), String::new);
    }
    let lines: Vec<(&str, String)> =
        listening.iter().map(|listening| (listening.what.as_str(), listening.address.to_string())).collect();
    output.show(&listening, &lines)?;
    output::line("");
    output.list(&services, &Offer::HEADS, Offer::cells)?;
    if let Some(hint) = Offer::hint(&services) {
        output::note(&format!("\n{hint}"));
    }
    output::note(&format!("\n{name} is logged in, until Ctrl-C here or `vestibule down` elsewhere."));
    Ok(())
}

/// Waits for Ctrl-C, SIGTERM, a closed terminal, `down`, or the end of the session; then signs off.
pub(crate) async fn stay(client: &Client) -> Result<ExitCode, Fault> {
    let listen = |kind| signal(kind).map_err(|error| Fault::unexpected(format!("signals can't be handled: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        ended = over(client) => {
            let asked_for = ended == ClientError::SessionEnded(Reason::SignedOff);
            return if asked_for { Ok(signed_off()) } else { Err(ended.into()) };
        }
    }
    if let Err(error) = client.sign_off().await {
        output::note(&format!("{}; the session ends by its own limits", error.headline()));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(signed_off())
}

fn signed_off() -> ExitCode {
    output::note("signed off");
    ExitCode::SUCCESS
}

/// Tells what happens to the session, until it is over.
async fn over(client: &Client) -> ClientError {
    let mut events = client.events();
    loop {
        match events.recv().await {
            Ok(Event::Over(error)) => return error,
            Ok(event) => super::tell(&event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return ClientError::SessionEnded(Reason::SignedOff),
        }
    }
}
