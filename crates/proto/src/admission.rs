//! Admission: the gateway's half of the knock (I1 to I2), as a machine without a socket, clock or disk.
//!
//! The controller's requests, the shell's confirmations and time go in; [`AdmissionCommand`]s come out. The gateway trusts
//! the controller for nothing but to carry: it verifies the device's inner part by itself, and each step that must outlast
//! a crash, or be in force, before the next one is confirmed by the shell:
//!
//! ```text
//! I1 ── m_r wrong ────────────► silence, the controller is suspect; nothing counted
//!  ├─── revoked, suspended, waiting ► refused, sealed; the seal of I1 is not even tried
//!  ├─── seal wrong ──► CountGuess ── handle_counted ──► refused, sealed, with tries and wait
//!  └─── seal right ──► Remember ──── handle_remembered ─► Open ── handle_opened ──► Answer(Ready)
//!                          └ not fresh: silence              └ failed: refused, sealed
//! ```
//!
//! A door stands open for one window, 10 s; who bears one of its tags comes in ([`handle_tag_spent`]), and then, or when the
//! window is over, or when the controller withdraws, it is shut. A confirmation that does not come in time opens nothing.
//! Nothing of this survives a restart but what the shell wrote down: the guesses and the seen-set.
//!
//! [`handle_tag_spent`]: Admissions::handle_tag_spent

mod audit;
mod deciding;
mod devices;
mod doors;
mod opening;
mod states;

use crate::entropy::Entropy;
use crate::gateway_key::KeyName;
use crate::guess::{GuessCount, GuessPolicy, Verdict};
use crate::id::{DeviceId, GatewayId, KnockId, LinkRequest, LoginDigest, Now, SessionId, Stamp, TicketId};
use crate::inner::{I1_LEN, Purpose, RefusalCode};
use crate::key::PrivateKey;
use crate::steady::SteadyClock;
use crate::tcp::TcpTags;
use crate::ticket::{Tag, Ticket};
use audit::Suspicions;
use devices::Devices;
use doors::{Door, Doors, Family};
use states::{ExpectCounted, Request, Requests};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use crate::link::Answer;
pub use crate::ticket::NatPolicy;
pub use audit::{AdmissionAudit, AdmissionCounters, Suspicion};
pub use devices::{AdmissibleDevice, DeviceKind};

/// What the gateway is known by.
#[derive(Clone)]
pub struct GatewayKeys {
    /// Its id, which every I1 names.
    pub id: GatewayId,
    /// G.
    pub key: PrivateKey,
}

/// How the gateway admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// How long a door stands open for a client that has not come in yet; at most 65 s.
    pub window: Duration,
    /// Where clients reach the gateway: three are told in I2, four in K6.
    pub addresses: Vec<SocketAddr>,
    /// How the address that comes must agree with the announced one.
    pub nat: NatPolicy,
    /// How many requests, and how many doors, there may be at once; beyond, clients are told *busy*.
    pub pending_limit: usize,
    /// How often a password may be guessed.
    pub guesses: GuessPolicy,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            addresses: Vec::new(),
            nat: NatPolicy::default(),
            pending_limit: 4_096,
            guesses: GuessPolicy::default(),
        }
    }
}

