//! The running role: it is started, serves, and is stopped.

use crate::keys::Keys;
use crate::knocks;
use crate::links::{self, Links};
use crate::rotation::{self, CheapCheck};
use crate::rows::Rows;
use crate::settings::{self, Settings, StartError};
use crate::{admin, knocks::Executor};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vestibule_dark::{Dark, Role};
use vestibule_door::SocketDoor;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{LoginDigest, Now, Stamp};
use vestibule_proto::recognition::{Limits, Owner, Recognition, RowConflict};
use vestibule_store::RoleLock;
use vestibule_store::local_socket::Listener;

/// How often each row's `last` is written down, off the knock path (PROTOCOL.md §3.5, silence to recordings).
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// How long streams may take to end when the controller stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// A running controller.
pub struct Controller {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    _lock: RoleLock,
}

/// What the controller's tasks share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) rows: Rows,
    pub(crate) links: Links,
    pub(crate) darks: Vec<Dark>,
    pub(crate) door: Arc<SocketDoor>,
    pub(crate) started: Instant,
    /// Wakes the timer when the machine's next time-out may have moved.
    pub(crate) rescheduled: Notify,
    /// The digests under which gateways knock for their links, as the machine has them.
    pub(crate) link_rows: Mutex<HashSet<LoginDigest>>,
    /// Held from a change of the realm key on the disk until it is in force.
    pub(crate) turning: Mutex<()>,
    pub(crate) filter: Arc<CheapCheck>,
    keys: RwLock<Arc<Keys>>,
    recognition: Mutex<Recognition>,
}

impl Shared {
    /// The keys in force.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Others are in force: only the realm key ever changes.
    pub(crate) fn set_keys(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// The machine; held for microseconds, never across an await.
    pub(crate) fn recognition(&self) -> MutexGuard<'_, Recognition> {
        self.recognition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The moment, as the pure machines want it.
pub(crate) fn now() -> Now {
    Now::new(Instant::now(), Stamp::from_system(SystemTime::now()))
}

impl Controller {
    /// Starts the role: when this returns, knocks and links are served.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let lock = RoleLock::wait(&settings::lock_file(&settings.dir))?;
        let keys = Keys::read(&settings::key_file(&settings.dir))?;
        let rows = Rows::open(&settings::database(&settings.dir))?;
        let (recognition, link_rows) = recognition(&settings, &keys, &rows)?;

        let door = Arc::new(SocketDoor::default());
        let filter = Arc::new(CheapCheck::new(&keys));
        let mut darks = Vec::new();
        let mut queues = Vec::new();
        for address in &settings.listen {
            let role = Role::Controller(filter.clone());
            let (dark, queue) = Dark::bind(*address, role, door.clone())
                .map_err(|error| StartError::Listen { address: *address, error })?;
            darks.push(dark);
            queues.push(queue);
        }

        let shared = Arc::new(Shared {
            settings,
            rows,
            links: Links::default(),
            darks,
            door,
            started: Instant::now(),
            rescheduled: Notify::new(),
            link_rows: Mutex::new(link_rows),
            turning: Mutex::default(),
            filter,
            keys: RwLock::new(Arc::new(keys)),
            recognition: Mutex::new(recognition),
        });
        let controller =
            Self { shared: shared.clone(), tasks: TaskTracker::new(), stopping: CancellationToken::new(), _lock: lock };
        controller.spawn_all(queues)?;
        Ok(controller)
    }

    /// The UDP addresses that it listens on.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.darks.iter().filter_map(|dark| dark.local_addr().ok()).collect()
    }

    /// What `controller status` tells.
    pub fn status(&self) -> admin::Status {
        admin::status(&self.shared)
    }

    /// Carries out a request of the owner, as through the administration socket.
    pub async fn execute(&self, request: admin::Request) -> admin::Answer {
        let executor = Executor { shared: self.shared.clone(), tasks: self.tasks.clone() };
        admin::live(executor, request).await
    }

