//! What stands in the program's maps: the door's own list, by which what is over is found and taken out.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use vestibule_proto::id::TicketId;

use super::place::Place;
use crate::nftables::{AFTER_FIRST, Stay};

/// How long a held source stays in the map unless it is renewed: so long, at most, do flows pass if this process stands still.
pub(super) const HELD: Duration = Duration::from_secs(120);

/// Admissions and live sources.
#[derive(Debug, Default)]
pub(super) struct Book {
    tickets: HashMap<TicketId, Instant>,
    /// One entry for each ticket.
    ends: BTreeSet<(Instant, TicketId)>,
    live: HashMap<Place, Live>,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    until: Instant,
    held: bool,
}

/// What must be done with a source in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Until(Instant),
    Remove,
}

impl Book {
    /// The tags of an admission open until then.
    pub(super) fn admit(&mut self, ticket: TicketId, until: Instant) {
        self.ends.insert((until, ticket));
        self.tickets.insert(ticket, until);
    }

    /// A tag of the ticket was spent: when it is over now, if that is sooner.
    pub(super) fn spent(&mut self, ticket: &TicketId, now: Instant) -> Option<Instant> {
        let sooner = now + AFTER_FIRST;
        let until = self.tickets.get_mut(ticket).filter(|until| **until > sooner)?;
        self.ends.remove(&(*until, *ticket));
        self.ends.insert((sooner, *ticket));
        *until = sooner;
        Some(sooner)
    }

    /// Whether the ticket is there, and is to be taken out.
    pub(super) fn withdraw(&mut self, ticket: &TicketId) -> bool {
        let until = self.tickets.remove(ticket);
        until.is_some_and(|until| self.ends.remove(&(until, *ticket)))
    }

    /// The tickets whose window is over: they are to be taken out.
    pub(super) fn over(&mut self, now: Instant) -> Vec<TicketId> {
        let mut over = Vec::new();
        while let Some(&(until, ticket)) = self.ends.first()
            && until <= now
        {
            self.withdraw(&ticket);
            over.push(ticket);
        }
        over
    }

    /// A source stands so now.
    pub(super) fn stay(&mut self, source: Place, stay: Stay, now: Instant) -> Change {
        let wanted = match stay {
            Stay::Out => {
                return if self.live.remove(&source).is_some() { Change::Remove } else { Change::Nothing };
            }
            Stay::Until(until) => Live { until, held: false },
            Stay::Held => Live { until: now + HELD, held: true },
        };
        let former = self.live.insert(source, wanted);
        match former {
            // It is renewed in time.
            Some(former) if former.held && wanted.held && former.until > now => {
                self.live.insert(source, former);
                Change::Nothing
            }
            Some(_) | None => Change::Until(wanted.until),
        }
    }

    /// The kernel did not take a source: it is tried again with the next renewal, if it is still held then.
    pub(super) fn missing(&mut self, source: Place, now: Instant) {
        if let Some(live) = self.live.get_mut(&source) {
            live.until = now;
        }
    }

    /// The held sources that would go in the second half of their time, each with its new end, and those that have gone.
    pub(super) fn renew(&mut self, now: Instant) -> Vec<(Place, Change)> {
        let mut changes = Vec::new();
        self.live.retain(|place, live| {
            if live.held && live.until < now + HELD / 2 {
                live.until = now + HELD;
                changes.push((*place, Change::Until(live.until)));
            } else if live.until <= now {
                changes.push((*place, Change::Remove));
                return false;
            }
            true
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn source(n: u8) -> Place {
        Place::new([192, 0, 2, n].into(), 7)
    }

    #[test]
    fn tickets_are_taken_out_once_when_they_are_withdrawn_or_their_window_is_over() {
        let (mut book, now) = (Book::default(), Instant::now());
        let [first, second, third] = [1, 2, 3].map(|number| TicketId::new([number; 8]));
        for (ticket, seconds) in [(first, 3), (second, 2), (third, 1)] {
            book.admit(ticket, now + SECOND * seconds);
        }
        assert_eq!(book.over(now), []);
        assert_eq!([book.withdraw(&second), book.withdraw(&second)], [true, false]);
        assert_eq!(book.over(now + SECOND * 2), [third]);
        assert_eq!(book.over(now + SECOND * 3), [first]);
        book.admit(first, now + 9 * AFTER_FIRST);
        assert_eq!(
            [book.spent(&first, now), book.spent(&first, now), book.spent(&second, now)],
            [Some(now + AFTER_FIRST), None, None]
        );
        assert_eq!(book.over(now + AFTER_FIRST), [first]);
        assert!(book.ends.is_empty() && book.tickets.is_empty());
    }

    proptest! {
        /// Whatever happens: what the map holds is what user space wants, while the keeper comes every half second.
        #[test]
        fn the_map_holds_who_is_in_and_nobody_else(
            steps in prop::collection::vec((0..3u8, 0..5u8, 0..2_000u64), 1..200)
        ) {
            let (mut book, mut now) = (Book::default(), Instant::now());
            let mut map = HashMap::new();
            let mut wanted = HashMap::new();
            for (n, how, millis) in steps {
                let change = match how {
                    0 => book.stay(source(n), Stay::Out, now),
                    1 => book.stay(source(n), Stay::Until(now + 3 * SECOND), now),
                    2 => book.stay(source(n), Stay::Held, now),
                    3 => { book.missing(source(n), now); map.remove(&source(n)); Change::Nothing }
                    _ => Change::Nothing,
                };
                match how {
                    0 | 3 => drop(wanted.remove(&source(n))),
                    1 => drop(wanted.insert(source(n), Some(now + 3 * SECOND))),
                    2 => drop(wanted.insert(source(n), None)),
                    _ => now += Duration::from_millis(millis),
                }
                let held = book.live.get(&source(n)).is_some_and(|live| live.held);
                if how == 3 && held {
                    wanted.insert(source(n), None);
                }
                for (place, change) in std::iter::once((source(n), change)).chain(book.renew(now)) {
                    match change {
                        Change::Nothing => {}
                        Change::Until(until) => drop(map.insert(place, until)),
                        Change::Remove => drop(map.remove(&place)),
                    }
                }
                for n in 0..3 {
                    let is_in = wanted.get(&source(n)).is_some_and(|until| until.is_none_or(|until| until > now));
                    prop_assert_eq!(map.get(&source(n)).is_some_and(|until| *until > now), is_in);
                    prop_assert_eq!(map.contains_key(&source(n)), is_in);
                }
            }
        }
    }
}
