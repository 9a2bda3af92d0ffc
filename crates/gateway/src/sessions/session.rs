//! One session: who, until when, over which connection, and what it uses.

use crate::directory::EndReason;
use crate::moving::Place;
use quinn::{Connection, FrameStats, SendStream};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vestibule_dark::framed::{FramedError, write_frame};
use vestibule_dark::{Way, peer_address};
use vestibule_proto::gateway_key::{KeyName, Voucher};
use vestibule_proto::id::{DeviceId, ServiceName, SessionId, UserName};
use vestibule_proto::key::{Secret, Spki};
use vestibule_proto::realm::Realm;
use vestibule_proto::session::{
    Notice, Reason, SESSION_DIRECT, SESSION_KEYS, SESSION_UDP, ServiceInfo, ServiceKind, code,
};

/// How long a client may take to acknowledge the last notice before its connection is closed all the same.
const FAREWELL_WITHIN: Duration = Duration::from_millis(300);

/// How long a client may take to accept a notice in the middle of its session.
const NOTICE_WITHIN: Duration = Duration::from_secs(5);

/// Visits of the keeper in one idle limit: how exactly the limit is kept.
const VISITS_PER_IDLE_LIMIT: u32 = 16;

/// No two visits lie further apart, so that an end of use is written down within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Nor closer together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// What a session is made from: at login, or from the directory after a restart.
pub(crate) struct SessionSeed {
    pub(crate) id: SessionId,
    pub(crate) user: UserName,
    pub(crate) device: DeviceId,
    pub(crate) resume_secret: Secret<32>,
    /// From now.
    pub(crate) expires_in: Duration,
    pub(crate) idle_limit: Duration,
    /// How long ago it was used last.
    pub(crate) idle_since: Duration,
    /// Whether a login begins it now.
    pub(crate) by_login: bool,
}

/// A session that may be used or resumed, until the registry lets go of it.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user: UserName,
    pub(crate) device: DeviceId,
    pub(crate) resume_secret: Secret<32>,
    pub(crate) idle_limit: Duration,
    expires: Instant,
    /// When it was begun by a login; `None` if that was before this role's start.
    begun: Option<Instant>,
    state: Mutex<State>,
}

struct State {
    live: Option<Live>,
    flows: HashMap<ServiceName, Flows>,
    open: usize,
    last_use: Instant,
    /// Frames of streams and datagrams that the connection had carried when last looked at: what isn't in them is keep-alive.
    frames: u64,
    over: bool,
}

/// The connection over which a session is used.
#[derive(Clone)]
pub(crate) struct Live {
    /// The connection.
    pub(crate) connection: Connection,
    /// The gateway's half of the control stream.
    pub(crate) control: Arc<tokio::sync::Mutex<SendStream>>,
    /// What is known of the client since it came in.
    pub(crate) told: Told,
    /// Where the connection is.
    pub(crate) place: watch::Receiver<Place>,
}

/// What is known of a client since it came in.
#[derive(Clone)]
pub(crate) struct Told {
    /// Over what it came.
    pub(crate) way: Way,
    /// The highest version of the session's messages that it speaks.
    pub(crate) newest: u16,
    /// The key that it expects of the gateway.
    pub(crate) expects: Option<KeyName>,
    /// With what another one is vouched for on this connection.
    pub(crate) voucher: Voucher,
}

/// The live flows of a session to one service.
struct Flows {
    count: usize,
    cut: CancellationToken,
}

/// A session as `session list` shows it.
#[derive(Clone, Debug)]
pub(crate) struct SessionView {
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) way: Option<Way>,
    /// Live flows by service.
    pub(crate) flows: Vec<(ServiceName, usize)>,
    pub(crate) idle: Duration,
}

/// Counts a flow in its session while it lives, and says when it must end.
pub(crate) struct FlowPass {
    session: Arc<Session>,
    service: ServiceName,
    cut: CancellationToken,
}

impl Session {
    /// A session without a connection.
    pub(crate) fn new(seed: SessionSeed, now: Instant) -> Self {
        let SessionSeed { id, user, device, resume_secret, expires_in, idle_limit, idle_since, by_login } = seed;
        let last_use = now.checked_sub(idle_since).unwrap_or(now);
        let state = State { live: None, flows: HashMap::new(), open: 0, last_use, frames: 0, over: false };
        let expires = now + expires_in;
        let begun = by_login.then_some(now);
        Self { id, user, device, resume_secret, idle_limit, expires, begun, state: Mutex::new(state) }
    }

    /// The session is now used over this connection; a former one is closed, its flows are cut. False if it is over.
    pub(crate) fn attach(&self, live: Live, now: Instant) -> bool {
        let mut state = self.state();
        if state.over {
            return false;
        }
        state.last_use = now;
        state.frames = 0;
        state.cut_flows();
        if let Some(former) = state.live.replace(live) {
            former.connection.close(code::DONE.into(), b"");
        }
        true
    }

