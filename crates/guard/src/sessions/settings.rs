//! What the owner decides about sessions.

use crate::address::{Network, Order};
use std::time::Duration;

/// Where logical addresses come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolSettings {
    /// The network; `None`: a unique-local /64 of IPv6, drawn once and kept in the store.
    pub network: Option<Network>,
    /// In which order they are assigned.
    pub order: Order,
}

/// How long sessions last, and how many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// Where their addresses come from.
    pub pool: PoolSettings,
    /// A session ends so long after login, used or not.
    pub expires: Duration,
    /// A session ends when nobody used it for so long.
    pub idle: Duration,
    /// An address rests for so long after sign-off before it serves the next.
    pub quarantine: Duration,
    /// Whether a session is good only from the client address that it began at. For networks in which clients keep theirs.
    pub bind_client_address: bool,
    /// The most sessions at once.
    pub limit: usize,
    /// The most sessions of one user at once; for a further one the one that was unused for longest gives way.
    pub per_user: usize,
}

impl Default for SessionSettings {
    /// 12 hours, 30 minutes idle, 1 hour of rest; from any client address; 100,000 at once, 32 of a user.
    fn default() -> Self {
        Self {
            pool: PoolSettings::default(),
            expires: Duration::from_secs(12 * 60 * 60),
            idle: Duration::from_secs(30 * 60),
            quarantine: Duration::from_secs(60 * 60),
            bind_client_address: false,
            limit: 100_000,
            per_user: 32,
        }
    }
}
