//! Doors that stand open, or are being opened: one per device and address family, until its window is over.

use super::DeviceKind;
use crate::expiring::ExpiringMap;
use crate::gateway_key::KeyName;
use crate::id::{DeviceId, LinkRequest, LoginDigest, SessionId, TicketId};
use crate::inner::Purpose;
use crate::ticket::{NatPolicy, Ticket};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

/// The family of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// One admission.
pub(super) struct Door {
    pub(super) request: LinkRequest,
    pub(super) device: DeviceId,
    pub(super) digest: LoginDigest,
    pub(super) kind: DeviceKind,
    pub(super) purpose: Purpose,
    pub(super) session: Option<SessionId>,
    pub(super) version: u16,
    pub(super) ticket: Ticket,
    pub(super) expects: Option<KeyName>,
    pub(super) announced: SocketAddr,
    pub(super) policy: NatPolicy,
    /// The door's back end has said that it stands open, and so the client was told.
    pub(super) ready: bool,
}

impl Door {
    pub(super) fn family(&self) -> Family {
        Family::of(self.announced)
    }
}

/// All doors, at most `limit`.
pub(super) struct Doors {
    by_ticket: ExpiringMap<TicketId, Door>,
    by_request: HashMap<LinkRequest, TicketId>,
}

impl Doors {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { by_ticket: ExpiringMap::with_limit(limit), by_request: HashMap::new() }
    }

    /// Enters a door; false if there is no room, or, which chance does not bring about, its ticket is taken.
    pub(super) fn add(&mut self, door: Door, deadline: Instant) -> bool {
        let (ticket, request) = (door.ticket.id, door.request);
        let added = !self.by_ticket.contains(&ticket) && self.by_ticket.insert(ticket, door, deadline).is_ok();
        if added {
            self.by_request.insert(request, ticket);
        }
        added
    }

    pub(super) fn get(&self, ticket: TicketId) -> Option<&Door> {
        self.by_ticket.get(&ticket)
    }

    pub(super) fn get_mut(&mut self, ticket: TicketId) -> Option<&mut Door> {
        self.by_ticket.get_mut(&ticket)
    }

    pub(super) fn of_request(&self, request: LinkRequest) -> Option<TicketId> {
        self.by_request.get(&request).copied()
    }

    pub(super) fn remove(&mut self, ticket: TicketId) -> Option<Door> {
        let door = self.by_ticket.remove(&ticket)?;
        self.by_request.remove(&door.request);
        Some(door)
    }

    /// Whether the window of a door is over at `now`.
    pub(super) fn is_over(&self, ticket: TicketId, now: Instant) -> bool {
        self.by_ticket.deadline(&ticket).is_none_or(|deadline| deadline <= now)
    }

    /// A door whose window is over.
    pub(super) fn next_over(&self, now: Instant) -> Option<TicketId> {
        self.by_ticket.first_expired(now).copied()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.by_ticket.poll_timeout()
    }

    pub(super) fn len(&self) -> usize {
        self.by_ticket.len()
    }
}
