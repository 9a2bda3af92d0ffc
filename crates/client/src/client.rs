//! A session as the rest of this machine uses it: open connections, ask how it stands, end it.

mod keeping;
mod moving;
mod silence;

use crate::address;
use crate::agent::{Apparatus, DeviceInfo, SessionState, Status};
use crate::connect::{self, Connected, Live};
use crate::direct::{self, Attempt, DirectStatus, DirectUse};
use crate::error::{ClientError, GatewayAway};
use crate::identity::{Identity, Names};
use crate::keeper::Event;
use crate::kept::{Kept, Learned};
use crate::local::Unlocked;
use crate::stream::{Counted, Opening, TunnelStream};
use crate::timings::Timings;
use crate::tunnel::{self, Tunnel};
use crate::udp;
use crate::ways::Transport;
use crate::why::Passage;
use bytes::Bytes;
use keeping::Order;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use vestibule_dark::datagrams::LocalSide;
use vestibule_dark::splice::SpliceOutcome;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{ServiceInfo, Target};

/// Events that a slow listener may lag behind by.
const EVENTS: usize = 64;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long an opening waits for a connection that is being made anew, before it fails.
    pub reconnect_patience: Duration,
    /// How often it is looked whether this machine's addresses have changed.
    pub look_every: Duration,
    /// Which ways to the gateway it takes.
    pub transport: Transport,
}

impl Default for Options {
    /// 10 s; 2 s; whichever way works.
    fn default() -> Self {
        Self {
            reconnect_patience: Duration::from_secs(10),
            look_every: address::LOOK_EVERY,
            transport: Transport::Auto,
        }
    }
}

/// A session at a gateway. Clones share it. When the last one is dropped the connection is closed, and the session ends by
/// its idle limit; [`Client::sign_off`] ends it at once.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The task that keeps the session alive; it ends with the last clone.
    keeping: Arc<Mutex<Keeping>>,
}

struct Keeping {
    orders: mpsc::Sender<Order>,
    _task: AbortOnDropHandle<()>,
}

/// What all clones and the keeping task share.
struct Shared {
    identity: Mutex<Arc<Identity>>,
    /// The credential on the disk.
    kept: Mutex<Kept>,
    names: Names,
    /// Whether the credential was sealed at a lower stretching cost than is the default today.
    needs_raise: bool,
    options: Options,
    phase: watch::Sender<Phase>,
    services: Mutex<Arc<[ServiceInfo]>>,
    direct: DirectUse,
    events: broadcast::Sender<Event>,
    streams: Arc<AtomicUsize>,
    resumptions: AtomicU32,
    moves: AtomicU32,
    /// UDP payload bytes of connections that are gone.
    sent: AtomicU64,
    received: AtomicU64,
    begun: Instant,
}

/// How the session stands, with what can be used of it.
#[derive(Clone)]
enum Phase {
    Connected(Arc<Live>),
    /// The connection is being made anew; the last one tells what is known of the session.
    Reconnecting(Arc<Live>),
    Over(Arc<Live>, ClientError),
}

impl Client {
    /// Steps 2 to 6: knocks, dials and logs in. Layer 1 and layer 2 of the credential are open already, so a wrong password has
    /// been told without a packet.
    ///
    /// # Errors
    /// Everything that [`ClientError`] tells of controller, gateway and login.
    pub async fn connect(unlocked: Unlocked, options: Options) -> Result<Self, ClientError> {
        Self::connect_passing(unlocked, options, &mut Passage::default()).await
    }

