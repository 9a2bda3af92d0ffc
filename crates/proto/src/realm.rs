//! K_realm and its successors: which of them a party has, told inside authenticated channels (PROTOCOL 3.5, rotation).
//!
//! The controller makes a new one; for a while it takes knocks under both. Its gateways learn the new one over their links,
//! the devices in their sessions. Whoever has a later one never goes back to an earlier.

use crate::key::{self, RealmKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A realm key and how many there were before it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Realm {
    /// 0 for the one that the controller was made with; one more with each rotation.
    pub epoch: u64,
    /// K_realm.
    #[serde(with = "key::exposed")]
    pub key: RealmKey,
}

/// The epoch alone: the key is a secret.
impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realm").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
