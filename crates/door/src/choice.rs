//! Which back end holds the door.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Door, Limits, NftablesDoor, NftablesError, SocketDoor, XdpDoor, XdpError};

/// What the owner chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// A program in the driver where interfaces are named and their drivers take it; else the kernel's packet filter where that
    /// works; else our own socket.
    ///
    /// Not before the driver, where every interface takes one: there the kernel first copies each large packet of the whole
    /// machine. And not where nothing is named: a driver may drop its link for a moment when a program comes, and the
    /// packet filter alone stands before direct services.
    Auto,
    /// Our own socket; works everywhere.
    #[default]
    Socket,
    /// The kernel's packet filter, or nothing: the role does not start without it.
    Nftables,
    /// A program in the driver, or nothing: the role does not start without it.
    Xdp,
}

/// One back end, and whether it works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name, as in configuration and logs.
    pub name: &'static str,
    /// What it lacks.
    pub works: Result<(), Lack>,
}

/// What a back end lacks here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// The back end `nftables`.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
    /// The back end `xdp`.
    #[error(transparent)]
    Xdp(#[from] XdpError),
}

impl Lack {
    /// What the owner of the machine can do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Nftables(lack) => lack.next_step(),
            Self::Xdp(lack) => lack.next_step(),
        }
    }
}

impl Choice {
    /// Opens a closed door before these UDP addresses. `interfaces` are those that the back end `xdp` guards; if there are
    /// none, those that carry the addresses.
    ///
    /// # Errors
    /// Why `nftables` or `xdp` does not work, if that was chosen. [`Choice::Auto`] takes the next kind and says so in the log.
    pub fn open(self, listen: &[SocketAddr], interfaces: &[String], limits: Limits) -> Result<Arc<dyn Door>, Lack> {
        let socket = || -> Arc<dyn Door> { Arc::new(SocketDoor::new(limits)) };
        let nftables = || NftablesDoor::open(listen, limits).map(|door| -> Arc<dyn Door> { Arc::new(door) });
        let xdp = || XdpDoor::open(listen, interfaces, limits).map(|door| -> Arc<dyn Door> { Arc::new(door) });
        let door = match self {
            Self::Socket => socket(),
            Self::Nftables => nftables()?,
            Self::Xdp => xdp()?,
            Self::Auto => match in_drivers(listen, interfaces, limits) {
                Some(door) => door,
                None => nftables().unwrap_or_else(|lack| {
                    tracing::info!(%lack, next = lack.next_step(), "the kernel's door can't be used: our own socket is the door");
                    socket()
                }),
            },
        };
        if door.name() != "nftables" {
            NftablesDoor::clear_away();
        }
        tracing::info!(door = door.name(), "the door is shut");
        Ok(door)
    }
}

/// The door in the drivers of the named interfaces, if all of them take it.
fn in_drivers(listen: &[SocketAddr], interfaces: &[String], limits: Limits) -> Option<Arc<dyn Door>> {
    if interfaces.is_empty() {
        return None;
    }
    let opened = XdpDoor::open_in_drivers(listen, interfaces, limits);
    let said = |lack: &XdpError| {
        tracing::info!(%lack, next = lack.next_step(), "no door in the driver: the kernel's packet filter is tried");
    };
    opened.inspect_err(said).ok().map(|door| -> Arc<dyn Door> { Arc::new(door) })
}

/// The back ends, and what each lacks here; nothing is changed. [`Choice::Auto`] takes the first that works; what comes behind
/// `socket`, which always does, is taken only where the owner names it. Whether a driver takes the program shows at the start.
#[must_use]
pub fn findings(listen: &[SocketAddr], interfaces: &[String]) -> Vec<Finding> {
    let nftables = Finding { name: "nftables", works: NftablesDoor::probe(listen).map_err(Lack::from) };
    let socket = Finding { name: "socket", works: Ok(()) };
    let xdp = Finding { name: "xdp", works: XdpDoor::probe(listen, interfaces).map_err(Lack::from) };
    if interfaces.is_empty() { vec![nftables, socket, xdp] } else { vec![xdp, nftables, socket] }
}
