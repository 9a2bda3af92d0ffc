//! What was used, for as long as it would still be good.

use super::EntryError;
use super::text::NONCE_LEN;
use crate::counts::one_less;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The most that is remembered: 4 MiB.
const MOST: usize = 32_768;
/// The most that is remembered of one session.
const OF_ONE: usize = 256;

/// The name of a session among entries.
type Session = [u8; 32];

/// What was used.
#[derive(Default)]
pub(super) struct Spent {
    by_end: BTreeMap<(Duration, [u8; NONCE_LEN]), Session>,
    of_each: HashMap<Session, usize>,
}

impl Spent {
    /// Uses what is good until `once.0`.
    pub(super) fn spend(
        &mut self,
        once: (Duration, [u8; NONCE_LEN]),
        session: Session,
        now: Duration,
    ) -> Result<(), EntryError> {
        self.forget(now);
        if self.by_end.contains_key(&once) {
            return Err(EntryError::Spent);
        }
        if self.by_end.len() >= MOST || self.of_each.get(&session).is_some_and(|count| *count >= OF_ONE) {
            return Err(EntryError::Full);
        }
        self.by_end.insert(once, session);
        *self.of_each.entry(session).or_default() += 1;
        Ok(())
    }

    fn forget(&mut self, now: Duration) {
        while let Some(first) = self.by_end.first_entry().filter(|first| first.key().0 <= now) {
            one_less(&mut self.of_each, &first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    fn nonce(number: usize) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        nonce
    }

    #[test]
    fn once_and_forgotten_when_it_would_not_be_good_any_more() {
        let mut spent = Spent::default();
        assert_eq!(spent.spend((LIFE, nonce(1)), [1; 32], Duration::ZERO), Ok(()));
        assert_eq!(spent.spend((LIFE, nonce(1)), [1; 32], Duration::ZERO), Err(EntryError::Spent));
        assert_eq!(spent.spend((LIFE, nonce(1)), [2; 32], Duration::ZERO), Err(EntryError::Spent));
        assert_eq!(spent.spend((2 * LIFE, nonce(2)), [1; 32], LIFE), Ok(()));
        assert_eq!((spent.by_end.len(), spent.of_each[&[1; 32]]), (1, 1));
    }

    #[test]
    fn one_session_takes_no_more_than_its_room() {
        let mut spent = Spent::default();
        for number in 0..OF_ONE {
            assert_eq!(spent.spend((LIFE, nonce(number)), [1; 32], Duration::ZERO), Ok(()));
        }
        assert_eq!(spent.spend((LIFE, nonce(OF_ONE)), [1; 32], Duration::ZERO), Err(EntryError::Full));
        assert_eq!(spent.spend((LIFE, nonce(OF_ONE)), [2; 32], Duration::ZERO), Ok(()));
        assert_eq!(spent.spend((2 * LIFE, nonce(OF_ONE + 1)), [1; 32], LIFE), Ok(()), "there is room again");
    }

    #[test]
    fn all_sessions_together_take_no_more_than_there_is() {
        let mut spent = Spent::default();
        for number in 0..MOST {
            let mut session = [0; 32];
            session[..8].copy_from_slice(&(number / OF_ONE).to_be_bytes());
            assert_eq!(spent.spend((LIFE, nonce(number)), session, Duration::ZERO), Ok(()));
        }
        assert_eq!(spent.spend((LIFE, nonce(MOST)), [9; 32], Duration::ZERO), Err(EntryError::Full));
        spent.forget(LIFE);
        assert!(spent.by_end.is_empty() && spent.of_each.is_empty());
    }
}
