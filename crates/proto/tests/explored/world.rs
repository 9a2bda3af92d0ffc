//! One device, one controller, one gateway, and everything that was ever said between them.

use crate::common::{LOGIN, address};
use crate::explored::book::{Book, Said, Wrong};
use crate::explored::events::{Budget, Event, Flaw, Killed};
use crate::explored::roles::{Controller, Gateway, SeenSet, hash};
use crate::explored::setting::{Opened, Setting};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{LinkRequest, LoginDigest, Now, Stamp};
use vestibule_proto::knocker::{KnockEvent, Knocker};
use vestibule_proto::recognition::{Answer, Command};
use vestibule_proto::ticket::Tag;

const CONTROLLER: &str = "198.51.100.1:7000";
pub(crate) const GATEWAY: &str = "198.51.100.9:443";
const DEVICE: &str = "203.0.113.1:4000";
pub(crate) const ATTACKER: &str = "192.0.2.6:666";
/// Where a K1 and its K6 have the same random bytes.
const MESSAGE_ID: std::ops::Range<usize> = 8..16;

/// A frame on the link; it is lost with the life of either end.
#[derive(Hash)]
pub(crate) struct Admit {
    pub(crate) request: LinkRequest,
    pub(crate) digest: LoginDigest,
    pub(crate) source: SocketAddr,
    pub(crate) inner: [u8; 192],
}

pub(crate) struct World<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) left: Budget,
    pub(crate) now: Now,
    pub(crate) controller: Controller,
    pub(crate) gateway: Gateway,
    pub(crate) knocker: Option<Knocker>,
    pub(crate) device_entropy: SeededEntropy,
    /// On the device's disk.
    pub(crate) last_stamp: Stamp,
    /// What the device was given since it began to knock, and all that it ever knocked.
    pub(crate) device_history: u64,
    pub(crate) k1: Vec<Vec<u8>>,
    pub(crate) admits: BTreeMap<usize, Admit>,
    pub(crate) answers: BTreeMap<usize, (LinkRequest, Answer)>,
    pub(crate) k6: BTreeMap<usize, Vec<u8>>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) frames: Frames,
    pub(crate) book: Book,
}

impl<'a> World<'a> {
    pub(crate) fn new(setting: &'a Setting) -> Self {
        let Setting { realm, person, start, .. } = setting;
        Self {
            setting,
            left: setting.budget,
            now: *start,
            controller: Controller::start(realm, person, Stamp::default(), 0, *start),
            gateway: Gateway::start(realm, person, SeenSet::default(), 0, *start),
            knocker: None,
            device_entropy: SeededEntropy::new(3_000),
            last_stamp: Stamp::default(),
            device_history: 0,
            k1: Vec::new(),
            admits: BTreeMap::new(),
            answers: BTreeMap::new(),
            k6: BTreeMap::new(),
            tags: Vec::new(),
            frames: Frames::default(),
            book: Book::default(),
        }
    }

