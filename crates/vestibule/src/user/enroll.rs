//! `vestibule enroll`.

use crate::cli::EnrollArgs;
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::password::{self, Source, unbuffered_stdin};
use crate::roles;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use vestibule_client::enrol::{self, EnrolOptions};
use vestibule_local_credential::credential::Params;
use vestibule_proto::invitation::LINK_LIMIT;
use vestibule_proto::words::DeviceWords;
use zeroize::Zeroizing;

/// Enrols this device.
pub(crate) fn run(arguments: EnrollArgs, output: &Output) -> Result<ExitCode, Fault> {
    let home = super::home(&arguments.credential)?;
    crate::logging::start(&super::configuration(&home)?.log);
    let link = match arguments.link {
        None => password::ask_link()?,
        Some(link) if link == "-" => link_from_stdin()?,
        Some(link) => Zeroizing::new(link),
    };
    let invitation = enrol::read_link(&link).map_err(|error| {
        let fault = Fault::from(error);
        if link.trim().starts_with("vestibule-gateway:") {
            return fault
                .next("this one invites a gateway: vestibule gateway init --controller LINK --public ADDR:PORT");
        }
        fault
    })?;
    output::note(&format!("`{}` invites {} to enrol this device.", invitation.gateway_name, invitation.user));
    let options = EnrolOptions {
        home,
        device_name: arguments.device_name.unwrap_or_else(host_name),
        replace: arguments.replace,
        sources: super::sources(),
        stretching: Params::default(),
        tpm: arguments.tpm,
    };
    // Everything that can fail here is tried before the person is asked to think of a password.
    output::note(&super::outlook(&enrol::check(&invitation, &options)?));
    let password = Source::choose(&arguments.password)?
        .ask_new("Choose a password: ", |password| enrol::check_password(&invitation, password).map_err(Fault::from))?;
    let enrolled = roles::client_runtime()?.block_on(enrol::enrol(&invitation, Arc::new(password), &options))?;
    let made = serde_json::json!({
        "credential": enrolled.file.name(),
        "device": enrolled.device.to_string(),
        "path": enrolled.file.path,
        "published": enrolled.published,
        "tpm": super::tpm_word(enrolled.tpm),
        "waits_for_approval": enrolled.awaits.is_some(),
        "words": enrolled.awaits.map(|words| words.to_string()),
    });
    let up = roles::command("up", Role::Client, options.home.dir());
    output.say(&made, || {
        format!(
            "This device is enrolled as {} ({}).\n{}",
            enrolled.file.name(),
            enrolled.file.path.display(),
            enrolled.awaits.as_ref().map_or_else(|| format!("Next:  {up}"), |words| waits(words, &up)),
        )
    })?;
    if !enrolled.published && enrolled.awaits.is_none() {
        output::note("note: the gateway could not tell the controller yet; `vestibule up` works as soon as it has.");
    }
    Ok(ExitCode::SUCCESS)
}

/// What is left to be done by somebody else.
fn waits(words: &DeviceWords, up: &str) -> String {
    format!(
        "It waits for approval by the gateway's owner, who compares these six words with those that the gateway shows:\n\n  \
         {words}\n\nRead them to the owner, over a way on which you know each other. Once it is approved:  {up}"
    )
}

/// The link from the first line of stdin, read byte by byte so that the password's line stays for whoever reads it.
#[allow(clippy::unbuffered_bytes)]
fn link_from_stdin() -> Result<Zeroizing<String>, Fault> {
    // With room for all of it no copy stays behind.
    let mut line = Vec::with_capacity(LINK_LIMIT + 2);
    for byte in unbuffered_stdin()?.take(LINK_LIMIT as u64 + 2).bytes() {
        match byte {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) => return Err(Fault::usage(format!("the link can't be read from stdin: {error}"))),
        }
    }
    String::from_utf8(line).map(Zeroizing::new).map_err(|_| Fault::usage("what came on stdin is not a link"))
}

/// The machine's own name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
