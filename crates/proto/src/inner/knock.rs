//! What an I1 seals.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::error::Unreadable;
use crate::gateway_key::KeyName;
use crate::header::Versions;
use crate::id::{KnockId, LoginDigest, SessionId, Stamp};
use crate::wire::{ADDRESS_LEN, Malformed, Reader, Writer};

/// Size of what I1 seals, in bytes.
pub(super) const CONTENT_LEN: usize = 128;

/// How many of its own addresses a client tells.
const OWN_ADDRESSES: usize = 2;

/// What a device asks of its gateway. 128 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0..4 | versions |
/// | 4 | purpose |
/// | 5..8 | zero |
/// | 8..16 | stamp, ms since the Unix epoch |
/// | 16..32 | knock id |
/// | 32..64 | login digest A2 |
/// | 64..80 | session id, or zero |
/// | 80..116 | two addresses: each IPv6 16 (IPv4 mapped), port 2; unused ones zero |
/// | 116..124 | name of the G_tls that the device expects, or zero |
/// | 124..128 | zero |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnerKnock {
    /// What the client speaks.
    pub versions: Versions,
    /// What it comes for.
    pub purpose: Purpose,
    /// When it made this knock: the stamp of the K1 around it.
    pub stamp: Stamp,
    /// The knock id of the K1 around it.
    pub knock_id: KnockId,
    /// The login digest that selects the device; also part of the prologue.
    pub digest: LoginDigest,
    /// With [`Purpose::Resume`] and [`Purpose::Leave`]: which session.
    pub session: Option<SessionId>,
    /// The client's own global addresses, for comparison with the announced one; at most two are told.
    pub addresses: Vec<SocketAddr>,
    /// The only key that it takes its gateway by; earlier versions of the program name none.
    pub expects: Option<KeyName>,
}

/// What a device comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// A new session.
    Login = 1,
    /// To go on with a session under a new connection (R1).
    Resume = 2,
    /// To end a session that it has no connection for.
    Leave = 3,
    /// To enrol: the device is an invitation (E1).
    Enrol = 4,
}

impl InnerKnock {
    /// What I1 seals, laid out as above.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 128]> {
        Writer::<CONTENT_LEN>::new()
            .u16(self.versions.lowest)
            .u16(self.versions.highest)
            .u8(self.purpose as u8)
            .zeros(3)
            .u64(self.stamp.as_millis())
            .bytes(self.knock_id.as_bytes())
            .bytes(self.digest.as_bytes())
            .optional(self.session.as_ref().map(SessionId::as_bytes))
            .addresses(&self.addresses, OWN_ADDRESSES, ADDRESS_LEN)
            .optional(self.expects.as_ref().map(KeyName::as_bytes))
            .zeros(4)
            .finish()
            .clone()
    }

    /// Reads what I1 seals.
    ///
    /// # Errors
    /// [`Unreadable::Content`] for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn from_bytes(bytes: &[u8; 128]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let versions = Versions { lowest: reader.u16()?, highest: reader.u16()? };
        let purpose = Purpose::from_byte(reader.u8()?)?;
        reader.zeros(3)?;
        let knock = Self {
            versions,
            purpose,
            stamp: Stamp::from_millis(reader.u64()?),
            knock_id: KnockId::new(reader.array()?),
            digest: LoginDigest::new(reader.array()?),
            session: reader.optional()?.map(SessionId::new),
            addresses: reader.addresses(OWN_ADDRESSES, ADDRESS_LEN)?,
            expects: reader.optional()?.map(KeyName::from_bytes),
        };
        reader.finish()?;
        Ok(knock)
    }
}

impl Purpose {
    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        [Self::Login, Self::Resume, Self::Leave, Self::Enrol]
            .into_iter()
            .find(|purpose| *purpose as u8 == byte)
            .ok_or(Malformed)
    }
}
