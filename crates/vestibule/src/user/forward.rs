//! `vestibule forward LOCAL=SERVICE…`.

use crate::cli::ForwardArgs;
use crate::fault::Fault;
use crate::output::Output;
use std::process::ExitCode;
use vestibule_client::forward::{Carries, Forward, Forwarder};
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
    forwards.iter().try_for_each(super::try_forward)?;
    let unlocked = super::unlock(&file, &arguments.password, output)?;
    crate::roles::client_runtime()?.block_on(async {
        let client = super::patiently(Client::connect(unlocked, options)).await?;
        for forward in &forwards {
            let forwarder = match Forwarder::bind(forward, client.clone(), neighbours.clone()).await {
                Ok(forwarder) => forwarder,
                Err(error) => return Err(super::give_up(&client, error).await),
            };
            let (local, udp) = (forwarder.local_addr(), forward.carries == Carries::Udp);
            let line = serde_json::json!({ "local": local, "service": forward.service, "udp": udp });
            output.say(&line, || format!("{local}{} leads to {}", if udp { "/udp" } else { "" }, forward.service))?;
            tokio::spawn(forwarder.serve());
        }
        super::up::stay(&client).await
    })
}
