//! The 16 bytes in clear at the front of each of our own datagrams (PROTOCOL 3.4).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | type ([`Kind`]); the top bits are `00`, in which it differs from every QUIC packet |
//! | 1 | version, [`VERSION`] |
//! | 2..4 | zero |
//! | 4..8 | masked epoch |
//! | 8..16 | message id, random, echoed in the answer |

use crate::id::Stamp;
use crate::key::{self, RealmKey};

/// The version of the protocol, and so the suite, that this code speaks.
pub const VERSION: u8 = 1;

/// Size of the header in bytes.
pub const HEADER_LEN: usize = 16;

/// Size of K1 and K6 in bytes: with 48 bytes of IPv6 and UDP it fits the 1280 that every IPv6 path carries.
pub const MESSAGE_LEN: usize = 1200;

/// Seconds in an epoch.
const EPOCH_SECS: u64 = 64;

/// What a datagram of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// K1, client to controller.
    Knock = 1,
    /// K6, controller to client.
    Guidance = 2,
    /// K2c, controller to client, under load.
    Cookie = 3,
    /// D0, client to gateway.
    TagDatagram = 4,
    /// R2, client to gateway: the source of a connection's packets is another one now.
    Moved = 5,
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the datagram is.
    pub kind: Kind,
    /// The epoch under the mask that only who holds the realm key can lift ([`masked_epoch`]).
    pub masked_epoch: [u8; 4],
    /// Pairs an answer with its knock.
    pub message_id: [u8; 8],
}

impl Header {
    /// The header of an answer to the datagram with this one: all but the type is echoed.
    #[must_use]
    pub fn answer(&self, kind: Kind) -> Self {
        Self { kind, ..*self }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = self.kind as u8;
        bytes[1] = VERSION;
        bytes[4..8].copy_from_slice(&self.masked_epoch);
        bytes[8..].copy_from_slice(&self.message_id);
        bytes
    }

    /// The header at the front of `datagram`, if it is one of this kind in our version.
    #[must_use]
    pub fn read(kind: Kind, datagram: &[u8]) -> Option<Self> {
        let bytes = datagram.first_chunk::<HEADER_LEN>()?;
        let [_, _, _, _, e0, e1, e2, e3, message_id @ ..] = *bytes;
        bytes.starts_with(&lead(kind)).then_some(Self { kind, masked_epoch: [e0, e1, e2, e3], message_id })
    }

    /// Whether the epoch is that of `now` or next to it. Under load, only who shows this is offered a cookie: a recording
    /// has a valid mac1 for ever, but grows old (PROTOCOL C6).
    #[must_use]
    pub fn epoch_is_current(&self, realm: &RealmKey, ephemeral: &[u8; 32], now: Stamp) -> bool {
        let epoch = u32::from_be_bytes(xor(self.masked_epoch, mask(realm, ephemeral)));
        matches!(epoch.wrapping_sub(epoch_of(now)), 0 | 1 | u32::MAX)
    }
}

/// The first four bytes of every header of a kind.
pub(crate) const fn lead(kind: Kind) -> [u8; 4] {
    [kind as u8, VERSION, 0, 0]
}

/// `unix / 64 XOR BLAKE2s-256(K_realm ‖ e)[..4]`: the epoch, hidden so that a knock does not tell its sender's clock and
/// no four bytes of two knocks are alike.
#[must_use]
pub fn masked_epoch(realm: &RealmKey, ephemeral: &[u8; 32], stamp: Stamp) -> [u8; 4] {
    xor(epoch_of(stamp).to_be_bytes(), mask(realm, ephemeral))
}

fn mask(realm: &RealmKey, ephemeral: &[u8; 32]) -> [u8; 4] {
    let [a, b, c, d, ..] = key::blake2s_hash(&[realm.expose(), ephemeral]);
    [a, b, c, d]
}

/// The low 32 bits of the number of epochs since 1970.
fn epoch_of(stamp: Stamp) -> u32 {
    (stamp.as_secs() / EPOCH_SECS) as u32
}

fn xor(one: [u8; 4], other: [u8; 4]) -> [u8; 4] {
    (u32::from_ne_bytes(one) ^ u32::from_ne_bytes(other)).to_ne_bytes()
}

/// The lowest and the highest version that a side speaks; four bytes, each two big-endian. Told sealed, and settled
/// end to end between device and gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The lowest.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
}

impl Versions {
    /// What this code speaks.
    pub const OURS: Self = Self { lowest: VERSION as u16, highest: VERSION as u16 };

    /// The highest version that both sides speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::Secret;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let header = Header { kind: Kind::Knock, masked_epoch: [1, 2, 3, 4], message_id: [5; 8] };
        let bytes = header.to_bytes();
        assert_eq!(Header::read(Kind::Knock, &bytes), Some(header));
        assert_eq!(Header::read(Kind::Guidance, &bytes), None);
        assert_eq!(Header::read(Kind::Knock, &bytes[..15]), None);
        for position in 0..4 {
            let mut altered = bytes;
            altered[position] ^= 2;
            assert_eq!(Header::read(Kind::Knock, &altered), None, "byte {position}");
        }
    }

    #[test]
    fn an_epoch_is_current_for_two_minutes_at_least_and_three_at_most() {
        let realm = Secret::new([1; 32]);
        let stamp = Stamp::from_millis(1_800_000_000_000);
        let header =
            Header { kind: Kind::Knock, masked_epoch: masked_epoch(&realm, &[2; 32], stamp), message_id: [0; 8] };
        let current = |now| header.epoch_is_current(&realm, &[2; 32], now);
        assert!(current(stamp));
        assert!(current(stamp.saturating_add(Duration::from_secs(64))));
        assert!(current(stamp.saturating_sub(Duration::from_secs(64))));
        assert!(!current(stamp.saturating_add(Duration::from_secs(128))));
        assert!(!current(stamp.saturating_sub(Duration::from_secs(128))));
        assert!(!header.epoch_is_current(&Secret::new([3; 32]), &[2; 32], stamp));
        assert!(!header.epoch_is_current(&realm, &[4; 32], stamp));
    }

    #[test]
    fn the_common_version_is_the_highest_of_both() {
        let versions = |lowest, highest| Versions { lowest, highest };
        assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
        assert_eq!(versions(1, 1).common(versions(1, 1)), Some(1));
        assert_eq!(versions(1, 2).common(versions(3, 4)), None);
        assert_eq!(versions(3, 4).common(versions(1, 2)), None);
    }
}
