//! The guard itself: what it holds, and how connections come to it.

mod apps;

pub(crate) use apps::{App, Apps};
pub use apps::{AppError, PortalLink};

use crate::audit::{Audit, AuditOutcome, AuditSettings, Entry};
use crate::coverage::Coverage;
use crate::entry::Entries;
use crate::kept::KeptForms;
use crate::once::{Interrupted, Once, OnceError, OnceKey, OnceSettings};
use crate::server::serve_connection;
use crate::sessions::{Live, Selector, SessionSettings, Sessions};
use crate::settings::AppSettings;
use crate::token::{CLOCK_SLACK, KeyringSettings, PageKeys};
use crate::users::{Users, UsersSettings};
use crate::{AppName, Binding, Body, Limits, LogicalAddress, Proof, Stamp, UserName, store, visit};
use aws_lc_rs::digest;
use hyper::Request;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use vestibule_store::{Store, StoreError};

/// How often the guard looks what commands beside it have written down.
const FOLLOWING_EVERY: Duration = Duration::from_millis(500);
/// How often the guard writes down what it has counted.
const COUNTING_EVERY: Duration = Duration::from_secs(5);
/// How often the guard forgets what is due.
const KEEPING_EVERY: Duration = Duration::from_secs(60);

/// What a guard is opened with.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// Its directory: the store, the log of claims, the audit log, keys. Made (0700) where missing.
    pub dir: PathBuf,
    /// How long sessions live, and where their logical addresses come from.
    pub sessions: SessionSettings,
    /// How long pages can be used.
    pub pages: KeyringSettings,
    /// What is remembered of commands.
    pub once: OnceSettings,
    /// Bounds of connections and requests.
    pub limits: Limits,
    /// What is kept of the audit log.
    pub audit: AuditSettings,
    /// What a password costs to try, where the guard runs alone.
    pub users: UsersSettings,
}

impl GuardSettings {
    /// A guard in this directory, with the usual bounds.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self {
            audit: AuditSettings::at(dir.join("audit.jsonl")),
            dir,
            sessions: SessionSettings::default(),
            pages: KeyringSettings::default(),
            once: OnceSettings::default(),
            limits: Limits::default(),
            users: UsersSettings::default(),
        }
    }
}

/// A running guard. Clones are handles of the same.
#[derive(Clone)]
pub struct Guard {
    parts: Arc<Parts>,
}

/// What requests share.
pub(crate) struct Parts {
    pub(crate) sessions: Sessions,
    pub(crate) pages: PageKeys,
    pub(crate) once: Once,
    pub(crate) audit: Audit,
    pub(crate) coverage: Coverage,
    pub(crate) kept: KeptForms,
    pub(crate) users: Users,
    pub(crate) entries: Entries,
    pub(crate) limits: Limits,
    store: Store,
    apps: RwLock<Arc<Apps>>,
    stopping: CancellationToken,
}

/// Who is at the other end of a connection, as far as that is known before a request is read.
#[derive(Clone)]
pub struct Peer {
    /// The address that the client's packets come from.
    pub client: Option<IpAddr>,
    /// Whether the client speaks TLS to the guard.
    pub tls: bool,
    /// Set when the connection came through a tunnel: device and user are proven.
    pub tunnel: Option<Arc<Tunnel>>,
}

/// What a tunnel has proven, and where this connection through it leads.
pub struct Tunnel {
    /// The application that was opened.
    pub app: AppName,
    /// The user.
    pub user: UserName,
    /// The device, by what stands for it in logs and in the list of sessions.
    pub device: String,
    /// The tunnel's session.
    pub session: TunnelSession,
    /// Where the user stands at this moment.
    pub standing: Arc<dyn Standing>,
}

/// Where a user stands: asked at every request, so that what the owner changes holds from the next one on.
pub trait Standing: Send + Sync {
    /// The user's groups.
    fn groups(&self) -> Vec<String>;
    /// The web applications that the user may open, for the portal.
    fn may_open(&self) -> Vec<AppName>;
    /// What the user calls this device of theirs, given as in [`Tunnel::device`]; `None` where it has no name.
    fn device_name(&self, _device: &str) -> Option<String> {
        None
    }
}

/// The name of a tunnel's session; whoever has none of its bytes can't use its pages.
#[derive(Clone, Copy)]
pub struct TunnelSession([u8; 32]);

