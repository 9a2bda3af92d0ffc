//! The running role: start, reload, stop.

use crate::admin::{self, AdminError, Answer, InviteRequest, Request, ServiceRequest};
use crate::admission::Admission;
use crate::directory::{
    AuditEntry, AuditKind, Directory, DirectoryError, Due, Service, SessionRecord, Source, guess_policy,
};
use crate::keys::Keys;
use crate::sessions::{self, Session, SessionSeed, Sessions};
use crate::settings::{self, Limits, Settings, StartError};
use crate::shared::{Parts, Shared, entropy, now};
use crate::{contact, direct, effects, link, rotation, status, web};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vestibule_dark::{Dark, Role};
use vestibule_door::{DirectPort, Door};
use vestibule_proto::admission::{AdmissionConfig, Admissions};
use vestibule_proto::id::{Now, Stamp};
use vestibule_store::{RoleLock, StoreError};

/// How often the directory forgets what is due, and what could not be written is tried again.
const KEEPING_EVERY: Duration = Duration::from_secs(60);

/// How long the owner waits to hear that the controller knows of an invitation.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);

/// How long the gateway waits for its tasks when it stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running gateway. Dropped without [`Gateway::stop`] it stops at once, without a good-bye.
pub struct Gateway {
    shared: Arc<Shared>,
    stopping: CancellationToken,
    _lock: RoleLock,
}

impl Gateway {
    /// Starts the role: when this returns, it serves its administration socket and whoever resumes a session; the link to
    /// the controller follows by itself.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let lock = RoleLock::wait(&settings::lock_file(&settings.dir))?;
        let keys = Keys::read(&settings.dir)?;
        let directory = Directory::open(&settings::database(&settings.dir), keys.identity())?;
        let now = now();
        // Nothing is admitted by a gateway that can't write: better told now than at the first knock. What the changes mean
        // for those who run is nothing yet: nobody does.
        let kept = directory.kept_time(now)?;
        directory.audit(AuditEntry::of(AuditKind::Started, now.wall)).await?;
        directory.begin_run(run_of_the_machine()).await?;
        directory.forget_due(Due::starting(now.wall, kept.read(now.mono))).await?;
        directory.set_configured_services(settings.services.clone(), now.wall).await?;

        let catalogue = directory.catalogue().await?;
        let guard = web::open(&settings).await?;
        web::publish(&guard, &catalogue, &settings);
        let interfaces = direct::interfaces(settings.door, &settings.door_interfaces, catalogue.services());
        let door = settings.door.open(&settings.listen, interfaces, vestibule_door::Limits::default())?;
        door.guard(&direct::ports(catalogue.services()), now.mono)?;
        let darks = bind(&settings.listen, &door)?;
        let parts = Parts {
            admission: admission(&settings, &keys, &directory, now).await?,
            sessions: standing_sessions(&settings, &directory, now).await?,
            catalogue,
            guard,
            settings,
            keys,
            directory,
            kept,
            door,
            darks,
        };
        let gateway = Self { shared: Arc::new(Shared::new(parts)), stopping: CancellationToken::new(), _lock: lock };
        gateway.spawn_all()?;
        Ok(gateway)
    }

    /// The UDP addresses that it listens on.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.darks.iter().filter_map(|dark| dark.local_addr().ok()).collect()
    }

    /// What `gateway status` tells of the running role.
    pub async fn status(&self) -> admin::Running {
        status::running(&self.shared).await
    }

    /// Puts other settings in force: services, the public addresses, and what new sessions and devices get. Sessions go on;
    /// only flows to services that are gone or lead elsewhere are cut. The addresses listened on, the door, the directory, NAT
    /// policy and the limits of tables stay as they were at the start.
    ///
    /// # Errors
    /// When the services can't be: the former settings stay in force.
    pub async fn reload(&self, settings: Settings) -> Result<(), DirectoryError> {
        let settings = self.keeping_what_stays(settings);
        let services = settings.services.clone();
        let _one_at_a_time = self.shared.changing.lock().await;
        self.prepare_direct(&services)?;
        let effects = self.shared.directory.set_configured_services(services, now().wall).await?;
        self.shared.set_settings(settings);
        effects::carry_out(&self.shared, effects).await;
        web::publish(&self.shared.guard, &self.shared.catalogue(), &self.shared.settings());
        link::announce(&self.shared).await;
        tracing::info!("settings reloaded");
        Ok(())
    }

    /// Shuts the ports of direct services before they are published.
    fn prepare_direct(&self, configured: &[Service]) -> Result<(), DirectoryError> {
        let catalogue = self.shared.catalogue();
        let others = catalogue.services().filter(|service| service.source == Source::Directory);
        direct::prepare(&self.shared, others.chain(configured))
            .map_err(|error| DirectoryError::Invalid(format!("{error}: {}", error.next_step())))
    }

    fn keeping_what_stays(&self, settings: Settings) -> Settings {
        let former = self.shared.settings();
        let kept = Settings {
            dir: former.dir.clone(),
            listen: former.listen.clone(),
            door: former.door,
            door_interfaces: former.door_interfaces.clone(),
            nat: former.nat,
            limits: Limits { connections_per_session: settings.limits.connections_per_session, ..former.limits },
            ..settings.clone()
        };
        let of = |settings: &Settings| (settings.door, settings.door_interfaces.clone(), settings.nat, settings.limits);
        if (&kept.dir, &kept.listen, of(&kept)) != (&settings.dir, &settings.listen, of(&settings)) {
            tracing::warn!(
                "directory, addresses listened on, door, NAT policy and limits of tables change at the next start"
            );
        }
        kept
    }

    /// Carries out a request of the owner, as through the administration socket.
    ///
    /// # Errors
    /// See [`AdminError`]; nothing was done.
    pub async fn execute(&self, request: Request) -> Result<Answer, AdminError> {
        execute(&self.shared, request).await
    }

    /// Stops: tells every client, closes every connection and the link. Sessions may be resumed after the next start.
    pub async fn stop(self) {
        let shared = &self.shared;
        self.stopping.cancel();
        let mut farewells: JoinSet<()> = shared.sessions.all().iter().map(|session| session.suspend()).collect();
        while farewells.join_next().await.is_some() {}
        shared.guard.stop().await;
        shared.link.close();
        let mut closing: JoinSet<()> =
            shared.darks.iter().cloned().map(|dark| async move { dark.close().await }).collect();
        while closing.join_next().await.is_some() {}
        shared.tasks.close();
        if tokio::time::timeout(STOP_WITHIN, shared.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end within {STOP_WITHIN:?}");
        }
        if let Err(error) = shared.directory.audit(AuditEntry::of(AuditKind::Stopped, now().wall)).await {
            tracing::error!(%error, "the audit log can't be written");
        }
    }

    fn spawn_all(&self) -> Result<(), StartError> {
        let shared = &self.shared;
        let administrating = shared.clone();
        let socket = admin::socket::serve(&settings::socket(&shared.settings().dir), move |request| {
            let shared = administrating.clone();
            async move { execute(&shared, request).await }
        })?;
        self.spawn(socket);
        self.spawn(Admission::keep_time(shared.clone()));
        self.spawn(sessions::keep(shared.clone()));
        self.spawn(keep_directory(shared.clone()));
        self.spawn(rotation::keep(shared.clone()));
        for dark in &shared.darks {
            self.spawn(contact::accept(shared.clone(), dark.clone()));
        }
        self.spawn(link::keep(shared.clone()));
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task => {}
            }
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.shared.link.close();
        self.shared.contacts.close_all();
    }
}

