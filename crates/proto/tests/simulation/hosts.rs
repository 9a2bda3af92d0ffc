//! Machines with what is around them: disks that survive, memory that does not, clocks that are wrong.

use crate::common::{LOGIN, Person, Realm};
use crate::simulation::dice::Dice;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::admission::{AdmissibleDevice, AdmissionConfig, Admissions};
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, KnockId, LoginDigest, Now, Stamp, TicketId};
use vestibule_proto::knocker::{Admitted, Device, KnockFailure, Knocker};
use vestibule_proto::recognition::{Limits, Recognition, Row};
use vestibule_proto::ticket::Tag;

/// A wall clock: the true time, and by how much it is off.
#[derive(Clone, Copy, Default)]
pub(crate) struct WallClock {
    pub(crate) off_ms: i64,
}

impl WallClock {
    pub(crate) fn read(self, truth: Now) -> Now {
        Now::new(truth.mono, Stamp::from_millis(truth.wall.as_millis().saturating_add_signed(self.off_ms)))
    }
}

/// A controller: its disk, and, while it runs, its machine.
pub(crate) struct ControllerHost {
    pub(crate) clock: WallClock,
    pub(crate) rows: Vec<Row>,
    /// On disk.
    pub(crate) last: HashMap<LoginDigest, Stamp>,
    pub(crate) running: Option<Recognition>,
}

impl ControllerHost {
    pub(crate) fn start(&mut self, realm: &Realm, limits: Limits, truth: Now, dice: &mut Dice) {
        let now = self.clock.read(truth);
        let mut machine = Recognition::new(realm.controller.clone(), now, limits, dice);
        for row in &self.rows {
            let last = self.last.get(&row.digest).copied().unwrap_or_default();
            machine.upsert_row(Row { last, ..row.clone() }).unwrap();
        }
        self.running = Some(machine);
    }

    /// Writes down what moved.
    pub(crate) fn flush(&mut self) {
        if let Some(machine) = &mut self.running {
            self.last.extend(machine.dirty_last());
        }
    }
}

/// A gateway: its disk, and, while it runs, its machine and its door.
pub(crate) struct GatewayHost {
    pub(crate) clock: WallClock,
    pub(crate) devices: Vec<AdmissibleDevice>,
    /// On disk.
    pub(crate) guesses: BTreeMap<DeviceId, GuessCount>,
    pub(crate) seen: BTreeSet<(DeviceId, KnockId)>,
    pub(crate) running: Option<Admissions>,
    /// Which tags open, as the door's back end has it.
    pub(crate) door: BTreeMap<TicketId, [Tag; 4]>,
}

impl GatewayHost {
    pub(crate) fn start(&mut self, realm: &Realm, config: &AdmissionConfig, truth: Now) {
        let now = self.clock.read(truth);
        let mut machine = Admissions::new(realm.gateway.clone(), config.clone(), now);
        for device in &self.devices {
            let guesses = self.guesses.get(&device.device).copied().unwrap_or_default();
            machine.upsert_device(AdmissibleDevice { guesses, ..device.clone() });
        }
        self.running = Some(machine);
        self.door.clear();
    }

    pub(crate) fn kill(&mut self) {
        self.running = None;
        self.door.clear();
    }
}

/// A client: what it keeps, and, while it knocks, its machine.
pub(crate) struct ClientHost {
    pub(crate) person: Person,
    /// What it knocks with: the person's device, or one that is not right.
    pub(crate) device: Arc<Device>,
    pub(crate) clock: WallClock,
    /// IPv4, IPv6.
    pub(crate) addresses: [SocketAddr; 2],
    /// On disk; see [`keep_stamp`](Self::keep_stamp).
    pub(crate) last_stamp: Stamp,
    /// The present knocker's clock was corrected by its controller.
    pub(crate) corrected: bool,
    pub(crate) knocker: Option<Knocker>,
    pub(crate) admitted: Vec<Admitted>,
    pub(crate) failures: Vec<KnockFailure>,
    /// It came in, so many times.
    pub(crate) granted: usize,
}

impl ClientHost {
    pub(crate) fn knock(&mut self, controllers: &[SocketAddr], truth: Now, dice: &mut Dice) {
        let now = self.clock.read(truth);
        let (device, last) = (self.device.clone(), self.last_stamp);
        let mut knocker = Knocker::new(device, LOGIN, controllers, Vec::new(), last, now);
        knocker.handle_timeout(now, dice);
        self.knocker = Some(knocker);
        self.corrected = false;
    }

    /// Which stamps a client must not forget. An admission is not enough: a knock may be accepted and its answer be lost. A
    /// client that then stamps below it hears nothing until its clock has caught up. So a stamp is kept before it is sent
    /// when it does not come from the client's own clock alone: when the controller has corrected that, or when it lies
    /// ahead of it, counted on from a stamp that was kept. And it is kept when a sealed answer acknowledged it. Stamps
    /// of a clock that nobody has confirmed are not kept: one far ahead would bind for years.
    pub(crate) fn keep_stamp(&mut self, acknowledged: bool, truth: Now) {
        let clock = self.clock.read(truth).wall;
        let Some(stamp) = self.knocker.as_ref().map(Knocker::last_stamp) else { return };
        if acknowledged || self.corrected || stamp > clock {
            self.last_stamp = self.last_stamp.max(stamp);
        }
    }

    pub(crate) fn address_towards(&self, to: SocketAddr) -> SocketAddr {
        self.addresses[usize::from(to.is_ipv6())]
    }
}

/// How a network treats what is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Of a thousand datagrams, so many are lost, sent twice, altered or cut.
    pub(crate) loss: u64,
    pub(crate) twice: u64,
    pub(crate) altered: u64,
    pub(crate) cut: u64,
    /// The longest delay of a datagram, in milliseconds; that of the link is a quarter of it.
    pub(crate) delay: u64,
    /// Of a thousand steps of a role's shell, in so many it is killed.
    pub(crate) kills: u64,
    /// Of a thousand confirmations, so many say that the disk or the door failed.
    pub(crate) faults: u64,
    /// Of a thousand datagrams of a client, after so many its address changes.
    pub(crate) moves: u64,
}

impl Weather {
    pub(crate) fn delayed(&self, dice: &mut Dice) -> Duration {
        Duration::from_millis(1 + dice.below(self.delay.max(1)))
    }
}
