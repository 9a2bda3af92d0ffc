//! A real controller, a real gateway, real TCP upstreams on loopback, and a client made of `proto`'s machines.

pub(crate) mod bare;
pub(crate) mod client;
pub(crate) mod many;
pub(crate) mod upstream;

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use vestibule_controller::Controller;
use vestibule_controller::rows::Rows;
use vestibule_gateway::admin::{Answer, InviteRequest, Request, ServiceRequest, UserRequest};
use vestibule_gateway::directory::{AuditEntry, AuditQuery};
use vestibule_gateway::{Gateway, Settings, StartError};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::invitation::{GatewayInvitation, Invitation};
use vestibule_proto::login::KsfParams;
use vestibule_proto::session::ServiceKind;

use client::Device;

/// Nothing in these tests takes longer, unless something is wrong.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Loopback, any port.
pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A loopback address that nobody else uses, any port: what is bound there again after a restart is free.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = 16 + (std::process::id() % 200) as u8;
    (Ipv4Addr::new(127, process, high, low), 0).into()
}

/// One controller and one gateway, linked.
pub(crate) struct World {
    pub(crate) controller: Option<Controller>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) settings: Settings,
    pub(crate) controller_at: SocketAddr,
    root: TempDir,
}

/// What the roles log is shown for a failed test, as much as `RUST_LOG` asks for.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // The first test of the process sets it up for all.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// The cheapest stretching that Argon2 allows.
pub(crate) fn cheap() -> KsfParams {
    KsfParams::new(8, 1, 1).unwrap()
}

impl World {
    /// A linked pair.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A linked pair, with other settings of the gateway.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        log();
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let controller_dir = root.path().join("controller");
        vestibule_controller::init(&controller_dir, &mut SystemEntropy).unwrap();
        // The port is known only once bound: the first start finds a free one.
        let controller = start_controller(controller_settings(controller_dir.clone(), own_address())).await;
        let controller_at = controller.local_addrs()[0];
        let invitation = invite_gateway(&controller_dir, controller_at, "home").await;
        controller.stop().await;
        let controller = start_controller(controller_settings(controller_dir, controller_at)).await;

        let gateway_dir = root.path().join("gateway");
        vestibule_gateway::init(&gateway_dir, &invitation, &mut SystemEntropy).unwrap();
        let mut settings = Settings { ksf: cheap(), ..Settings::new(gateway_dir, vec![own_address()]) };
        change(&mut settings);
        let mut world = Self { controller: Some(controller), gateway: None, settings, controller_at, root };
        world.start_gateway().await;
        // The same port after every restart.
        world.settings.listen = world.gateway().local_addrs();
        world.linked().await;
        world
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    pub(crate) async fn start_gateway(&mut self) {
        self.gateway = Some(start_gateway(&self.settings).await);
    }

    /// Stops the gateway in order and starts it again.
    pub(crate) async fn restart_gateway(&mut self) {
        self.gateway.take().unwrap().stop().await;
        self.start_gateway().await;
        self.linked().await;
    }

    pub(crate) async fn stop_controller(&mut self) {
        self.controller.take().unwrap().stop().await;
    }

    pub(crate) async fn start_controller(&mut self) {
        self.start_controller_with(|_| {}).await;
    }

    /// Starts the controller with other settings.
    pub(crate) async fn start_controller_with(&mut self, change: impl FnOnce(&mut vestibule_controller::Settings)) {
        let mut settings = controller_settings(self.controller_dir(), self.controller_at);
        change(&mut settings);
        self.controller = Some(start_controller(settings).await);
    }

    /// Links for other gateways; the controller starts again with them.
    pub(crate) async fn invite_gateways(&mut self, names: &[&str]) -> Vec<GatewayInvitation> {
        self.stop_controller().await;
        let mut invitations = Vec::new();
        for name in names {
            invitations.push(invite_gateway(&self.controller_dir(), self.controller_at, name).await);
        }
        self.start_controller().await;
        invitations
    }

    /// Waits until the link stands.
    pub(crate) async fn linked(&self) {
        eventually("the link stands", async || self.gateway().status().await.link.unwrap().up).await;
    }

