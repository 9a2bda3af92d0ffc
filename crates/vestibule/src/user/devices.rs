//! `vestibule devices`: the credentials on this machine.

use crate::cli::CredentialArgs;
use crate::fault::Fault;
use crate::output::Output;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use vestibule_client::local;
use vestibule_local_credential::TpmUse;

/// One credential.
#[derive(Serialize)]
struct Line {
    name: String,
    device_name: Option<String>,
    device: Option<String>,
    state: String,
    /// What this machine's TPM does for it: `device` or `password`.
    tpm: Option<&'static str>,
    path: PathBuf,
}

/// Lists them, with whether each opens on this machine.
pub(crate) fn run(arguments: CredentialArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments)?;
    let lines: Vec<Line> = home
        .credentials()?
        .into_iter()
        .filter(|file| {
            let wanted = arguments.credential.as_deref();
            wanted.is_none_or(|wanted| wanted == file.name() || wanted == file.user.as_str())
        })
        .map(|file| match local::recognise(&file, &super::sources()) {
            Ok(recognised) => Line {
                name: file.name(),
                device_name: Some(recognised.sealed().device_name.clone()),
                device: Some(recognised.sealed().device.to_string()),
                state: match local::awaits_approval(&file, recognised.sealed()) {
                    Some(words) => format!("waits for approval: {words}"),
                    None => opens(recognised.tpm()).to_owned(),
                },
                tpm: super::tpm_word(recognised.tpm()),
                path: file.path.clone(),
            },
            Err(error) => Line {
                name: file.name(),
                device_name: None,
                device: None,
                state: error.headline(),
                tpm: None,
                path: file.path.clone(),
            },
        })
        .collect();
    output.list(&lines, &["credential", "device", "state", "id", "file"], |line| {
        vec![
            line.name.clone(),
            line.device_name.clone().unwrap_or_default(),
            line.state.clone(),
            line.device.clone().unwrap_or_default(),
            line.path.display().to_string(),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn opens(tpm: TpmUse) -> &'static str {
    match tpm {
        TpmUse::None => "opens on this machine",
        TpmUse::Device => "opens on this machine, by its TPM",
        TpmUse::Password => "opens on this machine, by its TPM, which limits guesses",
    }
}
