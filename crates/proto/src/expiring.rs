//! A bounded map whose entries have deadlines.
//!
//! Every machine of this crate keeps what must be forgotten in one of these, so that expiry is a structure with tests of
//! its own and no timer is strewn about. Nothing vanishes by itself: an entry stays readable until its owner pops it,
//! and the owner learns what was popped.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The map holds as many entries as it may; nothing was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another entry")]
pub struct Full;

/// At most `limit` entries, each with a deadline of its own. Reads cost O(log n), and so do changes.
#[derive(Debug, Clone)]
pub struct ExpiringMap<K, V> {
    limit: usize,
    entries: BTreeMap<K, Entry<V>>,
    /// The same keys by deadline; earliest first, equal deadlines in the order of their keys.
    order: BTreeSet<(Instant, K)>,
}

#[derive(Debug, Clone)]
struct Entry<V> {
    value: V,
    deadline: Instant,
}

impl<K: Ord + Clone, V> ExpiringMap<K, V> {
    /// An empty map that never holds more than `limit` entries.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, entries: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Puts `value` under `key` until `deadline`; an entry that was there is replaced, deadline included, and returned.
    ///
    /// # Errors
    /// [`Full`] when `key` is new and the limit is reached; `value` is dropped.
    pub fn insert(&mut self, key: K, value: V, deadline: Instant) -> Result<Option<V>, Full> {
        let old = self.remove(&key);
        if self.is_full() {
            return Err(Full);
        }
        self.order.insert((deadline, key.clone()));
        self.entries.insert(key, Entry { value, deadline });
        Ok(old)
    }

