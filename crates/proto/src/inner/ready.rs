//! What an I2 seals.

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::Unreadable;
use crate::header::Versions;
use crate::id::{KnockId, Stamp, TicketId};
use crate::key::Secret;
use crate::wire::{self, ADDRESS_LEN, Malformed, Reader, Writer};

/// Size of what I2 seals, in bytes.
pub(super) const CONTENT_LEN: usize = 160;

/// How many of its own addresses a gateway tells.
const OWN_ADDRESSES: usize = 3;

/// The code of a [`Ready`]: the door is open. No other code is in use; refusals have a seal of their own.
pub const READY: u16 = 0;

/// What a gateway tells the device that it has opened for. 160 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0..16 | knock id |
/// | 16..24 | ticket id |
/// | 24..56 | ticket secret |
/// | 56..58 | admission window, ms |
/// | 58..60 | code, 0 |
/// | 60..78 | announced address: IPv6 16 (IPv4 mapped), port 2 |
/// | 78..144 | three addresses of the gateway: each IPv6 16, port 2, zero 4; unused ones zero |
/// | 144..152 | gateway's time, ms since the Unix epoch |
/// | 152..156 | versions |
/// | 156..160 | zero |
#[derive(Clone)]
pub struct Ready {
    /// Echo of the knock's id.
    pub knock_id: KnockId,
    /// Names the admission.
    pub ticket: TicketId,
    /// From which both sides derive the tags.
    pub ticket_secret: Secret<32>,
    /// How long the door stands open; told in milliseconds, at most 65.535 s.
    pub window: Duration,
    /// [`READY`].
    pub code: u16,
    /// The client's address as the controller announced it to the gateway.
    pub announced: SocketAddr,
    /// Where the gateway listens, by its own word; at most three are told.
    pub addresses: Vec<SocketAddr>,
    /// The gateway's clock.
    pub stamp: Stamp,
    /// What the gateway speaks.
    pub versions: Versions,
}

impl Ready {
    /// What I2 seals, laid out as above.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 160]> {
        Writer::<CONTENT_LEN>::new()
            .bytes(self.knock_id.as_bytes())
            .bytes(self.ticket.as_bytes())
            .bytes(self.ticket_secret.expose())
            .u16(wire::millis_u16(self.window))
            .u16(self.code)
            .address(Some(self.announced), ADDRESS_LEN)
            .addresses(&self.addresses, OWN_ADDRESSES, 22)
            .u64(self.stamp.as_millis())
            .u16(self.versions.lowest)
            .u16(self.versions.highest)
            .zeros(4)
            .finish()
            .clone()
    }

    /// Reads what I2 seals.
    ///
    /// # Errors
    /// [`Unreadable::Content`] for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn from_bytes(bytes: &[u8; 160]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let ready = Self {
            knock_id: KnockId::new(reader.array()?),
            ticket: TicketId::new(reader.array()?),
            ticket_secret: Secret::new(reader.array()?),
            window: Duration::from_millis(reader.u16()?.into()),
            code: reader.u16()?,
            announced: reader.address(ADDRESS_LEN)?.ok_or(Malformed)?,
            addresses: reader.addresses(OWN_ADDRESSES, 22)?,
            stamp: Stamp::from_millis(reader.u64()?),
            versions: Versions { lowest: reader.u16()?, highest: reader.u16()? },
        };
        reader.finish()?;
        if ready.code == READY { Ok(ready) } else { Err(Unreadable::Content) }
    }
}
