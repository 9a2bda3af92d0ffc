//! C1 at the gateway: it dials its controller, says who it is, publishes its rows, and answers what it is asked.
//!
//! One link at a time. While it is down nobody new is admitted; sessions go on (P10). Attempts follow each other with a
//! growing pause and jitter, for ever.

mod knock;
mod left_out;
mod outbox;
mod requests;

pub(crate) use left_out::{LeftOutRows, News};
pub(crate) use outbox::Change;

use crate::backoff::Backoff;
use crate::keys::KeysError;
use crate::shared::{Shared, entropy, now};
use crate::sparing::Sparing;
use knock::{KnockError, Opened};
use outbox::{Outbox, PublishError};
use quinn::Connection;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use vestibule_dark::framed::{FramedError, read_frame_within, write_frame};
use vestibule_dark::peer_address;
use vestibule_proto::id::LinkRequest;
use vestibule_proto::key::Spki;
use vestibule_proto::link::{Hello, LINK_NEWEST, LINK_VERSION, LinkRefusal, Welcome};
use vestibule_proto::session::code;
use vestibule_store::StoreError;

/// How long the controller may take to welcome the gateway.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// The largest welcome that is read, in bytes.
const WELCOME_LIMIT: usize = 1_024;
/// A link that stood for so long was a good one: the next attempt follows at once.
const GOOD_LINK: Duration = Duration::from_secs(10);
/// Controllers tell a client at most so many addresses.
const ADDRESSES_TOLD: usize = 4;

/// The link, as the gateway's other parts see it.
pub(crate) struct Link {
    outbox: Outbox,
    left_out: Mutex<LeftOutRows>,
    state: Mutex<State>,
}

struct State {
    since: Instant,
    /// The version of the link's messages.
    version: u16,
    up: Option<Up>,
    trouble: Option<String>,
    /// How many links there have been.
    number: u64,
}

struct Up {
    connection: Connection,
    /// This end of it.
    local: SocketAddr,
}

/// How the link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Where the controller was reached, while the link stands.
    pub(crate) up: Option<SocketAddr>,
    /// For how long it has been up or down.
    pub(crate) since: Duration,
    /// Its round trip.
    pub(crate) rtt: Option<Duration>,
    /// Why it is down, or which rows it does not carry.
    pub(crate) trouble: Option<String>,
}

