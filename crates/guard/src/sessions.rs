//! Sessions: from login to sign-off, expiry or revocation, each under a logical address of its own (PAGEGUARD section 1).
//!
//! The table in memory decides, the store remembers: what is answered is on the disk first, so that users stay logged in over a
//! restart and whoever signed off stays signed off. The one exception is the last use, which is written down a minute late at most.

mod beside;
mod ended;
mod live;
mod rows;
mod settings;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use beside::{cut, going_on};
pub use live::{Live, Session};
pub(crate) use rows::{ENTRY_KEY, SCHEMA};
pub use settings::{PoolSettings, SessionSettings};

use crate::address::{AddressTable, Exhausted, Network, Pool};
use crate::{Binding, EntryKey, LogicalAddress, Proof, Stamp, UserName};
use aws_lc_rs::rand;
use live::Serials;
use rows::{Row, SessionId};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::{Swept, Table};
use thiserror::Error;
use tokio::sync::Notify;
use vestibule_store::{Store, StoreError, StoreErrorKind};

/// Clocks are looked at so often at least, since somebody may put them right.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What was revoked longer ago has been followed already, or was never taken up.
const FOLLOWED: Duration = Duration::from_secs(60 * 60);

/// Why there is no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Gone {
    /// There never was one, or it ended more than a day ago.
    #[error("there is no such session")]
    Unknown,
    /// Its user signed off.
    #[error("the session was signed off")]
    SignedOff,
    /// It lasted as long as sessions may.
    #[error("the session has expired")]
    Expired,
    /// Nobody used it for too long.
    #[error("the session was idle for too long")]
    Idle,
    /// It belongs to a client at another address, and goes on there.
    #[error("the session belongs to another client address")]
    OtherClient,
    /// The owner ended it.
    #[error("the session was revoked")]
    Revoked,
}

/// Why no session began.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BeginError {
    /// The client has a session already; [`Sessions::find`] has it.
    #[error("this client has a session already")]
    Taken,
    /// There are as many sessions as may be.
    #[error("there are too many sessions")]
    Full,
    /// There is no logical address for it.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose sessions to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// The one under this address.
    Address(LogicalAddress),
    /// All of a user.
    User(UserName),
    /// All of a device.
    Device(String),
    /// All.
    All,
}

/// Who a session is for, as login or tunnel proved it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Newcomer {
    /// The user.
    pub user: UserName,
    /// The groups that the user is a member of.
    pub groups: Vec<String>,
    /// The device, where one was proven.
    pub device: Option<String>,
    /// Where the client's packets come from, where that is known.
    pub client: Option<IpAddr>,
    /// What the client shows with each request.
    pub proof: Proof,
    /// The key that the browser made at login, to prove itself afresh with.
    pub entry_key: Option<EntryKey>,
}

/// All sessions of a guard.
pub struct Sessions {
    store: Store,
    settings: SessionSettings,
    table: Mutex<Table>,
    /// Held while ends are written down, so that nobody who waits for his own takes another's for done.
    saving: tokio::sync::Mutex<()>,
    /// A deadline may have come nearer.
    rescheduled: Notify,
}

impl Sessions {
    /// Takes up the sessions of before a restart; those that are over by now stay over.
    ///
    /// # Errors
    /// The store failed.
    pub async fn open(store: Store, settings: SessionSettings, now: Stamp) -> Result<Self, StoreError> {
        let network = match settings.pool.network {
            Some(network) => network,
            None => rows::own_network(&store, Network::unique_local(random()?)).await?,
        };
        rows::end(&store, Vec::new(), now.before(kept(&settings))).await?;
        let pool = Pool::new(network, settings.pool.order, settings.quarantine);
        let mut table = Table::new(AddressTable::new(pool), &settings, now);
        for row in store.read_apart(rows::all).await? {
            table.restore(row, &store, now);
        }
        let sessions = Self {
            store,
            settings,
            table: Mutex::new(table),
            saving: tokio::sync::Mutex::default(),
            rescheduled: Notify::new(),
        };
        sessions.save_ends().await?;
        Ok(sessions)
    }

    /// Begins a session. It is durable when this returns.
    ///
    /// The binding is of the caller's making, never one that a client brought along unproven: a fresh cookie at each login, or the
    /// tunnel's session.
    ///
    /// # Errors
    /// [`BeginError`]: there is none, and nothing is left behind.
    pub async fn begin(&self, who: Newcomer, binding: Binding, now: Stamp) -> Result<Arc<Live>, BeginError> {
        let (id, random) = (SessionId(random()?), u128::from_be_bytes(random()?));
        let user = who.user.clone();
        let live = self.table().begin(random, now, (&user, &binding), |address| {
            let serials = Serials::of_new_session(self.store.clone(), id);
            let session = who.session(address, binding, now, now.after(self.settings.expires));
            Arc::new(Live::new(id, session, now, serials))
        })?;
        self.rescheduled.notify_one();
        if let Err(error) = self.write_down(&live).await {
            self.table().forget(&live, now);
            return Err(error.into());
        }
        if live.has_ended() {
            // Ended while it was written down: the end must stand behind the beginning.
            self.table().end_again(&live, now);
            self.save_ends().await?;
        }
        Ok(live)
    }

