//! How many refusals of one session are entered one by one: nobody pushes what was done out of the log by asking for what is
//! refused. Pure.

use super::{AuditOutcome, Entry};
use crate::{LogicalAddress, Stamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// For how long refusals are counted together.
const SPAN: Duration = Duration::from_secs(60);

/// The refusals of the last minute, by session.
pub(super) struct Quota {
    most: u32,
    spans: HashMap<LogicalAddress, Span>,
    /// When each began, in this order.
    begun: VecDeque<(Stamp, LogicalAddress)>,
}

#[derive(Default)]
struct Span {
    entered: u32,
    left_out: u32,
    last: Option<Entry>,
}

impl Quota {
    pub(super) fn new(most: u32) -> Self {
        Self { most, spans: HashMap::new(), begun: VecDeque::new() }
    }

    /// What is to be entered now for this entry: itself, unless it is one refusal too many.
    pub(super) fn admit(&mut self, entry: Entry) -> Option<Entry> {
        if !matches!(entry.outcome, AuditOutcome::Refused(_)) {
            return Some(entry);
        }
        let span = self.spans.entry(entry.address).or_insert_with(|| {
            self.begun.push_back((entry.at, entry.address));
            Span::default()
        });
        if span.entered < self.most {
            span.entered += 1;
            return Some(entry);
        }
        span.left_out = span.left_out.saturating_add(1);
        span.last = Some(entry);
        None
    }

    /// For each session whose minute is over and had refusals too many: the last of them, with how many there were as its word.
    pub(super) fn due(&mut self, now: Stamp) -> Vec<Entry> {
        let mut due = Vec::new();
        // A clock that was set back keeps nothing waiting.
        while let Some(&(begun, address)) = self.begun.front()
            && (begun.after(SPAN) <= now || begun > now)
        {
            self.begun.pop_front();
            let span = self.spans.remove(&address).unwrap_or_default();
            let outcome = AuditOutcome::Refused(format!("{}-more", span.left_out));
            due.extend(span.last.map(|last| Entry { outcome, serial: None, ..last }));
        }
        due
    }
}