    /// As [`Client::connect`], and leaves in `passage` what was passed, also when it fails.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_passing(
        unlocked: Unlocked,
        options: Options,
        passage: &mut Passage,
    ) -> Result<Self, ClientError> {
        let Unlocked { sealed, keys, login_input, needs_raise, path, times, kept, .. } = unlocked;
        let names = Names::of(&sealed);
        let identity = Arc::new(Identity::of_device(&sealed, &keys, path).by(options.transport));
        let Connected { live, control, services, direct } =
            connect::log_in(&identity, &names, login_input, times, None, passage).await?;
        let live = Arc::new(live);
        let shared = Arc::new(Shared {
            identity: Mutex::new(identity),
            kept: Mutex::new(kept),
            names,
            needs_raise,
            options,
            phase: watch::Sender::new(Phase::Connected(Arc::clone(&live))),
            services: Mutex::new(services.into()),
            direct: DirectUse::default(),
            events: broadcast::Sender::new(EVENTS),
            streams: Arc::default(),
            resumptions: AtomicU32::new(0),
            moves: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            begun: Instant::now(),
        });
        shared.direct.set_services(direct);
        let keeping = keeping::start(Arc::clone(&shared), live, control);
        Ok(Self { shared, keeping: Arc::new(Mutex::new(keeping)) })
    }

    /// A new session in the place of one that is over ([`Event::Over`]): proxies and forwards that hold this client go on with it.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`ClientError::Unexpected`] if the credential is another device's.
    pub async fn log_in_again(&self, unlocked: Unlocked) -> Result<Timings, ClientError> {
        let Unlocked { sealed, keys, login_input, path, times, kept, .. } = unlocked;
        if sealed.device != self.shared.names.login.device {
            return Err(ClientError::unexpected("this credential is another device's"));
        }
        let identity = Arc::new(Identity::of_device(&sealed, &keys, path).by(self.shared.options.transport));
        let clock_offset_ms = Some(self.shared.latest().clock_offset_ms);
        let passage = &mut Passage::default();
        let connected =
            connect::log_in(&identity, &self.shared.names, login_input, times, clock_offset_ms, passage).await?;
        let Connected { live, control, services, direct } = connected;
        let timings = live.timings;
        let live = Arc::new(live);
        *lock(&self.shared.kept) = kept;
        *lock(&self.shared.identity) = identity;
        *lock(&self.shared.services) = services.into();
        self.shared.direct.set_services(direct);
        self.shared.phase.send_replace(Phase::Connected(Arc::clone(&live)));
        *lock(&self.keeping) = keeping::start(Arc::clone(&self.shared), live, control);
        Ok(timings)
    }

    /// What happens to the session from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// How long the latest connect took.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.shared.latest().timings
    }

    /// Ends the session at the gateway: nothing can resume it. Without a connection one is made for that purpose.
    ///
    /// # Errors
    /// When the gateway could not be told; the session then ends by its own limits.
    pub async fn sign_off(&self) -> Result<(), ClientError> {
        let orders = lock(&self.keeping).orders.clone();
        let (done, answer) = oneshot::channel();
        // A session that is over has nobody left to take the order.
        if orders.send(Order::SignOff(done)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// The connection, waiting a while if it is being made anew.
    async fn live(&self) -> Result<Arc<Live>, ClientError> {
        if let Phase::Connected(live) = &*self.shared.phase.borrow() {
            return Ok(Arc::clone(live));
        }
        let mut phase = self.shared.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Reconnecting(_)));
        let reconnecting = ClientError::GatewayAway(GatewayAway::Reconnecting);
        match tokio::time::timeout(self.shared.options.reconnect_patience, settled).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Connected(live) => Ok(Arc::clone(live)),
                Phase::Over(_, error) => Err(error.clone()),
                Phase::Reconnecting(_) => Err(reconnecting),
            },
            Ok(Err(_)) | Err(_) => Err(reconnecting),
        }
    }

    /// Asks for a connection to a service. If the session's connection turns out to be dead at this very moment, it is asked for
    /// once more over the next one: nothing was carried yet.
    async fn ask(&self, target: Target) -> Result<Opening, ClientError> {
        let live = self.live().await?;
        match Opening::ask(&live.connection, target.clone(), self.counted()).await {
            Err(ClientError::GatewayAway(GatewayAway::Lost)) => {
                self.replaced(&live).await;
                let live = self.live().await?;
                Opening::ask(&live.connection, target, self.counted()).await
            }
            asked => asked,
        }
    }

    /// A connection to a direct service; `None` if it is none, or the tunnel has to carry it.
    async fn open_direct(&self, target: &Target) -> Result<Option<TunnelStream>, ClientError> {
        let Some(service) = self.shared.direct.wanted(target, Instant::now()) else { return Ok(None) };
        let live = self.live().await?;
        let counted = self.counted();
        match direct::open(&self.shared.direct, &live.connection, &service).await {
            Ok(Attempt::Direct(stream)) => Ok(Some(TunnelStream::direct(stream, counted))),
            Ok(Attempt::Tunnel(send, recv)) => Ok(Some(TunnelStream::tunnelled(send, recv, counted))),
            // A connection that is dead is made anew on the way through the tunnel.
            Ok(Attempt::Failed) | Err(ClientError::GatewayAway(GatewayAway::Lost)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a flow to a UDP service could begin now. The upstream hears nothing of it.
    ///
    /// # Errors
    /// As [`Tunnel::open`].
    pub async fn try_udp(&self, service: &ServiceName) -> Result<(), ClientError> {
        udp::try_open(&self.live().await?.connection, service).await
    }

    /// How direct services are reached.
    #[must_use]
    pub fn direct(&self) -> DirectStatus {
        self.shared.direct.status()
    }

    /// Waits until the keeping task has noticed, too, that this connection is gone.
    async fn replaced(&self, gone: &Arc<Live>) {
        let mut phase = self.shared.phase.subscribe();
        let noticed = phase.wait_for(|phase| !matches!(phase, Phase::Connected(live) if Arc::ptr_eq(live, gone)));
        // Without news `live` tells what is to be told.
        let _ = tokio::time::timeout(self.shared.options.reconnect_patience, noticed).await;
    }

    fn counted(&self) -> Counted {
        Counted::new(&self.shared.streams)
    }
}

impl Tunnel for Client {
    type Stream = TunnelStream;

    fn services(&self) -> Arc<[ServiceInfo]> {
        Arc::clone(&lock(&self.shared.services))
    }

    async fn open(&self, target: Target) -> Result<TunnelStream, ClientError> {
        if let Some(stream) = self.open_direct(&target).await? {
            return Ok(stream);
        }
        self.ask(target).await?.opened().await
    }

    async fn carry(&self, local: TcpStream, head: Bytes, stream: TunnelStream) {
        let end = stream.carry(local, &head).await;
        tracing::debug!(?end, "a connection ended");
    }

    async fn carry_io<I, O>(&self, stream: TunnelStream, input: I, output: O) -> io::Result<(u64, u64)>
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin,
    {
        let end = stream.carry_io(input, output).await;
        match end.outcome {
            SpliceOutcome::Finished => Ok((end.sent, end.received)),
            SpliceOutcome::LocalReset => Err(io::ErrorKind::BrokenPipe.into()),
            SpliceOutcome::PeerReset => Err(io::ErrorKind::ConnectionReset.into()),
            SpliceOutcome::ConnectionLost => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn join(&self, local: TcpStream, target: Target) -> Result<(), ClientError> {
        let opened = match self.open_direct(&target).await {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) => match self.ask(target).await {
                Ok(opening) => opening.join(&local).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let stream = opened.inspect_err(|_| tunnel::reset(&local))?;
        self.carry(local, Bytes::new(), stream).await;
        Ok(())
    }

    async fn carry_datagrams<L: LocalSide>(&self, service: ServiceName, local: &L) -> Result<(), ClientError> {
        let live = self.live().await?;
        let _counted = self.counted();
        match udp::carry(&live.connection, &live.datagrams, service, local).await {
            // The next flow begins on the connection that comes.
            Err(error @ ClientError::GatewayAway(GatewayAway::Lost)) if live.connection.close_reason().is_some() => {
                self.replaced(&live).await;
                Err(error)
            }
            carried => carried,
        }
    }
}

impl Apparatus for Client {
    fn status(&self) -> Status {
        self.shared.status()
    }

    fn device(&self) -> DeviceInfo {
        self.shared.names.info.clone()
    }

    async fn sign_off(&self) -> Result<(), ClientError> {
        Client::sign_off(self).await
    }
}

impl Shared {
    /// The latest connection, live or not.
    fn latest(&self) -> Arc<Live> {
        match &*self.phase.borrow() {
            Phase::Connected(live) | Phase::Reconnecting(live) | Phase::Over(live, _) => Arc::clone(live),
        }
    }

    /// A key to go by from now on: on the disk first, then in this process. May wait for the disk.
    fn learn(&self, learned: &Learned) {
        match lock(&self.kept).keep(learned) {
            Ok(sealed) => {
                let mut identity = lock(&self.identity);
                let renewed = Arc::new(identity.renewed(&sealed));
                *identity = renewed;
                tracing::info!(realm_epoch = sealed.realm_epoch, "rotated keys are kept");
            }
            // The one that is there counts for a while, and the next session tells it again.
            Err(error) => tracing::warn!(%error, "a rotated key can't be kept yet"),
        }
    }

    fn status(&self) -> Status {
        let (live, state) = match &*self.phase.borrow() {
            Phase::Connected(live) => (Arc::clone(live), SessionState::Connected),
            Phase::Reconnecting(live) => (Arc::clone(live), SessionState::Reconnecting),
            Phase::Over(live, _) => (Arc::clone(live), SessionState::Over),
        };
        let connected = state == SessionState::Connected;
        let now = if connected { live.connection.stats() } else { quinn::ConnectionStats::default() };
        Status {
            process: std::process::id(),
            user: self.names.info.user.clone(),
            gateway: self.names.info.gateway.clone(),
            session: live.session,
            state,
            address: connected.then(|| live.address()),
            expires_in: live.expires.saturating_duration_since(Instant::now()),
            idle_limit: live.idle_limit,
            up_for: self.begun.elapsed(),
            resumptions: self.resumptions.load(Ordering::Relaxed),
            moves: self.moves.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed) + now.udp_tx.bytes,
            received: self.received.load(Ordering::Relaxed) + now.udp_rx.bytes,
            transport: connected.then(|| live.way.as_str().to_owned()),
            round_trip: connected.then(|| live.connection.rtt()),
            timings: live.timings,
            listening: Vec::new(),
            turned_away: 0,
            needs_raise: self.needs_raise,
            direct: self.direct.status(),
        }
    }
}

/// What a panicking holder left is as good as what it found: every write under these locks is a single one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
