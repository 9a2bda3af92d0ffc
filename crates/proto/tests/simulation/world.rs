//! Time, the network, and the shells around the machines.

use crate::common::{Realm, address, ms, start};
use crate::simulation::dice::Dice;
use crate::simulation::hosts::{ClientHost, ControllerHost, GatewayHost, WallClock, Weather};
use crate::simulation::ledger::Ledger;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::admission::AdmissionConfig;
use vestibule_proto::id::{LinkRequest, LoginDigest, Now, Stamp};
use vestibule_proto::knocker::Device;
use vestibule_proto::recognition::{Answer, Limits, LinkState};
use vestibule_proto::ticket::Tag;

pub(crate) const CONTROLLERS: [&str; 2] = ["198.51.100.1:7000", "[2001:db8:c::1]:7000"];
pub(crate) const GATEWAY: &str = "198.51.100.9:443";
/// Steps of one run, at most: a machine that never comes to rest is a failure, not a hang.
const STEPS: usize = 200_000;

/// Something on its way, or planned.
pub(crate) enum Parcel {
    ToController { from: SocketAddr, datagram: Vec<u8> },
    ToClient { from: SocketAddr, to: SocketAddr, datagram: Vec<u8> },
    Admit { link: u64, request: LinkRequest, digest: LoginDigest, source: SocketAddr, inner: Box<[u8; 192]> },
    Withdraw { link: u64, request: LinkRequest },
    Answer { link: u64, request: LinkRequest, answer: Box<Answer> },
    FirstPacket { client: usize, from: SocketAddr, tag: Tag },
    Act(Act),
}

/// What happens to the world from outside.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Knock(usize),
    KillController,
    KillGateway,
    StartController,
    StartGateway,
    LinkDown,
    LinkUp,
    Flush,
    ControllerClock(i64),
    GatewayClock(i64),
    ClientClock(usize, i64),
    /// The attacker replays a recording from an address of his own, or (`spoofed`) from where it came from.
    Replay {
        nth: u64,
        spoofed: bool,
        altered: bool,
    },
    Pressure,
}

pub(crate) struct World {
    pub(crate) realm: Realm,
    pub(crate) truth: Now,
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) controller: ControllerHost,
    pub(crate) gateway: GatewayHost,
    pub(crate) clients: Vec<ClientHost>,
    pub(crate) ledger: Ledger,
    limits: Limits,
    config: AdmissionConfig,
    /// Numbers the links; parcels of an earlier one are lost with it.
    pub(crate) link: u64,
    pub(crate) linked: bool,
    queue: BTreeMap<(std::time::Instant, u64), Parcel>,
    sent: u64,
    ports: u64,
}

impl World {
    pub(crate) fn new(seed: u64, clients: usize) -> Self {
        Self::with(seed, clients, Limits::default())
    }

    pub(crate) fn with(seed: u64, clients: usize, limits: Limits) -> Self {
        let (mut realm, truth, dice) = (Realm::new(seed), start(), Dice::new(seed));
        let clients: Vec<_> = (0..clients).map(|number| client(&mut realm, number)).collect();
        let controller = ControllerHost {
            clock: WallClock::default(),
            rows: clients.iter().map(|client| client.person.row.clone()).collect(),
            last: Default::default(),
            running: None,
        };
        let gateway = GatewayHost {
            clock: WallClock::default(),
            devices: clients.iter().map(|client| client.person.admissible.clone()).collect(),
            guesses: BTreeMap::new(),
            seen: Default::default(),
            running: None,
            door: BTreeMap::new(),
        };
        let config = AdmissionConfig { addresses: vec![address(GATEWAY)], ..AdmissionConfig::default() };
        let (ledger, queue, weather) =
            (Ledger::default(), BTreeMap::new(), Weather { delay: 20, ..Weather::default() });
        let mut world = Self {
            realm,
            truth,
            dice,
            weather,
            controller,
            gateway,
            clients,
            ledger,
            limits,
            config,
            link: 0,
            linked: false,
            queue,
            sent: 0,
            ports: 0,
        };
        world.act(Act::StartController);
        world.act(Act::StartGateway);
        world
    }

    /// Gives a client a wrong password: what comes from layer 2 is wrong.
    pub(crate) fn mistype(&mut self, client: usize, number: u8) {
        self.clients[client].device = self.clients[client].person.with_wrong_password(number);
    }

    /// Plans something.
    pub(crate) fn plan(&mut self, after: Duration, act: Act) {
        self.send(after, Parcel::Act(act));
    }

    pub(crate) fn send(&mut self, after: Duration, parcel: Parcel) {
        self.sent += 1;
        self.queue.insert((self.truth.mono + after, self.sent), parcel);
    }