    /// This connection has ended, and its flows with it. The session may be resumed over another one.
    pub(crate) fn detach(&self, connection: &Connection, now: Instant) {
        let mut state = self.state();
        if state.uses(connection) {
            state.take_use(now);
            state.live = None;
            state.cut_flows();
        }
    }

    /// Lets one more flow in.
    ///
    /// # Errors
    /// [`Reason::Busy`] when the session has `limit` flows already; [`Reason::NoSession`] when it is over.
    pub(crate) fn begin_flow(self: &Arc<Self>, service: &ServiceName, limit: usize) -> Result<FlowPass, Reason> {
        let mut state = self.state();
        if state.over {
            return Err(Reason::NoSession);
        }
        if state.open >= limit {
            return Err(Reason::Busy);
        }
        state.open += 1;
        let flows =
            state.flows.entry(service.clone()).or_insert_with(|| Flows { count: 0, cut: CancellationToken::new() });
        flows.count += 1;
        Ok(FlowPass { session: self.clone(), service: service.clone(), cut: flows.cut.clone() })
    }

    /// Cuts the flows to services for which `keep` says no.
    pub(crate) fn cut_flows(&self, mut keep: impl FnMut(&ServiceName) -> bool) -> usize {
        let mut state = self.state();
        let mut cut = 0;
        state.flows.retain(|service, flows| {
            let keeps = keep(service);
            if !keeps {
                flows.cut.cancel();
                cut += flows.count;
            }
            keeps
        });
        cut
    }

    /// Tells the client something, if it is connected.
    pub(crate) async fn notify(&self, notice: &Notice) {
        let Some(live) = self.live() else { return };
        let told = async { write_frame(&mut *live.control.lock().await, notice).await };
        if !matches!(tokio::time::timeout(NOTICE_WITHIN, told).await, Ok(Ok(()))) {
            // Whoever doesn't read what the gateway says of the session has no connection to it.
            live.connection.close(code::PROTOCOL.into(), b"");
        }
    }

    /// Tells the client which realm key to knock under, if it is connected and would understand.
    pub(crate) async fn tell_realm(&self, realm: Realm) {
        if self.live().is_some_and(|live| live.told.newest >= SESSION_KEYS) {
            self.notify(&Notice::Realm(realm)).await;
        }
    }

    /// Tells the client which key to take this gateway by, if it is connected, would understand, and expects another one.
    pub(crate) async fn tell_key(&self, spki: Spki) {
        let Some(Live { told, .. }) = self.live() else { return };
        let expects_another = told.expects.is_some_and(|name| name != KeyName::of(&spki));
        if told.newest >= SESSION_KEYS && expects_another {
            self.notify(&Notice::GatewayKey(told.voucher.vouch(spki))).await;
        }
    }

    /// Tells the client what its user may use, as far as it knows what that is.
    pub(crate) async fn notify_services(&self, services: Vec<ServiceInfo>) {
        let Some(Live { told, .. }) = self.live() else { return };
        self.notify(&Notice::Services(understood(services, told.newest))).await;
    }

    /// Tells the client which of its services are direct, if it knows what that is.
    pub(crate) async fn notify_direct(&self, services: Vec<ServiceName>) {
        if self.live().is_some_and(|live| live.told.newest >= SESSION_DIRECT) {
            self.notify(&Notice::Direct(services)).await;
        }
    }

    /// Ends the session for good: its flows are cut when this returns. The future tells the client and closes its connection.
    pub(crate) fn cut(&self, reason: Reason) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state();
        state.over = true;
        state.cut_flows();
        farewell(state.live.take(), reason, code::ENDED)
    }

    /// Closes the connection because the gateway stops; the session may be resumed after.
    pub(crate) fn suspend(&self) -> impl Future<Output = ()> + Send + 'static {
        farewell(self.state().live.take(), Reason::ShuttingDown, code::SHUTDOWN)
    }

    /// The connection in use.
    pub(crate) fn live(&self) -> Option<Live> {
        self.state().live.clone()
    }

    /// Says that the session was used.
    #[cfg(test)]
    pub(crate) fn touch(&self, now: Instant) {
        let mut state = self.state();
        state.last_use = state.last_use.max(now);
    }

    /// Looks whether anything but keep-alive has passed since the last time, and if so counts it as use now.
    pub(crate) fn take_use(&self, now: Instant) -> bool {
        self.state().take_use(now)
    }

    /// Why the session's time is over, if it is.
    pub(crate) fn over(&self, now: Instant) -> Option<EndReason> {
        if now >= self.expires {
            return Some(EndReason::Expired);
        }
        (now >= self.state().last_use + self.idle_limit).then_some(EndReason::Idle)
    }

    /// When the keeper should look at the session again.
    pub(crate) fn next_visit(&self, now: Instant) -> Instant {
        let pause = (self.idle_limit / VISITS_PER_IDLE_LIMIT).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        (now + pause).min(self.expires).min(self.state().last_use + self.idle_limit)
    }

    /// How long ago its user logged in; `None` if this role has been started since.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| now.saturating_duration_since(begun))
    }

    /// How long the session may still live.
    pub(crate) fn expires_in(&self, now: Instant) -> Duration {
        self.expires.saturating_duration_since(now)
    }

    /// The session as lists show it.
    pub(crate) fn view(&self, now: Instant) -> SessionView {
        let state = self.state();
        let mut flows: Vec<_> = state.flows.iter().map(|(service, flows)| (service.clone(), flows.count)).collect();
        flows.sort();
        SessionView {
            remote: state.live.as_ref().map(|live| peer_address(&live.connection)),
            way: state.live.as_ref().map(|live| live.told.way),
            flows,
            idle: now.saturating_duration_since(state.last_use),
        }
    }

    fn end_flow(&self, service: &ServiceName, cut: &CancellationToken) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        // After a cut the entry is gone, or another one under the same name is not this flow's.
        let Some(flows) = state.flows.get_mut(service).filter(|_| !cut.is_cancelled()) else { return };
        flows.count -= 1;
        if flows.count == 0 {
            state.flows.remove(service);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn uses(&self, connection: &Connection) -> bool {
        self.live.as_ref().is_some_and(|live| live.connection.stable_id() == connection.stable_id())
    }

    fn take_use(&mut self, now: Instant) -> bool {
        let Some(live) = &self.live else { return false };
        let stats = live.connection.stats();
        let carried = |frames: &FrameStats| frames.stream + frames.datagram;
        let frames = carried(&stats.frame_rx) + carried(&stats.frame_tx);
        let used = frames != self.frames;
        if used {
            self.frames = frames;
            self.last_use = now;
        }
        used
    }

    fn cut_flows(&mut self) {
        self.flows.drain().for_each(|(_, flows)| flows.cut.cancel());
    }
}