/// Names the time from one start of the machine to its end.
fn run_of_the_machine() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

fn bind(listen: &[SocketAddr], door: &Arc<dyn Door>) -> Result<Vec<Dark>, StartError> {
    if listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    let bind = |address: &SocketAddr| match Dark::bind(*address, Role::Gateway, door.clone()) {
        Ok((dark, _)) => Ok(dark),
        Err(error) => Err(StartError::Listen { address: *address, error }),
    };
    listen.iter().map(bind).collect()
}

async fn admission(settings: &Settings, keys: &Keys, directory: &Directory, now: Now) -> Result<Admission, StoreError> {
    let config = AdmissionConfig {
        addresses: settings.public.clone(),
        nat: settings.nat,
        pending_limit: settings.limits.admissions,
        guesses: guess_policy(),
        ..AdmissionConfig::default()
    };
    let mut machine = Admissions::new(keys.for_admission(), config, now);
    machine.set_gateway_keys(keys.tls().names());
    directory.admissible().await?.into_iter().for_each(|device| machine.upsert_device(device));
    Ok(Admission::new(machine))
}

/// The sessions that had not ended when the gateway was last up.
async fn standing_sessions(settings: &Settings, directory: &Directory, now: Now) -> Result<Sessions, StoreError> {
    let sessions = Sessions::new(settings.limits.sessions);
    for record in directory.live_sessions(now.wall).await? {
        let Some(seed) = seed(record, now.wall) else { continue };
        let id = seed.id;
        if sessions.enter(Session::new(seed, now.mono)).is_err() {
            tracing::warn!(session = %id, "more sessions stand than the limit allows: this one can't be resumed");
        }
    }
    Ok(sessions)
}

fn seed(record: SessionRecord, now: Stamp) -> Option<SessionSeed> {
    Some(SessionSeed {
        id: record.id,
        user: record.user,
        device: record.device,
        resume_secret: record.resume_secret?,
        // By a clock that was set back while the gateway was down it would else live longer than it was given.
        expires_in: record.expires.saturating_since(now.max(record.created)),
        idle_limit: record.idle_limit,
        idle_since: now.saturating_since(record.last_use),
        by_login: false,
    })
}

