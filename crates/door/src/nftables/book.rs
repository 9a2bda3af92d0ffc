//! What the kernel's sets should hold: the door's own list, from which a lost table is made anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use vestibule_proto::id::TicketId;

use super::table::Key;

/// How much longer an element stays in the kernel than it is of use. User space, which is exact, ends it; the margin keeps
/// the kernel from being first, for what has gone by itself can't be taken out.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a ticket or a held source stays in the kernel unless it is renewed: so long, at most, do they pass after a crash.
pub(super) const HELD: Duration = Duration::from_secs(120);

/// How long a ticket stays in the kernel once a tag of it was spent: longer than a connection lives whose other end is not heard, which
/// may say others of its tags.
pub(crate) const AFTER_FIRST: Duration = Duration::from_secs(32);

/// What goes by itself so soon is not taken out: the kernel may be first.
const SOON: Duration = Duration::from_millis(50);

/// Where a source stands, as user space sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Not in.
    Out,
    /// In until then, if nobody takes it over.
    Until(Instant),
    /// In as long as somebody holds it.
    Held,
}

/// What must be done in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Elements to take out; they are there.
    pub(super) delete: Vec<Key>,
    /// Elements to put in, for how long; they are not there, or among those to take out.
    pub(super) add: Vec<(Key, Duration)>,
    /// Addresses of live sources that were nobody's before. They are put in with the first of these.
    pub(super) arrive: Vec<Key>,
    /// Addresses that nobody has any more. They are taken out with the last of these.
    pub(super) leave: Vec<Key>,
}

/// Admissions and live sources, each with the time at which the kernel forgets it.
#[derive(Debug, Default)]
pub(super) struct Book {
    tickets: HashMap<TicketId, Opening>,
    live: HashMap<Key, Live>,
    /// Live sources at each address; none of them is 0.
    addresses: HashMap<Key, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Opening {
    /// When the kernel forgets it unless it is renewed.
    until: Instant,
    /// When it is of no use any more.
    end: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    until: Instant,
    held: bool,
}

impl Book {
    /// The tags of an admission open until `deadline`.
    pub(super) fn admit(&mut self, ticket: TicketId, deadline: Instant, now: Instant) -> Change {
        let end = deadline + MARGIN;
        let until = end.min(now + HELD);
        self.tickets.insert(ticket, Opening { until, end });
        Change { add: vec![(Key::ticket(ticket), until.saturating_duration_since(now))], ..Change::default() }
    }

    /// A tag of the ticket was spent: the others will follow soon, or never.
    pub(super) fn spent(&mut self, ticket: &TicketId, now: Instant) -> Change {
        let Some(opening) = self.tickets.get_mut(ticket).filter(|opening| opening.end > now + AFTER_FIRST) else {
            return Change::default();
        };
        let former = std::mem::replace(opening, Opening { until: now + AFTER_FIRST, end: now + AFTER_FIRST });
        let key = Key::ticket(*ticket);
        let delete = is_there(former.until, now).then_some(key).into_iter().collect();
        Change { delete, add: vec![(key, AFTER_FIRST)], ..Change::default() }
    }

    /// No tag of the ticket opens any more.
    pub(super) fn withdraw(&mut self, ticket: &TicketId, now: Instant) -> Change {
        let opening = self.tickets.remove(ticket).filter(|opening| is_there(opening.until, now));
        Change { delete: opening.map(|_| Key::ticket(*ticket)).into_iter().collect(), ..Change::default() }
    }

    /// A source stands so now.
    pub(super) fn stay(&mut self, source: Key, stay: Stay, now: Instant) -> Change {
        let former = self.live.get(&source).copied().filter(|live| is_there(live.until, now));
        let wanted = match stay {
            Stay::Out => None,
            Stay::Until(until) => Some(Live { until: until + MARGIN, held: false }),
            Stay::Held => Some(Live { until: now + HELD, held: true }),
        };
        if let (Some(former), Some(wanted)) = (former, wanted)
            && former.held
            && wanted.held
        {
            // It is renewed in time.
            return Change::default();
        }
        let mut change = Change {
            delete: former.map(|_| source).into_iter().collect(),
            add: wanted.map(|live| (source, live.until.saturating_duration_since(now))).into_iter().collect(),
            ..Change::default()
        };
        let stood = match wanted {
            Some(live) => self.live.insert(source, live).is_some(),
            None => self.live.remove(&source).is_some(),
        };
        match (stood, wanted.is_some()) {
            (false, true) => change.arrive.extend(self.arrive(source)),
            (true, false) => change.leave.extend(self.leave(source)),
            (true, true) | (false, false) => {}
        }
        change
    }

