//! What became of datagrams.

use std::sync::atomic::{AtomicU64, Ordering};

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What became of the datagrams of all flows of a role, since it began. Datagrams, if not said otherwise.
        #[derive(Debug, Default)]
        pub struct DatagramCounters {
            $($(#[$doc])* pub(super) $name: Counter,)*
        }

        impl DatagramCounters {
            /// Every counter with its name, for tables and logs.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.0.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
    /// From the peer, handed to the local side.
    received,
    /// From the local side, handed to the connection.
    sent,
    /// Found no room in a queue, or the local side did not take them.
    dropped,
    /// From the peer, of no flow that there is: late ones of a flow that has ended, mostly.
    unknown,
    /// DATAGRAM frames that name no flow, and records that no datagram may be as long as: the peer broke the protocol.
    malformed,
    /// The local side said that nobody is there (ICMP); not datagrams.
    unreachable,
    /// Flows that ended because nothing passed; not datagrams.
    idle,
    /// Flows that ended to make room for others; not datagrams.
    crowded_out,
}

impl DatagramCounters {
    /// The local side was told that nobody is there.
    pub fn unreachable(&self) {
        self.unreachable.add();
    }

    /// The local side did not take a datagram.
    pub fn dropped(&self) {
        self.dropped.add();
    }
}
