//! Logical addresses: the pool that they come from, and the table of who holds which (PAGEGUARD section 1, step 2).

mod network;
mod pool;

pub use network::{InvalidNetwork, Network};
pub use pool::{Exhausted, Order, Pool};

use crate::{LogicalAddress, Stamp};
use std::collections::BTreeMap;

/// The address table: each logical address in use, and what holds it. Clearing an entry gives its address back to the pool, where it
/// rests before it serves the next.
pub struct AddressTable<T> {
    pool: Pool,
    entries: BTreeMap<LogicalAddress, T>,
}

impl<T> AddressTable<T> {
    /// An empty table over a pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool, entries: BTreeMap::new() }
    }

    /// Takes an address for what `holder` makes of it. `random` matters to a pool that assigns at random.
    ///
    /// # Errors
    /// [`Exhausted`]: all are in use or at rest.
    pub fn assign(
        &mut self,
        now: Stamp,
        random: u128,
        holder: impl FnOnce(LogicalAddress) -> T,
    ) -> Result<&T, Exhausted> {
        let address = self.pool.take(now, random)?;
        Ok(self.entries.entry(address).insert_entry(holder(address)).into_mut())
    }

    /// Enters what held an address before a restart; `false` if the address is not free, or not of this pool any more.
    pub fn restore(&mut self, address: LogicalAddress, holder: T) -> bool {
        let free = self.pool.occupy(address);
        if free {
            self.entries.insert(address, holder);
        }
        free
    }

    /// Lets an address rest that was cleared at `cleared`, before a restart.
    pub fn restore_resting(&mut self, address: LogicalAddress, cleared: Stamp) {
        if self.pool.occupy(address) {
            self.pool.give_back(address, cleared);
        }
    }

    /// What holds an address.
    pub fn get(&self, address: LogicalAddress) -> Option<&T> {
        self.entries.get(&address)
    }

    /// Clears an entry. The address rests from `now`.
    pub fn clear(&mut self, address: LogicalAddress, now: Stamp) -> Option<T> {
        let holder = self.entries.remove(&address)?;
        self.pool.give_back(address, now);
        Some(holder)
    }

    /// All entries, by address.
    pub fn iter(&self) -> impl Iterator<Item = (LogicalAddress, &T)> {
        self.entries.iter().map(|(address, holder)| (*address, holder))
    }

    /// How many addresses are in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const REST: Duration = Duration::from_secs(3_600);

    fn table() -> AddressTable<&'static str> {
        AddressTable::new(Pool::new("10.0.0.0/30".parse().unwrap(), Order::Sequential, REST))
    }

    #[test]
    fn a_cleared_address_rests_and_serves_the_next() {
        let mut table = table();
        let mut first = None;
        let alice = |address| {
            first = Some(address);
            "alice"
        };
        assert_eq!(table.assign(Stamp(0), 0, alice), Ok(&"alice"));
        let first = first.unwrap();
        assert_eq!(table.assign(Stamp(0), 0, |_| "bob"), Ok(&"bob"));
        assert_eq!(table.assign(Stamp(0), 0, |_| "carol"), Err(Exhausted));

        assert_eq!(table.clear(first, Stamp(10)), Some("alice"));
        assert_eq!(table.clear(first, Stamp(20)), None);
        assert_eq!(table.get(first), None);
        assert_eq!(table.assign(Stamp(9).after(REST), 0, |_| "carol"), Err(Exhausted));
        assert_eq!(table.assign(Stamp(10).after(REST), 0, |_| "carol"), Ok(&"carol"));
        assert_eq!(table.get(first), Some(&"carol"));
        assert_eq!((table.len(), table.iter().count(), table.is_empty()), (2, 2, false));
    }

    #[test]
    fn what_was_held_or_rested_before_a_restart_does_so_after_it() {
        let (one, two) = (LogicalAddress("10.0.0.1".parse().unwrap()), LogicalAddress("10.0.0.2".parse().unwrap()));
        let mut table = table();
        assert!(table.restore(one, "alice"));
        assert!(!table.restore(one, "bob"), "held");
        assert!(!table.restore(LogicalAddress("10.0.1.1".parse().unwrap()), "bob"), "of another pool");
        table.restore_resting(one, Stamp(0));
        table.restore_resting(two, Stamp(0));
        assert_eq!(table.get(one), Some(&"alice"));
        assert_eq!(table.assign(Stamp(1), 0, |_| "carol"), Err(Exhausted));
        assert_eq!(table.assign(Stamp(0).after(REST), 0, |_| "carol"), Ok(&"carol"));
        assert_eq!(table.get(two), Some(&"carol"));
    }
}
