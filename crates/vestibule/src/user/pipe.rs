//! `vestibule pipe HOST:PORT|SERVICE`.

use super::agent::{Millis, millis};
use crate::cli::PipeArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::password::Source;
use std::process::ExitCode;
use vestibule_client::agent::RunningUp;
use vestibule_client::home::CredentialFile;
use vestibule_client::pipe::{Piped, pipe};
use vestibule_client::{Client, Options, stdio};

/// Connects stdin and stdout to a service: through a running `up`, or by a connect of its own.
pub(crate) fn run(arguments: PipeArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments.credential)?;
    let config = super::configuration(&home)?;
    crate::logging::start(&config.log);
    let file = super::choose(&home, &arguments.credential)?;
    let runtime = crate::roles::client_runtime()?;
    let through_up = if arguments.alone { None } else { runtime.block_on(through_up(&file, &arguments)) };
    let piped = match through_up {
        Some(piped) => piped?,
        None => {
            let transport = arguments.transport.unwrap_or(config.transport);
            alone(&runtime, &file, &arguments, Options { transport, ..Options::default() }, output)?
        }
    };
    if arguments.timings {
        let first_byte = piped.times.first_byte.map(millis);
        let times = serde_json::json!({ "open_ms": millis(piped.times.open), "first_byte_ms": first_byte });
        output::note(&times.to_string());
    }
    // A read of a terminal can't be interrupted: nobody waits for it.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Through a running `up`; `None` when there is none. A password that was announced on stdin is needed by nobody then, the service
/// least of all.
async fn through_up(file: &CredentialFile, arguments: &PipeArgs) -> Option<Result<Piped, Fault>> {
    let up = RunningUp::find(file).await.ok()?;
    if arguments.password.password_stdin
        && let Err(fault) = Source::Stdin.ask("")
    {
        return Some(Err(fault));
    }
    let (input, output) = match stdio::take() {
        Ok(streams) => streams,
        Err(error) => {
            return Some(Err(Fault::unexpected(format!("stdin or stdout can't be used: {error}"))));
        }
    };
    Some(up.pipe(&arguments.target, input, output).await.map_err(Fault::from))
}

/// Knocks and logs in for this one connection.
fn alone(
    runtime: &tokio::runtime::Runtime,
    file: &CredentialFile,
    arguments: &PipeArgs,
    options: Options,
    output: &Output,
) -> Result<Piped, Fault> {
    let unlocked = super::unlock(file, &arguments.password, output)?;
    runtime.block_on(async {
        let client = super::patiently(Client::connect(unlocked, options)).await?;
        if arguments.timings {
            let times = serde_json::to_string(&Millis::from(client.timings())).unwrap_or_default();
            output::note(&times);
        }
        let (input, output) =
            stdio::take().map_err(|error| Fault::unexpected(format!("stdin or stdout can't be used: {error}")))?;
        let piped = pipe(&client, &arguments.target, input, output).await;
        // The connection is over; that the gateway could not be told is no failure of it.
        let _ = client.sign_off().await;
        Ok(piped?)
    })
}
