//! P1, what a K1 seals.

use zeroize::Zeroizing;

use crate::error::Unreadable;
use crate::header::Versions;
use crate::id::{KnockId, LoginDigest, Stamp};
use crate::wire::{Malformed, Reader, Writer};

/// Size of P1 in bytes.
pub(super) const P1_LEN: usize = 1056;

/// What a client tells the controller. In P1, 1056 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0..4 | versions |
/// | 4..6 | flags: bit 0 is `link`, the others zero |
/// | 6..8 | length of I1: 192, or 0 with `link` |
/// | 8..40 | login digest A2 |
/// | 40..48 | stamp, ms since the Unix epoch |
/// | 48..64 | knock id |
/// | 64..88 | challenge of an earlier K6, or zero |
/// | 88..96 | zero |
/// | 96..288 | I1, or zero |
/// | 288..1056 | zero |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// What the client speaks.
    pub versions: Versions,
    /// What it asks for.
    pub flags: KnockFlags,
    /// Selects the row of the device.
    pub digest: LoginDigest,
    /// When the client made this knock, by its (corrected) clock.
    pub stamp: Stamp,
    /// Names this knock; fresh for each K1, never accepted twice.
    pub knock_id: KnockId,
    /// What the controller sent with status *time*, which stands in for a stamp that it can believe.
    pub challenge: Option<[u8; 24]>,
    /// I1, for the gateway; absent in a gateway's own knock, and only there.
    pub inner: Option<[u8; 192]>,
}

/// What a knock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnockFlags {
    /// A gateway knocks for its own link (C1).
    pub link: bool,
}

impl Knock {
    /// P1, laid out as above.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 1056]> {
        Writer::<P1_LEN>::new()
            .u16(self.versions.lowest)
            .u16(self.versions.highest)
            .u16(u16::from(self.flags.link))
            .u16(self.inner.map_or(0, |_| 192))
            .bytes(self.digest.as_bytes())
            .u64(self.stamp.as_millis())
            .bytes(self.knock_id.as_bytes())
            .optional(self.challenge.as_ref())
            .zeros(8)
            .optional(self.inner.as_ref())
            .zeros(768)
            .finish()
            .clone()
    }

    /// Reads P1.
    ///
    /// # Errors
    /// [`Unreadable::Content`] for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn from_bytes(bytes: &[u8; 1056]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let versions = Versions { lowest: reader.u16()?, highest: reader.u16()? };
        let (flags, inner_len) = (KnockFlags::from_bits(reader.u16()?)?, reader.u16()?);
        let (digest, stamp) = (LoginDigest::new(reader.array()?), Stamp::from_millis(reader.u64()?));
        let (knock_id, challenge) = (KnockId::new(reader.array()?), reader.optional()?);
        reader.zeros(8)?;
        let inner = read_inner(&mut reader, inner_len, flags)?;
        reader.finish()?;
        Ok(Self { versions, flags, digest, stamp, knock_id, challenge, inner })
    }
}

impl KnockFlags {
    fn from_bits(bits: u16) -> Result<Self, Malformed> {
        if bits <= 1 { Ok(Self { link: bits == 1 }) } else { Err(Malformed) }
    }
}

fn read_inner(reader: &mut Reader<'_>, length: u16, flags: KnockFlags) -> Result<Option<[u8; 192]>, Malformed> {
    match (length, flags.link) {
        (192, false) => reader.array().map(Some),
        (0, true) => reader.zeros(192).map(|()| None),
        (_, _) => Err(Malformed),
    }
}
