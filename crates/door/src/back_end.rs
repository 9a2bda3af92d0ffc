//! What every back end can do, and how it fails.

use std::net::SocketAddr;
use std::time::Instant;

use crate::{
    Command, DirectError, DirectFlow, DirectPort, FirstPacket, Hold, NftablesError, Opening, TcpDoor, XdpError,
};

/// A back end that enforces admissions.
///
/// Fail closed: the gateway says *ready* only after [`Door::apply`] returned `Ok` for its [`Command::Admit`]; after an
/// error nothing is open that was not open before.
pub trait Door: Send + Sync {
    /// The name of the back end, as in configuration and logs: `socket`, `nftables`, `xdp`.
    fn name(&self) -> &'static str;

    /// Carries out one command; the change is in force when this returns. `now` is the caller's clock.
    ///
    /// # Errors
    /// Those of [`DoorError`]; then nothing was changed. [`Command::Withdraw`] and [`Command::Cut`] of something that isn't
    /// there succeed.
    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError>;

    /// How many admissions the door holds. One whose window is over counts until the next command.
    fn admitted(&self) -> usize;

    /// Asks about a first packet with destination connection id `dcid` from `source` (step D1). A tag is spent by the
    /// first packet that bears it from an address that the admission's policy accepts; from then on it is bound to that
    /// address and port, which become live.
    fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket;

    /// Takes over the source that spent the tag `dcid`, so that it stays live until the [`Hold`] is given back; `None`
    /// if no such tag was spent there within [`FIRST_FLIGHT`](crate::FIRST_FLIGHT) or somebody took it over already. One
    /// connection per tag.
    fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold>;

    /// Gives a hold back: its connection ended. The source stops being live unless another connection holds it.
    fn release(&self, hold: &Hold);

    /// Whether `source` is live: it spent a tag less than [`FIRST_FLIGHT`](crate::FIRST_FLIGHT) ago, or a connection holds
    /// it. Asked for every datagram of an established connection, in both directions.
    fn is_live(&self, source: SocketAddr, now: Instant) -> bool;

    /// How many sources are held or have just come in.
    fn live(&self) -> usize;

    /// Who is awaited over TCP.
    fn tcp(&self) -> &TcpDoor;

    /// Packets to the gateway's port that ended before its socket since the door was opened; `None` if that is not counted.
    fn dropped(&self) -> Option<u64> {
        None
    }

    /// Stands before these direct services from now on. A port that was guarded before and is not among them stays shut. A
    /// back end that sees no TCP takes the empty list alone.
    ///
    /// # Errors
    /// [`DirectError`]; the door stands before what it stood before.
    fn guard(&self, ports: &[DirectPort], _now: Instant) -> Result<(), DirectError> {
        if ports.is_empty() { Ok(()) } else { Err(DirectError::NotThisDoor { door: self.name() }) }
    }

    /// Lets one flow to a direct service begin within [`FLOW_WINDOW`](crate::FLOW_WINDOW).
    ///
    /// # Errors
    /// [`DirectError`]; then it isn't let in.
    fn open_flow(&self, _opening: &Opening, _now: Instant) -> Result<(), DirectError> {
        Err(DirectError::NotThisDoor { door: self.name() })
    }

    /// The client says that the flow stands: from now on it is let through until [`Door::close_flow`]. `None` if nothing has
    /// come; then the opening is over.
    ///
    /// # Errors
    /// [`DirectError`]; then nothing of it is let through any more.
    fn settle_flow(&self, _opening: &Opening, _now: Instant) -> Result<Option<DirectFlow>, DirectError> {
        Err(DirectError::NotThisDoor { door: self.name() })
    }

    /// Nothing of the flow passes any more, in either direction. One that was never settled is taken back; one that is gone is
    /// no error.
    fn close_flow(&self, _opening: &Opening, _flow: Option<&DirectFlow>, _now: Instant) {}
}

/// Why a door did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The door holds as many admissions as it may. The gateway answers *busy*.
    #[error("the door holds its limit of {limit} admissions")]
    Full {
        /// How many that is.
        limit: usize,
    },
    /// An admission of this ticket stands already. Tickets are random: the caller erred.
    #[error("an admission of this ticket stands already")]
    Duplicate,
    /// A tag does not begin with its ticket, or two tags of the admission are equal: the caller erred.
    #[error("the tags are not those of the ticket")]
    NotItsTags,
    /// The admission's window was over before it began.
    #[error("the admission window is over")]
    TooLate,
    /// The kernel did not do it, and its table could not be made anew: nobody is admitted until it can.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
    /// The program in the driver does not stand where it should: nobody is admitted until it does.
    #[error(transparent)]
    Xdp(#[from] XdpError),
}
