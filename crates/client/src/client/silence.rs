//! Whether the gateway still answers: told from QUIC's own counters, long before its idle time-out.
//!
//! A gateway that was killed is dark when it is back: it answers nothing, not even "I don't know you". What is asked of it (data,
//! keep-alive) is repeated by QUIC again and again, and nothing comes in.

use quinn::ConnectionStats;
use std::time::{Duration, Instant};

/// So long may a question go without any datagram in return.
const PATIENCE: Duration = Duration::from_secs(5);
/// Fewer questions prove nothing. By then QUIC has repeated itself.
const QUESTIONS: u64 = 3;

/// Watches one connection.
#[derive(Debug, Default)]
pub(super) struct Silence {
    received: u64,
    /// Questions asked when the last datagram had come in.
    answered: u64,
    /// Since when a question is open.
    since: Option<Instant>,
}

/// What of a connection's counters matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Datagrams that came in.
    received: u64,
    /// Frames that went out and want an answer.
    asked: u64,
}

impl From<ConnectionStats> for Counts {
    fn from(stats: ConnectionStats) -> Self {
        let sent = &stats.frame_tx;
        // Probes for larger datagrams are made of these two as well, and may go lost on a live path.
        let probes = stats.path.sent_plpmtud_probes;
        let asked = sent.ping.saturating_sub(probes)
            + sent.immediate_ack.saturating_sub(probes)
            + sent.stream
            + sent.reset_stream
            + sent.stop_sending
            + sent.max_data
            + sent.max_stream_data
            + sent.max_streams_bidi
            + sent.data_blocked
            + sent.stream_data_blocked;
        Self { received: stats.udp_rx.datagrams, asked }
    }
}

impl Silence {
    /// Looks again. True while questions are open for too long.
    pub(super) fn look(&mut self, counts: Counts, now: Instant) -> bool {
        if counts.received != self.received {
            *self = Self { received: counts.received, answered: counts.asked, since: None };
        } else if counts.asked > self.answered {
            self.since.get_or_insert(now);
        }
        let patient = self.since.is_none_or(|since| now.saturating_duration_since(since) < PATIENCE);
        !patient && counts.asked >= self.answered + QUESTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second at these counts; says when there was silence.
    fn silent(counts: &[(u64, u64)]) -> Vec<bool> {
        let (mut silence, mut now) = (Silence::default(), Instant::now());
        counts
            .iter()
            .map(|(received, asked)| {
                now += Duration::from_secs(1);
                silence.look(Counts { received: *received, asked: *asked }, now)
            })
            .collect()
    }

    #[test]
    fn a_quiet_connection_is_not_silent() {
        assert!(!silent(&[(5, 9); 60]).contains(&true));
    }

    #[test]
    fn one_question_without_answer_proves_nothing() {
        let mut counts = vec![(5, 9); 3];
        counts.extend([(5, 10); 60]);
        assert!(!silent(&counts).contains(&true));
    }

    #[test]
    fn repeated_questions_without_answer_are_silence_until_something_comes_in() {
        let counts = [(5, 9), (5, 10), (5, 11), (5, 12), (5, 13), (5, 14), (5, 15), (5, 16), (6, 17), (6, 17)];
        let expected = [false, false, false, false, false, false, true, true, false, false];
        assert_eq!(silent(&counts), expected);
    }

    #[test]
    fn a_peer_that_is_slow_but_answers_is_not_silent() {
        let counts: Vec<_> = (0..60).map(|second| (second / 3, second * 10)).collect();
        assert!(!silent(&counts).contains(&true));
    }
}
