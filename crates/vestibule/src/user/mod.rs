//! What a person does: enrol, up, pipe, forward, and asking a running `up`.

pub(crate) mod agent;
pub(crate) mod devices;
pub(crate) mod enroll;
pub(crate) mod forward;
pub(crate) mod pipe;
pub(crate) mod up;

use crate::cli::{CredentialArgs, PasswordArgs};
use crate::config::{self, ClientConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output;
use crate::password::Source;
use vestibule_client::ClientError;
use vestibule_client::home::{CredentialFile, Home};
use vestibule_client::keeper::Event;
use vestibule_client::local::{self, Unlocked};
use vestibule_local_credential::fingerprint::Sources;
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

/// The client's configuration; without a file, the defaults.
pub(crate) fn configuration(home: &Home) -> Result<ClientConfig, Fault> {
    let file = Role::Client.configuration(home.dir());
    if !file.exists() {
        return Ok(ClientConfig::default());
    }
    let config: ClientConfig = config::load(&file)?;
    config.check()?;
    Ok(config)
}

/// Step 1 of the connect, with the person: the device first, then the password. Sends nothing.
pub(crate) fn unlock(file: &CredentialFile, password: &PasswordArgs) -> Result<Unlocked, Fault> {
    let recognised = local::recognise(file, &Sources::system())?;
    if let Some(missing) = recognised.missing() {
        output::note(&format!("note: this machine no longer tells its {missing}; the credential opens without it"));
    }
    let source = Source::choose(password)?;
    let typed = source.ask(&format!("Password of {}: ", file.name()))?;
    Ok(recognised.unlock(&typed)?)
}

/// The word for what a service carries.
pub(crate) fn kind(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Tcp => "tcp",
        ServiceKind::Web => "web",
    }
}

/// What happens to the session while a command runs: told on stderr, so that nobody wonders why a connection stands still.
pub(crate) fn tell(event: &Event) {
    match event {
        Event::Reconnecting { last: None, .. } => output::note("the connection broke; taking the session up again…"),
        Event::Reconnecting { last: Some(error), wait } => {
            output::note(&format!("{}; trying again in {:.0} s", error.headline(), wait.as_secs_f64()));
        }
        Event::Resumed => output::note("connected again"),
        Event::Over(_) => {}
    }
}
