//! Requests of the controller that are not answered yet: one struct per state, named for what it expects of the shell.

use crate::expiring::ExpiringMap;
use crate::id::{DeviceId, LinkRequest, LoginDigest, TicketId};
use crate::inner::{I1_LEN, I2_LEN, OpenedInner};
use crate::link::ADMIT_DEADLINE_MS;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// When the controller does not wait any longer, neither do we.
const ANSWER_WITHIN: Duration = Duration::from_millis(ADMIT_DEADLINE_MS as u64);

/// Who asks, and from where.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) request: LinkRequest,
    pub(super) digest: LoginDigest,
    pub(super) device: DeviceId,
    /// As the controller announced it, IPv4 unmapped.
    pub(super) source: SocketAddr,
    /// Refusals answer this very knock.
    pub(super) i1: Box<[u8; I1_LEN]>,
}

/// A wrong password: nothing is said before it is written down.
pub(super) struct ExpectCounted {
    pub(super) case: Case,
}

/// A right knock: nothing is opened before it is written down that it was here.
pub(super) struct ExpectRemembered {
    pub(super) case: Case,
    pub(super) opened: Box<OpenedInner>,
    pub(super) version: u16,
}

/// A door: nothing is said before it stands open.
pub(super) struct ExpectOpened {
    pub(super) case: Case,
    pub(super) ticket: TicketId,
    pub(super) i2: Box<[u8; I2_LEN]>,
}

/// A request in one of these states.
pub(super) enum Request {
    Counted(ExpectCounted),
    Remembered(ExpectRemembered),
    Opened(ExpectOpened),
}

/// All of them, at most `limit`.
pub(super) struct Requests(ExpiringMap<LinkRequest, Request>);

impl Requests {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self(ExpiringMap::with_limit(limit))
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.is_full()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// False if there is no room.
    pub(super) fn begin(&mut self, request: LinkRequest, state: Request, now: Instant) -> bool {
        self.0.insert(request, state, now + ANSWER_WITHIN).is_ok()
    }

    /// The next state of a request that was taken out a moment ago; its time does not begin anew.
    pub(super) fn go_on(&mut self, request: LinkRequest, state: Request, deadline: Instant) -> bool {
        self.0.insert(request, state, deadline).is_ok()
    }

    pub(super) fn get(&self, request: LinkRequest) -> Option<&Request> {
        self.0.get(&request)
    }

    pub(super) fn deadline(&self, request: LinkRequest) -> Option<Instant> {
        self.0.deadline(&request)
    }

    pub(super) fn take(&mut self, request: LinkRequest) -> Option<Request> {
        self.0.remove(&request)
    }

    /// Takes out a request that is in the state that `expected` says; in any other it stays as it is.
    pub(super) fn take_if(&mut self, request: LinkRequest, expected: fn(&Request) -> bool) -> Option<Request> {
        if self.0.get(&request).is_some_and(expected) { self.0.remove(&request) } else { None }
    }

    /// Takes out a request that nobody waits for any more.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Request> {
        self.0.pop_expired(now).map(|(_, state)| state)
    }

    /// Takes out any request.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.0.pop_first().map(|(_, state)| state)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}
