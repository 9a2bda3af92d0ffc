//! Counts of what there is of each.

use std::collections::HashMap;
use std::hash::Hash;

/// One less of `key`, which is forgotten with the last.
pub(crate) fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
