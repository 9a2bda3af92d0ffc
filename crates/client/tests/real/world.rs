//! A controller, a gateway and upstreams in this process, on loopback, each test its own; and people who use them.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use vestibule_client::client::{Client, Options};
use vestibule_client::enrol::{EnrolOptions, EnrolledDevice, TpmChoice, read_link};
use vestibule_client::home::{CredentialFile, Home};
use vestibule_client::{ClientError, Transport, Tunnel, local, names};
use vestibule_controller::Controller;
use vestibule_controller::rows::Rows;
use vestibule_gateway::Gateway;
use vestibule_gateway::admin::{Answer, InviteRequest, Request, ServiceRequest, UserRequest};
use vestibule_local_credential::{Params, Password, Source, Sources};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{Stamp, UserName};
use vestibule_proto::invitation::GatewayInvitation;
use vestibule_proto::login::KsfParams;
use vestibule_proto::session::ServiceKind;

pub(crate) const PASSWORD: &str = "tidal-lantern-94";
/// Longer than anything on this machine takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Everything but the people.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    controller: Option<Controller>,
    /// With a runtime of its own, so that it can be killed.
    gateway: Option<(Gateway, Option<Runtime>)>,
    controller_settings: vestibule_controller::Settings,
    gateway_settings: vestibule_gateway::Settings,
}

