//! What stands around each machine: it does what the machine says, and tells the ledger.

use crate::common::{address, ms};
use crate::simulation::dice::Dice;
use crate::simulation::ledger::Made;
use crate::simulation::world::{CONTROLLERS, GATEWAY, Parcel, World};
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_proto::admission::{AdmissionCommand, Admissions};
use vestibule_proto::guess::GuessCount;
use vestibule_proto::inner::open_inner;
use vestibule_proto::knocker::{KnockEvent, KnockFailure};
use vestibule_proto::outer::open_knock;
use vestibule_proto::recognition::{Answer, Command, Recognition};
use vestibule_proto::ticket::Tag;

impl World {
    pub(crate) fn reach_controller(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = self.controller.clock.read(self.truth);
        let Some(machine) = &mut self.controller.running else { return };
        let heard = |machine: &Recognition| machine.counters().accepted + machine.counters().time_told;
        let before = heard(machine);
        machine.handle_input(from, datagram, now, &mut self.dice);
        let accepted_or_told = heard(machine) > before;
        // Answers first: what the attacker may draw is what was so before this datagram. Who is killed over it has heard
        // nothing.
        self.run_controller();
        let remembered = self.controller.running.is_some();
        self.ledger.delivered(datagram, accepted_or_told, remembered);
    }

    pub(crate) fn reach_client(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let receiver = self.clients.iter().position(|client| client.addresses.contains(&to));
        let Some(index) = receiver else { return };
        let now = self.clients[index].clock.read(self.truth);
        if let Some(knocker) = &mut self.clients[index].knocker {
            knocker.handle_input(from, datagram, now, &mut self.dice);
            self.run_client(index);
        }
    }

    /// Does what the controller's machine says, unless the controller is killed meanwhile.
    pub(crate) fn run_controller(&mut self) {
        while let Some(command) = self.controller.running.as_mut().and_then(|machine| machine.poll_command()) {
            if self.dice.chance(self.weather.kills) {
                return self.kill_controller();
            }
            let (link, delay) = (self.link, self.link_delay());
            match command {
                Command::Reply { to, datagram } => {
                    self.ledger.answered(to, datagram.len());
                    let from = address(CONTROLLERS[usize::from(to.is_ipv6())]);
                    self.cast(datagram, |datagram| Parcel::ToClient { from, to, datagram });
                }
                Command::Admit { request, digest, source, inner, .. } => {
                    assert!(self.linked, "a gateway was asked that is not linked");
                    self.send(delay, Parcel::Admit { link, request, digest, source, inner: Box::new(inner) });
                }
                Command::Withdraw { request, .. } => self.send(delay, Parcel::Withdraw { link, request }),
                Command::OpenLink { .. } => panic!("nobody knocked for a link"),
            }
        }
    }

    /// Does what the gateway's machine says, unless the gateway is killed meanwhile.
    pub(crate) fn run_gateway(&mut self) {
        while let Some(command) = self.gateway.running.as_mut().and_then(|machine| machine.poll_command()) {
            if self.dice.chance(self.weather.kills) {
                return self.kill_gateway();
            }
            self.do_for_gateway(command);
        }
    }

    fn do_for_gateway(&mut self, command: AdmissionCommand) {
        let (now, fault) = (self.gateway.clock.read(self.truth), self.dice.chance(self.weather.faults));
        let killed = self.dice.chance(self.weather.kills);
        match command {
            AdmissionCommand::CountGuess { device, request, .. } => {
                self.ledger.evaluated(device);
                if fault {
                    return;
                }
                let count: &mut GuessCount = self.gateway.guesses.entry(device).or_default();
                *count = count.counted(now.wall);
                let count = *count;
                if killed {
                    return self.kill_gateway();
                }
                self.confirm(|machine, dice| machine.handle_counted(request, count, now, dice));
            }
            AdmissionCommand::Remember { request, device, knock_id, .. } => {
                self.ledger.remember(request, device, knock_id);
                if fault {
                    return;
                }
                let fresh = self.gateway.seen.insert((device, knock_id));
                if killed {
                    return self.kill_gateway();
                }
                self.confirm(|machine, dice| machine.handle_remembered(request, fresh, now, dice));
            }
            AdmissionCommand::Open { request, ticket_id, tags, .. } => {
                self.ledger.opens(request, ticket_id);
                if !fault {
                    self.gateway.door.insert(ticket_id, tags);
                }
                if killed {
                    return self.kill_gateway();
                }
                self.confirm(|machine, dice| machine.handle_opened(request, !fault, now, dice));
            }
            AdmissionCommand::Shut { ticket_id } => {
                self.gateway.door.remove(&ticket_id);
            }
            AdmissionCommand::Answer { request, answer } => {
                if matches!(answer, Answer::Ready { .. }) {
                    self.ledger.ready(request);
                }
                let (link, delay) = (self.link, self.link_delay());
                self.send(delay, Parcel::Answer { link, request, answer: Box::new(answer) });
            }
            AdmissionCommand::Audit(_) => {}
        }
    }

    fn confirm(&mut self, confirm: impl FnOnce(&mut Admissions, &mut Dice)) {
        if let Some(machine) = &mut self.gateway.running {
            confirm(machine, &mut self.dice);
        }
    }