async fn execute(shared: &Arc<Shared>, request: Request) -> Result<Answer, AdminError> {
    if let Request::Key(request) = request {
        return rotation::live(shared, request).await;
    }
    let one_at_a_time = match request.is_change() {
        true => Some(shared.changing.lock().await),
        false => None,
    };
    if let Request::Service(ServiceRequest::Add { direct: Some(port), upstream, .. }) = &request {
        prepare_direct(shared, *port, upstream)?;
    }
    let is_invitation = matches!(request, Request::Invite(InviteRequest::Add { .. }));
    // What is only shown is shown by the time that sessions and invitations live by, also while the wall clock is ahead.
    let moment = now();
    let time = if one_at_a_time.is_some() { moment.wall } else { moment.wall.min(shared.kept.read(moment.mono)) };
    let (mut answer, effects) = admin::execute(&shared.directory, request, time, &mut entropy()).await?;
    let published = effects::carry_out(shared, effects).await;
    drop(one_at_a_time);
    if is_invitation && let Some(published) = published {
        // Whether the controller takes the row is worth knowing before the link is given away. Without a link to it: later.
        let _ = tokio::time::timeout(PUBLISHED_WITHIN, published).await;
    }
    status::enrich(shared, &mut answer).await;
    Ok(answer)
}

/// Shuts the port of a direct service before it is added. What is wrong with the service itself, the directory tells.
fn prepare_direct(shared: &Shared, port: u16, upstream: &str) -> Result<(), AdminError> {
    let Ok(upstream) = upstream.parse() else { return Ok(()) };
    let mut ports = direct::ports(shared.catalogue().services());
    ports.push(DirectPort::new(port, upstream));
    let guarded = shared.door.guard(&ports, Instant::now());
    guarded.map_err(|error| AdminError::invalid(error.to_string(), error.next_step()))
}

/// Lets the directory forget what is due.
async fn keep_directory(shared: Arc<Shared>) {
    let mut every = tokio::time::interval_at((Instant::now() + KEEPING_EVERY).into(), KEEPING_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        shared.write_ends().await;
        let _one_at_a_time = shared.changing.lock().await;
        let due = Due::running(now().wall, shared.kept.read(Instant::now()));
        match shared.directory.forget_due(due).await {
            Ok(effects) => drop(effects::carry_out(&shared, effects).await),
            Err(error) => tracing::warn!(%error, "what is due could not be forgotten yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::UserRequest;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use vestibule_proto::entropy::SeededEntropy;
    use vestibule_proto::id::{DeviceId, GatewayId, SessionId, UserName};
    use vestibule_proto::invitation::GatewayInvitation;
    use vestibule_proto::key::{PrivateKey, RealmKey, Secret, SigningKey};

    const HOUR: Duration = Duration::from_secs(3_600);

    /// A gateway whose controller never answers.
    async fn alone() -> (tempfile::TempDir, Gateway) {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let mut entropy = SeededEntropy::new(1);
        let link = GatewayInvitation {
            format: 1,
            controllers: vec!["127.0.0.1:9".to_owned()],
            controller_key: PrivateKey::random(&mut entropy).public(),
            controller_pin: SigningKey::random(&mut entropy).spki(),
            realm: RealmKey::random(&mut entropy),
            name: "home".to_owned(),
            gateway: GatewayId::new([1; 16]),
            expires: Stamp::from_millis(u64::MAX),
            secret: Secret::random(&mut entropy),
        };
        let dir = root.path().join("gateway");
        settings::init(&dir, &link, &mut entropy).unwrap();
        let gateway = Gateway::start(Settings::new(dir, vec!["127.0.0.1:0".parse().unwrap()])).await.unwrap();
        (root, gateway)
    }

    /// Else the effects of the earlier change, read before the later one was written, could be put in force behind it: a grant
    /// that was taken away would live on.
    #[tokio::test]
    async fn a_change_waits_until_the_one_before_it_is_carried_out() {
        let (_root, gateway) = alone().await;
        let add = |name: &str| Request::User(UserRequest::Add { name: name.to_owned(), groups: Vec::new() });
        let being_carried_out = gateway.shared.changing.lock().await;
        let mut later = std::pin::pin!(gateway.execute(add("alice")));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut later).await.is_err());
        let mut reloading = std::pin::pin!(gateway.reload((*gateway.shared.settings()).clone()));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut reloading).await.is_err());
        // Who only asks does not wait.
        let Ok(Answer::Users(users)) = gateway.execute(Request::User(UserRequest::List)).await else {
            panic!("no list")
        };
        assert!(users.is_empty(), "not even written yet");
        drop(being_carried_out);
        later.await.unwrap();
        reloading.await.unwrap();
    }

    #[test]
    fn t25_a_clock_set_back_over_a_restart_gives_no_session_more_time() {
        let created = Stamp::from_millis(1_800_000_000_000);
        let record = |last_use| SessionRecord {
            id: SessionId::new([1; 16]),
            user: UserName::parse("alice").unwrap(),
            device: DeviceId::new([2; 16]),
            resume_secret: Some(Secret::new([3; 32])),
            address: "192.0.2.7:5000".parse().unwrap(),
            created,
            expires: created.saturating_add(12 * HOUR),
            idle_limit: HOUR,
            last_use,
            ended: None,
        };
        let lives = |now: Stamp| seed(record(created), now).unwrap().expires_in;
        assert_eq!(lives(created.saturating_add(HOUR)), 11 * HOUR);
        assert_eq!(lives(created.saturating_sub(10 * 365 * 24 * HOUR)), 12 * HOUR);
    }
}
