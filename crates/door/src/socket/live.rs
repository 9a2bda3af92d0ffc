//! The sources that are in.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::{FIRST_FLIGHT, Source};
use crate::nftables::Stay;

/// Live sources. Read for every datagram of a connection in both directions, written when one begins or ends.
pub(super) struct LiveSources {
    limit: usize,
    table: RwLock<Table>,
}

/// Which entry of a source a hold belongs to: a source that was removed and came in anew is another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass(u64);

#[derive(Default)]
struct Table {
    sources: HashMap<Source, Live>,
    /// Entries in the order in which they came in, and when each must have been taken over.
    newcomers: VecDeque<(Instant, Source, Pass)>,
    last_pass: u64,
}

struct Live {
    pass: Pass,
    /// Connections that hold the source.
    holds: u32,
    /// Tags spent from here that no connection has taken over yet.
    unclaimed: u32,
    /// Until when that may still happen.
    claim_until: Instant,
}

impl LiveSources {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, table: RwLock::default() }
    }

    /// A tag was spent at this source: it is live until [`FIRST_FLIGHT`] from now, or as long as somebody holds it. `false`
    /// if there is no room for it.
    pub(super) fn enter(&self, source: Source, now: Instant) -> bool {
        let mut table = self.write();
        table.remove_unclaimed(now);
        if table.sources.len() >= self.limit && !table.sources.contains_key(&source) {
            return false;
        }
        table.enter(source, now + FIRST_FLIGHT);
        true
    }

    pub(super) fn hold(&self, source: Source) -> Option<Pass> {
        let mut table = self.write();
        let live = table.sources.get_mut(&source)?;
        live.unclaimed = live.unclaimed.saturating_sub(1);
        live.holds += 1;
        Some(live.pass)
    }

    pub(super) fn release(&self, source: Source, pass: Pass) {
        let mut table = self.write();
        let Some(live) = table.sources.get_mut(&source) else { return };
        if live.pass == pass {
            live.holds = live.holds.saturating_sub(1);
            if live.holds == 0 && live.unclaimed == 0 {
                table.sources.remove(&source);
            }
        }
    }

    pub(super) fn remove(&self, source: Source) {
        self.write().sources.remove(&source);
    }

    pub(super) fn contains(&self, source: Source, now: Instant) -> bool {
        self.read().sources.get(&source).is_some_and(|live| live.is_in(now))
    }

    pub(super) fn stay(&self, source: Source, now: Instant) -> Stay {
        match self.read().sources.get(&source) {
            Some(live) if live.holds > 0 => Stay::Held,
            Some(live) if live.is_in(now) => Stay::Until(live.claim_until),
            Some(_) | None => Stay::Out,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.read().sources.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn enter(&mut self, source: Source, claim_until: Instant) {
        let pass = Pass(self.last_pass + 1);
        let live = self.sources.entry(source).or_insert(Live { pass, holds: 0, unclaimed: 0, claim_until });
        live.unclaimed += 1;
        live.claim_until = claim_until;
        if live.pass == pass {
            self.last_pass += 1;
        }
        let pass = live.pass;
        self.newcomers.push_back((claim_until, source, pass));
    }

    /// Forgets the claims that nobody made in time. They expire in the order in which they came in.
    fn remove_unclaimed(&mut self, now: Instant) {
        while let Some(&(until, source, pass)) = self.newcomers.front()
            && until <= now
        {
            self.newcomers.pop_front();
            let Some(live) = self.sources.get_mut(&source) else { continue };
            if live.pass == pass && live.claim_until <= now {
                live.unclaimed = 0;
                if live.holds == 0 {
                    self.sources.remove(&source);
                }
            }
        }
    }
}

impl Live {
    fn is_in(&self, now: Instant) -> bool {
        self.holds > 0 || (self.unclaimed > 0 && now < self.claim_until)
    }
}
