//! Which back end holds the door.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Door, Limits, NftablesDoor, NftablesError, SocketDoor};

/// What the owner chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best that works here.
    Auto,
    /// Our own socket; works everywhere.
    #[default]
    Socket,
    /// The kernel's packet filter, or nothing: the role does not start without it.
    Nftables,
}

/// One back end, and whether it works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Its name, as in configuration and logs.
    pub name: &'static str,
    /// What it lacks.
    pub works: Result<(), NftablesError>,
}

impl Choice {
    /// Opens a closed door before these UDP addresses.
    ///
    /// # Errors
    /// Why `nftables` does not work, if that was chosen. [`Choice::Auto`] falls back to `socket` and says so in the log.
    pub fn open(self, listen: &[SocketAddr], limits: Limits) -> Result<Arc<dyn Door>, NftablesError> {
        let socket = || Arc::new(SocketDoor::new(limits));
        let door: Arc<dyn Door> = match self {
            Self::Socket => socket(),
            Self::Nftables => Arc::new(NftablesDoor::open(listen, limits)?),
            Self::Auto => match NftablesDoor::open(listen, limits) {
                Ok(door) => Arc::new(door),
                Err(lack) => {
                    tracing::info!(%lack, next = lack.next_step(), "the kernel's door can't be used: our own socket is the door");
                    socket()
                }
            },
        };
        tracing::info!(door = door.name(), "the door is shut");
        Ok(door)
    }
}

/// The back ends, the best first, and what each lacks here; nothing is changed.
#[must_use]
pub fn findings(listen: &[SocketAddr]) -> Vec<Finding> {
    vec![Finding { name: "nftables", works: NftablesDoor::probe(listen) }, Finding { name: "socket", works: Ok(()) }]
}
