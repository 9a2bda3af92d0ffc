//! The admissions that stand, and the tags spent of them.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use vestibule_proto::id::TicketId;
use vestibule_proto::ticket::Tag;

use super::{FIRST_FLIGHT, Source};
use crate::{Admission, DoorError};

/// Admissions by ticket. A packet is looked up by the ticket in its tag; only under a ticket that stands are tags
/// compared, in constant time.
#[derive(Default)]
pub(super) struct Tickets {
    standing: HashMap<TicketId, Standing>,
    /// When each of them can be removed. One entry per ticket.
    ends: BTreeSet<(Instant, TicketId)>,
}

/// What a first packet's connection id is worth at its source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Nothing.
    Nobody,
    /// It is an unspent tag, and the source's address is one that the admission's policy accepts.
    Unspent(TicketId),
    /// It is a tag that this source spent less than [`FIRST_FLIGHT`] ago.
    Bound(TicketId),
}

struct Standing {
    admission: Admission,
    /// When unspent tags stop to open: the admission's deadline, or when it was withdrawn.
    open_until: Instant,
    /// Until when the ticket is kept: no tag of it is of use to anybody any more.
    end: Instant,
    spent: [Option<Spent>; 4],
}

#[derive(Clone, Copy)]
struct Spent {
    by: Source,
    until: Instant,
    taken_over: bool,
}

impl Tickets {
    pub(super) fn len(&self) -> usize {
        self.standing.len()
    }

    pub(super) fn admit(&mut self, admission: &Admission, limit: usize, now: Instant) -> Result<(), DoorError> {
        if !are_its_tags(admission) {
            return Err(DoorError::NotItsTags);
        }
        if admission.deadline <= now {
            return Err(DoorError::TooLate);
        }
        if self.standing.contains_key(&admission.ticket) {
            return Err(DoorError::Duplicate);
        }
        if self.standing.len() >= limit {
            return Err(DoorError::Full { limit });
        }
        let end = admission.deadline;
        self.ends.insert((end, admission.ticket));
        let standing = Standing { admission: admission.clone(), open_until: end, end, spent: [None; 4] };
        self.standing.insert(admission.ticket, standing);
        Ok(())
    }

    /// Closes the tags that are unspent. The ticket goes as soon as no spent tag can let a packet pass either.
    pub(super) fn withdraw(&mut self, ticket: &TicketId, now: Instant) {
        if let Some(standing) = self.standing.get_mut(ticket) {
            standing.open_until = standing.open_until.min(now);
            let end = standing.spent.iter().flatten().map(|spent| spent.until).fold(now, Instant::max);
            self.set_end(*ticket, end);
            self.remove_expired(now);
        }
    }

    pub(super) fn bearer(&self, source: Source, dcid: &[u8], now: Instant) -> Bearer {
        let Some((standing, n)) = self.find(dcid) else { return Bearer::Nobody };
        let admission = &standing.admission;
        match standing.spent[n] {
            Some(spent) if spent.by == source && now < spent.until => Bearer::Bound(admission.ticket),
            Some(_) => Bearer::Nobody,
            None if now < standing.open_until && admission.policy.matches(admission.announced, source.ip()) => {
                Bearer::Unspent(admission.ticket)
            }
            None => Bearer::Nobody,
        }
    }

    /// Binds the tag to its first source. Call it after [`Tickets::bearer`] said `Unspent`, under the same lock.
    pub(super) fn spend(&mut self, source: Source, dcid: &[u8], now: Instant) {
        let Some((standing, n)) = self.find_mut(dcid) else { return };
        let until = now + FIRST_FLIGHT;
        standing.spent[n] = Some(Spent { by: source, until, taken_over: false });
        let (ticket, end) = (standing.admission.ticket, standing.end.max(until));
        self.set_end(ticket, end);
    }

    /// The ticket of the tag that this source spent, if nobody asked for it before.
    pub(super) fn take_over(&mut self, source: Source, dcid: &[u8], now: Instant) -> Option<TicketId> {
        let (standing, n) = self.find_mut(dcid)?;
        let spent = standing.spent[n].as_mut()?;
        if spent.by != source || now >= spent.until || spent.taken_over {
            return None;
        }
        spent.taken_over = true;
        Some(standing.admission.ticket)
    }

    pub(super) fn remove_expired(&mut self, now: Instant) {
        while let Some(&(end, ticket)) = self.ends.first()
            && end <= now
        {
            self.ends.pop_first();
            self.standing.remove(&ticket);
        }
    }

    fn set_end(&mut self, ticket: TicketId, end: Instant) {
        if let Some(standing) = self.standing.get_mut(&ticket) {
            self.ends.remove(&(standing.end, ticket));
            self.ends.insert((end, ticket));
            standing.end = end;
        }
    }

    fn find(&self, dcid: &[u8]) -> Option<(&Standing, usize)> {
        let tag = Tag::new(dcid.try_into().ok()?);
        let standing = self.standing.get(&tag.ticket())?;
        Some((standing, number(standing, tag)?))
    }

    fn find_mut(&mut self, dcid: &[u8]) -> Option<(&mut Standing, usize)> {
        let tag = Tag::new(dcid.try_into().ok()?);
        let standing = self.standing.get_mut(&tag.ticket())?;
        let n = number(standing, tag)?;
        Some((standing, n))
    }
}

/// Which of the ticket's tags this is. `Tag` compares in constant time.
fn number(standing: &Standing, tag: Tag) -> Option<usize> {
    standing.admission.tags.iter().position(|own| *own == tag)
}

fn are_its_tags(admission: &Admission) -> bool {
    let [a, b, c, d] = &admission.tags;
    let all_differ = a != b && a != c && a != d && b != c && b != d && c != d;
    all_differ && admission.in_datagrams().iter().all(|tag| tag.ticket() == admission.ticket)
}
