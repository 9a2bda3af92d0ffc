//! The table of sessions: pure but for the handles that it gives out.

use super::ended::Ended;
use super::live::{Live, Serials, Session};
use super::rows::{End, Row};
use super::{BeginError, Gone, Selector, SessionSettings};
use crate::address::AddressTable;
use crate::{Binding, LogicalAddress, Stamp, UserName};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use vestibule_store::Store;

/// How often uses are written down.
const SAVE_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Table {
    addresses: AddressTable<Arc<Live>>,
    by_binding: HashMap<[u8; 32], LogicalAddress>,
    /// When each session is looked at next: not later than it can be over.
    visits: BTreeSet<(Stamp, LogicalAddress)>,
    ended: Ended,
    /// Ends that are not on the disk yet.
    unsaved: Vec<End>,
    next_save: Stamp,
    limit: usize,
    per_user: usize,
    idle: Duration,
}

/// What a sweep found.
pub(super) struct Swept {
    /// Sessions that are over since.
    pub(super) ended: Vec<Arc<Live>>,
    /// Sessions whose last use is to be written down.
    pub(super) used: Vec<(Arc<Live>, Stamp)>,
}

impl Table {
    pub(super) fn new(addresses: AddressTable<Arc<Live>>, settings: &SessionSettings, now: Stamp) -> Self {
        Self {
            addresses,
            by_binding: HashMap::new(),
            visits: BTreeSet::new(),
            ended: Ended::with_limit(settings.limit),
            unsaved: Vec::new(),
            next_save: now.after(SAVE_EVERY),
            limit: settings.limit,
            per_user: settings.per_user.max(1),
            idle: settings.idle,
        }
    }

    /// Takes up what a row says: a session that goes on, or what became of one. Those that go on come first, then the last that ended.
    pub(super) fn restore(&mut self, row: Row, store: &Store, now: Stamp) {
        let (address, binding) = (row.session.address, row.session.binding);
        if let Some((at, why)) = row.ended {
            // A clock set back since then must not prolong anything.
            let at = at.min(now);
            self.addresses.restore_resting(address, at);
            if !self.by_binding.contains_key(&binding.0) {
                self.ended.insert(&binding, why, at);
            }
            return;
        }
        let serials = Serials::of_restart(store.clone(), row.id, row.serials);
        let live = Arc::new(Live::new(row.id, row.session, row.last_use, serials));
        let room = self.addresses.restore(address, live.clone());
        self.by_binding.insert(binding.0, address);
        match live.over(now, self.idle) {
            Some(why) => self.end(&live, why, now),
            // Its address is of another pool than today's.
            None if !room => self.end(&live, Gone::Expired, now),
            None => self.visit_later(&live),
        }
    }

    pub(super) fn begin(
        &mut self,
        random: u128,
        now: Stamp,
        (user, binding): (&UserName, &Binding),
        make: impl FnOnce(LogicalAddress) -> Arc<Live>,
    ) -> Result<Arc<Live>, BeginError> {
        // One that is over makes room.
        if self.find(binding, now).is_ok() {
            return Err(BeginError::Taken);
        }
        self.make_way(user, now);
        if self.addresses.len() >= self.limit {
            return Err(BeginError::Full);
        }
        let live = self.addresses.assign(now, random, make)?.clone();
        self.by_binding.insert(binding.0, live.session().address);
        self.ended.remove(binding);
        self.visit_later(&live);
        Ok(live)
    }

    /// Of as many sessions as a user may have, the one that was unused for longest ends.
    fn make_way(&mut self, user: &UserName, now: Stamp) {
        let theirs = self.addresses.iter().map(|(_, live)| live).filter(|live| live.session().user == *user);
        let mut theirs: Vec<_> = theirs.cloned().collect();
        theirs.sort_by_key(|live| live.last_use());
        let excess = (theirs.len() + 1).saturating_sub(self.per_user);
        theirs.iter().take(excess).for_each(|live| self.end(live, Gone::Idle, now));
    }

