//! What the controller says to a client (K6) and asks of a gateway (K3).

use super::copies::Mac1;
use super::rows::Owners;
use super::waiting::{Ask, ExpectAnswer, Next};
use super::{Command, LINK_WINDOW, Recognition};
use crate::entropy::Entropy;
use crate::id::{GatewayId, LoginDigest, Now, Stamp, TicketId};
use crate::key::Secret;
use crate::link::Answer;
use crate::outer::{Guidance, OpenedKnock, Status, link_ticket};
use crate::ticket::Ticket;
use std::net::SocketAddr;
use std::time::Duration;

/// Who is to be answered: where the knock came from, and under which mac1 copies of it are known.
#[derive(Clone, Copy)]
pub(super) struct Addressee {
    pub(super) from: SocketAddr,
    pub(super) mac1: Mac1,
}

impl Recognition {
    /// K3: puts an accepted knock of a device before a gateway that serves it.
    pub(super) fn ask(&mut self, opened: OpenedKnock, to: Addressee, now: Now, time: Stamp) {
        let gateways = self.linked_for(&opened.knock.digest);
        if gateways.is_empty() {
            self.say(opened, to, Status::Away, now, time);
        } else if self.waiting.is_full() {
            self.say(opened, to, Status::Busy, now, time);
        } else if let Ok(next) =
            self.waiting.add(ExpectAnswer::new(opened, to.from, to.mac1, gateways, now.mono), now.mono)
        {
            self.go_on(next, now, time);
        }
    }

    /// The linked gateways of this digest, in turns.
    fn linked_for(&mut self, digest: &LoginDigest) -> Vec<GatewayId> {
        let Some(Owners::Gateways(gateways)) = self.rows.get(digest).map(|row| &row.owners) else { return Vec::new() };
        let mut linked: Vec<_> = gateways.iter().copied().filter(|gateway| self.linked.contains(gateway)).collect();
        if linked.len() > 1 {
            self.turn = self.turn.wrapping_add(1);
            let by = self.turn % linked.len();
            linked.rotate_left(by);
        }
        linked
    }

    pub(super) fn go_on(&mut self, next: Next, now: Now, time: Stamp) {
        match next {
            Next::Wait => {}
            Next::Ask(ask) => self.send_ask(&ask),
            Next::Over(knock) => {
                self.withdraw_all(&knock);
                let to = Addressee { from: knock.from, mac1: knock.mac1 };
                self.say(*knock.opened, to, Status::Away, now, time);
            }
        }
    }

    fn send_ask(&mut self, ask: &Ask) {
        let Some(knock) = self.waiting.asked_with(ask.request) else { return };
        let Some(inner) = knock.opened.knock.inner else { return };
        self.counters.hedged += u64::from(knock.unanswered().len() > 1);
        let command = Command::Admit {
            gateway: ask.gateway,
            request: ask.request,
            digest: knock.opened.knock.digest,
            source: canonical(knock.from),
            inner,
            deadline: ask.within,
        };
        self.commands.push_back(command);
    }

    pub(super) fn withdraw_all(&mut self, knock: &ExpectAnswer) {
        for (gateway, request) in knock.unanswered() {
            self.commands.push_back(Command::Withdraw { gateway: *gateway, request: *request });
        }
    }

    /// K5: the gateway has decided.
    pub(super) fn pass_on(&mut self, knock: ExpectAnswer, answer: Answer, now: Now, time: Stamp) -> bool {
        self.withdraw_all(&knock);
        let to = Addressee { from: knock.from, mac1: knock.mac1 };
        let said = self.guidance(to, Status::Ready, time);
        let guidance = match answer {
            Answer::Ready { addresses, inner, window_ms } => Guidance {
                window: Duration::from_millis(window_ms.into()),
                gateways: addresses,
                inner: Some(inner),
                ..said
            },
            Answer::Refused { inner } => Guidance { status: Status::Refused, inner: Some(inner), ..said },
            Answer::Seen => return false,
            Answer::Away => Guidance { status: Status::Away, ..said },
        };
        self.reply(*knock.opened, to, &guidance, now)
    }

    /// C1: a gateway's own knock opens the controller's own door. The door first, then the word.
    pub(super) fn open_link(
        &mut self,
        opened: OpenedKnock,
        to: Addressee,
        entropy: &mut dyn Entropy,
        now: Now,
        time: Stamp,
    ) {
        let Some(row) = self.rows.get(&opened.knock.digest) else { return };
        let Owners::Link(gateway) = row.owners else { return };
        let temporary = row.temporary_until.is_some();
        let (id, secret) = (TicketId::random(entropy), Secret::random(entropy));
        let inner = Some(link_ticket::encode(id, &secret));
        let guidance = Guidance { window: LINK_WINDOW, inner, ..self.guidance(to, Status::Ready, time) };
        let Ok((datagram, hash)) = opened.seal_guidance(&row.psk_c, &guidance) else { return };
        self.counters.links += 1;
        let ticket = Ticket::derive(hash, &secret, id);
        self.commands.push_back(Command::OpenLink { gateway, temporary, ticket, source: canonical(to.from) });
        self.send(to, datagram, now);
    }

    /// A sealed answer without anything from a gateway.
    pub(super) fn say(&mut self, opened: OpenedKnock, to: Addressee, status: Status, now: Now, time: Stamp) {
        let guidance = self.guidance(to, status, time);
        self.reply(opened, to, &guidance, now);
    }

    pub(super) fn guidance(&self, to: Addressee, status: Status, time: Stamp) -> Guidance {
        Guidance {
            status,
            window: Duration::ZERO,
            seen: canonical(to.from),
            controller_time: time,
            challenge: None,
            gateways: Vec::new(),
            inner: None,
        }
    }

    /// K6. False, and nothing is sent, if the row is gone or has another device's key by now.
    pub(super) fn reply(&mut self, opened: OpenedKnock, to: Addressee, guidance: &Guidance, now: Now) -> bool {
        let row = self.rows.get(&opened.knock.digest).filter(|row| row.device_key == opened.device_key);
        let sealed = row.and_then(|row| opened.seal_guidance(&row.psk_c, guidance).ok());
        let Some((datagram, _hash)) = sealed else {
            self.counters.ended_silent += 1;
            return false;
        };
        self.count_said(guidance.status);
        self.send(to, datagram, now);
        true
    }

    fn count_said(&mut self, status: Status) {
        let counter = match status {
            Status::Ready => &mut self.counters.ready,
            Status::Time => &mut self.counters.time_told,
            Status::Refused => &mut self.counters.refused,
            Status::Away => &mut self.counters.away,
            Status::Busy => &mut self.counters.busy,
        };
        *counter += 1;
    }

    fn send(&mut self, to: Addressee, datagram: Box<[u8; 1200]>, now: Now) {
        self.copies.answered(&to.mac1, &datagram, now.mono);
        let datagram: Box<[u8]> = datagram;
        self.commands.push_back(Command::Reply { to: to.from, datagram: datagram.into_vec() });
    }
}

/// An address as it is told and announced: IPv4 mapped into IPv6 is IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
