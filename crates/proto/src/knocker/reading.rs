//! Step 5 at the client: reading what the controller answers.

use super::asking::Asking;
use super::{Admitted, CLOCK_TOLERANCE, KnockEvent, KnockFailure, Knocker, PATIENCE};
use crate::entropy::Entropy;
use crate::id::Now;
use crate::inner::{READY, open_refusal};
use crate::outer::{Guidance, Status, link_ticket};
use crate::ticket::Ticket;
use std::net::{IpAddr, SocketAddr};

impl Knocker {
    /// Tries a datagram against one line; says whether it was meant for it.
    pub(super) fn read(
        &mut self,
        index: usize,
        from: SocketAddr,
        datagram: &[u8],
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> bool {
        let target = self.lines[index].target();
        let Some(asking) = self.lines[index].asking.as_mut().filter(|_| same_peer(from, target)) else { return false };
        if let Ok((guidance, outer_hash)) = asking.guidance.open_guidance(datagram) {
            self.follow(index, &guidance, outer_hash, now, entropy);
            return true;
        }
        let Ok(cookie) = asking.guidance.open_cookie(datagram) else { return false };
        if self.lines[index].take_cookie(cookie) {
            self.knock(index, now, entropy);
        }
        true
    }

    fn follow(&mut self, index: usize, guidance: &Guidance, outer_hash: [u8; 32], now: Now, entropy: &mut dyn Entropy) {
        match guidance.status {
            Status::Ready => self.come_in(index, guidance, outer_hash, now),
            Status::Time => self.correct_clock(index, guidance, now, entropy),
            Status::Refused => {
                let failure = self.lines[index]
                    .asking
                    .as_ref()
                    .map_or(KnockFailure::RefusedUnreadable, |asking| refusal(&self.identity, asking, guidance));
                self.finish(KnockEvent::Failed(failure));
            }
            Status::Away => self.finish(KnockEvent::Failed(KnockFailure::GatewayAway)),
            Status::Busy => self.finish(KnockEvent::Failed(KnockFailure::Busy)),
        }
    }

    /// *Ready*: believed only when the gateway itself says so, under the device's own seal.
    fn come_in(&mut self, index: usize, guidance: &Guidance, outer_hash: [u8; 32], now: Now) {
        let Some(asking) = self.lines[index].asking.as_mut() else { return };
        let Some(mut admitted) = admission(asking, guidance, outer_hash) else {
            // The controller says *ready* and can't prove it: as good as no answer; the next round asks again.
            return;
        };
        admitted.address_mismatch = self.is_mismatch(&admitted);
        self.clock.compare(guidance.controller_time, now);
        admitted.clock_offset_ms = self.clock.offset_ms;
        self.finish(KnockEvent::Admitted(admitted));
    }

    /// The sealed answer to a wrong clock: once more, with the controller's time and its challenge.
    fn correct_clock(&mut self, index: usize, guidance: &Guidance, now: Now, entropy: &mut dyn Entropy) {
        let offset = i128::from(guidance.controller_time.as_millis()) - i128::from(now.wall.as_millis());
        let offset_ms = i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX });
        if guidance.controller_time.abs_diff(now.wall) > CLOCK_TOLERANCE {
            self.finish(KnockEvent::Failed(KnockFailure::ClockFarOff { offset_ms }));
            return;
        }
        if self.clock.corrections >= PATIENCE {
            return;
        }
        self.clock.corrections += 1;
        self.clock.correct(offset_ms, guidance);
        self.events.push_back(KnockEvent::ClockCorrected { offset_ms });
        self.knock(index, now, entropy);
    }

    /// Whether the address that the controller saw, or announced, can't be ours.
    fn is_mismatch(&self, admitted: &Admitted) -> bool {
        let seen = admitted.seen.ip().to_canonical();
        let announced = admitted.announced.map(|announced| announced.ip().to_canonical());
        let super::asking::Identity::Device { own, .. } = &self.identity else { return false };
        let own: Vec<IpAddr> = own
            .iter()
            .map(|address| address.ip().to_canonical())
            .filter(|address| address.is_ipv4() == seen.is_ipv4() && is_global(*address))
            .collect();
        announced.is_some_and(|announced| announced != seen) || (!own.is_empty() && !own.contains(&seen))
    }
}

fn admission(asking: &mut Asking, guidance: &Guidance, outer_hash: [u8; 32]) -> Option<Admitted> {
    let sealed = guidance.inner.as_ref()?;
    let (ticket, window, announced, own_word) = match &mut asking.inside {
        Some(inside) => {
            let (ready, inner_hash) = inside.ready.open_ready(sealed).ok()?;
            if ready.code != READY {
                return None;
            }
            let ticket = Ticket::derive(inner_hash, &ready.ticket_secret, ready.ticket);
            (ticket, ready.window, Some(ready.announced), ready.addresses)
        }
        None => {
            let (id, secret) = link_ticket::decode(sealed).ok()?;
            (Ticket::derive(outer_hash, &secret, id), guidance.window, None, Vec::new())
        }
    };
    let gateways = if own_word.is_empty() { guidance.gateways.clone() } else { own_word };
    Some(Admitted {
        gateways,
        ticket,
        window,
        seen: guidance.seen,
        announced,
        address_mismatch: false,
        stamp: asking.stamp,
        clock_offset_ms: 0,
    })
}

fn refusal(identity: &super::asking::Identity, asking: &Asking, guidance: &Guidance) -> KnockFailure {
    let super::asking::Identity::Device { device, .. } = identity else { return KnockFailure::RefusedUnreadable };
    asking
        .inside
        .as_ref()
        .zip(guidance.inner.as_ref())
        .and_then(|(inside, sealed)| open_refusal(&device.psk_r, &inside.i1, sealed).ok())
        .map_or(KnockFailure::RefusedUnreadable, KnockFailure::Refused)
}

/// Whether a datagram comes from where we knocked; an IPv4 address may come mapped into IPv6.
fn same_peer(from: SocketAddr, target: SocketAddr) -> bool {
    from.port() == target.port() && from.ip().to_canonical() == target.ip().to_canonical()
}

/// Whether hosts elsewhere could know us by this address: if one such is ours, there is no NAT for its family.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let carrier_nat = a == 100 && (64..128).contains(&b);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || carrier_nat)
        }
        IpAddr::V6(v6) => (v6.segments()[0] & 0xe000) == 0x2000,
    }
}
