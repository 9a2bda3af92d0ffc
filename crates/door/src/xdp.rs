//! The back end `xdp`: a program in the driver of each interface that strangers come by, which drops what they send to the
//! gateway's port before the kernel makes anything of it, and behind it the back end `socket`, which is exact.
//!
//! The program (`door.bpf.c`) looks at two maps: the tickets of the admissions, each with its end and the addresses that it
//! accepts, and the live sources, each with its end. Which tags a ticket has, and which of them are spent, user space knows. What
//! neither opens is dropped, fragments included. Ends are read in the program, against the same clock as ours, so that nothing of
//! it stays open if nobody takes it out.
//!
//! The program hangs on the kernel's links, which belong to this process: the kernel closes them with it, however it ends,
//! together with the socket. An interface that comes, goes, or whose program somebody takes away is noticed within half a
//! second; in between, and by interfaces that are not guarded, user space still lets nobody in who bears no tag.

mod book;
mod fault;
mod kernel;
mod place;
mod plan;
mod program;

use std::net::SocketAddr;
use std::time::Instant;

pub use fault::XdpError;

use crate::layered::Layered;
use crate::{Command, Door, DoorError, FirstPacket, Hold, Limits, TcpDoor};
use kernel::Kernel;
use plan::Plan;
use program::Where;

/// The door in the driver. Dropped, it takes its programs away.
pub struct XdpDoor(Layered<Kernel>);

impl XdpDoor {
    /// A closed door before these UDP addresses, in the network namespace of the calling thread: at the named interfaces,
    /// or, if none is named, at those that carry the addresses, loopback ones excepted.
    ///
    /// # Errors
    /// [`XdpError`]; nothing was changed.
    pub fn open(listen: &[SocketAddr], interfaces: &[String], limits: Limits) -> Result<Self, XdpError> {
        Ok(Self(Layered::new(Kernel::open(Plan::new(listen, interfaces), limits, Where::Anywhere)?, limits)))
    }

    /// The same, if each of these interfaces takes the program in its driver.
    ///
    /// # Errors
    /// [`XdpError`]; nothing was changed.
    pub fn open_in_drivers(listen: &[SocketAddr], interfaces: &[String], limits: Limits) -> Result<Self, XdpError> {
        Ok(Self(Layered::new(Kernel::open(Plan::new(listen, interfaces), limits, Where::InDriver)?, limits)))
    }

    /// Whether this process could guard these addresses here: the kernel is shown the program, which is attached to nothing.
    ///
    /// # Errors
    /// What it lacks.
    pub fn probe(listen: &[SocketAddr], interfaces: &[String]) -> Result<(), XdpError> {
        Kernel::probe(&Plan::new(listen, interfaces))
    }
}

impl Door for XdpDoor {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError> {
        self.0.apply(command, now)
    }

    fn admitted(&self) -> usize {
        self.0.admitted()
    }

    fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket {
        self.0.first_packet(source, dcid, now)
    }

    fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold> {
        self.0.hold(source, dcid, now)
    }

    fn release(&self, hold: &Hold) {
        self.0.release(hold);
    }

    fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.0.is_live(source, now)
    }

    fn live(&self) -> usize {
        self.0.live()
    }

    fn tcp(&self) -> &TcpDoor {
        self.0.tcp()
    }

    fn dropped(&self) -> Option<u64> {
        self.0.dropped()
    }
}