    /// One more source; its address, if it is the first one there.
    fn arrive(&mut self, source: Key) -> Option<Key> {
        let address = source.of_address()?;
        let count = self.addresses.entry(address).or_default();
        *count += 1;
        (*count == 1).then_some(address)
    }

    /// One source less; its address, if it was the last one there.
    fn leave(&mut self, source: Key) -> Option<Key> {
        let address = source.of_address()?;
        let count = self.addresses.get_mut(&address)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.addresses.remove(&address);
        Some(address)
    }

    /// Forgets what the kernel has forgotten, and renews the tickets and the held sources that it would forget in the second half of
    /// their time.
    pub(super) fn renew(&mut self, now: Instant) -> Change {
        self.tickets.retain(|_, opening| opening.end > now);
        let gone: Vec<Key> =
            self.live.extract_if(|_, live| !live.held && live.until <= now).map(|(key, _)| key).collect();
        let mut change = Change::default();
        change.leave.extend(gone.into_iter().filter_map(|source| self.leave(source)));
        let fades = |opening: &Opening| opening.until < opening.end && opening.until < now + HELD / 2;
        for (ticket, opening) in self.tickets.iter_mut().filter(|(_, opening)| fades(opening)) {
            let key = Key::ticket(*ticket);
            if opening.until > now {
                change.delete.push(key);
            }
            opening.until = opening.end.min(now + HELD);
            change.add.push((key, opening.until.saturating_duration_since(now)));
        }
        for (key, live) in self.live.iter_mut().filter(|(_, live)| live.held && live.until < now + HELD / 2) {
            if live.until > now {
                change.delete.push(*key);
            }
            live.until = now + HELD;
            change.add.push((*key, HELD));
        }
        change
    }

    /// Every address of a live source, for a table that is empty.
    pub(super) fn addresses(&self) -> Vec<Key> {
        self.addresses.keys().copied().collect()
    }

