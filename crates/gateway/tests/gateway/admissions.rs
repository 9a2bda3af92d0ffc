//! K3 to K5 against a controller that misbehaves, and against a disk that does.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use quinn::Connection;
use tempfile::TempDir;
use vestibule_dark::{TransportKind, dial, tls, transport};
use vestibule_gateway::directory::AuditKind;
use vestibule_gateway::keys::Keys;
use vestibule_gateway::{Gateway, Settings};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::LoginDigest;
use vestibule_proto::inner::{AwaitReady, I1_LEN, RefusalCode, open_refusal};
use vestibule_proto::key::Spki;
use vestibule_proto::link::{Answer, ToGateway};
use vestibule_proto::ticket::Ticket;

use crate::common::bare::{Admit, BareController, ask, sealed};
use crate::common::many::{Enrolled, enrol_many};
use crate::common::{ANY, SOON, cheap, eventually, own_address, start_gateway};

/// A gateway with devices, under a controller of the test's own.
pub(crate) struct Bare {
    pub(crate) controller: BareController,
    pub(crate) link: Connection,
    gateway: Option<Gateway>,
    pub(crate) settings: Settings,
    pub(crate) devices: Vec<Enrolled>,
    _root: TempDir,
}

impl Bare {
    pub(crate) async fn new(devices: usize) -> Self {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let dir = root.path().join("gateway");
        let mut controller = BareController::new();
        vestibule_gateway::init(&dir, &controller.invitation, &mut SystemEntropy).unwrap();
        let devices = enrol_many(&Keys::read(&dir).unwrap(), &dir.join("gateway.db"), devices).await;
        let mut settings = Settings { ksf: cheap(), ..Settings::new(dir, vec![own_address()]) };
        let gateway = Gateway::start(settings.clone()).await.unwrap();
        settings.listen = gateway.local_addrs();
        let link = controller.link().await;
        Self { controller, link, gateway: Some(gateway), settings, devices, _root: root }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    async fn restart(&mut self) {
        self.gateway.take().unwrap().stop().await;
        self.gateway = Some(start_gateway(&self.settings).await);
        self.link = self.controller.link().await;
    }

    pub(crate) async fn admit(&self, admit: &Admit) -> Answer {
        self.controller.admit(&self.link, admit).await
    }

    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let running = self.gateway().status().await;
        running.counters.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// The key by which clients know the gateway.
    pub(crate) fn pin(&self) -> Spki {
        Keys::read(&self.settings.dir).unwrap().tls().present().spki()
    }

    /// Whether the bearer of this ticket comes in.
    pub(crate) async fn lets_in(&self, device: &Enrolled, ticket: &Ticket) -> bool {
        let (at, pins) = (self.settings.listen[0], [self.pin()]);
        let behaviour = transport(TransportKind::Session);
        let dialled = dial(ANY, at, ticket.tag(0), &device.d_tls, &pins, tls::ALPN_SESSION, behaviour);
        match tokio::time::timeout(Duration::from_secs(2), dialled).await {
            Ok(Ok((_endpoint, connection))) => connection.open_bi().await.is_ok(),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

pub(crate) fn ticket(answer: &Answer, await_ready: &mut AwaitReady) -> Ticket {
    let Answer::Ready { inner, .. } = answer else { panic!("not ready") };
    let (ready, hash) = await_ready.open_ready(inner).unwrap();
    Ticket::derive(hash, &ready.ticket_secret, ready.ticket)
}

pub(crate) fn refusal(answer: &Answer, device: &Enrolled, admit: &Admit) -> RefusalCode {
    let inner = match answer {
        Answer::Refused { inner } => inner,
        Answer::Ready { .. } => panic!("ready, not refused"),
        Answer::Seen => panic!("seen, not refused"),
        Answer::Away => panic!("away, not refused"),
    };
    open_refusal(&device.keys.psk_r, &admit.inner, inner).unwrap().code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_admissions_at_once() {
    let bare = Bare::new(1_000).await;
    eventually("all rows are published", async || bare.controller.rows.lock().unwrap().len() >= 1_000).await;
    let knocks: Vec<_> = bare.devices.iter().map(|device| sealed(&device.keys, Duration::ZERO)).collect();
    let start = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for (number, (admit, _)) in knocks.iter().enumerate() {
        let (link, admit, request) = (bare.link.clone(), *admit, bare.controller.next_request());
        let (digest, source, inner) = (admit.digest, admit.source, admit.inner);
        asking.spawn(async move {
            let admit = ToGateway::Admit { request, digest, source, inner, deadline_ms: 2_000 };
            (number, ask(&link, &admit).await)
        });
    }
    let mut answers = asking.join_all().await;
    let took = start.elapsed();
    answers.sort_by_key(|(number, _)| *number);
    for ((_, answer), (_, mut await_ready)) in answers.iter().zip(knocks) {
        ticket(answer, &mut await_ready);
    }
    assert_eq!(bare.counter("door.admitted").await, 1_000);
    assert!(took < Duration::from_secs(2), "each within the controller's deadline: {took:?}");
    println!("1,000 admissions at once took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_repeated_knock_does_nothing_from_anywhere_after_anything() {
    let mut bare = Bare::new(2).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let first = bare.admit(&admit).await;
    let elsewhere = Admit { source: "192.0.2.1:7".parse().unwrap(), ..admit };
    let under_another = Admit { digest: bare.devices[1].keys.digest, ..admit };
    for again in [admit, elsewhere, under_another] {
        assert!(matches!(bare.admit(&again).await, Answer::Seen));
    }
    assert!(bare.lets_in(&bare.devices[0], &ticket(&first, &mut await_ready)).await, "the first one stands");
    bare.restart().await;
    for again in [admit, elsewhere, under_another] {
        assert!(matches!(bare.admit(&again).await, Answer::Seen), "the seen-set is durable");
    }
    assert_eq!(bare.counter("admissions.ready").await, 0);
    assert_eq!(bare.counter("door.admitted").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_are_shut_after_a_restart() {
    let mut bare = Bare::new(1).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let ticket = ticket(&bare.admit(&admit).await, &mut await_ready);
    bare.restart().await;
    assert!(!bare.lets_in(&bare.devices[0], &ticket).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_an_old_knock_is_refused_and_junk_makes_the_controller_suspect() {
    let bare = Bare::new(1).await;
    let device = &bare.devices[0];
    let (old, _) = sealed(&device.keys, Duration::from_secs(61));
    assert_eq!(refusal(&bare.admit(&old).await, device, &old), RefusalCode::Time);
    let (admit, _) = sealed(&device.keys, Duration::ZERO);
    let junk = Admit { inner: [7; I1_LEN], ..admit };
    let stranger = Admit { digest: LoginDigest::new([1; 32]), ..admit };
    for forged in [junk, stranger] {
        assert!(matches!(bare.admit(&forged).await, Answer::Seen));
    }
    assert_eq!(bare.counter("door.admitted").await, 0);
    eventually("both suspicions are in the audit log", async || suspicions(&bare).await == 2).await;
}

async fn suspicions(bare: &Bare) -> usize {
    use vestibule_gateway::admin::{self, Request};
    let request = Request::Audit(Default::default());
    let admin::Answer::Audit(entries) = bare.gateway().execute(request).await.unwrap() else { panic!("no audit") };
    entries.iter().filter(|entry| entry.kind == AuditKind::ControllerSuspect).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_admission_opens_nothing() {
    let bare = Bare::new(1).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let request = bare.controller.next_request();
    let answer = bare.controller.admit_as(&bare.link, request, &admit).await;
    let ticket = ticket(&answer, &mut await_ready);
    ask(&bare.link, &ToGateway::Withdraw { request }).await;
    assert_eq!(bare.counter("door.admitted").await, 0);
    assert!(!bare.lets_in(&bare.devices[0], &ticket).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_knock_takes_the_place_of_an_older_one() {
    let bare = Bare::new(1).await;
    let device = &bare.devices[0];
    let (older, mut await_older) = sealed(&device.keys, Duration::from_secs(1));
    let older = ticket(&bare.admit(&older).await, &mut await_older);
    let (newer, mut await_newer) = sealed(&device.keys, Duration::ZERO);
    let newer = ticket(&bare.admit(&newer).await, &mut await_newer);
    assert_eq!(bare.counter("door.admitted").await, 1);
    assert!(!bare.lets_in(device, &older).await);
    assert!(bare.lets_in(device, &newer).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_ready_comes_in_though_the_controller_is_gone() {
    let bare = Bare::new(1).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let ticket = ticket(&bare.admit(&admit).await, &mut await_ready);
    bare.link.close(0u32.into(), b"");
    eventually("the link is down", async || !bare.gateway().status().await.link.unwrap().up).await;
    assert!(bare.lets_in(&bare.devices[0], &ticket).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_shuts_when_the_window_is_over() {
    let bare = Bare::new(1).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let answer = bare.admit(&admit).await;
    let Answer::Ready { window_ms, .. } = answer else { panic!("not ready") };
    let ticket = ticket(&answer, &mut await_ready);
    tokio::time::sleep(Duration::from_millis(u64::from(window_ms) + 50)).await;
    assert_eq!(bare.counter("admissions.doors_open").await, 0);
    assert_eq!(bare.counter("door.admitted").await, 0);
    assert!(!bare.lets_in(&bare.devices[0], &ticket).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_admitted_while_the_disk_takes_nothing() {
    let bare = Bare::new(1).await;
    let device = &bare.devices[0];
    let mut locked = rusqlite::Connection::open(bare.settings.dir.join("gateway.db")).unwrap();
    let lock = locked.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let (admit, _) = sealed(&device.keys, Duration::ZERO);
    assert!(matches!(bare.admit(&admit).await, Answer::Away));
    assert_eq!(bare.counter("door.admitted").await, 0);
    drop(lock);
    let (admit, mut await_ready) = sealed(&device.keys, Duration::ZERO);
    let ticket = ticket(&bare.admit(&admit).await, &mut await_ready);
    assert!(bare.lets_in(device, &ticket).await, "it goes on by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_answers_pings_and_comes_back_by_itself() {
    let mut bare = Bare::new(1).await;
    assert!(matches!(ask(&bare.link, &ToGateway::Ping).await, Answer::Seen));
    for _ in 0..3 {
        bare.link.close(0u32.into(), b"");
        bare.link = bare.controller.link().await;
    }
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    ticket(&bare.admit(&admit).await, &mut await_ready);
    let link = bare.gateway().status().await.link.unwrap();
    assert!(link.up && link.rtt_us.is_some() && Duration::from_secs(link.since) < SOON);
}
