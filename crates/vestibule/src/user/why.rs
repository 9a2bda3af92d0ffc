//! `vestibule why [SERVICE]`: a connect step by step, and which of them says no.

use crate::cli::WhyArgs;
use crate::fault::Fault;
use crate::output::Output;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vestibule_client::why::{Finding, Passage, findings, hint};
use vestibule_client::{Client, ClientError, Options, Tunnel, TunnelStream, names};
use vestibule_proto::session::{ServiceInfo, ServiceKind, Target};

/// Goes through all steps of a connect of its own, prints what was found at each, and ends as the first one that failed
/// would have ended any other command.
pub(crate) fn run(arguments: WhyArgs, output: &Output) -> Result<ExitCode, Fault> {
    let mut passage = Passage::default();
    let asked = arguments.service.as_deref();
    let end = go(&arguments, output, &mut passage);
    let error = match &end {
        Ok(()) => None,
        Err(Stopped::Connect(error)) => Some(error),
        // Nothing of a connect: the command line, a terminal that is missing.
        Err(Stopped::Before(fault)) => return Err(fault.clone()),
    };
    print(&findings(&passage, asked, error.map_or(Ok(()), Err)), output)?;
    error.map_or(Ok(ExitCode::SUCCESS), |error| Err(told(error, &passage)))
}

/// Where it ended.
enum Stopped {
    Connect(ClientError),
    Before(Fault),
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        Self::Connect(error)
    }
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

fn go(arguments: &WhyArgs, output: &Output, passage: &mut Passage) -> Result<(), Stopped> {
    let home = super::home(&arguments.credential)?;
    let config = super::configuration(&home)?;
    crate::logging::start(&config.log);
    let file = super::choose(&home, &arguments.credential)?;
    let recognised = super::recognise(&file)?;
    let typed = super::typed(&file, &arguments.password)?;
    let unlocked = super::open(&recognised, &typed, output)?;
    let options = Options { transport: config.transport, ..Options::default() };
    crate::roles::client_runtime()?.block_on(async {
        let client = super::patiently(Client::connect_passing(unlocked, options, passage)).await?;
        let served = serve(&client, arguments.service.as_deref(), passage).await;
        // What was asked is answered; a gateway that can't be told ends the session by its idle limit.
        let _ = client.sign_off().await;
        Ok(served?)
    })
}

/// How long a web application may take for the head of its first answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Step T for the service that was asked for: opened, and closed without a word; of a web service the head of its first page is
/// asked for, since the page guard takes every connection.
async fn serve(client: &Client, asked: Option<&str>, passage: &mut Passage) -> Result<(), ClientError> {
    let Some(asked) = asked else { return Ok(()) };
    let begun = Instant::now();
    match names::find(&client.services(), asked) {
        Ok(target) => {
            let stream = client.open(target.clone()).await?;
            if let Some(name) = web(client, &target) {
                answers(stream, name).await?;
            }
        }
        Err(ClientError::OtherKind { .. }) => {
            client.try_udp(&names::find_udp(&client.services(), asked)?).await?;
        }
        Err(error) => return Err(error),
    }
    passage.service = Some(begun.elapsed());
    passage.direct = Some(client.direct()).filter(|direct| !direct.services.is_empty());
    Ok(())
}

/// The name of a web service.
fn web(client: &Client, target: &Target) -> Option<String> {
    let Target::Service(name) = target else { return None };
    let is_web = |service: &ServiceInfo| service.name == *name && service.kind == ServiceKind::Web;
    client.services().iter().any(is_web).then(|| name.to_string())
}

/// Waits for the status of a page's head. The guard answers 502 where the application can't be reached; every other status is the
/// application's own affair.
async fn answers(mut stream: TunnelStream, service: String) -> Result<(), ClientError> {
    let asked = async {
        let request = format!("HEAD / HTTP/1.1\r\nHost: {service}.localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; "HTTP/1.1 502".len()];
        stream.read_exact(&mut status).await.map(|_| status)
    };
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Err(_) => Err(ClientError::UpstreamHangs { service }),
        Ok(Err(_)) => Err(ClientError::Cut { service }),
        Ok(Ok(status)) if status.ends_with(b" 502") => Err(ClientError::UpstreamAway { service }),
        Ok(Ok(_)) => Ok(()),
    }
}

fn print(found: &[Finding], output: &Output) -> Result<(), Fault> {
    output.list(found, &["step", "outcome", "what"], |finding| {
        vec![finding.step.word().to_owned(), finding.outcome.words().to_owned(), finding.said.clone()]
    })
}

/// The error as any other command would tell it, with what the steps before it add.
fn told(error: &ClientError, passage: &Passage) -> Fault {
    let hint = hint(passage, error);
    let detail = if hint.is_empty() { error.detail() } else { format!("{}\n{hint}", error.detail()) };
    Fault::from(error.clone()).detail(detail)
}
