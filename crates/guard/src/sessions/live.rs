//! One session while it lasts.

use super::Gone;
use super::rows::{self, SessionId};
use crate::guard::App;
use crate::limits::cut;
use crate::token::{CLOCK_SLACK, Context};
use crate::{AppName, Binding, Body, EntryKey, LogicalAddress, Proof, Serial, Stamp, UserName};
use hyper::body::Body as _;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use vestibule_policy::web::GrantSet;
use vestibule_store::{Store, StoreError};

/// Serials are written down in blocks of so many: a restart skips what is left of one.
const BLOCK: u64 = 1_024;
/// A later use is worth writing down when it is later by this much.
const WORTH_SAVING: u64 = 30_000;

/// What is known of a session from its beginning to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Its logical address, which no other session has.
    pub address: LogicalAddress,
    /// What its client proves itself with.
    pub binding: Binding,
    /// Whose it is.
    pub user: UserName,
    /// The groups that the user was a member of at login; [`Live::groups`] knows today's.
    pub groups: Vec<String>,
    /// The device, where one was proven.
    pub device: Option<String>,
    /// Where the client's packets came from at login, where that is known.
    pub client: Option<IpAddr>,
    /// How the client proves itself.
    pub proof: Proof,
    /// The key that its browser made at login, to prove itself afresh with: it is this one for as long as the session lasts.
    pub entry_key: Option<EntryKey>,
    /// When it began.
    pub started: Stamp,
    /// When it ends at the latest.
    pub expires: Stamp,
}

impl Session {
    /// What its pages of an application are sealed in.
    pub fn context<'a>(&self, app: &'a AppName) -> Context<'a> {
        Context { address: self.address, binding: self.binding, started: self.started, app }
    }
}

/// A session that goes on, or went on until a moment ago.
pub struct Live {
    id: SessionId,
    session: Session,
    groups: RwLock<Arc<[String]>>,
    granted: Mutex<Option<Granted>>,
    last_use: AtomicU64,
    saved_use: AtomicU64,
    serials: Serials,
    why: OnceLock<Gone>,
    end: CancellationToken,
}

/// What an application's rules granted to a member of these groups. They are the same rules as long as it is the same [`App`].
struct Granted {
    app: Weak<App>,
    groups: Vec<String>,
    grants: GrantSet,
}

impl Live {
    pub(super) fn new(id: SessionId, session: Session, last_use: Stamp, serials: Serials) -> Self {
        let (last_use, saved_use) = (AtomicU64::new(last_use.0), AtomicU64::new(last_use.0));
        let groups = RwLock::new(session.groups.as_slice().into());
        let granted = Mutex::default();
        Self {
            id,
            session,
            groups,
            granted,
            last_use,
            saved_use,
            serials,
            why: OnceLock::new(),
            end: CancellationToken::new(),
        }
    }

    /// Who and where it is.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The groups that the user is a member of.
    pub fn groups(&self) -> Arc<[String]> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the rules of `app` grant to its user, as a member of `groups`. The latest is kept: most requests of a session ask for
    /// the same as the one before.
    pub(crate) fn granted(&self, app: &Arc<App>, groups: Vec<String>) -> GrantSet {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |known: &&Granted| known.app.as_ptr() == Arc::as_ptr(app) && known.groups == groups;
        if let Some(known) = granted.as_ref().filter(is_known) {
            return known.grants.clone();
        }
        let grants = app.settings.policy.for_user(self.session.user.as_str(), &groups);
        *granted = Some(Granted { app: Arc::downgrade(app), groups, grants: grants.clone() });
        grants
    }

    /// When it was last used.
    pub fn last_use(&self) -> Stamp {
        Stamp(self.last_use.load(Ordering::Relaxed))
    }

    /// Says that it is used now.
    pub fn touch(&self, now: Stamp) {
        self.last_use.fetch_max(now.0, Ordering::Relaxed);
    }

    /// The number of the next page. No number is given twice, over restarts too; some may be left out.
    ///
    /// # Errors
    /// The store failed where a new block of numbers was due.
    pub async fn next_serial(&self) -> Result<Serial, StoreError> {
        self.serials.next().await
    }

    /// Waits for the end of the session, whatever it is.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.end.clone().cancelled_owned()
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.why.get().is_some()
    }

    /// The body, broken off with the session ([`crate::cut_when`]).
    pub(crate) fn cut(&self, body: Body) -> Body {
        if body.is_end_stream() { body } else { cut(body, self.ended(), !self.has_ended()) }
    }

    /// Why it is over.
    pub fn why_ended(&self) -> Option<Gone> {
        self.why.get().copied()
    }

    pub(super) fn set_groups(&self, groups: Arc<[String]>) {
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn reserved_serials(&self) -> u64 {
        self.serials.reserved.load(Ordering::Acquire)
    }

    pub(super) fn end(&self, why: Gone) {
        // The first reason stands.
        let _ = self.why.set(why);
        self.end.cancel();
    }

    /// Whether it is over by the clock. One that began in the future is, too: its deadlines are not to be trusted.
    pub(super) fn over(&self, now: Stamp, idle: Duration) -> Option<Gone> {
        if self.session.expires <= now || self.session.started > now.after(CLOCK_SLACK) {
            return Some(Gone::Expired);
        }
        (self.last_use().after(idle) <= now).then_some(Gone::Idle)
    }

    /// When it is over unless it is used.
    pub(super) fn deadline(&self, idle: Duration) -> Stamp {
        self.session.expires.min(self.last_use().after(idle))
    }

    /// Whether its last use is worth writing down.
    pub(super) fn is_use_unsaved(&self) -> bool {
        self.last_use().0 >= self.saved_use.load(Ordering::Relaxed).saturating_add(WORTH_SAVING)
    }

    pub(super) fn saved_use(&self, saved: Stamp) {
        self.saved_use.fetch_max(saved.0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({} {})", self.session.address, self.session.user)
    }
}

/// The numbers of a session's pages.
pub(super) struct Serials {
    store: Store,
    id: SessionId,
    next: AtomicU64,
    /// Numbers below are written down as given.
    reserved: AtomicU64,
    reserving: tokio::sync::Mutex<()>,
}

impl Serials {
    /// From 1; the first block is written down together with the session.
    pub(super) fn of_new_session(store: Store, id: SessionId) -> Self {
        Self::new(store, id, 1, 1 + BLOCK)
    }

    /// From where the last block written down ended.
    pub(super) fn of_restart(store: Store, id: SessionId, reserved: u64) -> Self {
        Self::new(store, id, reserved, reserved)
    }

    fn new(store: Store, id: SessionId, next: u64, reserved: u64) -> Self {
        let (next, reserved) = (AtomicU64::new(next), AtomicU64::new(reserved));
        Self { store, id, next, reserved, reserving: tokio::sync::Mutex::default() }
    }

    async fn next(&self) -> Result<Serial, StoreError> {
        loop {
            if let Some(serial) = self.take() {
                return Ok(serial);
            }
            self.reserve().await?;
        }
    }

    fn take(&self) -> Option<Serial> {
        let reserved = self.reserved.load(Ordering::Acquire);
        let below = |next| (next < reserved).then_some(next + 1);
        self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok().map(Serial)
    }

    /// Writes the next block down, unless somebody else just did.
    async fn reserve(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.reserving.lock().await;
        let reserved = self.reserved.load(Ordering::Acquire);
        if self.next.load(Ordering::Acquire) < reserved {
            return Ok(());
        }
        rows::reserve(&self.store, self.id, reserved + BLOCK).await?;
        self.reserved.store(reserved + BLOCK, Ordering::Release);
        Ok(())
    }
}
