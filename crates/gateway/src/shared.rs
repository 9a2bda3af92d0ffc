//! What the gateway's tasks share.

use crate::admission::Admission;
use crate::contacts::Contacts;
use crate::counters::Counters;
use crate::directory::{Catalogue, Directory, EndReason, KeptTime};
use crate::greetings::Greetings;
use crate::keys::Keys;
use crate::link::Link;
use crate::sessions::{Session, Sessions};
use crate::settings::Settings;
use crate::web;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use vestibule_dark::Dark;
use vestibule_dark::datagrams::DatagramCounters;
use vestibule_door::Door;
use vestibule_guard::Guard;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{Now, SessionId, Stamp};
use vestibule_proto::session::Reason;
use vestibule_store::StoreError;

/// How often the directory is asked again for a catalogue that it did not give.
const CATALOGUE_TRIES: u32 = 3;
/// The pause in between.
const CATALOGUE_PAUSE: Duration = Duration::from_millis(50);

/// What the gateway's tasks share.
pub(crate) struct Shared {
    pub(crate) keys: Keys,
    pub(crate) directory: Directory,
    pub(crate) kept: KeptTime,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) darks: Vec<Dark>,
    pub(crate) admission: Admission,
    pub(crate) greetings: Greetings,
    pub(crate) sessions: Sessions,
    pub(crate) contacts: Contacts,
    pub(crate) link: Link,
    pub(crate) guard: Guard,
    pub(crate) logins: Semaphore,
    pub(crate) counters: Counters,
    /// What became of the datagrams of UDP services.
    pub(crate) datagrams: Arc<DatagramCounters>,
    pub(crate) tasks: TaskTracker,
    pub(crate) started: Instant,
    /// Held from a change of the directory until its effects are carried out: these read the directory again, and of two
    /// changes at once the earlier one's must not be put in force, or be told to the controller, behind the later one's.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Held while invitations are told what the keys are now.
    introducing: Mutex<()>,
    settings: RwLock<Arc<Settings>>,
    catalogue: RwLock<Arc<Catalogue>>,
    /// Sessions whose end could not be written down yet.
    unwritten: Mutex<Vec<(SessionId, EndReason)>>,
}

/// The parts of [`Shared`] that are made before it.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) directory: Directory,
    pub(crate) kept: KeptTime,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) darks: Vec<Dark>,
    pub(crate) admission: Admission,
    pub(crate) sessions: Sessions,
    pub(crate) catalogue: Catalogue,
    pub(crate) guard: Guard,
}

/// The moment, as the pure machines want it.
pub(crate) fn now() -> Now {
    Now::new(Instant::now(), Stamp::from_system(SystemTime::now()))
}

/// Fresh randomness for the machines.
pub(crate) fn entropy() -> SystemEntropy {
    SystemEntropy
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { settings, keys, directory, kept, door, darks, admission, sessions, catalogue, guard } = parts;
        Self {
            keys,
            directory,
            kept,
            door,
            darks,
            admission,
            sessions,
            greetings: Greetings::default(),
            contacts: Contacts::default(),
            link: Link::default(),
            guard,
            logins: Semaphore::new(settings.limits.logins),
            counters: Counters::default(),
            datagrams: Arc::default(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            changing: tokio::sync::Mutex::default(),
            introducing: Mutex::default(),
            settings: RwLock::new(Arc::new(settings)),
            catalogue: RwLock::new(Arc::new(catalogue)),
            unwritten: Mutex::default(),
        }
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force.
    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Invitations tell the keys that are in force.
    pub(crate) fn introduce(&self) {
        let _one_at_a_time = self.introducing.lock().unwrap_or_else(PoisonError::into_inner);
        self.directory.introduce(self.keys.introduction());
    }

    /// Who may use what, as it is in force.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the catalogue again and returns the former one. If the directory can't be read, nobody may use anything:
    /// what was revoked must not live on.
    pub(crate) async fn renew_catalogue(&self) -> Arc<Catalogue> {
        let mut renewed = self.directory.catalogue().await;
        for _ in 1..CATALOGUE_TRIES {
            if renewed.is_ok() {
                break;
            }
            tokio::time::sleep(CATALOGUE_PAUSE).await;
            renewed = self.directory.catalogue().await;
        }
        let renewed = renewed.unwrap_or_else(|error| {
            tracing::error!(%error, "services and grants can't be read: nobody may use anything");
            Catalogue::default()
        });
        let mut catalogue = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *catalogue, Arc::new(renewed))
    }

    /// Says in the log that the disk fails, and to the client that the gateway does.
    pub(crate) fn fault(&self, error: &StoreError) -> Reason {
        tracing::error!(%error, next = error.next_step(), "the directory fails");
        self.counters.fault();
        Reason::GatewayFault
    }

    /// Ends a session that is out of the registry: cuts it at once; the good-bye and the record follow.
    pub(crate) fn end_session(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        let farewell = session.cut(reason.reason());
        let (shared, id) = (self.clone(), session.id);
        tracing::info!(session = %id, user = %session.user, %reason, "session ended");
        self.tasks.spawn(async move {
            tokio::join!(farewell, shared.write_end(id, reason), shared.guard.end_tunnel(web::name(&id)));
        });
    }

    /// The client signs off.
    pub(crate) fn sign_off(self: &Arc<Self>, session: &Session) {
        if let Some(session) = self.sessions.remove(&session.id) {
            self.end_session(&session, EndReason::SignedOff);
        }
    }

    /// Tries again to write down what could not be written.
    pub(crate) async fn write_ends(&self) {
        let unwritten = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, reason) in unwritten {
            self.write_end(id, reason).await;
        }
    }

    async fn write_end(&self, id: SessionId, reason: EndReason) {
        // Its effect is to cut the session, which is done.
        if let Err(error) = self.directory.end_session(id, reason, now().wall).await {
            tracing::error!(session = %id, %error, "the end of a session could not be written down yet");
            self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).push((id, reason));
        }
    }
}
