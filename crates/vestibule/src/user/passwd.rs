//! `vestibule passwd`: another password, or the same one under new keys.

use crate::cli::PasswdArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::password::Source;
use std::process::ExitCode;
use std::sync::Arc;
use vestibule_client::agent::Agent;
use vestibule_client::enrol::{self, RenewOptions, TpmOutlook};
use vestibule_client::local;
use vestibule_local_credential::Params;

/// Renews the credential.
pub(crate) fn run(arguments: &PasswdArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments.credential)?;
    crate::logging::start(&super::configuration(&home)?.log);
    let file = super::choose(&home, &arguments.credential)?;
    let recognised = local::recognise(&file, &super::sources())?;
    let runtime = crate::roles::client_runtime()?;
    // The sessions of the former keys end: a running `up` is told before the person types anything.
    let _alone = runtime.block_on(async { Agent::bind(&file) })?;
    output::note(&super::outlook(&TpmOutlook::find(arguments.tpm, &super::sources())));
    let source = Source::choose(&arguments.password)?;
    let typed = source.ask(&format!("Password of {}: ", file.name()))?;
    let unlocked = recognised.unlock(&typed)?;
    let check = |password: &_| enrol::check_new_password(&file.user, password).map_err(Fault::from);
    let password = if arguments.keep_password {
        check(&typed)?;
        typed
    } else {
        source.ask_new("Choose a new password: ", check)?
    };
    let options = RenewOptions { sources: super::sources(), stretching: Params::default(), tpm: arguments.tpm };
    let renewed = runtime.block_on(enrol::renew(&file, unlocked, Arc::new(password), options))?;
    let made = serde_json::json!({
        "credential": renewed.file.name(),
        "device": renewed.device.to_string(),
        "published": renewed.published,
        "tpm": super::tpm_word(renewed.tpm),
    });
    output.say(&made, || {
        let what = if arguments.keep_password { "new keys" } else { "a new password and new keys" };
        format!("{} has {what}; the former ones are revoked", renewed.file.name())
    })?;
    if !renewed.published {
        output::note("note: the gateway could not tell the controller yet; `vestibule up` works as soon as it has.");
    }
    Ok(ExitCode::SUCCESS)
}