/// The services that a client of this version can be told of.
pub(crate) fn understood(mut services: Vec<ServiceInfo>, newest: u16) -> Vec<ServiceInfo> {
    services.retain(|service| newest >= SESSION_UDP || service.kind != ServiceKind::Udp);
    services
}

/// The last notice, then the end of the connection: at once if the client doesn't acknowledge.
async fn farewell(live: Option<Live>, reason: Reason, code: u32) {
    let Some(Live { connection, control, .. }) = live else { return };
    let told = async {
        let mut control = control.lock().await;
        write_frame(&mut control, &Notice::Ended(reason)).await?;
        // Fails only when the client has stopped the stream: it doesn't want to know.
        let _ = control.finish();
        let _ = control.stopped().await;
        Ok::<_, FramedError>(())
    };
    let _ = tokio::time::timeout(FAREWELL_WITHIN, told).await;
    connection.close(code.into(), b"");
}

impl FlowPass {
    /// Completes when the flow must end: its session or its service was revoked.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for FlowPass {
    fn drop(&mut self) {
        self.session.end_flow(&self.service, &self.cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_proto::entropy::SeededEntropy;

    fn session() -> Arc<Session> {
        let mut entropy = SeededEntropy::new(1);
        let seed = SessionSeed {
            id: SessionId::random(&mut entropy),
            user: UserName::parse("alice").unwrap(),
            device: DeviceId::random(&mut entropy),
            resume_secret: Secret::random(&mut entropy),
            by_login: true,
            expires_in: Duration::from_secs(60),
            idle_limit: Duration::from_secs(10),
            idle_since: Duration::ZERO,
        };
        Arc::new(Session::new(seed, Instant::now()))
    }

    fn service(name: &str) -> ServiceName {
        ServiceName::parse(name).unwrap()
    }

    #[test]
    fn flows_are_counted_and_bounded() {
        let session = session();
        let first = session.begin_flow(&service("db"), 2).unwrap();
        let second = session.begin_flow(&service("web"), 2).unwrap();
        assert_eq!(session.begin_flow(&service("db"), 2).err(), Some(Reason::Busy));
        drop(first);
        let view = session.view(Instant::now());
        assert_eq!(view.flows, [(service("web"), 1)]);
        drop(second);
        assert!(session.view(Instant::now()).flows.is_empty());
    }

    #[test]
    fn cutting_a_service_cuts_its_flows_alone() {
        let session = session();
        let (db, web) =
            (session.begin_flow(&service("db"), 9).unwrap(), session.begin_flow(&service("web"), 9).unwrap());
        assert_eq!(session.cut_flows(|service| service.as_str() != "db"), 1);
        assert!(db.cut.is_cancelled() && !web.cut.is_cancelled());
        // The same service, granted again before the old flow is gone.
        let again = session.begin_flow(&service("db"), 9).unwrap();
        drop(db);
        assert!(!again.cut.is_cancelled());
        assert_eq!(session.view(Instant::now()).flows, [(service("db"), 1), (service("web"), 1)]);
    }

    #[tokio::test]
    async fn an_ended_session_lets_nothing_in() {
        let session = session();
        let flow = session.begin_flow(&service("db"), 9).unwrap();
        session.cut(Reason::Revoked).await;
        flow.cut().await;
        assert_eq!(session.begin_flow(&service("db"), 9).err(), Some(Reason::NoSession));
    }
}
