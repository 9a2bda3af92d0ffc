//! Identical copies of a knock (C7): a client that lost its answer gets the same bytes again, a copier gets nothing.

use crate::expiring::ExpiringMap;
use aws_lc_rs::digest::{SHA256, digest};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a copy may be answered.
const REPEATED_FOR: Duration = Duration::from_secs(10);
/// How often it may be.
const REPEATED_TIMES: u8 = 3;

/// Where mac1 lies in a knock. It names the knock's header and ephemeral key, so two knocks never share one.
pub(super) type Mac1 = [u8; 16];

/// The authentic knocks of the last seconds, and what they were answered.
pub(super) struct Copies {
    by_mac1: ExpiringMap<Mac1, Original>,
}

struct Original {
    source: SocketAddr,
    hash: [u8; 32],
    answer: Option<Box<[u8; 1200]>>,
    repeats_left: u8,
}

/// What a datagram is, seen beside those that came before.
pub(super) enum Seen<'a> {
    /// Not a copy.
    Never,
    /// A copy that gets this answer once more.
    Repeat(&'a [u8; 1200]),
    /// A copy that gets nothing: from elsewhere, too often, or not answered yet, or never to be.
    Silent,
}

impl Copies {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { by_mac1: ExpiringMap::with_limit(limit) }
    }

    /// Looks up a datagram whose mac1 was found right. Costs a hash only where that mac1 was seen before.
    pub(super) fn look_up(&mut self, mac1: &Mac1, datagram: &[u8], source: SocketAddr) -> Seen<'_> {
        let Some(original) = self.by_mac1.get_mut(mac1) else { return Seen::Never };
        if original.hash != hash(datagram) {
            return Seen::Never;
        }
        match &original.answer {
            Some(answer) if original.source == source && original.repeats_left > 0 => {
                original.repeats_left -= 1;
                Seen::Repeat(answer)
            }
            Some(_) | None => Seen::Silent,
        }
    }

    /// Remembers an authentic knock. When there is no room the oldest makes it: its copies are then silence.
    pub(super) fn remember(&mut self, mac1: Mac1, datagram: &[u8], source: SocketAddr, now: Instant) {
        if self.by_mac1.is_full() {
            self.by_mac1.pop_first();
        }
        let original = Original { source, hash: hash(datagram), answer: None, repeats_left: REPEATED_TIMES };
        // Only a limit of zero leaves no room now; copies are then silence, which is right too.
        let _remembered = self.by_mac1.insert(mac1, original, now + REPEATED_FOR);
    }

    /// The knock with this mac1 was answered: its sender may ask again for a while from now.
    pub(super) fn answered(&mut self, mac1: &Mac1, answer: &[u8; 1200], now: Instant) {
        if let Some(original) = self.by_mac1.get_mut(mac1) {
            original.answer = Some(Box::new(*answer));
            self.by_mac1.extend(mac1, now + REPEATED_FOR);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.by_mac1.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while self.by_mac1.pop_expired(now).is_some() {}
    }
}

fn hash(datagram: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, datagram).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC1: Mac1 = [7; 16];
    const KNOCK: [u8; 1200] = [1; 1200];

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn repeated(copies: &mut Copies, datagram: &[u8], from: &str) -> bool {
        matches!(copies.look_up(&MAC1, datagram, source(from)), Seen::Repeat(answer) if *answer == [9; 1200])
    }

    fn answered() -> (Copies, Instant) {
        let (mut copies, now) = (Copies::with_limit(2), Instant::now());
        assert!(matches!(copies.look_up(&MAC1, &KNOCK, source("192.0.2.1:1")), Seen::Never));
        copies.remember(MAC1, &KNOCK, source("192.0.2.1:1"), now);
        assert!(matches!(copies.look_up(&MAC1, &KNOCK, source("192.0.2.1:1")), Seen::Silent), "not answered yet");
        copies.answered(&MAC1, &[9; 1200], now);
        (copies, now)
    }

    #[test]
    fn a_copy_is_answered_three_times_and_only_where_it_came_from() {
        let (mut copies, _) = answered();
        assert!(!repeated(&mut copies, &KNOCK, "192.0.2.1:2"), "another port");
        assert!(!repeated(&mut copies, &KNOCK, "192.0.2.2:1"), "another address");
        for _ in 0..3 {
            assert!(repeated(&mut copies, &KNOCK, "192.0.2.1:1"));
        }
        assert!(!repeated(&mut copies, &KNOCK, "192.0.2.1:1"), "a fourth time");
    }

    #[test]
    fn a_changed_copy_is_no_copy() {
        let (mut copies, _) = answered();
        let mut changed = KNOCK;
        changed[1199] ^= 1;
        assert!(matches!(copies.look_up(&MAC1, &changed, source("192.0.2.1:1")), Seen::Never));
    }

    #[test]
    fn is_forgotten_after_ten_seconds_and_when_there_is_no_room() {
        let (mut copies, now) = answered();
        assert_eq!(copies.poll_timeout(), Some(now + REPEATED_FOR));
        copies.handle_timeout(now + REPEATED_FOR);
        assert!(!repeated(&mut copies, &KNOCK, "192.0.2.1:1"));

        let (mut copies, now) = answered();
        for other in 0..2 {
            copies.remember([other; 16], &KNOCK, source("192.0.2.9:9"), now + Duration::from_secs(1));
        }
        assert!(!repeated(&mut copies, &KNOCK, "192.0.2.1:1"));
        assert_eq!(copies.by_mac1.len(), 2);
    }
}
