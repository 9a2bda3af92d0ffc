//! What the log of claims says at a start: pure.

use super::Interrupted;
use super::ledger::{Bounds, Ledger};
use super::name::ClaimName;
use super::record::{About, Record};
use super::starts::Starts;
use crate::Stamp;
use std::collections::HashMap;

/// What the log says, being read.
pub(super) struct Replay {
    ledger: Ledger,
    starts: Starts,
    sent: HashMap<ClaimName, Interrupted>,
}

impl Replay {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { ledger: Ledger::new(bounds), starts: Starts::new(bounds), sent: HashMap::new() }
    }

    pub(super) fn take(&mut self, record: Record) {
        let name = record.name();
        match record {
            Record::Begun { start, extent, given, about } => {
                self.starts.replay((ClaimName(start), extent), &about.user, about.address, given);
                self.sent.insert(name, Interrupted { name, given, about });
            }
            Record::SentAll { begun, given, about, .. } => {
                self.starts.whole(ClaimName(begun), given);
                self.sent.remove(&ClaimName(begun));
                self.sent(name, given, about);
            }
            Record::Sent { given, about, .. } => self.sent(name, given, about),
            Record::Done { at, status, stored, .. } => {
                self.ledger.done(name, at, status, stored);
                self.sent.remove(&name);
            }
            // No name of the one kind is one of the other.
            Record::Unsent { .. } => {
                self.ledger.give_back(name);
                self.starts.give_back(name);
                self.sent.remove(&name);
            }
            Record::Unknown { .. } => self.unknown(name),
        }
    }

    fn sent(&mut self, name: ClaimName, given: Stamp, about: About) {
        self.ledger.replay_sent(name, &about.user, about.address, given);
        self.sent.insert(name, Interrupted { name, given, about });
    }

    fn unknown(&mut self, name: ClaimName) {
        self.ledger.unknown(name);
        self.starts.unknown(name);
        self.sent.remove(&name);
    }

    /// What was sent and has no answer never will have one.
    pub(super) fn end(mut self) -> (Ledger, Starts, Vec<Interrupted>) {
        let mut interrupted: Vec<_> = std::mem::take(&mut self.sent).into_values().collect();
        interrupted.iter().for_each(|one| self.unknown(one.name));
        interrupted.sort_by_key(|one| (one.given, one.name));
        (self.ledger, self.starts, interrupted)
    }
}
