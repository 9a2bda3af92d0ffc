//! What a person does: enrol, up, pipe, forward, and asking a running `up`.

pub(crate) mod agent;
pub(crate) mod devices;
pub(crate) mod enroll;
pub(crate) mod forward;
pub(crate) mod passwd;
pub(crate) mod pipe;
pub(crate) mod selftest;
pub(crate) mod up;
pub(crate) mod why;

use crate::cli::{CredentialArgs, PasswordArgs};
use crate::config::{self, ClientConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::{self, Output};
use crate::password::Source;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;
use vestibule_client::enrol::TpmOutlook;
use vestibule_client::error::{CredentialTrouble, Trouble};
use vestibule_client::forward::{Carries, Forward};
use vestibule_client::home::{CredentialFile, Home};
use vestibule_client::keeper::Event;
use vestibule_client::local::{self, Recognised, Unlocked};
use vestibule_client::{Client, ClientError, Neighbours};
use vestibule_local_credential::fingerprint::Sources;
use vestibule_local_credential::{Password, TpmUse};
use vestibule_proto::session::ServiceKind;

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        Self::new(error.exit_code(), error.headline()).detail(error.detail()).next(error.next_step())
    }
}

/// The client's directory.
pub(crate) fn home(arguments: &CredentialArgs) -> Result<Home, Fault> {
    Ok(Home::new(Role::Client.dir(arguments.dir.as_deref())?))
}

/// The credential that is meant.
pub(crate) fn choose(home: &Home, arguments: &CredentialArgs) -> Result<CredentialFile, Fault> {
    let named = arguments.credential.as_deref();
    home.choose(named).map_err(|error| {
        let missing = matches!(error, ClientError::Credential { trouble: CredentialTrouble::Missing, .. });
        let others = home.credentials().unwrap_or_default();
        match named {
            Some(named) if missing && !others.is_empty() => {
                let names: Vec<String> = others.iter().map(CredentialFile::name).collect();
                Fault::new(error.exit_code(), format!("there is no credential `{named}` on this machine"))
                    .detail("Nothing was sent to the network.")
                    .next(format!("name one that there is: --as {}", names.join(", --as ")))
            }
            Some(_) | None => error.into(),
        }
    })
}

/// Whether this machine would listen there: asked before anybody types a password or a session begins.
pub(crate) fn try_listen(address: SocketAddr) -> Result<(), Fault> {
    if !address.ip().is_loopback() {
        return Err(ClientError::NotLoopback { address }.into());
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(ClientError::Listen { address, trouble: Trouble::from(&error) }.into()),
    }
}

/// [`try_listen`] for a forward.
pub(crate) fn try_forward(forward: &Forward) -> Result<(), Fault> {
    let address = forward.local;
    match forward.carries {
        Carries::Tcp => try_listen(address),
        Carries::Udp => match UdpSocket::bind(address) {
            Ok(_) => Ok(()),
            Err(error) => Err(ClientError::Listen { address, trouble: Trouble::from(&error) }.into()),
        },
    }
}

/// How long a person at a terminal waits without a word.
const WORDLESS: Duration = Duration::from_secs(2);

/// A connect; the person at the terminal hears of it when it takes long.
pub(crate) async fn patiently<T>(connect: impl Future<Output = T>) -> T {
    let mut connect = std::pin::pin!(connect);
    if let Ok(connected) = tokio::time::timeout(WORDLESS, &mut connect).await {
        return connected;
    }
    if io::stderr().is_terminal() {
        output::note("no answer yet; knocking again for some seconds…");
    }
    connect.await
}

/// Ends the session that a command began and can't use, so that none is left over at the gateway.
pub(crate) async fn give_up(client: &Client, fault: impl Into<Fault>) -> Fault {
    // What went wrong before is what the person must know.
    let _ = client.sign_off().await;
    fault.into()
}

/// What tells this machine from others. `VESTIBULE_TPM` names the TPM's device, or an emulator's socket, where it is not the
/// usual one; a credential opens with the TPM that made it and no other, wherever that is said to be.
pub(crate) fn sources() -> Sources {
    match std::env::var_os("VESTIBULE_TPM").filter(|path| !path.is_empty()) {
        None => Sources::system(),
        Some(path) => Sources::system().with_tpm(path),
    }
}