    /// Everything that has an end, for a table that is empty. Tickets and held sources get their whole time.
    pub(super) fn all(&mut self, now: Instant) -> Vec<(Key, Duration)> {
        for live in self.live.values_mut().filter(|live| live.held) {
            live.until = now + HELD;
        }
        for opening in self.tickets.values_mut() {
            opening.until = opening.end.min(now + HELD);
        }
        let tickets = self.tickets.iter().map(|(ticket, opening)| (Key::ticket(*ticket), opening.until));
        let live = self.live.iter().map(|(key, live)| (*key, live.until));
        let left = |(key, until): (Key, Instant)| Some((key, until.checked_duration_since(now)?));
        tickets.chain(live).filter_map(left).collect()
    }
}

/// Whether the kernel still has an element that it forgets at `until`, for some time.
fn is_there(until: Instant, now: Instant) -> bool {
    until > now + SOON
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The kernel: it refuses to take out what isn't there, and to put in what is.
    #[derive(Default)]
    struct Sets(HashMap<Key, Instant>, HashSet<Key>);

    impl Sets {
        fn take(&mut self, change: &Change, now: Instant) {
            self.0.retain(|_, until| *until > now);
            for address in &change.arrive {
                assert!(self.1.insert(*address), "{address:?} is there");
            }
            for key in &change.delete {
                assert!(self.0.remove(key).is_some(), "{key:?} isn't there");
            }
            for (key, time) in &change.add {
                assert_eq!(self.0.insert(*key, now + *time), None, "{key:?} is there");
            }
            for address in &change.leave {
                assert!(self.1.remove(address), "{address:?} isn't there");
            }
            let has_address = |key: &Key| key.of_address().is_none_or(|address| self.1.contains(&address));
            assert!(self.0.keys().all(has_address), "a source whose address is missing");
        }
    }

    fn ticket(number: u8) -> TicketId {
        TicketId::new([number; 8])
    }

    /// Two of them are at one address.
    fn source(n: u8) -> Key {
        Key::source([192, 0, 2, n / 2].into(), 7 + u16::from(n))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(u8),
        Withdraw(u8),
        Spent(u8),
        AdmitMove(u8),
        Stay(u8, u8),
        Renew,
        Pass(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3u8).prop_map(Step::Admit),
            (0..3u8).prop_map(Step::Withdraw),
            (0..3u8).prop_map(Step::Spent),
            (0..3u8).prop_map(Step::AdmitMove),
            (0..3u8, 0..3u8).prop_map(|(from, how)| Step::Stay(from, how)),
            Just(Step::Renew),
            (0..40_000u32).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Whatever happens: no change is one that the kernel refuses; what is held is never forgotten while it is renewed;
        /// and a table made anew holds what the lost one held.
        #[test]
        fn the_kernel_takes_every_change_and_holds_what_the_book_holds(steps in prop::collection::vec(step(), 1..80)) {
            let (mut book, mut sets, mut now) = (Book::default(), Sets::default(), Instant::now());
            let mut held = [false; 3];
            let mut ends = [None; 3];
            for step in steps {
                let change = match step {
                    Step::Admit(number) | Step::AdmitMove(number) => {
                        // The door admits no ticket twice.
                        let withdrawn = book.withdraw(&ticket(number), now);
                        sets.take(&withdrawn, now);
                        sets.0.retain(|key, _| *key != Key::ticket(ticket(number)));
                        let window = if matches!(step, Step::Admit(_)) { 10 * SECOND } else { 10_000 * SECOND };
                        ends[usize::from(number)] = Some(now + window);
                        book.admit(ticket(number), now + window, now)
                    }
                    Step::Withdraw(number) => {
                        ends[usize::from(number)] = None;
                        book.withdraw(&ticket(number), now)
                    }
                    Step::Spent(number) => {
                        sets.0.retain(|key, until| *key != Key::ticket(ticket(number)) || is_there(*until, now));
                        let end = &mut ends[usize::from(number)];
                        *end = end.map(|end| end.min(now + AFTER_FIRST));
                        book.spent(&ticket(number), now)
                    }
                    Step::Stay(from, how) => {
                        let stay = [Stay::Out, Stay::Until(now + 3 * SECOND), Stay::Held][usize::from(how)];
                        held[usize::from(from)] = stay == Stay::Held;
                        sets.0.retain(|key, until| *key != source(from) || is_there(*until, now));
                        book.stay(source(from), stay, now)
                    }
                    Step::Renew => book.renew(now),
                    Step::Pass(millis) => {
                        now += Duration::from_millis(millis.into());
                        // The keeper comes far more often than elements of held sources go.
                        book.renew(now)
                    }
                };
                sets.take(&change, now);
                for n in 0..3 {
                    prop_assert!(!held[usize::from(n)] || sets.0.contains_key(&source(n)));
                    let there = sets.0.get(&Key::ticket(ticket(n))).copied();
                    match ends[usize::from(n)] {
                        Some(end) if end > now => prop_assert!(there.is_some_and(|until| until <= now + HELD)),
                        end => prop_assert!(there.is_none_or(|_| end.is_some_and(|end| now < end + 2 * MARGIN))),
                    }
                }
            }
            let mut anew: Vec<Key> = book.all(now).into_iter().map(|(key, _)| key).collect();
            let mut there: Vec<Key> = sets.0.iter().filter(|(_, until)| is_there(**until, now)).map(|(key, _)| *key).collect();
            let order = |key: &Key| format!("{key:?}");
            anew.retain(|key| sets.0.contains_key(key));
            anew.sort_by_key(order);
            there.sort_by_key(order);
            there.retain(|key| anew.contains(key) || held.iter().any(|held| *held));
            prop_assert!(there.iter().all(|key| anew.contains(key)));
            prop_assert_eq!(book.addresses().into_iter().collect::<HashSet<_>>(), sets.1);
        }
    }

    #[test]
    fn an_admission_is_one_element_and_is_taken_out_once() {
        let (mut book, now) = (Book::default(), Instant::now());
        let key = Key::ticket(ticket(1));
        assert_eq!(book.admit(ticket(1), now + 10 * SECOND, now).add, [(key, 10 * SECOND + MARGIN)]);
        assert_eq!(book.withdraw(&ticket(1), now).delete, [key]);
        assert_eq!(book.withdraw(&ticket(1), now), Change::default());
        assert!(book.all(now).is_empty());
    }

    #[test]
    fn a_newcomer_that_is_held_is_written_anew_and_one_that_is_held_twice_is_not() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert_eq!(book.stay(source(1), Stay::Until(now + 3 * SECOND), now).add, [(source(1), 4 * SECOND)]);
        let held = book.stay(source(1), Stay::Held, now);
        assert_eq!((held.delete, held.add), (vec![source(1)], vec![(source(1), HELD)]));
        assert_eq!(book.stay(source(1), Stay::Held, now), Change::default());
        assert_eq!(book.renew(now + HELD / 4), Change::default());
        assert_eq!(book.renew(now + HELD * 3 / 4).add, [(source(1), HELD)]);
        assert_eq!(book.stay(source(1), Stay::Out, now + HELD).delete, [source(1)]);
    }
}
