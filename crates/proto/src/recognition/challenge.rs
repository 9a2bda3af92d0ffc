//! Challenges: what a time answer carries, and a client with a wrong clock echoes to show that its next knock is of now.

use crate::entropy::Entropy;
use crate::id::LoginDigest;
use crate::key::{self, Secret};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long one key makes challenges. It goes on proving them for as long again, so that a challenge lives 30 to 60 s.
const ROTATION: Duration = Duration::from_secs(30);

/// The keys behind the challenges: the controller remembers nothing per challenge.
pub(super) struct Challenges {
    made_at: Instant,
    current: Secret<32>,
    previous: Option<Secret<32>>,
}

impl Challenges {
    pub(super) fn new(now: Instant, entropy: &mut dyn Entropy) -> Self {
        Self { made_at: now, current: Secret::random(entropy), previous: None }
    }

    /// The challenge for this row.
    pub(super) fn give(&mut self, digest: &LoginDigest, now: Instant, entropy: &mut dyn Entropy) -> [u8; 24] {
        self.rotate(now, entropy);
        challenge(&self.current, digest)
    }

    /// Whether `echo` is a challenge that this row was given within the last minute, since the controller's start.
    pub(super) fn proves(
        &mut self,
        echo: &[u8; 24],
        digest: &LoginDigest,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) -> bool {
        self.rotate(now, entropy);
        let by = |key: &Secret<32>| bool::from(challenge(key, digest).ct_eq(echo));
        by(&self.current) || self.previous.as_ref().is_some_and(by)
    }

    fn rotate(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let age = now.saturating_duration_since(self.made_at);
        if age < ROTATION {
            return;
        }
        let retired = std::mem::replace(&mut self.current, Secret::random(entropy));
        // Counted from when the key's time was over, not from when that was noticed: else a challenge would live longer.
        let noticed_in_time = age < 2 * ROTATION;
        self.previous = noticed_in_time.then_some(retired);
        self.made_at = if noticed_in_time { self.made_at + ROTATION } else { now };
    }
}

/// `HMAC-SHA-256(rotating key, "vestibule/1 challenge" ‖ A2)[..24]`; the key stands for its time.
fn challenge(key: &Secret<32>, digest: &LoginDigest) -> [u8; 24] {
    let mac = key::hmac(key.expose(), &[b"vestibule/1 challenge", digest.as_bytes()]);
    let mut challenge = [0; 24];
    challenge.copy_from_slice(&mac[..24]);
    challenge
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn proves_its_own_row_within_a_minute_and_dies() {
        let (t, mut entropy) = (Instant::now(), SeededEntropy::new(1));
        let mut challenges = Challenges::new(t, &mut entropy);
        let (row, other) = (LoginDigest::new([1; 32]), LoginDigest::new([2; 32]));
        let given = challenges.give(&row, t, &mut entropy);
        let mut proves = |row, secs| challenges.proves(&given, row, t + Duration::from_secs(secs), &mut entropy);
        assert!(proves(&row, 0));
        assert!(!proves(&other, 0));
        assert!(proves(&row, 29));
        assert!(proves(&row, 30));
        assert!(proves(&row, 59));
        assert!(!proves(&row, 60));
        assert!(!proves(&row, 90));
    }

    #[test]
    fn dies_over_a_quiet_time_too() {
        let (t, mut entropy) = (Instant::now(), SeededEntropy::new(1));
        let mut challenges = Challenges::new(t, &mut entropy);
        let row = LoginDigest::new([1; 32]);
        let given = challenges.give(&row, t, &mut entropy);
        assert!(!challenges.proves(&given, &row, t + Duration::from_secs(60), &mut entropy));
        assert_ne!(given, challenges.give(&row, t + Duration::from_secs(61), &mut entropy));
    }

    #[test]
    fn dies_in_time_when_the_rotation_is_noticed_late() {
        let (t, mut entropy) = (Instant::now(), SeededEntropy::new(1));
        let mut challenges = Challenges::new(t, &mut entropy);
        let row = LoginDigest::new([1; 32]);
        let given = challenges.give(&row, t, &mut entropy);
        assert!(challenges.proves(&given, &row, t + Duration::from_secs(59), &mut entropy));
        assert!(!challenges.proves(&given, &row, t + Duration::from_secs(60), &mut entropy));
    }

    #[test]
    fn dies_with_a_restart() {
        let (t, mut entropy) = (Instant::now(), SeededEntropy::new(1));
        let row = LoginDigest::new([1; 32]);
        let given = Challenges::new(t, &mut entropy).give(&row, t, &mut entropy);
        assert!(!Challenges::new(t, &mut entropy).proves(&given, &row, t, &mut entropy));
    }
}
