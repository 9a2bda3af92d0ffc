//! Recognition: the controller's half of the knock (steps K1 to K6), as a machine without a socket, clock or disk.
//!
//! Datagrams, gateways' answers and time go in; [`Command`]s come out. To a stranger there is only silence, and to a
//! recording too. The order in which a datagram is looked at is that of PROTOCOL 3.5:
//!
//! 1. length 1200, type, version, mac1 (nothing is allocated before);
//! 2. copies of known knocks: the same answer to the same sender three times within 10 s, else silence;
//! 3. under load: mac2, or a cookie in answer to a current, never seen mac1;
//! 4. Noise; the row with this digest and device key; a version in common;
//! 5. freshness: new, and within 60 s or with a challenge; a wrong clock is told the time, sealed;
//! 6. the rate of the row: one a second, burst of five;
//! 7. a device's knock goes to a linked gateway, whose own durable seen-set has the last word; a gateway's own knock
//!    opens the controller's door.
//!
//! What a row accepted is remembered as one stamp, `last`, and the ids of the two seconds before it. The shell writes
//! [`dirty_last`](Recognition::dirty_last) down every few seconds, off the knock path, and keeps a row's `last` even if
//! the row is withdrawn.

mod answering;
mod arrival;
mod challenge;
mod copies;
mod counters;
mod freshness;
mod load;
mod rows;
mod waiting;

use crate::entropy::Entropy;
use crate::id::{GatewayId, LinkRequest, LoginDigest, Now, Stamp};
use crate::key::{PrivateKey, RealmKey};
use crate::outer::Mac1Key;
use crate::steady::SteadyClock;
use crate::ticket::Ticket;
use challenge::Challenges;
use copies::Copies;
use load::Load;
use rows::Rows;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use waiting::{Next, Waiting};

pub use crate::link::Answer;
pub use counters::Counters;
pub use freshness::{FRESHNESS_WINDOW, MARGIN};
pub use rows::{Owner, Row, RowConflict};

/// How long the controller's own door stands open for a gateway that may link.
pub const LINK_WINDOW: Duration = Duration::from_secs(10);

/// The controller's keys.
#[derive(Clone)]
pub struct ControllerKeys {
    /// C.
    pub key: PrivateKey,
    /// K_realm.
    pub realm: RealmKey,
}

/// The realm key before the present one, as long as it counts.
#[derive(Clone)]
pub struct FormerRealm {
    /// K_realm of the epoch before.
    pub realm: RealmKey,
    /// From then on knocks under it are strangers'.
    pub until: Stamp,
}

/// How much the machine may hold. The defaults bound it to some 60 MB beside the rows, which take about 0.4 KB each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows that gateways publish, all together.
    pub rows: usize,
    /// Rows that one gateway publishes: what is beyond its share would be the others' room.
    pub rows_per_gateway: usize,
    /// Knocks that wait for a gateway at once; beyond, clients are told *busy*.
    pub waiting: usize,
    /// Knocks whose copies are recognised, 1.3 KB each once answered.
    pub copies: usize,
    /// Wasted work per second that counts as load; see [`Counters::unreadable`], `unknown`, `old`, `rate`.
    pub wasted_per_second: u32,
    /// First sights remembered, of the three epochs of 64 s that are current at a time and of those to come, some 20 bytes
    /// each; beyond, under load, no cookies are given.
    pub sights: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            rows_per_gateway: 200_000,
            waiting: 4_096,
            copies: 16_384,
            wasted_per_second: 500,
            sights: 1 << 20,
        }
    }
}