/// Why a guard can't be opened.
#[derive(Debug, Error)]
pub enum GuardError {
    /// Its files can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The book of commands can't be used.
    #[error(transparent)]
    Once(#[from] OnceError),
}

impl TunnelSession {
    /// From the bytes of the tunnel's session number.
    pub fn new(session: &[u8]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"vestibule/1 tunnel session\0");
        hash.update(session);
        let mut name = [0; 32];
        name.copy_from_slice(hash.finish().as_ref());
        Self(name)
    }

    /// What ties pages to it.
    pub(crate) fn binding(self) -> Binding {
        Binding(self.0)
    }
}

impl Guard {
    /// Opens a guard in its directory; sessions, claims and forms of before a restart are taken up. No application yet.
    ///
    /// # Errors
    /// [`GuardError`].
    pub async fn open(settings: GuardSettings) -> Result<Self, GuardError> {
        let now = wall_clock();
        let dir = &settings.dir;
        let store = store::open(&dir.join("guard.sqlite"))?;
        let key = OnceKey::at(&dir.join("answers.key"))?;
        let audit = Audit::open(store.clone(), settings.audit)?;
        // A page's command is remembered for longer than the page opens, whatever the settings.
        let shortest = settings.pages.page_lifetime.saturating_add(2 * CLOCK_SLACK);
        let once = OnceSettings { keep_claims: settings.once.keep_claims.max(shortest), ..settings.once };
        let (once, interrupted) = Once::open(store.clone(), once, key)?;
        interrupted.iter().try_for_each(|one| audit.record(entry_of(one)))?;
        once.acknowledge(&interrupted);
        let parts = Parts {
            sessions: Sessions::open(store.clone(), settings.sessions, now).await?,
            pages: PageKeys::open(store.clone(), settings.pages, now).await?,
            once,
            audit,
            coverage: Coverage::open(&store)?,
            kept: KeptForms::new(store.clone()),
            users: Users::open(store.clone(), settings.users)?,
            entries: Entries::new()?,
            store,
            limits: settings.limits,
            apps: RwLock::default(),
            stopping: CancellationToken::new(),
        };
        let guard = Self { parts: Arc::new(parts) };
        tokio::spawn(guard.clone().keep());
        Ok(guard)
    }

    /// Makes these the applications, from the next request on. Those that did not change keep their connections.
    ///
    /// # Errors
    /// An application's upstream can't be set up; the former applications stay.
    pub fn set_apps(&self, apps: Vec<AppSettings>) -> Result<(), AppError> {
        let made = Apps::new(apps, &self.parts.apps())?;
        *self.parts.apps.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
        Ok(())
    }

    /// Serves a connection until it, or the guard, ends.
    pub async fn serve<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (parts, peer) = (self.parts.clone(), Arc::new(peer));
        let service = move |request: Request<Body>| {
            let (parts, peer) = (parts.clone(), peer.clone());
            async move { visit::answer(parts, peer, request).await }
        };
        serve_connection(io, &self.parts.limits, service, self.parts.stopping.cancelled()).await;
    }

    /// A tunnel's session has ended: what of it lives here is cut, its pages are worthless.
    pub async fn end_tunnel(&self, session: TunnelSession) {
        self.parts.sign_off(&session.binding(), wall_clock()).await;
    }

    /// The sessions of all users.
    pub fn sessions(&self) -> Vec<Arc<Live>> {
        self.parts.sessions.list()
    }

    /// Ends sessions in the owner's name; how many.
    ///
    /// # Errors
    /// The store failed; the sessions are over nevertheless.
    pub async fn revoke(&self, selector: &Selector) -> Result<usize, StoreError> {
        let ended = self.parts.sessions.revoke(selector, wall_clock()).await?;
        for live in &ended {
            self.parts.forget_answers(live.session().address).await;
        }
        Ok(ended.len())
    }

    /// Users who sign in with a password, where the guard runs alone.
    pub fn users(&self) -> &Users {
        &self.parts.users
    }

    /// Stops: connections end in order, what is counted is written down.
    pub async fn stop(&self) {
        self.parts.stopping.cancel();
        let written = tokio::join!(self.parts.coverage.save(&self.parts.store), self.parts.audit.flush());
        if let (Err(error), _) | (_, Err(error)) = written {
            tracing::error!(%error, "what was counted could not be written down");
        }
    }

    async fn keep(self) {
        let parts = &self.parts;
        tokio::select! {
            () = parts.stopping.cancelled() => {}
            () = parts.sessions.keep(wall_clock) => {}
            () = parts.forget_due() => {}
            () = parts.follow_commands() => {}
            () = parts.save_counts() => {}
        }
    }
}

