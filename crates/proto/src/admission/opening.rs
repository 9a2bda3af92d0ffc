//! K5: from a right knock to a door that stands open, and to who comes through it.

use super::audit::AdmissionAudit;
use super::doors::{Door, Family};
use super::states::{Case, ExpectOpened, ExpectRemembered, Request};
use super::{AdmissionCommand, Admissions, Granted};
use crate::entropy::Entropy;
use crate::id::{Now, Stamp, TicketId};
use crate::inner::{InnerHash, OpenedInner, READY, Ready, RefusalCode, Versions};
use crate::key::Secret;
use crate::link::Answer;
use crate::tcp::TcpTags;
use crate::ticket::Ticket;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An I2 that is not sent before its door stands open.
struct Sealed {
    ticket: Ticket,
    i2: Box<[u8; crate::inner::I2_LEN]>,
}

impl Admissions {
    /// The knock is new: a ticket, and the order to open. Nothing is said yet.
    pub(super) fn open(&mut self, state: ExpectRemembered, until: Instant, now: Now, entropy: &mut dyn Entropy) {
        let ExpectRemembered { case, opened, version } = state;
        let (purpose, session, stamp) = (opened.knock.purpose, opened.knock.session, opened.knock.stamp);
        let expects = opened.knock.expects;
        let time = self.clock.read(now);
        let Some(device) = self.devices.get_mut(&case.digest) else { return self.answer(case.request, Answer::Seen) };
        let kind = device.kind;
        device.version_floor = device.version_floor.max(version);
        let Some(Sealed { ticket, i2 }) = self.seal(*opened, &case, time, entropy) else {
            return self.refuse(&case, RefusalCode::Fault, Duration::ZERO, now, entropy);
        };
        self.shut_family(&case);
        let id = ticket.id;
        let door = Door {
            request: case.request,
            device: case.device,
            digest: case.digest,
            kind,
            purpose,
            session,
            version,
            ticket,
            expects,
            announced: case.source,
            policy: self.config.nat,
            ready: false,
        };
        let open = self.order_to_open(&door, now);
        if !self.doors.add(door, now.mono + self.config.window) {
            return self.refuse(&case, RefusalCode::Busy, Duration::ZERO, now, entropy);
        }
        if let Some(shared) = self.devices.shared_mut(case.device) {
            shared.newest = shared.newest.max(stamp);
            *shared.door(Family::of(case.source)) = Some(id);
        }
        self.commands.push_back(open);
        let request = case.request;
        self.requests.go_on(request, Request::Opened(ExpectOpened { case, ticket: id, i2 }), until);
    }

    /// I2 and the ticket in it. None if the device's key is none.
    fn seal(&self, opened: OpenedInner, case: &Case, time: Stamp, entropy: &mut dyn Entropy) -> Option<Sealed> {
        let (id, secret) = (TicketId::random(entropy), Secret::random(entropy));
        let ready = Ready {
            knock_id: opened.knock.knock_id,
            ticket: id,
            ticket_secret: secret.clone(),
            window: self.config.window,
            code: READY,
            announced: case.source,
            addresses: self.config.addresses.clone(),
            stamp: time,
            versions: Versions::OURS,
        };
        let (i2, hash): (_, InnerHash) = opened.seal_ready(&ready).ok()?;
        Some(Sealed { ticket: Ticket::derive(hash, &secret, id), i2: Box::new(i2) })
    }

    fn order_to_open(&self, door: &Door, now: Now) -> AdmissionCommand {
        AdmissionCommand::Open {
            request: door.request,
            ticket_id: door.ticket.id,
            tags: door.ticket.quic_tags(),
            tcp: TcpTags::of(&door.ticket),
            announced: door.announced.ip(),
            policy: door.policy,
            deadline: now.mono + self.config.window,
        }
    }

    /// The door's back end has answered: only now is the client told.
    pub(super) fn tell(&mut self, state: ExpectOpened, ok: bool, now: Now, entropy: &mut dyn Entropy) {
        let ExpectOpened { case, ticket, i2 } = state;
        let revoked = self.devices.get(&case.digest).is_none_or(|device| device.revoked);
        if revoked {
            self.shut(ticket);
            return self.refuse(&case, RefusalCode::Revoked, Duration::ZERO, now, entropy);
        }
        if !ok {
            self.shut(ticket);
            return self.refuse(&case, RefusalCode::Fault, Duration::ZERO, now, entropy);
        }
        let Some(door) = self.doors.get_mut(ticket) else { return self.answer(case.request, Answer::Seen) };
        door.ready = true;
        self.counters.ready += 1;
        let window_ms = u32::try_from(self.config.window.as_millis()).unwrap_or(u32::MAX);
        self.answer(case.request, Answer::Ready { addresses: self.config.addresses.clone(), inner: *i2, window_ms });
    }

    /// A first packet bore a tag of this ticket: its bearer is the device.
    pub(super) fn grant(&mut self, ticket: TicketId, source: SocketAddr, now: Now) -> Option<Granted> {
        let door = self.doors.get(ticket)?;
        let comes_rightly = door.policy.matches(door.announced.ip(), source.ip());
        if !door.ready || !comes_rightly || self.doors.is_over(ticket, now.mono) {
            return None;
        }
        let door = self.doors.remove(ticket)?;
        self.counters.granted += 1;
        // The other family's door is not needed any more.
        for family in Family::ALL {
            let other = self.devices.shared_mut(door.device).and_then(|shared| shared.door(family).take());
            other.filter(|other| *other != ticket).into_iter().for_each(|other| self.shut(other));
        }
        Some(Granted {
            device: door.device,
            digest: door.digest,
            kind: door.kind,
            purpose: door.purpose,
            session: door.session,
            version: door.version,
            ticket: door.ticket,
            expects: door.expects,
            announced: door.announced,
            source,
        })
    }

    /// The device's door of this family, if it has one, makes way for a new one.
    fn shut_family(&mut self, case: &Case) {
        let family = Family::of(case.source);
        let old = self.devices.shared_mut(case.device).and_then(|shared| shared.door(family).take());
        old.into_iter().for_each(|old| self.shut(old));
    }

    /// Shuts a door, and ends the request that waits for it to open.
    pub(super) fn shut(&mut self, ticket: TicketId) {
        let Some(door) = self.doors.remove(ticket) else { return };
        if let Some(shared) = self.devices.shared_mut(door.device) {
            let slot = shared.door(door.family());
            *slot = slot.filter(|other| *other != ticket);
        }
        self.commands.push_back(AdmissionCommand::Shut { ticket_id: ticket });
        if self.requests.take_if(door.request, |state| matches!(state, Request::Opened(_))).is_some() {
            self.answer(door.request, Answer::Seen);
        }
    }

    /// The window of a door is over.
    pub(super) fn end(&mut self, ticket: TicketId) {
        let Some(door) = self.doors.get(ticket) else { return };
        if door.ready {
            let unused = AdmissionAudit::Unused { device: door.device, announced: door.announced };
            self.counters.unused += 1;
            self.audit(unused);
        }
        self.shut(ticket);
    }
}
