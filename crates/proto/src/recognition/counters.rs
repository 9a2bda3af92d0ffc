//! What the controller tells of its knocks: numbers, never a line per datagram.

/// Counts since the start. Every datagram put in is counted under `received` and under exactly one of `junk` to `accepted`;
/// what became of the accepted ones, and of the clock, is counted behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams put in.
    pub received: u64,
    /// Refused for length, type, version or mac1.
    pub junk: u64,
    /// Copies that were answered again.
    pub copies_answered: u64,
    /// Copies that got silence.
    pub copies_silent: u64,
    /// Cookies given under load.
    pub cookies: u64,
    /// Dropped under load.
    pub load_silent: u64,
    /// Refused by Noise, or malformed inside its seal.
    pub unreadable: u64,
    /// Authentic, but under a digest that has no row, or with another device's key, or for another purpose.
    pub unknown: u64,
    /// Authentic, but no version in common.
    pub versions: u64,
    /// Authentic and not new: recordings.
    pub old: u64,
    /// Sealed time answers.
    pub time_told: u64,
    /// Wrong clocks that got no answer, because their row was told the time within the last minute.
    pub time_silent: u64,
    /// Above the rate of their row.
    pub rate: u64,
    /// Accepted: new, in time, within the rate.
    pub accepted: u64,
    /// Accepted knocks of gateways for their own links.
    pub links: u64,
    /// Accepted, but too many others wait for their gateways.
    pub busy: u64,
    /// Answered *away*: no gateway linked, or none answered in time.
    pub away: u64,
    /// Answered *ready*.
    pub ready: u64,
    /// Answered *refused*.
    pub refused: u64,
    /// Accepted, and silent by the gateway's word or because the row went meanwhile.
    pub ended_silent: u64,
    /// A second gateway was asked.
    pub hedged: u64,
    /// Answers of gateways that nobody waited for any more, or that were not theirs to give.
    pub stray_answers: u64,
    /// The wall clock was set far back and followed.
    pub clock_followed_back: u64,
    /// Datagrams with a right mac1 under the realm key before the present one, whatever became of them.
    pub former_realm: u64,
}

impl Counters {
    /// Every counter with its name, for tables and logs.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("received", self.received),
            ("junk", self.junk),
            ("copies_answered", self.copies_answered),
            ("copies_silent", self.copies_silent),
            ("cookies", self.cookies),
            ("load_silent", self.load_silent),
            ("unreadable", self.unreadable),
            ("unknown", self.unknown),
            ("versions", self.versions),
            ("old", self.old),
            ("time_told", self.time_told),
            ("time_silent", self.time_silent),
            ("rate", self.rate),
            ("accepted", self.accepted),
            ("links", self.links),
            ("busy", self.busy),
            ("away", self.away),
            ("ready", self.ready),
            ("refused", self.refused),
            ("ended_silent", self.ended_silent),
            ("hedged", self.hedged),
            ("stray_answers", self.stray_answers),
            ("clock_followed_back", self.clock_followed_back),
            ("former_realm", self.former_realm),
        ]
    }
}