/// What the shell is to do, in this order.
pub enum AdmissionCommand {
    /// Increment the wrong passwords of this device durably, then call [`Admissions::handle_counted`]. Until then the
    /// client is told nothing; if it fails, don't call.
    CountGuess {
        /// Which device.
        device: DeviceId,
        /// The request that waits for it.
        request: LinkRequest,
        /// From where the knock came, by the controller's word.
        source: SocketAddr,
    },
    /// Enter the knock in the durable seen-set, then call [`Admissions::handle_remembered`]. *Fresh* is a knock id that the
    /// set does not hold for this device, with a stamp above the newest stamp that was ever forgotten for it: forget an
    /// entry only when its stamp is [`SEEN_KEPT`] old, and remember, durably, the greatest stamp so forgotten.
    Remember {
        /// The request that waits for it.
        request: LinkRequest,
        /// Which device.
        device: DeviceId,
        /// Its knock.
        knock_id: KnockId,
        /// When it was made, by the client's clock; it may lie in the future.
        stamp: Stamp,
    },
    /// Open the door, then call [`Admissions::handle_opened`].
    Open {
        /// The request that waits for it.
        request: LinkRequest,
        /// Names the admission.
        ticket_id: TicketId,
        /// Any of them, in a first packet, opens.
        tags: [Tag; 4],
        /// What opens TCP, where the gateway takes it.
        tcp: TcpTags,
        /// The client's address by the controller's word.
        announced: IpAddr,
        /// How the address that comes must agree with it.
        policy: NatPolicy,
        /// When the window is over.
        deadline: Instant,
    },
    /// Shut a door that nobody came through: not needed, or too late. Not a fault if it is shut already.
    Shut {
        /// Which.
        ticket_id: TicketId,
    },
    /// K5: answer the controller.
    Answer {
        /// Its request.
        request: LinkRequest,
        /// What to answer.
        answer: Answer,
    },
    /// Write this in the audit log.
    Audit(AdmissionAudit),
}

/// For how long a knock must be kept in the durable seen-set: twice the freshness window, by its stamp.
pub const SEEN_KEPT: Duration = Duration::from_secs(2 * crate::recognition::FRESHNESS_WINDOW.as_secs());

/// Who came through a door.
#[derive(Clone)]
pub struct Granted {
    /// The device.
    pub device: DeviceId,
    /// The digest under which it knocked.
    pub digest: LoginDigest,
    /// Whether it is a device or an invitation.
    pub kind: DeviceKind,
    /// What it comes for; nothing else may be asked on this connection.
    pub purpose: Purpose,
    /// Which session it wants to resume or leave.
    pub session: Option<SessionId>,
    /// The version to speak; the directory keeps it as the device's floor.
    pub version: u16,
    /// What binds the login to the knock.
    pub ticket: Ticket,
    /// The G_tls that the device takes its gateway by: the one to present.
    pub expects: Option<KeyName>,
    /// Where the knock came from, by the controller's word.
    pub announced: SocketAddr,
    /// Where the device came from, as the gateway saw it.
    pub source: SocketAddr,
}

/// So many withdrawals of unknown requests are remembered. Requests that they overtake come a moment later.
const WITHDRAWN_LIMIT: usize = 64;

/// The machine. See the module's documentation.
pub struct Admissions {
    keys: GatewayKeys,
    config: AdmissionConfig,
    clock: SteadyClock,
    /// Which G_tls count. Whoever expects another one is refused; while none is named here, nobody is.
    gateway_keys: Vec<KeyName>,
    devices: Devices,
    requests: Requests,
    doors: Doors,
    suspicions: Suspicions,
    /// Requests that were withdrawn and are not known: over already, or still to come.
    withdrawn: VecDeque<LinkRequest>,
    commands: VecDeque<AdmissionCommand>,
    counters: AdmissionCounters,
}

impl Admissions {
    /// A gateway that starts at `now`: no devices, every door shut.
    #[must_use]
    pub fn new(keys: GatewayKeys, config: AdmissionConfig, now: Now) -> Self {
        Self {
            keys,
            clock: SteadyClock::new(now),
            gateway_keys: Vec::new(),
            devices: Devices::default(),
            requests: Requests::with_limit(config.pending_limit),
            doors: Doors::with_limit(config.pending_limit),
            suspicions: Suspicions::default(),
            withdrawn: VecDeque::new(),
            commands: VecDeque::new(),
            counters: AdmissionCounters::default(),
            config,
        }
    }

    /// Adds a device, or renews what is known of it. Of two counts of wrong passwords the higher one holds; see
    /// [`set_guesses`](Self::set_guesses). A revoked one's door is shut.
    pub fn upsert_device(&mut self, device: AdmissibleDevice) {
        let (digest, id, revoked) = (device.digest, device.device, device.revoked);
        self.devices.upsert(device);
        if revoked {
            self.shut_doors_of(id, |door| door.digest == digest);
        }
    }

