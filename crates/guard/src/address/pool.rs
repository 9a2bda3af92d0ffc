//! The pool: which addresses are free, in use, or at rest.

use super::Network;
use crate::{LogicalAddress, Stamp};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use thiserror::Error;

/// In which order a pool assigns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// At random: an address tells nothing of how many came before.
    #[default]
    Random,
    /// One after the other, round and round: an address is used again as late as possible.
    Sequential,
}

/// No address is free: all are in use or at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no logical address is free: all are in use, or at rest after a sign-off")]
pub struct Exhausted;

/// The addresses of one network. An address that is given back rests for a while before it is assigned again, so that nobody takes
/// its last holder for its next.
pub struct Pool {
    network: Network,
    order: Order,
    rest: Duration,
    taken: HashMap<u128, Taken>,
    /// At rest, by the end of it.
    resting: BTreeSet<(Stamp, u128)>,
    /// Where to go on in sequence.
    next: u128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    InUse,
    Resting,
}

impl Pool {
    /// A pool of free addresses that rest for `rest` when they are given back.
    pub fn new(network: Network, order: Order, rest: Duration) -> Self {
        Self { network, order, rest, taken: HashMap::new(), resting: BTreeSet::new(), next: 0 }
    }

    /// The network of the addresses.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Takes a free address. `random` decides which, unless the order is sequential.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn take(&mut self, now: Stamp, random: u128) -> Result<LogicalAddress, Exhausted> {
        self.wake(now);
        let size = self.network.size();
        if self.taken.len() as u128 >= size {
            return Err(Exhausted);
        }
        let start = match self.order {
            Order::Random => random % size,
            Order::Sequential => self.next,
        };
        let index = self.first_free(start, size);
        self.taken.insert(index, Taken::InUse);
        self.next = (index + 1) % size;
        Ok(self.network.address(index))
    }

    /// Takes this very address; `false` if it is not free or not of this network.
    pub fn occupy(&mut self, address: LogicalAddress) -> bool {
        let Some(index) = self.network.index(address) else { return false };
        if self.taken.contains_key(&index) {
            return false;
        }
        self.taken.insert(index, Taken::InUse);
        true
    }

    /// Lets an address rest from `now`, and be free then. One that is not in use is left alone.
    pub fn give_back(&mut self, address: LogicalAddress, now: Stamp) {
        let Some(index) = self.network.index(address) else { return };
        if let Some(taken) = self.taken.get_mut(&index).filter(|taken| **taken == Taken::InUse) {
            *taken = Taken::Resting;
            self.resting.insert((now.after(self.rest), index));
        }
    }

    fn wake(&mut self, now: Stamp) {
        while let Some((until, index)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, index));
            self.taken.remove(&index);
        }
    }

    /// At most one step for each address taken: there is a free one.
    fn first_free(&self, start: u128, size: u128) -> u128 {
        let mut index = start;
        while self.taken.contains_key(&index) {
            index = (index + 1) % size;
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const REST: Duration = Duration::from_millis(100);

    fn pool(network: &str, order: Order) -> Pool {
        Pool::new(network.parse().unwrap(), order, REST)
    }

    #[test]
    fn in_sequence_round_and_round() {
        let mut pool = pool("10.0.0.0/29", Order::Sequential);
        let taken: Vec<_> = (0..6).map(|_| pool.take(Stamp(0), 3).unwrap().to_string()).collect();
        assert_eq!(taken, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(pool.take(Stamp(0), 3), Err(Exhausted));
        for address in ["10.0.0.5", "10.0.0.2"] {
            pool.give_back(LogicalAddress(address.parse().unwrap()), Stamp(0));
        }
        assert_eq!(pool.take(Stamp(100), 3).unwrap().to_string(), "10.0.0.2");
        assert_eq!(pool.take(Stamp(100), 3).unwrap().to_string(), "10.0.0.5");
    }

    #[test]
    fn at_random_where_randomness_says_so() {
        let mut pool = pool("fd00::/64", Order::Random);
        assert_eq!(pool.take(Stamp(0), 0xffff).unwrap().to_string(), "fd00::1:0");
        assert_eq!(pool.take(Stamp(0), 0xffff).unwrap().to_string(), "fd00::1:1", "the next free one");
        assert_eq!(pool.take(Stamp(0), (1 << 64) - 2).unwrap().to_string(), "fd00::1", "it goes round");
    }

    #[test]
    fn giving_back_twice_prolongs_nothing() {
        let mut pool = pool("10.0.0.0/32", Order::Random);
        let only = pool.take(Stamp(0), 0).unwrap();
        pool.give_back(only, Stamp(0));
        pool.give_back(only, Stamp(50));
        assert_eq!(pool.take(Stamp(99), 0), Err(Exhausted));
        assert_eq!(pool.take(Stamp(100), 0), Ok(only));
        assert_eq!(pool.take(Stamp(1_000), 0), Err(Exhausted), "in use again");
    }

    proptest! {
        /// Never two holders of one address, never one that still rests, never a free one withheld.
        #[test]
        fn an_address_has_one_holder(
            random_order: bool,
            steps in prop::collection::vec((any::<bool>(), any::<u128>(), 0..60_u64), 1..200),
        ) {
            let order = if random_order { Order::Random } else { Order::Sequential };
            let mut pool = pool("10.0.0.0/29", order);
            let (mut held, mut resting, mut now) = (Vec::new(), BTreeMap::new(), Stamp(0));
            for (give_back, random, pause) in steps {
                now = Stamp(now.0 + pause);
                resting.retain(|_, until| *until > now);
                if give_back && !held.is_empty() {
                    let address: LogicalAddress = held.swap_remove((random % held.len() as u128) as usize);
                    pool.give_back(address, now);
                    resting.insert(address, now.after(REST));
                } else if let Ok(address) = pool.take(now, random) {
                    prop_assert!(!held.contains(&address) && !resting.contains_key(&address));
                    held.push(address);
                } else {
                    prop_assert_eq!(held.len() + resting.len(), 6);
                }
            }
        }
    }
}