    /// Stops serving, writes down what was learnt, and closes the links.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        self.shared.links.close_all();
        for dark in &self.shared.darks {
            dark.close().await;
        }
        if tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not end within {STOP_WITHIN:?}");
        }
        flush_last(&self.shared).await;
    }

    fn spawn_all(&self, queues: Vec<vestibule_dark::KnockQueue>) -> Result<(), StartError> {
        let executor = Executor { shared: self.shared.clone(), tasks: self.tasks.clone() };
        for (index, queue) in queues.into_iter().enumerate() {
            self.spawn(knocks::serve(executor.clone(), index, queue));
            self.spawn(links::accept(executor.clone(), index));
        }
        self.spawn(knocks::keep_time(executor.clone()));
        self.spawn(flush_regularly(self.shared.clone()));
        self.spawn(rotation::keep(self.shared.clone()));
        let listener = Listener::bind(&settings::socket(&self.shared.settings.dir))?;
        self.spawn(admin::serve(executor, listener));
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// The machine with what is on disk, and the digests of the links' rows.
fn recognition(
    settings: &Settings,
    keys: &Keys,
    rows: &Rows,
) -> Result<(Recognition, HashSet<LoginDigest>), StartError> {
    let limits = Limits { rows_per_gateway: settings.rows_per_gateway, ..Limits::default() };
    let mut machine = Recognition::new(keys.for_recognition(), now(), limits, &mut entropy());
    machine.set_realm(keys.realm.clone(), keys.former.clone());
    let (mut link_rows, mut beyond) = (HashSet::new(), 0);
    for row in rows.load(now().wall)? {
        if matches!(row.owner, Owner::Link(_)) {
            link_rows.insert(row.digest);
        }
        match machine.upsert_row(row) {
            Ok(()) => {}
            // The share was made smaller. The gateway's next link settles which rows stand.
            Err(RowConflict::Share | RowConflict::Full) => beyond += 1,
            Err(conflict @ (RowConflict::Digest(_) | RowConflict::DeviceKey(_))) => {
                return Err(StartError::Rows(conflict.to_string()));
            }
        }
    }
    if beyond > 0 {
        tracing::warn!(
            beyond,
            share = settings.rows_per_gateway,
            "rows are beyond their gateway's share: not in force"
        );
    }
    Ok((machine, link_rows))
}

async fn flush_regularly(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(FLUSH_EVERY);
    loop {
        every.tick().await;
        flush_last(&shared).await;
    }
}

async fn flush_last(shared: &Shared) {
    let dirty = shared.recognition().dirty_last();
    if dirty.is_empty() {
        return;
    }
    if let Err(error) = shared.rows.flush_last(dirty).await {
        tracing::error!(%error, "the last stamps can't be written down: after a restart, recordings of the last seconds would be forwarded");
    }
}

/// Fresh randomness for the machine.
pub(crate) fn entropy() -> SystemEntropy {
    SystemEntropy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publishing::{Publishing, publish};
    use vestibule_proto::entropy::SeededEntropy;
    use vestibule_proto::id::GatewayId;
    use vestibule_proto::key::{PrivateKey, Psk, SigningKey};
    use vestibule_proto::link::{FromController, PublishedRow, ToController, rows_digest};

    /// The removal of a gateway and its last publication may meet.
    #[tokio::test]
    async fn nothing_is_in_force_that_a_removed_gateway_publishes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("controller");
        settings::init(&dir, &mut SystemEntropy).unwrap();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let controller = Controller::start(Settings::new(dir, listen, Vec::new())).await.unwrap();
        let executor = Executor { shared: controller.shared.clone(), tasks: controller.tasks.clone() };

        let mut entropy = SeededEntropy::new(1);
        let (removed, key) = (GatewayId::new([1; 16]), SigningKey::random(&mut entropy));
        let row = PublishedRow {
            digest: LoginDigest::new([2; 32]),
            device_key: PrivateKey::random(&mut entropy).public(),
            psk_c: Psk::random(&mut entropy),
        };
        let signature = key.sign(&rows_digest(&removed, std::slice::from_ref(&row)));
        for request in [
            ToController::Publish { row: row.clone(), signature },
            ToController::Rows { first: true, last: true, rows: vec![row.clone()], signature },
        ] {
            let answer = publish(&executor, removed, &mut key.spki(), request, &mut Publishing::default()).await;
            assert_eq!(answer, FromController::Refused);
            assert_eq!(controller.shared.recognition().row_count(), 0);
        }
        controller.stop().await;
    }
}