    /// Two worlds with the same one have the same future.
    pub(crate) fn fingerprint(&self) -> u64 {
        let sorted = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            hashes
        };
        let roles = (self.controller.history, self.controller.last, self.gateway.history, &self.gateway.seen);
        let sent = [
            sorted(self.k1.iter().map(hash).collect()),
            sorted(self.admits.values().map(hash).collect()),
            sorted(self.answers.values().map(|(request, answer)| hash((request, words(answer)))).collect()),
            sorted(self.k6.values().map(hash).collect()),
            sorted(self.tags.iter().map(|tag| hash(tag.as_bytes())).collect()),
        ];
        let left = &self.left;
        let left =
            [left.knocks, left.deliveries, left.again, left.kills, left.flushes, left.moments, left.minutes, left.tags];
        hash((roles, self.device_history, self.last_stamp, self.now.wall, sent, left, &self.book))
    }

    /// Everything that may happen next.
    pub(crate) fn events(&self) -> Vec<Event> {
        let left = &self.left;
        let mut events = Vec::new();
        let mut may = |when: bool, event: Event| {
            if when {
                events.push(event)
            }
        };
        may(left.knocks > 0, Event::Knock);
        for k1 in 0..self.k1.len() {
            for elsewhere in [false, true] {
                may(left.deliveries > 0, Event::ToController { k1, elsewhere });
            }
        }
        let ways = [Killed::Never, Killed::BeforeWriting, Killed::AfterWriting, Killed::AfterOpening];
        for killed in ways.into_iter().filter(|killed| *killed == Killed::Never || left.kills > 0) {
            self.admits.keys().for_each(|frame| may(true, Event::Admit { frame: *frame, killed }));
            (0..self.k1.len()).for_each(|k1| may(left.again > 0, Event::AdmitAgain { k1, killed }));
        }
        self.answers.keys().for_each(|frame| may(true, Event::Answer { frame: *frame }));
        self.k6.keys().for_each(|k6| may(self.knocker.is_some(), Event::ToDevice { k6: *k6 }));
        (0..self.tags.len()).for_each(|tag| may(left.tags > 0, Event::ToDoor { tag }));
        may(left.kills > 0, Event::KillController);
        may(left.kills > 0, Event::KillGateway);
        may(left.flushes > 0, Event::Flush);
        may(left.moments > 0 && !self.k1.is_empty(), Event::Moment);
        may(left.minutes > 0 && !self.k1.is_empty(), Event::Minute);
        events
    }

    pub(crate) fn happen(&mut self, event: Event) -> Result<(), Wrong> {
        match event {
            Event::Knock => self.knock(),
            Event::ToController { k1, elsewhere } => return self.reach_controller(k1, elsewhere),
            Event::Admit { frame, killed } => {
                if let Some(admit) = self.admits.remove(&frame) {
                    return self.admit(&admit, killed);
                }
            }
            Event::AdmitAgain { k1, killed } => return self.admit_again(k1, killed),
            Event::Answer { frame } => return self.answer(frame),
            Event::ToDevice { k6 } => self.reach_device(k6),
            Event::ToDoor { tag } => return self.reach_door(tag),
            Event::KillController => return self.kill_controller(),
            Event::KillGateway => return self.kill_gateway(),
            Event::Flush => self.flush(),
            Event::Moment => {
                self.left.moments -= 1;
                return self.pass(Duration::from_secs(11));
            }
            Event::Minute => {
                self.left.minutes -= 1;
                return self.pass(Duration::from_secs(61));
            }
        }
        Ok(())
    }

    fn knock(&mut self) {
        self.left.knocks -= 1;
        let (device, controllers) = (self.setting.person.device.clone(), [address(CONTROLLER)]);
        let mut knocker = Knocker::new(device, LOGIN, &controllers, Vec::new(), self.last_stamp, self.now);
        knocker.handle_timeout(self.now, &mut self.device_entropy);
        self.device_history = hash((self.device_history, "knock", self.now.wall, self.last_stamp));
        while let Some(transmit) = knocker.poll_transmit() {
            self.record(transmit.payload);
        }
        self.knocker = Some(knocker);
    }

    /// The book reads what only the keys of both roles open.
    fn record(&mut self, k1: Vec<u8>) {
        let Opened { knock, stamp, .. } = self.setting.open(&k1);
        self.book.made(self.k1.len(), knock, stamp);
        self.k1.push(k1);
    }

    fn reach_controller(&mut self, k1: usize, elsewhere: bool) -> Result<(), Wrong> {
        self.left.deliveries -= 1;
        let (from, controller) = (address(if elsewhere { ATTACKER } else { DEVICE }), &mut self.controller);
        let before = controller.heard();
        controller.history.note("k1", (&self.k1[k1], elsewhere), self.now);
        controller.machine.handle_input(from, &self.k1[k1], self.now, &mut controller.entropy);
        if controller.heard() > before {
            self.book.heard(k1, elsewhere, self.now.wall)?;
        }
        self.run_controller(Said::ByTheGateway)
    }

    /// Does what the controller's machine says.
    pub(crate) fn run_controller(&mut self, said: Said) -> Result<(), Wrong> {
        while let Some(command) = self.controller.machine.poll_command() {
            match command {
                Command::Reply { to, datagram } if to == address(ATTACKER) => {
                    let asked = self.k1.iter().position(|k1| k1[MESSAGE_ID] == datagram[MESSAGE_ID]);
                    self.book.answered_elsewhere(asked.ok_or(Wrong::Invented)?, datagram, said)?;
                }
                Command::Reply { datagram, .. } => _ = self.k6.insert(self.frames.next(), datagram),
                Command::Admit { request, digest, source, inner, .. } => {
                    self.admits.insert(self.frames.next(), Admit { request, digest, source, inner });
                }
                Command::Withdraw { request, .. } => {
                    self.gateway.history.note("withdraw", request, self.now);
                    self.gateway.machine.handle_withdraw(request);
                    self.run_gateway(Killed::Never)?;
                }
                Command::OpenLink { .. } => panic!("nobody knocked for a link"),
            }
        }
        Ok(())
    }

    fn answer(&mut self, frame: usize) -> Result<(), Wrong> {
        let Some((request, answer)) = self.answers.remove(&frame) else { return Ok(()) };
        let controller = &mut self.controller;
        controller.history.note("answer", (request, words(&answer)), self.now);
        controller.machine.handle_answer(self.setting.realm.gateway.id, request, answer, self.now);
        self.run_controller(Said::ByTheGateway)
    }

    fn reach_device(&mut self, k6: usize) {
        let (Some(datagram), Some(knocker)) = (self.k6.remove(&k6), &mut self.knocker) else { return };
        self.device_history = hash((self.device_history, "k6", &datagram, self.now.wall));
        knocker.handle_input(address(CONTROLLER), &datagram, self.now, &mut self.device_entropy);
        while let Some(event) = knocker.poll_event() {
            if let KnockEvent::Admitted(admitted) = event {
                self.last_stamp = self.last_stamp.max(admitted.stamp);
                self.tags.push(admitted.ticket.tag(0));
            }
        }
        let transmits: Vec<_> = std::iter::from_fn(|| knocker.poll_transmit()).collect();
        transmits.into_iter().for_each(|transmit| self.record(transmit.payload));
    }

    fn reach_door(&mut self, tag: usize) -> Result<(), Wrong> {
        self.left.tags -= 1;
        let (tag, gateway) = (self.tags[tag], &mut self.gateway);
        gateway.history.note("tag", tag.as_bytes(), self.now);
        let opens = gateway.door.get(&tag.ticket()).is_some_and(|tags| tags.contains(&tag));
        if opens && gateway.machine.handle_tag_spent(tag.ticket(), address(DEVICE), self.now).is_some() {
            self.book.enters(tag.ticket())?;
        }
        self.run_gateway(Killed::Never)
    }

    /// It starts again at once; the link goes with it, and what was on it.
    fn kill_controller(&mut self) -> Result<(), Wrong> {
        self.left.kills -= 1;
        let Setting { realm, person, .. } = self.setting;
        self.controller = self.controller.restarted(realm, person, self.now);
        self.book.controller_died();
        self.lose_link();
        self.gateway.history.note("link", (), self.now);
        self.gateway.machine.handle_link_down();
        self.run_gateway(Killed::Never)?;
        self.lose_link();
        Ok(())
    }

    pub(crate) fn lose_link(&mut self) {
        self.admits.clear();
        self.answers.clear();
    }

    fn flush(&mut self) {
        self.left.flushes -= 1;
        let before = self.controller.last;
        self.controller.flush(self.now);
        self.book.flushed(self.controller.last);
        if self.setting.flaw == Some(Flaw::LastNotKept) {
            self.controller.last = before;
        }
    }

    fn pass(&mut self, time: Duration) -> Result<(), Wrong> {
        self.now = self.now.after(time);
        self.controller.history.note("time", (), self.now);
        self.controller.machine.handle_timeout(self.now);
        self.gateway.history.note("time", (), self.now);
        self.gateway.machine.handle_timeout(self.now);
        self.gateway.forget(self.now);
        self.run_gateway(Killed::Never)?;
        self.run_controller(Said::Away)
    }
}

/// Numbers for what is sent.
#[derive(Default)]
pub(crate) struct Frames(usize);

impl Frames {
    pub(crate) fn next(&mut self) -> usize {
        self.0 += 1;
        self.0
    }
}

fn words(answer: &Answer) -> (u8, Option<[u8; 208]>) {
    match answer {
        Answer::Ready { inner, .. } => (0, Some(*inner)),
        Answer::Refused { inner } => (1, Some(*inner)),
        Answer::Seen => (2, None),
        Answer::Away => (3, None),
    }
}
