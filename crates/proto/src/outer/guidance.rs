//! P2, what a K6 seals.

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::Unreadable;
use crate::id::{Stamp, TicketId};
use crate::key::Secret;
use crate::wire::{self, Malformed, Reader, Writer};

/// Size of P2 in bytes.
pub(super) const P2_LEN: usize = 1136;

/// How many gateway addresses a K6 has room for.
const GATEWAYS: usize = 4;

/// What the controller tells a client. In P2, 1136 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0 | status |
/// | 1 | zero |
/// | 2..4 | length of I2: 208, or 0 |
/// | 4..8 | admission window, ms |
/// | 8..28 | address and port seen: IPv6 16 (IPv4 mapped), port 2, zero 2 |
/// | 28..36 | controller's time, ms since the Unix epoch |
/// | 36..60 | challenge, or zero |
/// | 60..156 | four gateway addresses: each IPv6 16, port 2, zero 6; unused ones zero |
/// | 156..364 | I2, or zero |
/// | 364..1136 | zero |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guidance {
    /// What became of the knock.
    pub status: Status,
    /// How long the door stands open; zero unless ready. Told in milliseconds.
    pub window: Duration,
    /// The client's address and port as the controller saw them.
    pub seen: SocketAddr,
    /// The controller's clock.
    pub controller_time: Stamp,
    /// With [`Status::Time`]: to be echoed in the next knock.
    pub challenge: Option<[u8; 24]>,
    /// With [`Status::Ready`]: where the gateway listens; at most four are told.
    pub gateways: Vec<SocketAddr>,
    /// I2, or the gateway's sealed refusal, or what [`link_ticket`] made for a gateway's own link.
    pub inner: Option<[u8; 208]>,
}

/// What became of a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The gateway has opened; I2 says for what.
    Ready = 1,
    /// The stamp is too far from the controller's time; knock again with the right one and the challenge.
    Time = 2,
    /// The gateway refuses; the reason is sealed in the place of I2.
    Refused = 3,
    /// The gateway is not linked, or did not answer in time.
    Away = 4,
    /// Too many knocks at once.
    Busy = 5,
}

impl Guidance {
    /// P2, laid out as above.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 1136]> {
        Writer::<P2_LEN>::new()
            .u8(self.status as u8)
            .zeros(1)
            .u16(self.inner.map_or(0, |_| 208))
            .u32(wire::millis_u32(self.window))
            .address(Some(self.seen), 20)
            .u64(self.controller_time.as_millis())
            .optional(self.challenge.as_ref())
            .addresses(&self.gateways, GATEWAYS, 24)
            .optional(self.inner.as_ref())
            .zeros(772)
            .finish()
            .clone()
    }

    /// Reads P2.
    ///
    /// # Errors
    /// [`Unreadable::Content`] for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn from_bytes(bytes: &[u8; 1136]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let status = Status::from_byte(reader.u8()?)?;
        reader.zeros(1)?;
        let inner_len = reader.u16()?;
        let guidance = Self {
            status,
            window: Duration::from_millis(reader.u32()?.into()),
            seen: reader.address(20)?.ok_or(Malformed)?,
            controller_time: Stamp::from_millis(reader.u64()?),
            challenge: reader.optional()?,
            gateways: reader.addresses(GATEWAYS, 24)?,
            inner: read_inner(&mut reader, inner_len)?,
        };
        reader.finish()?;
        Ok(guidance)
    }
}

impl Status {
    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        [Self::Ready, Self::Time, Self::Refused, Self::Away, Self::Busy]
            .into_iter()
            .find(|status| *status as u8 == byte)
            .ok_or(Malformed)
    }
}

fn read_inner(reader: &mut Reader<'_>, length: u16) -> Result<Option<[u8; 208]>, Malformed> {
    match length {
        208 => reader.array().map(Some),
        0 => reader.zeros(208).map(|()| None),
        _ => Err(Malformed),
    }
}

/// The ticket for a gateway's own link (C1), in the place of I2: `tid 8 ‖ ticket secret 32 ‖ zeros`. It needs no seal of its
/// own: K6 is sealed between exactly the two parties of the link.
pub mod link_ticket {
    use super::{Reader, Secret, TicketId, Unreadable, Writer};

    /// The 208 bytes for [`Guidance::inner`](super::Guidance::inner).
    #[must_use]
    pub fn encode(id: TicketId, ticket_secret: &Secret<32>) -> [u8; 208] {
        **Writer::<208>::new().bytes(id.as_bytes()).bytes(ticket_secret.expose()).zeros(168).finish()
    }

    /// The ticket's id and secret.
    ///
    /// # Errors
    /// [`Unreadable::Content`] if anything follows them.
    pub fn decode(inner: &[u8; 208]) -> Result<(TicketId, Secret<32>), Unreadable> {
        let mut reader = Reader::new(inner);
        let ticket = (TicketId::new(reader.array()?), Secret::new(reader.array()?));
        reader.finish()?;
        Ok(ticket)
    }
}