    pub(super) fn find(&mut self, binding: &Binding, now: Stamp) -> Result<Arc<Live>, Gone> {
        let live = self.by_binding(binding).ok_or_else(|| self.ended.why(binding))?;
        match live.over(now, self.idle) {
            None => Ok(live),
            Some(why) => {
                self.end(&live, why, now);
                Err(why)
            }
        }
    }

    pub(super) fn at(&self, address: LogicalAddress) -> Option<Arc<Live>> {
        self.addresses.get(address).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<Live>> {
        self.addresses.iter().map(|(_, live)| live.clone()).collect()
    }

    pub(super) fn sign_off(&mut self, binding: &Binding, now: Stamp) -> bool {
        let found = self.by_binding(binding);
        if let Some(live) = &found {
            self.end(live, Gone::SignedOff, now);
        }
        found.is_some()
    }

    pub(super) fn revoke(&mut self, selector: &Selector, now: Stamp) -> Vec<Arc<Live>> {
        let chosen = |live: &Arc<Live>| match selector {
            Selector::Address(address) => live.session().address == *address,
            Selector::User(user) => live.session().user == *user,
            Selector::Device(device) => live.session().device.as_ref() == Some(device),
            Selector::All => true,
        };
        let ended: Vec<_> = self.list().into_iter().filter(chosen).collect();
        ended.iter().for_each(|live| self.end(live, Gone::Revoked, now));
        ended
    }

    /// Takes a session out that was never written down.
    pub(super) fn forget(&mut self, live: &Live, now: Stamp) {
        self.end_unwritten(live, Gone::Unknown, now);
        self.ended.remove(&live.session().binding);
    }

    /// Has the end written down once more.
    pub(super) fn end_again(&mut self, live: &Live, now: Stamp) {
        let why = live.why_ended().unwrap_or(Gone::Unknown);
        self.unsaved.push(End { id: live.id(), at: now, why });
    }

    /// Ends what is over.
    pub(super) fn sweep(&mut self, now: Stamp) -> Swept {
        self.ended.forget_old(now);
        let mut ended = Vec::new();
        while let Some((at, address)) = self.visits.first().copied().filter(|(at, _)| *at <= now) {
            self.visits.remove(&(at, address));
            let Some(live) = self.at(address) else { continue };
            match live.over(now, self.idle) {
                Some(why) => {
                    self.end(&live, why, now);
                    ended.push(live);
                }
                None => self.visit_later(&live),
            }
        }
        Swept { ended, used: self.used(now) }
    }

    pub(super) fn poll_timeout(&self) -> Stamp {
        self.visits.first().map_or(self.next_save, |(visit, _)| self.next_save.min(*visit))
    }

    pub(super) fn take_unsaved(&mut self) -> Vec<End> {
        std::mem::take(&mut self.unsaved)
    }

    pub(super) fn put_back_unsaved(&mut self, ends: Vec<End>) {
        self.unsaved.extend(ends);
    }

    fn used(&mut self, now: Stamp) -> Vec<(Arc<Live>, Stamp)> {
        if now < self.next_save && self.next_save <= now.after(SAVE_EVERY) {
            return Vec::new();
        }
        self.next_save = now.after(SAVE_EVERY);
        let used = self.addresses.iter().filter(|(_, live)| live.is_use_unsaved());
        used.map(|(_, live)| (live.clone(), live.last_use())).collect()
    }

    fn by_binding(&self, binding: &Binding) -> Option<Arc<Live>> {
        self.by_binding.get(&binding.0).and_then(|address| self.at(*address))
    }

    /// A visit that is not needed any more does no harm: it finds another session at that address, or none.
    fn visit_later(&mut self, live: &Live) {
        self.visits.insert((live.deadline(self.idle), live.session().address));
    }

    fn end(&mut self, live: &Live, why: Gone, now: Stamp) {
        self.end_unwritten(live, why, now);
        self.unsaved.push(End { id: live.id(), at: now, why });
    }

    fn end_unwritten(&mut self, live: &Live, why: Gone, now: Stamp) {
        let Session { address, binding, .. } = live.session();
        live.end(why);
        if self.at(*address).is_some_and(|holder| holder.id() == live.id()) {
            self.addresses.clear(*address, now);
        }
        self.by_binding.remove(&binding.0);
        self.ended.insert(binding, why, now);
    }
}