    pub(crate) fn run_client(&mut self, index: usize) {
        while let Some(event) = self.clients[index].knocker.as_mut().and_then(|knocker| knocker.poll_event()) {
            self.note_event(index, event);
        }
        self.clients[index].keep_stamp(false, self.truth);
        while let Some(transmit) = self.clients[index].knocker.as_mut().and_then(|knocker| knocker.poll_transmit()) {
            self.note_knock(index, &transmit.payload);
            let (from, to) = (self.clients[index].address_towards(transmit.to), transmit.to);
            self.cast(transmit.payload, |datagram| Parcel::ToController { from, datagram });
            if self.dice.chance(self.weather.moves) {
                let port = 20_000 + self.dice.below(40_000) as u16;
                self.clients[index].addresses[usize::from(to.is_ipv6())].set_port(port);
            }
        }
    }

    /// What the attacker can't read, the ledger can: it has all keys.
    fn note_knock(&mut self, index: usize, k1: &[u8]) {
        if self.ledger.made.contains_key(k1) {
            return;
        }
        let (keys, gateway) = (&self.realm.controller, &self.realm.gateway);
        let knock = open_knock(&keys.key, &keys.realm, k1, &mut self.dice).unwrap().knock;
        let device = &self.clients[index].person.admissible;
        let (i1, digest) = (knock.inner.unwrap(), knock.digest);
        let inner = open_inner(gateway.id, &gateway.key, &device.d_in, &device.psk_g, digest, &i1, &mut self.dice);
        let made = Made {
            device: device.device,
            digest,
            knock: knock.knock_id,
            stamp: knock.stamp,
            right: inner.is_ok(),
            heard: false,
            written: false,
            told_elsewhere: false,
        };
        self.ledger.made(k1.to_vec(), made);
    }

    fn note_event(&mut self, index: usize, event: KnockEvent) {
        let client = &mut self.clients[index];
        match event {
            KnockEvent::Admitted(admitted) => {
                self.ledger.admitted(client.person.admissible.device, admitted.ticket.id);
                assert_eq!(admitted.gateways, [address(GATEWAY)]);
                client.last_stamp = client.last_stamp.max(admitted.stamp);
                let tag = admitted.ticket.tag(0);
                client.admitted.push(admitted);
                let from = client.addresses[0];
                self.cast_tag(Parcel::FirstPacket { client: index, from, tag });
            }
            KnockEvent::ClockCorrected { .. } => client.corrected = true,
            KnockEvent::Failed(failure) => {
                client.keep_stamp(is_sealed_answer(&failure), self.truth);
                client.failures.push(failure);
            }
        }
    }

    /// The door looks at a first packet.
    pub(crate) fn first_packet(&mut self, client: usize, from: SocketAddr, tag: Tag) {
        let now = self.gateway.clock.read(self.truth);
        let opens = self.gateway.door.get(&tag.ticket()).is_some_and(|tags| tags.contains(&tag));
        let Some(machine) = self.gateway.running.as_mut().filter(|_| opens) else { return };
        let Some(granted) = machine.handle_tag_spent(tag.ticket(), from, now) else { return };
        self.gateway.door.remove(&tag.ticket());
        let bearer = self.clients[client].person.admissible.device;
        self.ledger.granted(granted.device, bearer, granted.ticket.id);
        self.clients[client].granted += 1;
        self.run_gateway();
    }

    /// A tag that is handed to the door by whoever has it.
    pub(crate) fn try_tag(&mut self, client: usize, from: &str, tag: Tag) {
        self.first_packet(client, address(from), tag);
    }

    fn link_delay(&mut self) -> Duration {
        // Each request is a stream of its own: they overtake each other.
        ms(1 + self.dice.below(self.weather.delay / 4 + 1))
    }

    fn cast_tag(&mut self, parcel: Parcel) {
        let delay = self.weather.delayed(&mut self.dice);
        if !self.dice.chance(self.weather.loss) {
            self.send(delay, parcel);
        }
    }

    /// Hands a datagram to the network.
    fn cast(&mut self, datagram: Vec<u8>, parcel: impl Fn(Vec<u8>) -> Parcel) {
        let copies = 1 + u64::from(self.dice.chance(self.weather.twice));
        for _ in 0..copies {
            if self.dice.chance(self.weather.loss) {
                continue;
            }
            let mut datagram = datagram.clone();
            if self.dice.chance(self.weather.altered) {
                let at = self.dice.below(datagram.len() as u64) as usize;
                datagram[at] ^= 1 << self.dice.below(8);
            }
            if self.dice.chance(self.weather.cut) {
                datagram.truncate(self.dice.below(datagram.len() as u64) as usize);
            }
            let delay = self.weather.delayed(&mut self.dice);
            self.send(delay, parcel(datagram));
        }
    }
}

/// Whether the controller answered, and so accepted the knock.
fn is_sealed_answer(failure: &KnockFailure) -> bool {
    match failure {
        KnockFailure::Refused(_) | KnockFailure::RefusedUnreadable | KnockFailure::GatewayAway | KnockFailure::Busy => {
            true
        }
        KnockFailure::NoAnswer | KnockFailure::ClockFarOff { .. } => false,
    }
}