/// What the shell is to do, in this order.
pub enum Command {
    /// Send a datagram: K6, 1200 bytes, or K2c, 72 bytes.
    Reply {
        /// To exactly this address, as it was given with the datagram that is answered.
        to: SocketAddr,
        /// All of it.
        datagram: Vec<u8>,
    },
    /// K3: put a knock before a gateway, over its link.
    Admit {
        /// Which gateway.
        gateway: GatewayId,
        /// Names this question; the answer comes to [`Recognition::handle_answer`] under it.
        request: LinkRequest,
        /// Under which digest the device knocked.
        digest: LoginDigest,
        /// Where it knocked from, IPv4 unmapped.
        source: SocketAddr,
        /// I1, which only the gateway can read.
        inner: [u8; 192],
        /// How long an answer is of use.
        deadline: Duration,
    },
    /// Tell a gateway that an admission is not wanted any more.
    Withdraw {
        /// Which gateway.
        gateway: GatewayId,
        /// Under which name it was asked.
        request: LinkRequest,
    },
    /// C1: open the controller's own door for [`LINK_WINDOW`]. The `Reply` that tells the gateway so comes next: if the
    /// door does not open, drop it.
    OpenLink {
        /// For which gateway.
        gateway: GatewayId,
        /// It knocked under a temporary row and must register its lasting one.
        temporary: bool,
        /// Its tags are those of the first packet.
        ticket: Ticket,
        /// Where it knocked from, IPv4 unmapped.
        source: SocketAddr,
    },
}

/// Whether a gateway's link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It does: the gateway can be asked.
    Up,
    /// It does not: what it was asked is lost.
    Down,
}

/// The machine. See the module's documentation.
pub struct Recognition {
    keys: ControllerKeys,
    mac1: Mac1Key,
    former: Option<(FormerRealm, Mac1Key)>,
    clock: SteadyClock,
    challenge_links_until: Stamp,
    challenges: Challenges,
    load: Load,
    copies: Copies,
    rows: Rows,
    linked: HashSet<GatewayId>,
    waiting: Waiting,
    /// Gateways of a cluster are asked in turns.
    turn: usize,
    commands: VecDeque<Command>,
    counters: Counters,
}

