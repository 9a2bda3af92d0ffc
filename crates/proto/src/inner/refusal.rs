//! The gateway's refusal, sealed to the device and to the I1 that it answers.
//!
//! It must be readable for a device whose second layer did not open (a wrong password makes wrong keys), so its key is that of
//! layer 1: `HKDF-SHA256(salt = "", ikm = psk_r, "vestibule/1 refusal")`. The controller learns that the gateway
//! refuses and nothing else; and because I1's m_r is part of the seal it can't keep a refusal and show it again.

use std::time::Duration;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::{I1_LEN, I2_LEN, M_R};
use crate::entropy::{self, Entropy};
use crate::error::Unreadable;
use crate::key::{self, Psk};
use crate::wire::{Malformed, Reader, Writer};

/// Size of what a refusal seals, in bytes.
const CONTENT_LEN: usize = I2_LEN - NONCE_LEN - 16;
const NONCE_LEN: usize = 24;

/// The most bytes of [`Refusal::detail`] that are told.
const DETAIL_LEN: usize = 100;

/// Why a gateway does not open. 168 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0 | code |
/// | 1 | tries used |
/// | 2 | limit of tries |
/// | 3 | length of the detail, 0 to 100 |
/// | 4..8 | seconds to wait before the next try |
/// | 8..108 | detail, UTF-8, then zeros |
/// | 108..168 | zero |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal.
    pub code: RefusalCode,
    /// How long to wait before the next try; told in whole seconds, rounded up.
    pub retry_after: Duration,
    /// Wrong passwords counted against this device so far.
    pub tries: u8,
    /// With how many it is suspended.
    pub limit: u8,
    /// One line for the person, at most 100 bytes of UTF-8; what exceeds them is cut.
    pub detail: String,
}

/// What kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalCode {
    /// The second layer of the local credential opened with a wrong password; counted.
    WrongPassword = 1,
    /// Too many wrong passwords lately: wait.
    Wait = 2,
    /// The device is suspended: too many wrong passwords, or its owner said so.
    Suspended = 3,
    /// The device, or its user, was revoked.
    Revoked = 4,
    /// The invitation was used already.
    InvitationUsed = 5,
    /// The invitation has expired.
    InvitationExpired = 6,
    /// No protocol version in common, or one below what this device spoke before.
    Version = 7,
    /// The knock is too old or too new for the gateway's clock.
    Time = 8,
    /// The gateway can't open now: its door or its disk fails.
    Fault = 9,
    /// Too many admissions at once.
    Busy = 10,
    /// The device knows the gateway by a key that counts no more: it was away while that was rotated.
    GatewayKey = 11,
}

impl RefusalCode {
    /// The word for logs: stable, lower-case, e.g. `invitation-expired`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong-password",
            Self::Wait => "wait",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::InvitationUsed => "invitation-used",
            Self::InvitationExpired => "invitation-expired",
            Self::Version => "version",
            Self::Time => "time",
            Self::Fault => "fault",
            Self::Busy => "busy",
            Self::GatewayKey => "gateway-key",
        }
    }
}

/// Seals `refusal` for the device with `psk_r`, in answer to `i1`: what takes the place of I2.
#[must_use]
pub fn seal_refusal(psk_r: &Psk, i1: &[u8; I1_LEN], refusal: &Refusal, entropy: &mut dyn Entropy) -> [u8; I2_LEN] {
    let nonce: [u8; NONCE_LEN] = entropy::bytes(entropy);
    let sealed = cipher(psk_r)
        .encrypt(&nonce.into(), Payload { msg: refusal.to_bytes().as_slice(), aad: &i1[M_R] })
        .expect("168 bytes are within the limits of the cipher");
    let mut bytes = [0; I2_LEN];
    bytes[..NONCE_LEN].copy_from_slice(&nonce);
    bytes[NONCE_LEN..].copy_from_slice(&sealed);
    bytes
}

/// Opens the refusal of `i1`.
///
/// # Errors
/// [`Unreadable::Seal`] if it was not made with `psk_r` for this I1, [`Unreadable::Content`] if we don't understand it.
pub fn open_refusal(psk_r: &Psk, i1: &[u8; I1_LEN], refusal: &[u8; I2_LEN]) -> Result<Refusal, Unreadable> {
    let (nonce, sealed) = refusal.split_at(NONCE_LEN);
    let opened = cipher(psk_r).decrypt(nonce.into(), Payload { msg: sealed, aad: &i1[M_R] });
    let content = Zeroizing::new(opened.map_err(|_| Unreadable::Seal)?);
    Refusal::from_bytes(content.as_slice().try_into().map_err(|_| Unreadable::Content)?)
}

fn cipher(psk_r: &Psk) -> XChaCha20Poly1305 {
    let key = key::hkdf::<32>(b"", &[psk_r.expose()], b"vestibule/1 refusal");
    XChaCha20Poly1305::new(key.expose().into())
}

impl Refusal {
    /// What a refusal seals, laid out as above.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 168]> {
        let detail = &self.detail[..self.detail.floor_char_boundary(DETAIL_LEN)];
        let mut padded = [0; DETAIL_LEN];
        padded[..detail.len()].copy_from_slice(detail.as_bytes());
        Writer::<CONTENT_LEN>::new()
            .u8(self.code as u8)
            .u8(self.tries)
            .u8(self.limit)
            .u8(detail.len() as u8)
            .u32(whole_seconds(self.retry_after))
            .bytes(&padded)
            .zeros(60)
            .finish()
            .clone()
    }

    /// Reads what a refusal seals.
    ///
    /// # Errors
    /// [`Unreadable::Content`] for anything that [`to_bytes`](Self::to_bytes) would not have written.
    pub fn from_bytes(bytes: &[u8; 168]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let (code, tries, limit) = (RefusalCode::from_byte(reader.u8()?)?, reader.u8()?, reader.u8()?);
        let (detail_len, seconds) = (usize::from(reader.u8()?), reader.u32()?);
        let detail = reader.slice(DETAIL_LEN)?.split_at_checked(detail_len).ok_or(Malformed)?;
        Reader::new(detail.1).finish()?;
        reader.finish()?;
        Ok(Self {
            code,
            retry_after: Duration::from_secs(seconds.into()),
            tries,
            limit,
            detail: str::from_utf8(detail.0).map_err(|_| Malformed)?.to_owned(),
        })
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    let rounded_up = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(rounded_up).unwrap_or(u32::MAX)
}

impl RefusalCode {
    const ALL: [Self; 11] = [
        Self::WrongPassword,
        Self::Wait,
        Self::Suspended,
        Self::Revoked,
        Self::InvitationUsed,
        Self::InvitationExpired,
        Self::Version,
        Self::Time,
        Self::Fault,
        Self::Busy,
        Self::GatewayKey,
    ];

    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|code| *code as u8 == byte).ok_or(Malformed)
    }
}
