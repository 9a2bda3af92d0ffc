//! How many refusals, and how many repeats, of one session are entered one by one: nobody pushes what was done out of the log by
//! asking for what is refused, or for the same again and again. Pure.

use super::{AuditOutcome, Entry};
use crate::{LogicalAddress, Stamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// For how long they are counted together.
const SPAN: Duration = Duration::from_secs(60);

/// The refusals and repeats of the last minute, by session.
pub(super) struct Quota {
    most: u32,
    spans: HashMap<(LogicalAddress, Idle), Span>,
    /// When each began, in this order.
    begun: VecDeque<(Stamp, (LogicalAddress, Idle))>,
}

/// What has no effect, and can be asked for without end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Idle {
    Refusal,
    Repeat,
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

    /// What is to be entered now for this entry: itself, unless it is one refusal, or one repeat, too many.
    pub(super) fn admit(&mut self, entry: Entry) -> Option<Entry> {
        let idle = match entry.outcome {
            AuditOutcome::Refused(_) => Idle::Refusal,
            AuditOutcome::Repeated => Idle::Repeat,
            AuditOutcome::Done | AuditOutcome::NotSent | AuditOutcome::Unknown => return Some(entry),
        };
        let span = self.spans.entry((entry.address, idle)).or_insert_with(|| {
            self.begun.push_back((entry.at, (entry.address, idle)));
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

    /// For each session whose minute is over and had too many: the last of them, with how many there were as its word.
    pub(super) fn due(&mut self, now: Stamp) -> Vec<Entry> {
        let mut due = Vec::new();
        // A clock that was set back keeps nothing waiting for long; what was asked for at once comes in any order.
        while let Some(&(begun, of)) = self.begun.front()
            && (begun.after(SPAN) <= now || begun > now.after(SPAN))
        {
            self.begun.pop_front();
            let span = self.spans.remove(&of).unwrap_or_default();
            let outcome = AuditOutcome::Refused(match of.1 {
                Idle::Refusal => format!("{}-more", span.left_out),
                Idle::Repeat => format!("{}-more-repeats", span.left_out),
            });
            due.extend(span.last.map(|last| Entry { outcome, serial: None, ..last }));
        }
        due
    }
}