impl Recognition {
    /// A controller that starts at `start`, without rows or links.
    #[must_use]
    pub fn new(keys: ControllerKeys, start: Now, limits: Limits, entropy: &mut dyn Entropy) -> Self {
        // Numbers that an earlier start used within the lifetime of a link are not used again: 2^20 per millisecond.
        let first_request = LinkRequest::new(start.wall.as_millis() << 20);
        Self {
            mac1: Mac1Key::new(&keys.key.public(), &keys.realm),
            former: None,
            keys,
            clock: SteadyClock::new(start),
            challenge_links_until: arrival::challenge_links_until(start.wall),
            challenges: Challenges::new(start.mono, entropy),
            load: Load::new(limits.wasted_per_second, limits.sights, start.mono, start.wall, entropy),
            copies: Copies::with_limit(limits.copies),
            rows: Rows::with_limits(limits.rows, limits.rows_per_gateway),
            linked: HashSet::new(),
            waiting: Waiting::new(limits.waiting, first_request),
            turn: 0,
            commands: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Knocks are taken under `realm` from now on, and under the one before it until its time is over.
    pub fn set_realm(&mut self, realm: RealmKey, former: Option<FormerRealm>) {
        let controller = self.keys.key.public();
        self.mac1 = Mac1Key::new(&controller, &realm);
        self.former = former.map(|former| {
            let mac1 = Mac1Key::new(&controller, &former.realm);
            (former, mac1)
        });
        self.keys.realm = realm;
    }

    /// Adds a row or renews it. What was accepted under it stays remembered.
    ///
    /// # Errors
    /// [`RowConflict`]; nothing was changed.
    pub fn upsert_row(&mut self, row: Row) -> Result<(), RowConflict> {
        self.rows.upsert(row)
    }

    /// Removes a row, whosever it is: its device gets silence from now on. For the controller's own administration.
    pub fn remove_row(&mut self, digest: &LoginDigest) -> bool {
        self.rows.remove(digest)
    }

    /// `gateway` withdraws a row that it published. False if it serves no such row; another gateway's it can't touch.
    pub fn withdraw_row(&mut self, gateway: GatewayId, digest: &LoginDigest) -> bool {
        self.rows.withdraw(gateway, digest)
    }

    /// The rows that `gateway` publishes are these and no others, whatever [`Row::owner`] they name. Returned are those that
    /// are left out, and why: the others are in force.
    pub fn replace_rows(&mut self, gateway: GatewayId, mut rows: Vec<Row>) -> Vec<(LoginDigest, RowConflict)> {
        rows.iter_mut().for_each(|row| row.owner = Owner::Gateway(gateway));
        self.rows.replace(gateway, rows)
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// How many knocks wait for their gateway.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// A gateway's link came up or went down. After *down* call [`handle_timeout`](Self::handle_timeout).
    pub fn set_link(&mut self, gateway: GatewayId, state: LinkState) {
        match state {
            LinkState::Up => {
                self.linked.insert(gateway);
            }
            LinkState::Down => {
                self.linked.remove(&gateway);
                self.waiting.forget_gateway(gateway);
            }
        }
    }

    /// The shell drops datagrams that it can't hold: from now on, for some seconds, knocks must prove their address.
    pub fn handle_pressure(&mut self, now: Now) {
        self.load.press(now.mono);
    }

    /// A datagram arrived (K1).
    pub fn handle_input(&mut self, from: SocketAddr, datagram: &[u8], now: Now, entropy: &mut dyn Entropy) {
        self.look_at(from, datagram, now, entropy);
    }

    /// The request has left: computes what K6 will need, while the gateway decides, and what the next K1 of this device will
    /// (the agreement of the two lasting keys). It changes nothing but when that is done.
    pub fn work_ahead(&self, request: LinkRequest) {
        if let Some(knock) = self.waiting.asked_with(request) {
            knock.opened.work_ahead();
            self.keys.key.keep_agreement(&knock.opened.device_key);
        }
    }

    /// A gateway answered (K5). Answers that nobody waits for, or that answer another gateway's question, do nothing.
    pub fn handle_answer(&mut self, gateway: GatewayId, request: LinkRequest, answer: Answer, now: Now) {
        let time = self.read_clock(now);
        match answer {
            Answer::Ready { .. } | Answer::Refused { .. } => match self.waiting.settle(gateway, request) {
                Some(knock) => {
                    let opens = matches!(answer, Answer::Ready { .. });
                    if !self.pass_on(knock, answer, now, time) && opens {
                        self.commands.push_back(Command::Withdraw { gateway, request });
                    }
                }
                None => self.counters.stray_answers += 1,
            },
            Answer::Seen => self.handle_silence(gateway, request, now, time),
            Answer::Away => match self.waiting.drop_request(gateway, request, true, now.mono) {
                Some(next) => self.go_on(next, now, time),
                None => self.counters.stray_answers += 1,
            },
        }
    }

    /// The gateway says that the client is to hear nothing. Another gateway that was asked may still know better.
    fn handle_silence(&mut self, gateway: GatewayId, request: LinkRequest, now: Now, time: Stamp) {
        match self.waiting.drop_request(gateway, request, false, now.mono) {
            Some(Next::Over(_)) => self.counters.ended_silent += 1,
            Some(next) => self.go_on(next, now, time),
            None => self.counters.stray_answers += 1,
        }
    }

    /// Time has passed: call it at [`poll_timeout`](Self::poll_timeout) or later.
    pub fn handle_timeout(&mut self, now: Now) {
        let time = self.read_clock(now);
        while let Some(next) = self.waiting.handle_timeout(now.mono) {
            self.go_on(next, now, time);
        }
        self.copies.handle_timeout(now.mono);
        self.rows.end_temporary(time);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.rows.next_end().and_then(|end| self.clock.when(end));
        [self.waiting.poll_timeout(), self.copies.poll_timeout(), ends].into_iter().flatten().min()
    }

    /// The next thing to do. Call it until it gives `None`.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The rows whose `last` moved since the previous call, to be written down.
    pub fn dirty_last(&mut self) -> Vec<(LoginDigest, Stamp)> {
        self.rows.take_dirty()
    }

    /// Counts of everything that happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
