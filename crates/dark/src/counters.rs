//! Counters: all that a stranger's datagram leaves behind.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What an endpoint has counted since it was bound. Datagrams, if not said otherwise.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl CountersSnapshot {
            /// Every counter with its name, for tables and logs.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }

        /// The counters themselves. Each is exact; together they may be a batch apart.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($name: AtomicU64,)*
        }

        impl Counters {
            /// Adds what one batch or one call has counted.
            pub(crate) fn add(&self, counted: &CountersSnapshot) {
                $(if counted.$name > 0 {
                    self.$name.fetch_add(counted.$name, Ordering::Relaxed);
                })*
            }

            pub(crate) fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Datagrams that came up to the socket. What the kernel's filter drops is not among them.
    received,
    /// Of these: nothing that an endpoint of ours ever sends.
    foreign,
    /// Of these: knocks that passed the filter and were queued.
    knocks_passed,
    /// Of these: knocks that the filter refused, or knocks at an endpoint that takes none.
    knocks_refused,
    /// Of these: knocks that passed the filter and found the queue full.
    queue_full,
    /// Of these: QUIC datagrams of who is in, or comes in by this very datagram.
    quic_passed,
    /// Of these: QUIC datagrams of strangers.
    quic_refused,
    /// Of these: "I moved" that gave a connection another place.
    moves,
    /// Of these: "I moved" that moved nothing.
    moves_refused,
    /// Of these: tag datagrams (D0) that opened TCP for their source.
    tag_datagrams,
    /// Of these: tag datagrams that opened nothing.
    tag_datagrams_refused,
    /// Connections over TCP that came up to the listener; not datagrams.
    tcp_accepted,
    /// Of these: closed without a byte.
    tcp_refused,
    /// First contacts handed to the role; not datagrams.
    contacts,
    /// First contacts dropped without a word: their tag was taken over already, or the role did not want them; not datagrams.
    contacts_ignored,
    /// Datagrams sent.
    sent,
    /// Datagrams that were to go to an address where nobody is in, and did not: the second lock.
    blocked_out,
    /// Datagrams that the kernel did not take: too large for the path, no route, no room.
    send_failed,
    /// Errors while receiving that say nothing about the socket itself; not datagrams.
    receive_errors,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_add_up() {
        let counters = Counters::default();
        counters.add(&CountersSnapshot { received: 3, foreign: 2, ..Default::default() });
        counters.add(&CountersSnapshot { received: 1, ..Default::default() });
        assert_eq!(counters.snapshot(), CountersSnapshot { received: 4, foreign: 2, ..Default::default() });
    }
}