/// Why a link did not come about, or ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Knock(#[from] KnockError),
    #[error("the controller did not welcome this gateway within {WELCOME_WITHIN:?}")]
    NoWelcome,
    #[error("the controller's link is of another version")]
    Version,
    #[error("the controller refuses this gateway: {}", .0.as_str())]
    Refused(LinkRefusal),
    #[error(transparent)]
    Framed(#[from] FramedError),
    #[error("the link broke: {0}")]
    Lost(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Directory(#[from] StoreError),
    #[error("the registration can't be written down: {0}")]
    Keys(#[from] KeysError),
}

impl LinkError {
    /// What the owner can do about it.
    fn next_step(&self) -> &'static str {
        match self {
            Self::Knock(error) => error.next_step(),
            Self::NoWelcome | Self::Framed(_) | Self::Lost(_) => "see whether the controller runs, and what it logs",
            Self::Version => "use the same version of the program for both roles",
            Self::Refused(LinkRefusal::Version) => "use the same version of the program for both roles",
            Self::Refused(LinkRefusal::NotYou) => {
                "was it removed there, or is this an old copy? Give it another link: vestibule controller invite NAME --gateway ID (`vestibule gateway status` tells both), then vestibule gateway relink LINK"
            }
            Self::Refused(LinkRefusal::Storage) => "see what the controller logs: its disk fails",
            Self::Publish(PublishError::Refused | PublishError::Storage) => {
                "see what the controller logs about this gateway's rows"
            }
            Self::Publish(_) => "see whether the controller runs, and what it logs",
            Self::Directory(error) => error.next_step(),
            Self::Keys(_) => "see that the gateway's directory can be written",
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        let state = State { since: Instant::now(), version: LINK_VERSION, up: None, trouble: None, number: 0 };
        Self { outbox: Outbox::default(), left_out: Mutex::default(), state: Mutex::new(state) }
    }
}

impl Link {
    /// Hands a change of rows to the controller: see [`Outbox::put`].
    pub(crate) fn put(&self, change: Change) -> oneshot::Receiver<bool> {
        self.outbox.put(change)
    }

    /// How the link is.
    pub(crate) fn view(&self) -> LinkState {
        let state = self.state();
        LinkState {
            up: state.up.as_ref().map(|up| peer_address(&up.connection)),
            since: state.since.elapsed(),
            rtt: state.up.as_ref().map(|up| up.connection.rtt()),
            trouble: state.trouble.clone().or_else(|| self.left_out().trouble()),
        }
    }

    /// Whether the controller speaks this version.
    fn speaks(&self, version: u16) -> bool {
        self.state().version >= version
    }

    /// The rows that the controller does not hold, as it has said.
    pub(crate) fn left_out(&self) -> MutexGuard<'_, LeftOutRows> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the link: the gateway stops.
    pub(crate) fn close(&self) {
        if let Some(up) = self.state().up.take() {
            up.connection.close(code::SHUTDOWN.into(), b"");
        }
    }

    /// The link stands; returns its number.
    fn stands(&self, connection: Connection, local: SocketAddr) -> u64 {
        let mut state = self.state();
        let number = state.number + 1;
        let up = Some(Up { connection, local });
        *state = State { since: Instant::now(), version: state.version, up, trouble: None, number };
        number
    }

    /// The link is down, or still is. Says for how long it stood.
    fn falls(&self, trouble: String) -> Option<Duration> {
        let mut state = self.state();
        let was_up = state.up.take().is_some();
        let stood = was_up.then(|| state.since.elapsed());
        if was_up {
            state.since = Instant::now();
        }
        state.trouble = Some(trouble);
        stood
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the link up until the gateway stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let (mut backoff, mut sparing) = (Backoff::default(), Sparing::default());
    let mut registered = shared.keys.is_registered();
    for attempt in 0u64.. {
        // Until the controller knows the lasting keys both ways in are tried in turn: a registration may have reached it
        // whose welcome did not reach us.
        let first = if registered || attempt % 2 == 1 { None } else { shared.keys.first_knock(now().wall) };
        let own = shared.keys.tls().for_link(attempt).clone();
        let outcome = async {
            let opened = knock::open(&shared, first.as_ref(), &own).await?;
            link(&shared, opened, (first.is_some(), own.spki()), &mut registered).await
        };
        let Err(error) = outcome.await;
        let stood = shared.link.falls(error.to_string());
        shared.link.outbox.shut();
        shared.admission.link_down(&shared).await;
        if stood.is_some_and(|stood| stood >= GOOD_LINK) {
            backoff.reset();
        }
        let pause = backoff.next(&mut entropy());
        tell(&shared, &mut sparing, &error, stood);
        tokio::time::sleep(pause).await;
    }
}

/// Tells why there is no link and what to do: at once when it is new, seldom while it lasts.
fn tell(shared: &Shared, sparing: &mut Sparing, error: &LinkError, stood: Option<Duration>) {
    let next = error.next_step();
    if let Some(stood) = stood {
        sparing.forget();
        let stood_s = stood.as_secs();
        tracing::warn!(%error, stood_s, next, "the link to the controller is down; sessions go on, nobody new gets in");
    } else if sparing.is_due(&error.to_string(), Instant::now()) {
        let down_s = shared.link.view().since.as_secs();
        let controllers = shared.keys.controllers.join(" ");
        tracing::warn!(%error, down_s, controllers, next, "no link to the controller; trying on, nobody new gets in");
    }
}

/// A link from its first frame to its end.
async fn link(
    shared: &Arc<Shared>,
    opened: Opened,
    (first, own): (bool, Spki),
    registered: &mut bool,
) -> Result<std::convert::Infallible, LinkError> {
    let Opened { endpoint, connection, local } = opened;
    let addresses = reached_at(shared, local);
    shared.admission.set_addresses(addresses.clone()).await;
    let register = (first || !*registered).then(|| shared.keys.register());
    let hello = Hello {
        versions: (LINK_VERSION, LINK_NEWEST),
        gateway: shared.keys.gateway,
        name: shared.keys.name.clone(),
        addresses,
        register,
    };
    let greeting = tokio::time::timeout(WELCOME_WITHIN, greet(&connection, &hello)).await;
    shared.link.state().version = greeting.map_err(|_| LinkError::NoWelcome)??;
    if !*registered {
        shared.keys.forget_invitation(&shared.settings().dir)?;
        *registered = true;
    }
    shared.keys.linked_under(&shared.settings().dir, &own)?;
    // Changes from here on are queued; those before are in what is read next.
    shared.link.outbox.open();
    outbox::hand_over(shared, &connection).await?;
    let rows = shared.directory.published_rows().await?;
    let number = shared.link.stands(connection.clone(), local);
    tracing::info!(controller = %peer_address(&connection), rows = rows.len(), "linked to the controller");
    let ended = tokio::select! {
        lost = requests::serve(shared, number, &connection) => LinkError::Lost(lost),
        broke = shared.link.outbox.publish(shared, &connection, rows) => match broke {
            Err(error) => error.into(),
            Ok(()) => LinkError::Lost(quinn::ConnectionError::LocallyClosed),
        },
    };
    connection.close(code::DONE.into(), b"");
    drop(endpoint);
    Err(ended)
}

/// Returns the version that was chosen.
async fn greet(connection: &Connection, hello: &Hello) -> Result<u16, LinkError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    write_frame(&mut send, hello).await?;
    // Fails only when the controller has stopped the stream, which the answer tells.
    let _ = send.finish();
    match read_frame_within(&mut recv, WELCOME_LIMIT).await? {
        Welcome::Linked { version: version @ LINK_VERSION..=LINK_NEWEST } => Ok(version),
        Welcome::Linked { .. } => Err(LinkError::Version),
        Welcome::Refused(refusal) => Err(LinkError::Refused(refusal)),
    }
}

/// Tells the controller and clients where the gateway is reached now; while the link is down, the next one tells.
pub(crate) async fn announce(shared: &Arc<Shared>) {
    let Some(local) = shared.link.state().up.as_ref().map(|up| up.local) else { return };
    let addresses = reached_at(shared, local);
    shared.admission.set_addresses(addresses.clone()).await;
    drop(shared.link.put(Change::Addresses(addresses)));
}

/// Where clients reach this gateway: as configured, else where it listens; and where it listens on every address, under
/// the address from which it reaches its controller.
fn reached_at(shared: &Shared, local: SocketAddr) -> Vec<SocketAddr> {
    let settings = shared.settings();
    if !settings.public.is_empty() {
        return settings.public.iter().copied().take(ADDRESSES_TOLD).collect();
    }
    let listening = shared.darks.iter().filter_map(|dark| dark.local_addr().ok());
    let concrete = |address: SocketAddr| {
        let ip = if address.ip().is_unspecified() { local.ip() } else { address.ip() };
        SocketAddr::new(ip, address.port())
    };
    listening.map(concrete).take(ADDRESSES_TOLD).collect()
}

/// One request of the controller, numbered by the link that it came over.
pub(crate) type Numbered = (u64, LinkRequest);
