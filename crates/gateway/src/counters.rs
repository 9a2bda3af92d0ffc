//! Counts of what the gateway has done since it started.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $add:ident,)*) => {
        /// Counts of what the gateway has done since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($name: AtomicU64,)*
        }

        impl Counters {
            $($(#[$doc])* pub(crate) fn $add(&self) {
                self.$name.fetch_add(1, Relaxed);
            })*

            /// Every counter with its name.
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed))),*]
            }
        }
    };
}

counters! {
    /// Somebody was refused inside the door.
    contacts_refused: refused_contact,
    /// A first contact did not get as far as to say what it wants.
    contacts_failed: failed_contact,
    /// A device came in that expects the gateway's key of before.
    contacts_former_key: former_key,
    /// A login failed.
    logins_failed: failed_login,
    /// A session began.
    sessions_begun: begun_session,
    /// A session went on over a new connection.
    sessions_resumed: resumed_session,
    /// A session's connection went on from another address.
    sessions_moved: moved_session,
    /// A device was enrolled.
    devices_enrolled: enrolled_device,
    /// A flow was connected to its upstream.
    flows_opened: opened_flow,
    /// A flow was refused.
    flows_refused: refused_flow,
    /// The disk failed.
    faults: fault,
}