    /// Removes a digest. Doors that were opened under it are shut.
    pub fn remove_device(&mut self, digest: &LoginDigest) -> bool {
        let Some(device) = self.devices.get(digest).map(|entry| entry.device) else { return false };
        self.shut_doors_of(device, |door| door.digest == *digest);
        self.devices.remove(digest).is_some()
    }

    /// A device is revoked: its doors are shut at once, and its knocks refused. Its sessions are the shell's to cut.
    pub fn revoke_device(&mut self, device: DeviceId) {
        self.devices.revoke(device);
        self.shut_doors_of(device, |_| true);
    }

    /// The durable count of a device is now this one: after a login, a wrong login, or the owner's reset.
    pub fn set_guesses(&mut self, device: DeviceId, guesses: GuessCount) {
        if let Some(shared) = self.devices.shared_mut(device) {
            shared.guesses = guesses;
        }
    }

    /// The wrong passwords of a device, those included that are being counted.
    #[must_use]
    pub fn guesses(&self, device: DeviceId) -> GuessCount {
        self.devices.guesses(device)
    }

    /// How many digests are known.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// Requests that wait for the shell, and doors that stand open.
    #[must_use]
    pub fn pending_count(&self) -> (usize, usize) {
        (self.requests.len(), self.doors.len())
    }

