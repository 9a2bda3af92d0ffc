//! Steps 2 to 5: the knock over UDP, with sockets of its own that are gone when it is over.

use crate::address::{Family, is_global, source_towards, unspecified};
use crate::error::{ClientError, GatewayAway, Refused};
use crate::identity::Identity;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use vestibule_local_credential::state::{Moment, State};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{Now, SessionId, Stamp};
use vestibule_proto::inner::Purpose;
use vestibule_proto::knocker::{Admitted, Ask, KnockEvent, KnockFailure, Knocker, Transmit};

/// Most addresses of controllers that are knocked at.
const CONTROLLERS: usize = 8;
/// How long a machine that can't send at all tries nevertheless.
const UNSENT_PATIENCE: Duration = Duration::from_millis(500);
/// Longer datagrams are not ours.
const DATAGRAM_LEN: usize = 1_500;

/// A knock that was answered with *ready*.
pub(crate) struct Knocked {
    /// The admission.
    pub(crate) admitted: Admitted,
    /// From the first packet to the guidance.
    pub(crate) took: Duration,
    /// How many milliseconds the controller's clock is ahead of this machine's, as far as is known.
    pub(crate) clock_offset_ms: i64,
}

/// Knocks, and waits for guidance. `clock_offset_ms` is what earlier knocks of this process have found this machine's
/// clock to be behind by; at the first one the state beside the credential tells. `family` keeps the knock to the
/// controller's addresses of that family.
///
/// # Errors
/// Everything that a knock can meet, from [`ClientError::ControllerAway`] to the gateway's own reasons.
pub(crate) async fn knock(
    identity: &Identity,
    family: Option<Family>,
    purpose: Purpose,
    session: Option<SessionId>,
    clock_offset_ms: Option<i64>,
) -> Result<Knocked, ClientError> {
    let controllers = resolve(&identity.controllers, family).await?;
    let state = identity.credential.as_deref().map_or(State::default(), known);
    let offset_ms = clock_offset_ms.unwrap_or_else(|| state.offset_ms(moment()));
    let sockets = Sockets::bind(&controllers);
    let mut run = Run { sockets, sent: false, trouble: None, told_offset: None, begun: Instant::now() };
    let ask = Ask { purpose, session };
    let own = run.sockets.own_addresses(&controllers);
    let device = Arc::clone(&identity.device);
    let knocker = Knocker::new(device, ask, &controllers, own, state.last_stamp, now());
    let answered = run.until_answered(&mut knocker.with_clock_offset(offset_ms), &identity.controllers).await;
    let credential = identity.credential.clone();
    let admitted = match answered {
        Ok(admitted) => admitted,
        Err(error) => {
            // What the controller told of the clock is as good as ever; it would tell it again in a minute only.
            if let Some((credential, offset_ms)) = credential.zip(run.told_offset) {
                let _ = remember(credential, None, offset_ms).await;
            }
            return Err(not_approved(identity, &state, error));
        }
    };
    if admitted.address_mismatch {
        tracing::warn!(seen = %admitted.seen, "the address that the controller announced is not this machine's, and no NAT explains it");
    }
    if let Some(credential) = credential {
        remember(credential, Some(admitted.stamp), admitted.clock_offset_ms);
    }
    Ok(Knocked { clock_offset_ms: admitted.clock_offset_ms, admitted, took: run.begun.elapsed() })
}

/// Silence to a device that was never let in is that of a row which does not stand yet.
fn not_approved(identity: &Identity, state: &State, error: ClientError) -> ClientError {
    match (&error, identity.awaits) {
        (ClientError::ControllerAway { trouble: None, .. }, Some(words)) if never_let_in(state) => {
            ClientError::AwaitsApproval { words: words.to_string() }
        }
        _ => error,
    }
}

/// Whether no knock of this device was ever acknowledged.
pub(crate) fn never_let_in(state: &State) -> bool {
    state.last_stamp == Stamp::default()
}

/// All addresses that the names stand for now, of one family if it is given.
async fn resolve(controllers: &[String], family: Option<Family>) -> Result<Vec<SocketAddr>, ClientError> {
    let mut found = Vec::new();
    let mut trouble = None;
    for controller in controllers {
        match tokio::net::lookup_host(controller.as_str()).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => trouble = Some(format!("{controller}: {error}")),
        }
    }
    let mut known = BTreeSet::new();
    found.retain(|address| family.is_none_or(|family| Family::of(*address) == family) && known.insert(*address));
    found.truncate(CONTROLLERS);
    if found.is_empty() {
        return Err(ClientError::ControllerAway { controllers: controllers.to_vec(), trouble });
    }
    Ok(found)
}

/// What earlier knocks have learned. Without it a clock that is wrong or fell back is noticed later, so trouble is no obstacle.
fn known(credential: &Path) -> State {
    State::load(credential).unwrap_or_else(|error| {
        tracing::warn!(%error, "what earlier knocks have learned can't be read");
        State::default()
    })
}

/// Keeps the acknowledged stamp and the clock's offset, beside the connect and not in its way. Never a stamp that nobody has
/// acknowledged: a clock that is wrong for a moment would lift all later stamps.
fn remember(credential: PathBuf, acknowledged: Option<Stamp>, offset_ms: i64) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        // An unreadable former file is replaced.
        let known = State::load(&credential).unwrap_or_default();
        let state = known.corrected(offset_ms, moment());
        let state = acknowledged.map_or(state, |stamp| state.acknowledged(stamp));
        if state != known
            && let Err(error) = state.save(&credential)
        {
            tracing::warn!(%error, "what this knock has learned can't be kept");
        }
    })
}