/// What a TPM does for a credential, in a word for programs; `None` for nothing.
pub(crate) fn tpm_word(tpm: TpmUse) -> Option<&'static str> {
    match tpm {
        TpmUse::None => None,
        TpmUse::Device => Some("device"),
        TpmUse::Password => Some("password"),
    }
}

/// What becomes of a copy of a new credential's file, in one line.
pub(crate) fn outlook(found: &TpmOutlook) -> String {
    match (found.tpm, &found.reason) {
        (TpmUse::Password, _) => {
            "This machine's TPM seals the credential: a copy opens nowhere else, and the TPM limits \
                                  wrong passwords."
                .to_owned()
        }
        (TpmUse::Device, _) => "This machine's TPM seals the credential: a copy opens nowhere else.".to_owned(),
        (TpmUse::None, Some(reason)) => format!("No TPM seals the credential: {reason}."),
        (TpmUse::None, None) => "No TPM seals the credential, as you asked.".to_owned(),
    }
}

/// The client's configuration; without a file, the defaults.
pub(crate) fn configuration(home: &Home) -> Result<ClientConfig, Fault> {
    let file = Role::Client.configuration(home.dir());
    if !file.exists() {
        return Ok(ClientConfig::default());
    }
    config::load(&file)
}

/// Step 1 of the connect, with the person: the device first, then the password. Sends nothing.
pub(crate) fn unlock(file: &CredentialFile, password: &PasswordArgs, output: &Output) -> Result<Unlocked, Fault> {
    let recognised = recognise(file)?;
    let typed = typed(file, password)?;
    Ok(open(&recognised, &typed, output)?)
}

/// The first half of step 1: this machine.
pub(crate) fn recognise(file: &CredentialFile) -> Result<Recognised, ClientError> {
    let recognised = local::recognise(file, &sources())?;
    if let Some(missing) = recognised.missing() {
        output::note(&format!("note: this machine no longer tells its {missing}; the credential opens without it"));
    }
    Ok(recognised)
}

/// The password, from wherever the person wants it to come.
pub(crate) fn typed(file: &CredentialFile, password: &PasswordArgs) -> Result<Password, Fault> {
    Source::choose(password)?.ask(&format!("Password of {}: ", file.name()))
}

/// The second half of step 1: the password.
pub(crate) fn open(recognised: &Recognised, typed: &Password, output: &Output) -> Result<Unlocked, ClientError> {
    let unlocked = recognised.unlock(typed)?;
    if let Some(reminder) = reminder(unlocked.needs_raise(), output) {
        output::note(reminder);
    }
    Ok(unlocked)
}

/// What a person is told whose credential is weaker than one made today. A program that reads JSON asks `status`.
fn reminder(needs_raise: bool, output: &Output) -> Option<&'static str> {
    (needs_raise && !output.is_json()).then_some(
        "note: this credential protects the password less than one made today would; \
         `vestibule passwd --keep-password` renews it",
    )
}

/// Whose connections the local ports serve.
pub(crate) fn neighbours(any_local_user: bool) -> Neighbours {
    if any_local_user { Neighbours::welcome() } else { Neighbours::refused() }
}

/// The word for what a service carries.
pub(crate) fn kind(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Tcp => "tcp",
        ServiceKind::Web => "web",
        ServiceKind::Udp => "udp",
    }
}

/// What happens to the session while a command runs: told on stderr, so that nobody wonders why a connection stands still.
pub(crate) fn tell(event: &Event) {
    match event {
        Event::Reconnecting { last: None, .. } => output::note("the connection broke; taking the session up again…"),
        Event::Reconnecting { last: Some(error), wait } => {
            output::note(&format!("{}; trying again {}", error.headline(), soon(*wait)));
        }
        Event::Resumed => output::note("connected again"),
        Event::Over(_) => {}
    }
}

/// When, for people: nobody reads milliseconds while waiting.
fn soon(wait: Duration) -> String {
    match wait.as_secs_f64().round() {
        seconds if seconds < 1.0 => "at once".to_owned(),
        seconds => format!("in {seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_reminded_of_a_weak_credential_and_programs_are_not() {
        let (people, programs) = (Output::new(false), Output::new(true));
        assert!(reminder(true, &people).is_some_and(|text| text.contains("vestibule passwd --keep-password")));
        assert_eq!((reminder(true, &programs), reminder(false, &people)), (None, None));
    }
}
