//! Knocks that wait for their gateway's word (steps K3 and K5).

use super::copies::Mac1;
use crate::expiring::{ExpiringMap, Full};
use crate::id::{GatewayId, LinkRequest};
use crate::link::ADMIT_DEADLINE_MS;
use crate::outer::OpenedKnock;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a gateway may take; then the client is told *away*.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(ADMIT_DEADLINE_MS as u64);

/// How long the first gateway of a cluster is alone with a knock (C10: one, then a second).
pub(super) const HEDGE_AFTER: Duration = Duration::from_millis(300);

/// An accepted knock, and the gateways that were asked about it.
pub(super) struct ExpectAnswer {
    pub(super) opened: Box<OpenedKnock>,
    pub(super) from: SocketAddr,
    pub(super) mac1: Mac1,
    /// Gateways that were asked and have not answered: one, or two after the hedge.
    asked: Vec<(GatewayId, LinkRequest)>,
    /// Linked gateways that were not asked, next one last.
    unasked: Vec<GatewayId>,
    deadline: Instant,
    hedged: bool,
}

/// A request to be sent.
pub(super) struct Ask {
    pub(super) gateway: GatewayId,
    pub(super) request: LinkRequest,
    pub(super) within: Duration,
}

/// What becomes of a waiting knock.
pub(super) enum Next {
    /// It goes on waiting.
    Wait,
    /// One more gateway is asked.
    Ask(Ask),
    /// It waits no more: nobody is left who could answer.
    Over(ExpectAnswer),
}

/// All waiting knocks, at most `limit`.
pub(super) struct Waiting {
    knocks: ExpiringMap<u64, ExpectAnswer>,
    by_request: HashMap<LinkRequest, u64>,
    next_knock: u64,
    next_request: LinkRequest,
}

impl ExpectAnswer {
    pub(super) fn new(
        opened: OpenedKnock,
        from: SocketAddr,
        mac1: Mac1,
        gateways: Vec<GatewayId>,
        now: Instant,
    ) -> Self {
        let deadline = now + ANSWER_WITHIN;
        Self { opened: Box::new(opened), from, mac1, asked: Vec::new(), unasked: gateways, deadline, hedged: false }
    }

    /// The requests that nobody answered yet, to be withdrawn.
    pub(super) fn unanswered(&self) -> &[(GatewayId, LinkRequest)] {
        &self.asked
    }

    /// When something is to be done: the hedge, while there is one to be made, then the end.
    fn wakes(&self) -> Instant {
        let hedge = self.deadline - ANSWER_WITHIN + HEDGE_AFTER;
        if self.hedged || self.unasked.is_empty() { self.deadline } else { hedge }
    }
}

impl Waiting {
    /// `first`: requests are numbered from here, above those of earlier starts.
    pub(super) fn new(limit: usize, first: LinkRequest) -> Self {
        Self { knocks: ExpiringMap::with_limit(limit), by_request: HashMap::new(), next_knock: 0, next_request: first }
    }

    pub(super) fn is_full(&self) -> bool {
        self.knocks.is_full()
    }

    pub(super) fn len(&self) -> usize {
        self.knocks.len()
    }

    /// Lets a knock wait, and asks its first gateway.
    pub(super) fn add(&mut self, knock: ExpectAnswer, now: Instant) -> Result<Next, Full> {
        let (number, wakes) = (self.next_knock, knock.wakes());
        self.knocks.insert(number, knock, wakes)?;
        self.next_knock += 1;
        Ok(self.ask_next(number, now))
    }

    /// The knock that a gateway was asked about with this request.
    pub(super) fn asked_with(&self, request: LinkRequest) -> Option<&ExpectAnswer> {
        self.knocks.get(self.by_request.get(&request)?)
    }

    /// Takes out the knock that this gateway was asked about with this request. `None` if it was not.
    pub(super) fn settle(&mut self, gateway: GatewayId, request: LinkRequest) -> Option<ExpectAnswer> {
        let number = self.find(gateway, request)?;
        let mut knock = self.take(number)?;
        knock.asked.retain(|(_, other)| *other != request);
        Some(knock)
    }

    /// This gateway has nothing to say to the request. `ask_another`: somebody else may have.
    pub(super) fn drop_request(
        &mut self,
        gateway: GatewayId,
        request: LinkRequest,
        ask_another: bool,
        now: Instant,
    ) -> Option<Next> {
        let number = self.find(gateway, request)?;
        self.by_request.remove(&request);
        let knock = self.knocks.get_mut(&number)?;
        knock.asked.retain(|(_, other)| *other != request);
        if ask_another && !knock.unasked.is_empty() {
            return Some(self.ask_next(number, now));
        }
        if knock.asked.is_empty() { self.take(number).map(Next::Over) } else { Some(Next::Wait) }
    }

    /// The link of `gateway` is gone: what it was asked is to be looked at by [`handle_timeout`](Self::handle_timeout) at
    /// once.
    pub(super) fn forget_gateway(&mut self, gateway: GatewayId) {
        let lost: Vec<_> = self.knocks.iter().filter(|(_, knock)| knock.knows(gateway)).map(|(n, _)| *n).collect();
        for number in lost {
            let Some(knock) = self.knocks.get_mut(&number) else { continue };
            knock.unasked.retain(|other| *other != gateway);
            for (_, request) in knock.asked.extract_if(.., |(other, _)| *other == gateway) {
                self.by_request.remove(&request);
            }
            let wakes = if knock.asked.is_empty() { knock.deadline - ANSWER_WITHIN } else { knock.wakes() };
            self.knocks.extend(&number, wakes);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.knocks.poll_timeout()
    }

    /// The next knock whose time has come. Call it until it gives `None`.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Next> {
        let (number, knock) = self.knocks.pop_expired(now)?;
        let over = knock.deadline <= now || (knock.asked.is_empty() && knock.unasked.is_empty());
        if over {
            self.forget_requests(&knock);
            return Some(Next::Over(knock));
        }
        let wakes = knock.deadline;
        // It was in the map a moment ago, so there is room.
        let _back = self.knocks.insert(number, knock, wakes);
        Some(self.ask_next(number, now))
    }

    /// Asks the next gateway about a knock. A second one is the last.
    fn ask_next(&mut self, number: u64, now: Instant) -> Next {
        let Some(knock) = self.knocks.get_mut(&number) else { return Next::Wait };
        let Some(gateway) = knock.unasked.pop() else { return Next::Wait };
        let (request, within) = (self.next_request, knock.deadline.saturating_duration_since(now));
        self.next_request = request.next();
        knock.hedged = !knock.asked.is_empty();
        knock.asked.push((gateway, request));
        let wakes = knock.wakes();
        self.knocks.extend(&number, wakes);
        self.by_request.insert(request, number);
        Next::Ask(Ask { gateway, request, within })
    }

    fn find(&self, gateway: GatewayId, request: LinkRequest) -> Option<u64> {
        let number = *self.by_request.get(&request)?;
        self.knocks.get(&number)?.asked.contains(&(gateway, request)).then_some(number)
    }

    fn take(&mut self, number: u64) -> Option<ExpectAnswer> {
        let knock = self.knocks.remove(&number)?;
        self.forget_requests(&knock);
        Some(knock)
    }

    fn forget_requests(&mut self, knock: &ExpectAnswer) {
        for (_, request) in &knock.asked {
            self.by_request.remove(request);
        }
    }
}

impl ExpectAnswer {
    fn knows(&self, gateway: GatewayId) -> bool {
        self.unasked.contains(&gateway) || self.asked.iter().any(|(other, _)| *other == gateway)
    }
}