fn now() -> Now {
    Now::new(Instant::now(), Stamp::from_system(SystemTime::now()))
}

fn moment() -> Moment {
    Moment { wall: Stamp::from_system(SystemTime::now()), uptime: uptime() }
}

/// For how long this machine has been running, its sleep included.
fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|uptime| Duration::from_millis(uptime.as_millis() as u64))
}

/// One knock under way.
struct Run {
    sockets: Sockets,
    /// Whether any datagram has left this machine.
    sent: bool,
    trouble: Option<String>,
    /// What the controller has told of this machine's clock, in milliseconds.
    told_offset: Option<i64>,
    begun: Instant,
}

impl Run {
    async fn until_answered(&mut self, knocker: &mut Knocker, names: &[String]) -> Result<Admitted, ClientError> {
        let mut buffer = [0; DATAGRAM_LEN];
        self.begun = Instant::now();
        knocker.handle_timeout(now(), &mut SystemEntropy);
        loop {
            while let Some(transmit) = knocker.poll_transmit() {
                self.send(&transmit).await;
            }
            match knocker.poll_event() {
                Some(KnockEvent::Admitted(admitted)) => return Ok(admitted),
                Some(KnockEvent::ClockCorrected { offset_ms }) => {
                    self.told_offset = Some(offset_ms);
                    tracing::info!(offset_ms, "this machine's clock is wrong; the controller's time is used");
                    continue;
                }
                Some(KnockEvent::Failed(failure)) => return Err(self.failed(failure, names)),
                None => {}
            }
            if !self.sent && self.begun.elapsed() > UNSENT_PATIENCE {
                return Err(self.failed(KnockFailure::NoAnswer, names));
            }
            let deadline = knocker.poll_timeout().unwrap_or_else(|| Instant::now() + UNSENT_PATIENCE);
            tokio::select! {
                biased;
                (from, length) = self.sockets.receive(&mut buffer) => {
                    knocker.handle_input(from, &buffer[..length], now(), &mut SystemEntropy);
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    knocker.handle_timeout(now(), &mut SystemEntropy);
                }
            }
        }
    }

    async fn send(&mut self, transmit: &Transmit) {
        match self.sockets.send(transmit).await {
            Ok(()) => self.sent = true,
            Err(error) => {
                tracing::debug!(to = %transmit.to, %error, "a knock could not be sent");
                self.trouble = Some(error.to_string());
            }
        }
    }

    fn failed(&self, failure: KnockFailure, names: &[String]) -> ClientError {
        match failure {
            KnockFailure::NoAnswer => {
                let trouble = if self.sent { None } else { self.trouble.clone() };
                ClientError::ControllerAway { controllers: names.to_vec(), trouble }
            }
            KnockFailure::ClockFarOff { offset_ms } => ClientError::ClockFarOff { offset_ms },
            KnockFailure::Refused(refusal) => ClientError::from_refusal(refusal),
            KnockFailure::RefusedUnreadable => ClientError::Refused {
                why: Refused::Unreadable,
                tries: 0,
                limit: 0,
                retry_after: Duration::ZERO,
                detail: String::new(),
            },
            KnockFailure::GatewayAway => ClientError::GatewayAway(GatewayAway::Controller),
            KnockFailure::Busy => ClientError::Busy,
        }
    }
}

/// One socket per address family that there is a controller in.
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    fn bind(controllers: &[SocketAddr]) -> Self {
        let of = |family: fn(&&SocketAddr) -> bool| controllers.iter().find(family).and_then(|to| socket(*to).ok());
        Self { v4: of(|to| to.is_ipv4()), v6: of(|to| to.is_ipv6()) }
    }

    async fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let socket = if transmit.to.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = socket.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        // Past the reactor: it has not learnt yet that a fresh socket is writable.
        match socket2::SockRef::from(socket).send_to(&transmit.payload, &transmit.to.into()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.send_to(&transmit.payload, transmit.to).await.map(|_| ())
            }
            sent => sent.map(|_| ()),
        }
    }

    async fn receive(&self, buffer: &mut [u8; DATAGRAM_LEN]) -> (SocketAddr, usize) {
        loop {
            tokio::select! {
                () = readable(self.v4.as_ref()) => {}
                () = readable(self.v6.as_ref()) => {}
            }
            for socket in [&self.v4, &self.v6].into_iter().flatten() {
                // An error is an earlier datagram's that could not be delivered: no news of ours.
                if let Ok((length, from)) = socket.try_recv_from(buffer) {
                    return (from, length);
                }
            }
        }
    }

    /// The addresses by which others know this machine, as far as packets to the controllers leave from them.
    fn own_addresses(&self, controllers: &[SocketAddr]) -> Vec<SocketAddr> {
        let of = |socket: &Option<UdpSocket>, family: fn(&&SocketAddr) -> bool| {
            let port = socket.as_ref()?.local_addr().ok()?.port();
            let source = source_towards(*controllers.iter().find(family)?)?;
            is_global(source).then(|| SocketAddr::new(source, port))
        };
        [of(&self.v4, |to| to.is_ipv4()), of(&self.v6, |to| to.is_ipv6())].into_iter().flatten().collect()
    }
}

fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(unspecified(to))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error is told by the read that follows.
        Some(socket) => {
            let _ = socket.readable().await;
        }
        None => std::future::pending().await,
    }
}