    /// The session of a client that shows `binding`, from `client` as far as that is known. The caller [touches](Live::touch) it when
    /// the request counts as use.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn find(&self, binding: &Binding, client: Option<IpAddr>, now: Stamp) -> Result<Arc<Live>, Gone> {
        let live = self.table().find(binding, now)?;
        let elsewhere = live.session().client.is_some_and(|own| client != Some(own));
        if self.settings.bind_client_address && elsewhere { Err(Gone::OtherClient) } else { Ok(live) }
    }

    /// The logical address of the session that is shown by `binding`, wherever its client is.
    pub(crate) fn address_of(&self, binding: &Binding, now: Stamp) -> Option<LogicalAddress> {
        self.table().find(binding, now).ok().map(|live| live.session().address)
    }

    /// Whose the last session of this client was that is over, as long as that is remembered: what it was about to do is kept for
    /// that user alone.
    ///
    /// # Errors
    /// The store failed.
    pub async fn former_user(&self, binding: &Binding) -> Result<Option<UserName>, StoreError> {
        let binding = *binding;
        self.store.read_apart(move |c| rows::last_user(c, &binding)).await
    }

    /// The session under a logical address.
    pub fn at(&self, address: LogicalAddress) -> Option<Arc<Live>> {
        self.table().at(address)
    }

    /// Signs off. From here on its pages are worthless and everything that [waits for its end](Live::ended) knows; it is durable when
    /// this returns. `false`: there was no session.
    ///
    /// # Errors
    /// The store failed. The session is over nevertheless, and writing that down is tried again.
    pub async fn sign_off(&self, binding: &Binding, now: Stamp) -> Result<bool, StoreError> {
        let found = self.table().sign_off(binding, now);
        self.save_ends().await.map(|()| found)
    }

    /// Ends sessions in the owner's name, and returns them.
    ///
    /// # Errors
    /// The store failed. The sessions are over nevertheless, and writing that down is tried again.
    pub async fn revoke(&self, selector: &Selector, now: Stamp) -> Result<Vec<Arc<Live>>, StoreError> {
        let ended = self.table().revoke(selector, now);
        self.save_ends().await.map(|()| ended)
    }

    /// Ends what a command beside the running guard has written down as revoked, and returns it.
    ///
    /// # Errors
    /// The store failed; what is to end is found again the next time.
    pub async fn follow(&self, now: Stamp) -> Result<Vec<Arc<Live>>, StoreError> {
        let revoked = self.store.read_apart(move |c| rows::revoked(c, now.before(FOLLOWED))).await?;
        if revoked.is_empty() {
            return Ok(Vec::new());
        }
        let these: Vec<_> = self.list().into_iter().filter(|live| revoked.contains(&live.id())).collect();
        for live in &these {
            self.revoke(&Selector::Address(live.session().address), now).await?;
        }
        Ok(these)
    }

    /// Says which groups a user is a member of from now on, in sessions that go on.
    ///
    /// # Errors
    /// The store failed: until a restart the new groups hold nevertheless.
    pub async fn set_groups(&self, user: &UserName, groups: &[String]) -> Result<(), StoreError> {
        for live in self.list().iter().filter(|live| live.session().user == *user) {
            live.set_groups(groups.into());
        }
        rows::set_groups(&self.store, user.clone(), groups.to_vec()).await
    }

    /// All sessions, by logical address. Some may be over before the next [sweep](Self::sweep) says so.
    pub fn list(&self) -> Vec<Arc<Live>> {
        self.table().list()
    }

    /// When [`sweep`](Self::sweep) is due.
    pub fn poll_timeout(&self) -> Stamp {
        self.table().poll_timeout()
    }

    /// Ends what is over, writes down which sessions were used, and returns what ended.
    ///
    /// # Errors
    /// The store failed; what ended is over nevertheless, and writing it down is tried again.
    pub async fn sweep(&self, now: Stamp) -> Result<Vec<Arc<Live>>, StoreError> {
        let Swept { ended, used } = self.table().sweep(now);
        self.save_ends().await?;
        rows::touch(&self.store, used.iter().map(|(live, at)| (live.id(), *at)).collect()).await?;
        used.iter().for_each(|(live, at)| live.saved_use(*at));
        Ok(ended)
    }

    /// Sweeps whenever that is due, for ever. `clock` tells the time.
    pub async fn keep(&self, clock: impl Fn() -> Stamp) {
        loop {
            if let Err(error) = self.sweep(clock()).await {
                tracing::warn!(%error, "what became of sessions could not be written down yet");
            }
            let wait = self.poll_timeout().since(clock()).min(LONGEST_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(wait.max(Duration::from_millis(10))) => {}
                () = self.rescheduled.notified() => {}
            }
        }
    }

    async fn write_down(&self, live: &Live) -> Result<(), StoreError> {
        // First the end of the client's last session, or of the one that had this address.
        self.save_ends().await?;
        rows::insert(&self.store, Row::of(live)).await
    }

    async fn save_ends(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.saving.lock().await;
        let ends = self.table().take_unsaved();
        let Some(last) = ends.last() else { return Ok(()) };
        let forget = last.at.before(kept(&self.settings));
        let saved = rows::end(&self.store, ends.clone(), forget).await;
        if saved.is_err() {
            self.table().put_back_unsaved(ends);
        }
        saved
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newcomer {
    fn session(self, address: LogicalAddress, binding: Binding, started: Stamp, expires: Stamp) -> Session {
        let Self { user, groups, device, client, proof, entry_key } = self;
        Session { address, binding, user, groups, device, client, proof, entry_key, started, expires }
    }
}

/// For how long the row of a session that is over is of use.
fn kept(settings: &SessionSettings) -> Duration {
    ended::REMEMBERED.max(settings.quarantine)
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| StoreError::new(StoreErrorKind::Other, "no randomness"))?;
    Ok(bytes)
}