    /// The gateway is reached at other addresses from now on.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.config.addresses = addresses;
    }

    /// These are the G_tls that count from now on.
    pub fn set_gateway_keys(&mut self, names: Vec<KeyName>) {
        self.gateway_keys = names;
    }

    /// K3: the controller says that a device knocked. `source` is where from, by its word.
    pub fn handle_input(
        &mut self,
        request: LinkRequest,
        digest: LoginDigest,
        source: SocketAddr,
        inner: &[u8; I1_LEN],
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        // A number that comes again names another request: the old one is over.
        self.drop_request(request);
        if let Some(at) = self.withdrawn.iter().position(|withdrawn| *withdrawn == request) {
            self.withdrawn.remove(at);
            return self.answer(request, Answer::Seen);
        }
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        self.decide(request, digest, source, inner, now, entropy);
    }

    /// The wrong password was written down; `count` is what stands there now. The client is told.
    pub fn handle_counted(&mut self, request: LinkRequest, count: GuessCount, now: Now, entropy: &mut dyn Entropy) {
        let expected = self.requests.take_if(request, |state| matches!(state, Request::Counted(_)));
        let Some(Request::Counted(ExpectCounted { case })) = expected else { return };
        let time = self.clock.read(now);
        if let Some(shared) = self.devices.shared_mut(case.device) {
            shared.merge_guesses(count);
        }
        let (tries, limit) = (count.count, self.config.guesses.limit);
        self.audit(AdmissionAudit::WrongPassword { device: case.device, source: case.source, tries, limit });
        let guesses = self.devices.guesses(case.device).not_after(time);
        let (code, wait) = match self.config.guesses.verdict(guesses, time) {
            Verdict::Allowed => (RefusalCode::WrongPassword, Duration::ZERO),
            Verdict::Wait(wait) => (RefusalCode::WrongPassword, wait),
            Verdict::Suspended => (RefusalCode::Suspended, Duration::ZERO),
        };
        if code == RefusalCode::Suspended {
            self.audit(AdmissionAudit::Suspended { device: case.device, source: case.source });
        }
        self.answer_refused(&case, code, wait, entropy);
    }

    /// The knock is being written down: computes meanwhile what I2 will need, and what the next I1 of this device will (the
    /// agreement of the two lasting keys). It changes nothing but when that is done.
    pub fn work_ahead(&self, request: LinkRequest) {
        let Some(Request::Remembered(state)) = self.requests.get(request) else { return };
        state.opened.work_ahead();
        if let Some(device) = self.devices.get(&state.case.digest) {
            self.keys.key.keep_agreement(&device.d_in);
        }
    }

    /// The knock was written down. `fresh`: for the first time; see [`AdmissionCommand::Remember`].
    pub fn handle_remembered(&mut self, request: LinkRequest, fresh: bool, now: Now, entropy: &mut dyn Entropy) {
        let until = self.requests.deadline(request);
        let expected = self.requests.take_if(request, |state| matches!(state, Request::Remembered(_)));
        let (Some(Request::Remembered(state)), Some(until)) = (expected, until) else { return };
        if !fresh {
            self.counters.seen += 1;
            return self.answer(request, Answer::Seen);
        }
        if self.devices.get(&state.case.digest).is_some_and(|device| device.revoked) {
            return self.refuse(&state.case, RefusalCode::Revoked, Duration::ZERO, now, entropy);
        }
        self.open(state, until, now, entropy);
    }

    /// The door stands open (`ok`), or its back end failed.
    pub fn handle_opened(&mut self, request: LinkRequest, ok: bool, now: Now, entropy: &mut dyn Entropy) {
        let expected = self.requests.take_if(request, |state| matches!(state, Request::Opened(_)));
        if let Some(Request::Opened(state)) = expected {
            self.tell(state, ok, now, entropy);
        }
    }

    /// The controller does not want this admission any more: nothing of it is left, unless somebody came in already. The
    /// withdrawal may overtake the request itself, which then opens nothing.
    pub fn handle_withdraw(&mut self, request: LinkRequest) {
        if !self.drop_request(request) {
            if self.withdrawn.len() == WITHDRAWN_LIMIT {
                self.withdrawn.pop_front();
            }
            self.withdrawn.push_back(request);
        }
    }

    /// The link is gone, and with it everybody who waits for an answer. Doors whose clients were told stay open.
    pub fn handle_link_down(&mut self) {
        while let Some(state) = self.requests.pop() {
            if let Request::Opened(state) = state {
                self.shut(state.ticket);
            }
        }
    }

    /// D1: a first packet from `source` bore an unspent tag of this ticket. `None`: it opens nothing, drop it.
    pub fn handle_tag_spent(&mut self, ticket: TicketId, source: SocketAddr, now: Now) -> Option<Granted> {
        self.grant(ticket, SocketAddr::new(source.ip().to_canonical(), source.port()), now)
    }

    /// Time has passed: call it at [`poll_timeout`](Self::poll_timeout) or later.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(state) = self.requests.pop_expired(now.mono) {
            self.counters.stuck += 1;
            if let Request::Opened(state) = state {
                self.shut(state.ticket);
            }
        }
        while let Some(ticket) = self.doors.next_over(now.mono) {
            self.end(ticket);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.requests.poll_timeout(), self.doors.poll_timeout()].into_iter().flatten().min()
    }

    /// The next thing to do. Call it until it gives `None`.
    pub fn poll_command(&mut self) -> Option<AdmissionCommand> {
        self.commands.pop_front()
    }

    /// Counts of everything that happened.
    #[must_use]
    pub fn counters(&self) -> &AdmissionCounters {
        &self.counters
    }

    /// False if there is no such request, and no door of it.
    fn drop_request(&mut self, request: LinkRequest) -> bool {
        // Taken out first, so that the shutting does not answer it.
        let waited = self.requests.take(request).is_some();
        let door = self.doors.of_request(request);
        door.into_iter().for_each(|ticket| self.shut(ticket));
        waited || door.is_some()
    }

    fn shut_doors_of(&mut self, device: DeviceId, which: impl Fn(&Door) -> bool) {
        for family in Family::ALL {
            let door = self.devices.shared_mut(device).and_then(|shared| *shared.door(family));
            let door = door.filter(|ticket| self.doors.get(*ticket).is_some_and(&which));
            door.into_iter().for_each(|ticket| self.shut(ticket));
        }
    }

    fn answer(&mut self, request: LinkRequest, answer: Answer) {
        self.commands.push_back(AdmissionCommand::Answer { request, answer });
    }

    fn audit(&mut self, audit: AdmissionAudit) {
        self.commands.push_back(AdmissionCommand::Audit(audit));
    }
}