    /// Lets time pass, and everything that happens in it.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.truth.mono + time;
        for _ in 0..STEPS {
            let Some(next) = self.next_event().filter(|next| *next <= end) else {
                self.truth = self.truth.after(end.saturating_duration_since(self.truth.mono));
                return;
            };
            self.truth = self.truth.after(next.saturating_duration_since(self.truth.mono));
            self.step();
        }
        panic!("the world does not come to rest");
    }

    fn next_event(&self) -> Option<std::time::Instant> {
        let parcels = self.queue.first_key_value().map(|((at, _), _)| *at);
        let controller = self.controller.running.as_ref().and_then(|machine| machine.poll_timeout());
        let gateway = self.gateway.running.as_ref().and_then(|machine| machine.poll_timeout());
        let clients = self.clients.iter().filter_map(|client| client.knocker.as_ref()?.poll_timeout());
        clients.chain([parcels, controller, gateway].into_iter().flatten()).min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.truth.mono) {
            let parcel = entry.remove();
            self.deliver(parcel);
        }
        let now = self.controller.clock.read(self.truth);
        if let Some(machine) = self.controller.running.as_mut().filter(|m| is_due(m.poll_timeout(), now)) {
            machine.handle_timeout(now);
            self.run_controller();
        }
        let now = self.gateway.clock.read(self.truth);
        if let Some(machine) = self.gateway.running.as_mut().filter(|m| is_due(m.poll_timeout(), now)) {
            machine.handle_timeout(now);
            self.run_gateway();
        }
        for index in 0..self.clients.len() {
            let now = self.clients[index].clock.read(self.truth);
            let knocker = self.clients[index].knocker.as_mut();
            if let Some(knocker) = knocker.filter(|knocker| is_due(knocker.poll_timeout(), now)) {
                knocker.handle_timeout(now, &mut self.dice);
                self.run_client(index);
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::ToController { from, datagram } => self.reach_controller(from, &datagram),
            Parcel::ToClient { from, to, datagram } => self.reach_client(from, to, &datagram),
            Parcel::Admit { link, request, digest, source, inner } if link == self.link => {
                let now = self.gateway.clock.read(self.truth);
                if let Some(machine) = &mut self.gateway.running {
                    machine.handle_input(request, digest, source, &inner, now, &mut self.dice);
                    self.run_gateway();
                }
            }
            Parcel::Withdraw { link, request } if link == self.link => {
                if let Some(machine) = &mut self.gateway.running {
                    machine.handle_withdraw(request);
                    self.run_gateway();
                }
            }
            Parcel::Answer { link, request, answer } if link == self.link => {
                let (now, gateway) = (self.controller.clock.read(self.truth), self.realm.gateway.id);
                if let Some(machine) = &mut self.controller.running {
                    machine.handle_answer(gateway, request, *answer, now);
                    self.run_controller();
                }
            }
            Parcel::Admit { .. } | Parcel::Withdraw { .. } | Parcel::Answer { .. } => {}
            Parcel::FirstPacket { client, from, tag } => self.first_packet(client, from, tag),
            Parcel::Act(act) => self.act(act),
        }
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Knock(client) => self.knock(client),
            Act::KillController => self.kill_controller(),
            Act::KillGateway => self.kill_gateway(),
            Act::StartController if self.controller.running.is_none() => {
                self.controller.start(&self.realm, self.limits, self.truth, &mut self.dice);
                self.ledger.controller_started(self.controller.clock.read(self.truth).wall);
                self.plan(ms(20), Act::LinkUp);
            }
            Act::StartGateway if self.gateway.running.is_none() => {
                self.gateway.start(&self.realm, &self.config, self.truth);
                self.plan(ms(20), Act::LinkUp);
            }
            Act::StartController | Act::StartGateway => {}
            Act::LinkDown => self.link_down(),
            Act::LinkUp => self.link_up(),
            Act::Flush => self.flush(),
            Act::ControllerClock(off_ms) => self.controller.clock = WallClock { off_ms },
            Act::GatewayClock(off_ms) => self.gateway.clock = WallClock { off_ms },
            Act::ClientClock(client, off_ms) => self.clients[client].clock = WallClock { off_ms },
            Act::Replay { nth, spoofed, altered } => self.replay(nth, spoofed, altered),
            Act::Pressure => {
                let now = self.controller.clock.read(self.truth);
                self.controller.running.iter_mut().for_each(|machine| machine.handle_pressure(now));
            }
        }
    }

    fn knock(&mut self, client: usize) {
        let controllers = CONTROLLERS.map(address);
        self.clients[client].knock(&controllers, self.truth, &mut self.dice);
        self.run_client(client);
    }

    pub(crate) fn kill_controller(&mut self) {
        self.controller.running = None;
        self.ledger.controller_died();
        self.link_down();
        self.plan(ms(700), Act::StartController);
    }

    pub(crate) fn kill_gateway(&mut self) {
        self.gateway.kill();
        self.link_down();
        self.plan(ms(700), Act::StartGateway);
    }

    fn link_down(&mut self) {
        if !std::mem::take(&mut self.linked) {
            return;
        }
        let now = self.controller.clock.read(self.truth);
        if let Some(machine) = &mut self.controller.running {
            machine.set_link(self.realm.gateway.id, LinkState::Down);
            machine.handle_timeout(now);
            self.run_controller();
        }
        if let Some(machine) = &mut self.gateway.running {
            machine.handle_link_down();
            self.run_gateway();
        }
        self.plan(ms(500), Act::LinkUp);
    }

    fn link_up(&mut self) {
        let both_run = self.gateway.running.is_some();
        if let Some(machine) = self.controller.running.as_mut().filter(|_| both_run && !self.linked) {
            self.link += 1;
            self.linked = true;
            assert!(machine.replace_rows(self.realm.gateway.id, self.controller.rows.clone()).is_empty());
            machine.set_link(self.realm.gateway.id, LinkState::Up);
        }
    }

    fn flush(&mut self) {
        self.controller.flush();
        for (digest, last) in &self.controller.last {
            self.ledger.written(*digest, *last);
        }
    }

    /// The attacker sends what he recorded.
    fn replay(&mut self, nth: u64, spoofed: bool, altered: bool) {
        let recordings = self.ledger.recordings();
        let Some(recording) = recordings.get((nth % recordings.len().max(1) as u64) as usize) else { return };
        let mut datagram = recording.clone();
        if altered {
            let at = self.dice.below(datagram.len() as u64) as usize;
            datagram[at] ^= 1 << self.dice.below(8);
        }
        let device = self.ledger.made[recording].device;
        let client = self.clients.iter().find(|client| client.person.admissible.device == device).unwrap();
        let from = if spoofed { client.addresses[0] } else { self.port_of_the_attacker() };
        if !spoofed {
            self.ledger.replayed(from, &datagram);
        }
        self.reach_controller(from, &datagram);
    }

    fn port_of_the_attacker(&mut self) -> SocketAddr {
        self.ports += 1;
        let (host, port) = (self.ports / 60_000, 1 + self.ports % 60_000);
        SocketAddr::new([192, 0, 2, 100 + host as u8].into(), port as u16)
    }

    /// Everything works again: what is down starts, clocks of the servers are right, the network carries.
    pub(crate) fn heal(&mut self) {
        self.weather = Weather { delay: 20, ..Weather::default() };
        for act in [Act::ControllerClock(0), Act::GatewayClock(0), Act::StartController, Act::StartGateway, Act::LinkUp]
        {
            self.act(act);
        }
        self.run(Duration::from_secs(2));
    }

    /// How long a client's next stamp will still lie below what its row has accepted.
    pub(crate) fn is_behind(&mut self, client: usize) -> Duration {
        self.act(Act::Flush);
        let client = &self.clients[client];
        let last = self.controller.last.get(&client.person.device.digest).copied().unwrap_or_default();
        let next = client.clock.read(self.truth).wall.max(client.last_stamp.saturating_add(ms(1)));
        last.saturating_since(next)
    }

    /// Whether a client comes in when nothing is in its way, with so many tries, a good minute apart.
    pub(crate) fn comes_in(&mut self, client: usize, tries: usize) -> bool {
        let before = self.clients[client].granted;
        for _ in 0..tries {
            self.act(Act::Knock(client));
            self.run(Duration::from_secs(65));
            if self.clients[client].granted > before {
                return true;
            }
        }
        false
    }

    /// After a long quiet time nobody remembers anything that takes room.
    pub(crate) fn comes_to_rest(&mut self) {
        self.clients.iter_mut().for_each(|client| client.knocker = None);
        self.run(Duration::from_secs(300));
        assert_eq!(self.controller.running.as_ref().unwrap().waiting_count(), 0);
        assert_eq!(self.gateway.running.as_ref().unwrap().pending_count(), (0, 0));
        assert!(self.gateway.door.is_empty());
    }
}

fn is_due(timeout: Option<std::time::Instant>, now: Now) -> bool {
    timeout.is_some_and(|timeout| timeout <= now.mono)
}

fn client(realm: &mut Realm, number: usize) -> ClientHost {
    let person = realm.person();
    let device: Arc<Device> = person.device.clone();
    let addresses =
        [address(&format!("203.0.113.{}:4000", 1 + number)), address(&format!("[2001:db8::{:x}]:4000", 1 + number))];
    ClientHost {
        person,
        device,
        clock: WallClock::default(),
        addresses,
        last_stamp: Stamp::default(),
        corrected: false,
        knocker: None,
        admitted: Vec::new(),
        failures: Vec::new(),
        granted: 0,
    }
}
