//! What happened, and what must never have.

use std::collections::{BTreeMap, BTreeSet};
use vestibule_proto::id::{KnockId, LinkRequest, Stamp, TicketId};
use vestibule_proto::recognition::FRESHNESS_WINDOW;

/// What must never happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// A second door for one knock.
    OpenedTwice,
    /// A second entry by one ticket, or one by a door that nobody was told of.
    EnteredTwice,
    /// The gateway looks at a knock that no device made.
    Invented,
    /// The controller accepts a knock a second time in one life, or tells it the time again.
    HeardTwice,
    /// Somebody is answered who was not the first to send a knock, or the first one after a restart that had not forgotten it.
    RecordingAnswered,
}

/// Why the controller answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// A datagram has come, or the gateway's word.
    ByTheGateway,
    /// The gateway is gone, or has not answered in time.
    Away,
}

/// A knock of the device.
#[derive(Clone, Default, Hash)]
struct Made {
    knock: Option<KnockId>,
    stamp: Stamp,
    /// In this life of the controller it was accepted, or told the time.
    heard: bool,
    /// It was accepted, and the controller's disk says so.
    written: bool,
    /// It was heard in this life for the first time, and from elsewhere.
    from_elsewhere: bool,
    /// And rightly so: the network had withheld it, or a restart forgot it.
    withheld: bool,
}

#[derive(Default, Hash)]
pub(crate) struct Book {
    made: BTreeMap<usize, Made>,
    knocks: BTreeSet<KnockId>,
    requests: BTreeMap<LinkRequest, KnockId>,
    /// The answers that went elsewhere in this life of the controller: their copies may follow them.
    told: BTreeSet<Vec<u8>>,
    /// What the gateway's disk holds.
    seen: BTreeSet<KnockId>,
    opened: BTreeMap<KnockId, TicketId>,
    ready: BTreeSet<TicketId>,
    entered: BTreeSet<TicketId>,
}

impl Book {
    pub(crate) fn made(&mut self, number: usize, knock: KnockId, stamp: Stamp) {
        self.knocks.insert(knock);
        self.made.insert(number, Made { knock: Some(knock), stamp, ..Made::default() });
    }

    /// The controller accepted this knock, or told it the time. Who sends it first in this life may be answered, unless the
    /// gateway has seen it, and the knock is of now or its acceptance is on the controller's disk.
    pub(crate) fn heard(&mut self, number: usize, elsewhere: bool, time: Stamp) -> Result<(), Wrong> {
        let Some(made) = self.made.get_mut(&number) else { return Err(Wrong::Invented) };
        let seen = made.knock.is_some_and(|knock| self.seen.contains(&knock));
        let of_now = made.stamp.abs_diff(time) <= FRESHNESS_WINDOW;
        made.from_elsewhere = elsewhere;
        made.withheld = elsewhere && !(seen && (of_now || made.written));
        if std::mem::replace(&mut made.heard, true) { Err(Wrong::HeardTwice) } else { Ok(()) }
    }

    /// The controller answers this knock to somebody elsewhere: it may, if that was its first sender. To be told *away* it is
    /// enough that the controller accepted it: nobody was there to say that it had been seen.
    pub(crate) fn answered_elsewhere(&mut self, number: usize, k6: Vec<u8>, said: Said) -> Result<(), Wrong> {
        let may = self.made.get(&number).is_some_and(|made| match said {
            Said::ByTheGateway => made.withheld,
            Said::Away => made.from_elsewhere,
        });
        let again = !self.told.insert(k6);
        if may || again { Ok(()) } else { Err(Wrong::RecordingAnswered) }
    }

    /// `last` is on the controller's disk.
    pub(crate) fn flushed(&mut self, last: Stamp) {
        self.made.values_mut().filter(|made| made.heard && made.stamp <= last).for_each(|made| made.written = true);
    }

    pub(crate) fn controller_died(&mut self) {
        self.told.clear();
        for made in self.made.values_mut() {
            (made.heard, made.from_elsewhere, made.withheld) = (false, false, false);
        }
    }

    pub(crate) fn remembers(&mut self, request: LinkRequest, knock: KnockId) -> Result<(), Wrong> {
        self.requests.insert(request, knock);
        if self.knocks.contains(&knock) { Ok(()) } else { Err(Wrong::Invented) }
    }

    /// It is on the gateway's disk.
    pub(crate) fn seen(&mut self, knock: KnockId) {
        self.seen.insert(knock);
    }

    pub(crate) fn opens(&mut self, request: LinkRequest, ticket: TicketId) -> Result<(), Wrong> {
        let Some(knock) = self.requests.get(&request) else { return Err(Wrong::Invented) };
        if self.opened.insert(*knock, ticket).is_none() { Ok(()) } else { Err(Wrong::OpenedTwice) }
    }

    pub(crate) fn told_ready(&mut self, request: LinkRequest) {
        let ticket = self.requests.get(&request).and_then(|knock| self.opened.get(knock));
        self.ready.extend(ticket.copied());
    }

    pub(crate) fn enters(&mut self, ticket: TicketId) -> Result<(), Wrong> {
        if self.ready.contains(&ticket) && self.entered.insert(ticket) { Ok(()) } else { Err(Wrong::EnteredTwice) }
    }

    pub(crate) fn somebody_entered(&self) -> bool {
        !self.entered.is_empty()
    }
}