impl World {
    /// With cheap password stretching and no services.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings of the gateway.
    pub(crate) async fn with(change: impl FnOnce(&mut vestibule_gateway::Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (at_controller, at_gateway) = (free(), free());
        let (controller_dir, gateway_dir) = (directory.path().join("controller"), directory.path().join("gateway"));
        vestibule_controller::init(&controller_dir, &mut SystemEntropy).unwrap();
        let public = vec![at_controller.to_string()];
        let link = tokio::task::spawn_blocking({
            let (dir, public) = (controller_dir.clone(), public.clone());
            move || invite_gateway(&dir, &public)
        });
        let link = link.await.unwrap();
        vestibule_gateway::init(&gateway_dir, &link, &mut SystemEntropy).unwrap();
        let mut gateway_settings = vestibule_gateway::Settings::new(gateway_dir, vec![at_gateway]);
        gateway_settings.ksf = KsfParams::new(64, 1, 1).unwrap();
        change(&mut gateway_settings);
        let controller_settings = vestibule_controller::Settings::new(controller_dir, vec![at_controller], public);
        let mut world = Self { directory, controller: None, gateway: None, controller_settings, gateway_settings };
        world.start_controller().await;
        world.start_gateway().await;
        world
    }

    pub(crate) async fn start_controller(&mut self) {
        let started = async {
            loop {
                match Controller::start(self.controller_settings.clone()).await {
                    // The socket of the one before goes a moment after it has stopped.
                    Err(vestibule_controller::StartError::Listen { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    started => return started.unwrap(),
                }
            }
        };
        self.controller = Some(tokio::time::timeout(SOON, started).await.expect("the address is free"));
    }

    /// Knocks that the controller has received.
    pub(crate) fn knocks(&self) -> u64 {
        let counters = self.controller.as_ref().expect("the controller runs").status().counters;
        counters.iter().find(|(name, _)| name == "knocks.received").expect("counted").1
    }

    /// Asks the controller as its owner does.
    pub(crate) async fn ask_controller(
        &self,
        request: vestibule_controller::admin::Request,
    ) -> vestibule_controller::admin::Answer {
        self.controller.as_ref().expect("the controller runs").execute(request).await
    }

    /// One of the controller's counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.controller.as_ref().expect("the controller runs").status().counters;
        counters.iter().find(|(known, _)| known == name).expect("counted").1
    }

    /// Knocks that reached the controller and for which it has no row.
    pub(crate) fn unknown(&self) -> u64 {
        self.counter("knocks.unknown")
    }

    /// Rows that the gateway has published, as they stand on the controller's disk.
    pub(crate) fn rows(&self) -> u64 {
        let database = vestibule_controller::settings::database(&self.controller_settings.dir);
        let gateways = Rows::open(&database).unwrap().gateways().unwrap();
        gateways.iter().map(|gateway| gateway.rows).sum()
    }

    /// Waits until so many rows stand.
    pub(crate) async fn until(&self, rows: u64) {
        let stand = async {
            while self.rows() != rows {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, stand).await.expect("the rows stand");
    }

    /// Starts the gateway again with other settings.
    pub(crate) async fn set(&mut self, change: impl FnOnce(&mut vestibule_gateway::Settings)) {
        change(&mut self.gateway_settings);
        self.stop_gateway().await;
        self.start_gateway().await;
    }

    pub(crate) async fn stop_controller(&mut self) {
        self.controller.take().unwrap().stop().await;
    }

    /// Starts the gateway and waits until its link stands.
    pub(crate) async fn start_gateway(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started = runtime.spawn(Gateway::start(self.gateway_settings.clone()));
        self.gateway = Some((started.await.unwrap().unwrap(), Some(runtime)));
        self.until_linked().await;
    }

    pub(crate) async fn until_linked(&self) {
        let linked = async {
            while self.gateway().status().await.link.is_none_or(|link| !link.up) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, linked).await.expect("the gateway links");
    }

    pub(crate) async fn stop_gateway(&mut self) {
        let (gateway, runtime) = self.gateway.take().unwrap();
        gateway.stop().await;
        runtime.unwrap().shutdown_background();
    }

    /// As `kill -9` would: no good-bye.
    pub(crate) fn kill_gateway(&mut self) {
        let (gateway, runtime) = self.gateway.take().unwrap();
        runtime.unwrap().shutdown_background();
        drop(gateway);
    }

    pub(crate) fn gateway_dir(&self) -> PathBuf {
        self.gateway_settings.dir.clone()
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway.as_ref().expect("the gateway runs").0
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.gateway().execute(request).await.unwrap()
    }

    /// A TCP service for everyone.
    pub(crate) async fn service(&self, name: &str, upstream: SocketAddr) {
        let (name, upstream, allow) = (name.to_owned(), upstream.to_string(), vec!["everyone".to_owned()]);
        self.ask(Request::Service(ServiceRequest::Add { name, kind: ServiceKind::Tcp, upstream, allow, direct: None }))
            .await;
    }

    /// The service `echo`, which ends when its client has ended.
    pub(crate) async fn echo(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.service("echo", listener.local_addr().unwrap()).await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
    }

    /// A link for `user`, who is added if unknown.
    pub(crate) async fn invite(&self, user: &str, good_for: Duration) -> String {
        let add = UserRequest::Add { name: user.to_owned(), groups: Vec::new() };
        let _ = self.gateway().execute(Request::User(add)).await;
        let invite = InviteRequest::Add { user: user.to_owned(), expires_in: good_for.as_secs() };
        let Answer::Invited(invited) = self.ask(Request::Invite(invite)).await else { panic!("not invited") };
        // Until the controller has the row, a knock with it is answered by silence and repeated later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        invited.link
    }

    /// A link for *alice* whose time is over.
    pub(crate) async fn expired_invitation(&mut self) -> String {
        self.invite("alice", Duration::from_secs(3600)).await;
        self.stop_gateway().await;
        let dir = &self.gateway_settings.dir;
        let keys = vestibule_gateway::keys::Keys::read(dir).unwrap();
        let database = vestibule_gateway::settings::database(dir);
        let directory = vestibule_gateway::directory::Directory::open(&database, keys.identity()).unwrap();
        let an_hour_ago = Stamp::from_system(SystemTime::now() - Duration::from_secs(3600));
        let (user, lifetime) = (UserName::parse("alice").unwrap(), Duration::from_secs(60));
        let (issued, _) = directory.invite(user, lifetime, an_hour_ago, &mut SystemEntropy).await.unwrap();
        drop(directory);
        self.start_gateway().await;
        issued.link
    }

    /// A person's machine, not enrolled yet.
    pub(crate) fn machine(&self, name: &str) -> Machine {
        Machine { home: Home::new(self.directory.path().join(name)), name: name.to_owned() }
    }

    /// *alice* on an enrolled machine.
    pub(crate) async fn alice(&self) -> Machine {
        let machine = self.machine("laptop");
        let link = self.invite("alice", Duration::from_secs(3600)).await;
        machine.enrol(&link).await.unwrap();
        machine
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A runtime must not wait for its threads inside another one.
        if let Some((_, runtime)) = &mut self.gateway {
            runtime.take().unwrap().shutdown_background();
        }
    }
}

/// A machine of a person's.
pub(crate) struct Machine {
    pub(crate) home: Home,
    name: String,
}

impl Machine {
    pub(crate) fn sources(&self) -> Sources {
        Sources::fixed(&[(Source::MachineId, &self.name), (Source::FilesystemId, &self.name)])
    }

    pub(crate) fn options(&self) -> EnrolOptions {
        EnrolOptions {
            home: self.home.clone(),
            device_name: self.name.clone(),
            sources: self.sources(),
            replace: false,
            stretching: Params::new(8, 1, 1, 10).unwrap(),
            tpm: TpmChoice::Never,
        }
    }

    pub(crate) async fn enrol(&self, link: &str) -> Result<EnrolledDevice, ClientError> {
        self.enrol_with(link, self.options()).await
    }

    pub(crate) async fn enrol_with(&self, link: &str, options: EnrolOptions) -> Result<EnrolledDevice, ClientError> {
        vestibule_client::enrol(&read_link(link)?, Arc::new(password(PASSWORD)), &options).await
    }

    pub(crate) fn file(&self) -> CredentialFile {
        self.home.choose(None).unwrap()
    }

    pub(crate) fn unlock(&self, typed: &str) -> Result<local::Unlocked, ClientError> {
        local::recognise(&self.file(), &self.sources())?.unlock(&password(typed))
    }

    pub(crate) async fn connect(&self) -> Result<Client, ClientError> {
        self.connect_by(Transport::Auto).await
    }

    pub(crate) async fn connect_by(&self, transport: Transport) -> Result<Client, ClientError> {
        let options = Options { reconnect_patience: SOON, look_every: Duration::from_millis(200), transport };
        Client::connect(self.unlock(PASSWORD)?, options).await
    }
}

pub(crate) fn password(typed: &str) -> Password {
    Password::new(typed).unwrap()
}

/// Sends `message` through `service` and reads it back to the end.
pub(crate) async fn echoed(client: &Client, service: &str, message: &[u8]) -> Result<Vec<u8>, ClientError> {
    let mut stream = client.open(names::find(&client.services(), service)?).await?;
    stream.write_all(message).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    Ok(back)
}

/// A loopback UDP address that nobody uses, and that is the same after a restart.
pub(crate) fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn invite_gateway(dir: &std::path::Path, public: &[String]) -> GatewayInvitation {
    use vestibule_controller::admin::{self, Answer, Request};
    let rows = Rows::open(&vestibule_controller::settings::database(dir)).unwrap();
    let keys = vestibule_controller::keys::Keys::read(&vestibule_controller::settings::key_file(dir)).unwrap();
    let request = Request::Invite { name: "home".to_owned(), expires_in: 3600, gateway: None };
    let (Answer::Invited(invited), _) = admin::execute(&rows, &keys, public, request) else { panic!("not invited") };
    GatewayInvitation::from_link(&invited.link).unwrap()
}

/// Where a machine keeps what waits for its confirmation.
pub(crate) fn pending(file: &CredentialFile) -> PathBuf {
    let mut path = file.path.clone().into_os_string();
    path.push(".pending");
    path.into()
}
