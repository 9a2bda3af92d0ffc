//! `vestibule forward LOCAL=SERVICE…`.

use crate::cli::ForwardArgs;
use crate::fault::Fault;
use crate::output::Output;
use std::process::ExitCode;
use vestibule_client::forward::{Forward, Forwarder};
use vestibule_client::{Client, Options};

/// Forwards until Ctrl-C or the session's end.
pub(crate) fn run(arguments: ForwardArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments.credential)?;
    let config = super::configuration(&home)?;
    crate::logging::start(&config.log);
    let forwards: Vec<Forward> = arguments.forwards.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let neighbours = super::neighbours(arguments.any_local_user || config.any_local_user);
    let options = Options { transport: arguments.transport.unwrap_or(config.transport), ..Options::default() };
    let file = super::choose(&home, &arguments.credential)?;
    forwards.iter().try_for_each(|forward| super::try_listen(forward.local))?;
    let unlocked = super::unlock(&file, &arguments.password, output)?;
    crate::roles::client_runtime()?.block_on(async {
        let client = Client::connect(unlocked, options).await?;
        for forward in &forwards {
            let forwarder = match Forwarder::bind(forward, client.clone(), neighbours.clone()).await {
                Ok(forwarder) => forwarder,
                Err(error) => return Err(super::give_up(&client, error).await),
            };
            let line = serde_json::json!({ "local": forwarder.local_addr(), "service": forward.service });
            output.say(&line, || format!("{} leads to {}", forwarder.local_addr(), forward.service))?;
            tokio::spawn(forwarder.serve());
        }
        super::up::stay(&client).await
    })
}