    /// Asks the gateway as its owner does.
    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.gateway().execute(request).await.unwrap()
    }

    pub(crate) async fn add_user(&self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        self.ask(Request::User(UserRequest::Add { name: name.to_owned(), groups })).await;
    }

    pub(crate) async fn add_service(&self, name: &str, upstream: SocketAddr, allow: &[&str]) {
        let (name, allow) = (name.to_owned(), allow.iter().map(|&grant| grant.to_owned()).collect());
        let upstream = upstream.to_string();
        self.ask(Request::Service(ServiceRequest::Add { name, kind: ServiceKind::Tcp, upstream, allow, direct: None }))
            .await;
    }

    pub(crate) async fn invite(&self, user: &str) -> Invitation {
        let request = Request::Invite(InviteRequest::Add { user: user.to_owned(), expires_in: 3_600 });
        let Answer::Invited(invited) = self.ask(request).await else { panic!("not invited") };
        Invitation::from_link(&invited.link).unwrap()
    }

    /// A user with one enrolled device.
    pub(crate) async fn enrol(&self, user: &str, password: &str) -> Device {
        let known = self.gateway().execute(Request::User(UserRequest::Show { name: user.to_owned() })).await;
        if known.is_err() {
            self.add_user(user, &[]).await;
        }
        let invitation = self.invite(user).await;
        self.published().await;
        client::enrol(&invitation, password).await.unwrap()
    }

    /// Waits until the controller has every row.
    pub(crate) async fn published(&self) {
        eventually("the rows are published", async || {
            let Answer::Status(status) = self.ask(Request::Status).await else { panic!("no status") };
            self.controller_rows() >= (status.devices + status.invitations) as u64
        })
        .await;
    }

    fn controller_rows(&self) -> u64 {
        let gateways = self.rows_on_disk().gateways().unwrap();
        gateways.iter().find(|gateway| gateway.name == "home").unwrap().rows
    }

    /// The controller's database.
    pub(crate) fn rows_on_disk(&self) -> Rows {
        Rows::open(&vestibule_controller::settings::database(&self.controller_dir())).unwrap()
    }

    pub(crate) fn controller_dir(&self) -> PathBuf {
        self.root.path().join("controller")
    }

    pub(crate) async fn audit(&self) -> Vec<AuditEntry> {
        let Answer::Audit(entries) = self.ask(Request::Audit(AuditQuery::default())).await else { panic!("no audit") };
        entries
    }

    /// One of the running role's counters.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let running = self.gateway().status().await;
        running.counters.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    pub(crate) fn gateway_dir(&self) -> PathBuf {
        self.settings.dir.clone()
    }
}

fn controller_settings(dir: PathBuf, at: SocketAddr) -> vestibule_controller::Settings {
    vestibule_controller::Settings::new(dir, vec![at], vec![at.to_string()])
}

async fn start_controller(settings: vestibule_controller::Settings) -> Controller {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match Controller::start(settings.clone()).await {
            Ok(controller) => return controller,
            // The socket of the one before goes a moment after it has stopped.
            Err(vestibule_controller::StartError::Listen { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts a gateway, also where one has just stopped: its socket goes a moment later.
pub(crate) async fn start_gateway(settings: &Settings) -> Gateway {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match Gateway::start(settings.clone()).await {
            Ok(gateway) => return gateway,
            Err(StartError::Listen { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn invite_gateway(dir: &std::path::Path, at: SocketAddr, name: &str) -> GatewayInvitation {
    use vestibule_controller::admin::{Answer, Request, execute};
    let (dir, public, name) = (dir.to_owned(), vec![at.to_string()], name.to_owned());
    let inviting = tokio::task::spawn_blocking(move || {
        let rows = Rows::open(&vestibule_controller::settings::database(&dir)).unwrap();
        let keys = vestibule_controller::keys::Keys::read(&vestibule_controller::settings::key_file(&dir)).unwrap();
        execute(&rows, &keys, &public, Request::Invite { name, expires_in: 3_600, gateway: None }).0
    });
    match inviting.await.unwrap() {
        Answer::Invited(invited) => GatewayInvitation::from_link(&invited.link).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Waits for something that is to become true soon.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