impl Parts {
    /// The applications in force.
    pub(crate) fn apps(&self) -> Arc<Apps> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends a session by its own user's wish.
    pub(crate) async fn sign_off(&self, binding: &Binding, now: Stamp) {
        let address = self.sessions.address_of(binding, now);
        if let Err(error) = self.sessions.sign_off(binding, now).await {
            tracing::error!(%error, "the end of a session could not be written down yet");
        }
        if let Some(address) = address {
            self.forget_answers(address).await;
        }
    }

    /// What was kept for repeats of a session that is over.
    pub(crate) async fn forget_answers(&self, address: LogicalAddress) {
        if let Err(error) = self.once.forget(address).await {
            tracing::warn!(%error, "answers of an ended session stay until they expire");
        }
    }

    /// Users are changed and sessions cut by commands beside the running guard: what they change holds within a second.
    async fn follow_commands(&self) {
        loop {
            tokio::time::sleep(FOLLOWING_EVERY).await;
            if let Err(error) = self.learn_people(wall_clock()).await {
                tracing::warn!(%error, "the users can't be read: what was known of them holds");
            }
            if let Err(error) = self.learn_cuts(wall_clock()).await {
                tracing::warn!(%error, "which sessions were cut can't be read yet");
            }
        }
    }

    async fn learn_cuts(&self, now: Stamp) -> Result<(), StoreError> {
        for live in self.sessions.follow(now).await? {
            tracing::info!(user = %live.session().user, address = %live.session().address, "a session was cut");
            self.forget_answers(live.session().address).await;
        }
        Ok(())
    }

    async fn save_counts(&self) {
        loop {
            tokio::time::sleep(COUNTING_EVERY).await;
            if let Err(error) = self.coverage.save(&self.store).await {
                tracing::warn!(%error, "what was counted could not be written down yet");
            }
        }
    }

    async fn learn_people(&self, now: Stamp) -> Result<(), StoreError> {
        let people: BTreeMap<_, _> =
            self.users.list().await?.into_iter().map(|user| (user.name, user.groups)).collect();
        for live in self.sessions.list().iter().filter(|live| live.session().proof == Proof::Cookie) {
            let user = &live.session().user;
            match people.get(user) {
                Some(groups) if groups[..] == live.groups()[..] => {}
                Some(groups) => self.sessions.set_groups(user, groups).await?,
                None => drop(self.sessions.revoke(&Selector::User(user.clone()), now).await?),
            }
        }
        Ok(())
    }

    async fn forget_due(&self) {
        let mut every = tokio::time::interval(KEEPING_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let now = wall_clock();
            self.once.release(|address| self.sessions.at(address).is_none());
            let claims = self.once.sweep(now, |address| self.sessions.at(address).is_some());
            let kept = tokio::join!(self.pages.rotate_if_due(now), claims, self.kept.sweep(now));
            if let Err(error) = kept.0 {
                tracing::warn!(%error, "the key of pages could not be turned yet");
            }
            if let Err(error) = kept.1 {
                tracing::warn!(%error, "old answers could not be forgotten yet");
            }
            if let Err(error) = kept.2 {
                tracing::warn!(%error, "kept forms could not be forgotten yet");
            }
            if let Err(error) = self.audit.sweep(now).await {
                tracing::warn!(%error, "old entries of the audit log could not be removed yet");
            }
        }
    }
}

/// A crash took the answer: what is known stands in the log.
fn entry_of(one: &Interrupted) -> Entry {
    let (given, about) = (one.given, one.about.clone());
    Entry {
        at: given,
        user: about.user,
        address: about.address,
        app: about.app,
        serial: Some(about.serial),
        method: about.method,
        path: about.path,
        outcome: AuditOutcome::Unknown,
        status: None,
        duration: Duration::ZERO,
    }
}

/// The wall clock, for the shell.
pub(crate) fn wall_clock() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