    /// The value under `key`, also when its deadline has passed but nobody popped it yet.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// As [`get`](Self::get), to change it in place.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Takes the entry under `key` out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.order.remove(&(entry.deadline, key));
        Some(entry.value)
    }

    /// Whether there is an entry under `key`.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.entries.contains_key(key)
    }

    /// When the entry under `key` expires.
    pub fn deadline<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Instant>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| entry.deadline)
    }

    /// Gives the entry under `key` another deadline, later or earlier. False if there is no such entry.
    pub fn extend(&mut self, key: &K, deadline: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        if let Some((_, key)) = self.order.take(&(entry.deadline, key.clone())) {
            self.order.insert((deadline, key));
        }
        entry.deadline = deadline;
        true
    }

    /// When the next entry expires; `None` while the map is empty.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// The key of the entry that expired first, if its deadline is `now` or earlier; it stays where it is.
    #[must_use]
    pub fn first_expired(&self, now: Instant) -> Option<&K> {
        self.order.first().filter(|(deadline, _)| *deadline <= now).map(|(_, key)| key)
    }

    /// Takes out the entry that expired first, if its deadline is `now` or earlier. Call it until it gives `None`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<(K, V)> {
        if self.poll_timeout()? > now { None } else { self.pop_first() }
    }

    /// Takes out the entry that expires next, whenever that may be: room for another one.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let entry = self.entries.remove(&key)?;
        Some((key, entry.value))
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// How many entries there are, expired ones that nobody popped included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the next new key is refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const LIMIT: usize = 4;

    #[test]
    fn expires_at_its_deadline_and_not_before() {
        let t = Instant::now();
        let mut map = ExpiringMap::with_limit(LIMIT);
        map.insert("b", 1, t + Duration::from_secs(2)).unwrap();
        map.insert("a", 2, t + Duration::from_secs(2)).unwrap();
        map.insert("c", 3, t + Duration::from_secs(1)).unwrap();
        assert_eq!(map.poll_timeout(), Some(t + Duration::from_secs(1)));
        assert_eq!(map.pop_expired(t + Duration::from_millis(999)), None);
        assert_eq!(map.pop_expired(t + Duration::from_secs(1)), Some(("c", 3)));
        assert_eq!(map.pop_expired(t + Duration::from_secs(1)), None);
        let late = t + Duration::from_secs(60);
        assert_eq!([map.pop_expired(late), map.pop_expired(late)], [Some(("a", 2)), Some(("b", 1))]);
        assert_eq!((map.poll_timeout(), map.is_empty()), (None, true));
    }

    #[test]
    fn a_full_map_refuses_new_keys_and_replaces_old_ones() {
        let t = Instant::now();
        let mut map = ExpiringMap::with_limit(1);
        assert_eq!(map.insert(1, 'a', t), Ok(None));
        assert_eq!(map.insert(2, 'b', t), Err(Full));
        assert_eq!(map.insert(1, 'c', t), Ok(Some('a')));
        assert_eq!(map.len(), 1);
        let mut none = ExpiringMap::with_limit(0);
        assert_eq!(none.insert(1, 'a', t), Err(Full));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u64),
        Remove(u8),
        Extend(u8, u64),
        Expire(u64),
        PopFirst,
    }

    /// What the map is meant to be, written as slowly and plainly as possible: (deadline, key, value) unsorted.
    #[derive(Default)]
    struct Model(Vec<(u64, u8, usize)>);

    impl Model {
        fn take(&mut self, key: u8) -> Option<usize> {
            let at = self.0.iter().position(|entry| entry.1 == key)?;
            Some(self.0.swap_remove(at).2)
        }

        fn insert(&mut self, key: u8, value: usize, deadline: u64) -> Result<Option<usize>, Full> {
            let old = self.take(key);
            if self.0.len() >= LIMIT {
                return Err(Full);
            }
            self.0.push((deadline, key, value));
            Ok(old)
        }

        fn pop(&mut self, until: u64) -> Option<(u8, usize)> {
            let (_, key, _) = self.0.iter().filter(|entry| entry.0 <= until).min().copied()?;
            self.take(key).map(|value| (key, value))
        }
    }

    fn apply(step: &Step, number: usize, start: Instant, map: &mut ExpiringMap<u8, usize>, model: &mut Model) {
        let at = |ms: u64| start + Duration::from_millis(ms);
        match *step {
            Step::Insert(key, ms) => assert_eq!(map.insert(key, number, at(ms)), model.insert(key, number, ms)),
            Step::Remove(key) => assert_eq!(map.remove(&key), model.take(key)),
            Step::Extend(key, ms) => {
                let known = model.0.iter_mut().find(|entry| entry.1 == key).map(|entry| entry.0 = ms).is_some();
                assert_eq!(map.extend(&key, at(ms)), known);
            }
            Step::Expire(ms) => {
                let next = map.first_expired(at(ms)).copied();
                let popped = map.pop_expired(at(ms));
                assert_eq!((next, popped), (popped.map(|(key, _)| key), model.pop(ms)));
            }
            Step::PopFirst => assert_eq!(map.pop_first(), model.pop(u64::MAX)),
        }
        let earliest = model.0.iter().map(|entry| at(entry.0)).min();
        assert_eq!((map.len(), map.poll_timeout()), (model.0.len(), earliest));
        assert_eq!(map.order.len(), map.entries.len());
        for (deadline, key, value) in &model.0 {
            assert_eq!((map.get(key), map.deadline(key)), (Some(value), Some(at(*deadline))));
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let (key, ms) = (0..6u8, 0..8u64);
        prop_oneof![
            (key.clone(), ms.clone()).prop_map(|(key, ms)| Step::Insert(key, ms)),
            key.clone().prop_map(Step::Remove),
            (key, ms.clone()).prop_map(|(key, ms)| Step::Extend(key, ms)),
            ms.prop_map(Step::Expire),
            Just(Step::PopFirst),
        ]
    }

    proptest! {
        #[test]
        fn any_sequence_of_steps_is_that_of_the_plain_model(steps in prop::collection::vec(step(), 0..64)) {
            let (start, mut map, mut model) = (Instant::now(), ExpiringMap::with_limit(LIMIT), Model::default());
            for (number, step) in steps.iter().enumerate() {
                apply(step, number, start, &mut map, &mut model);
            }
        }
    }

    /// Every sequence of four steps over two keys and three moments: 14^4 of them.
    #[test]
    fn every_short_sequence_is_that_of_the_plain_model() {
        let mut alphabet = vec![Step::PopFirst, Step::Remove(0), Step::Remove(1)];
        for ms in 0..3 {
            alphabet.push(Step::Expire(ms));
            for key in 0..2 {
                alphabet.push(Step::Insert(key, ms));
            }
        }
        alphabet.extend([Step::Extend(0, 2), Step::Extend(1, 0)]);
        let start = Instant::now();
        for sequence in 0..alphabet.len().pow(4) {
            let (mut map, mut model, mut rest) = (ExpiringMap::with_limit(LIMIT), Model::default(), sequence);
            for number in 0..4 {
                apply(&alphabet[rest % alphabet.len()], number, start, &mut map, &mut model);
                rest /= alphabet.len();
            }
        }
    }
}
