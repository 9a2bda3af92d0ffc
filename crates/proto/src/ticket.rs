//! Tickets and tags: what an admission at the gateway consists of, and how its door knows it (steps D0 and D1).
//!
//! I2 carries a ticket's id and secret to the device. Both sides then derive `kd` and from it twelve tags of 20 bytes, one
//! for each packet that may open a door. The gateway computes them beforehand and hands them to the door, which compares.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use subtle::ConstantTimeEq;

use crate::id::TicketId;
use crate::key::{self, Secret};

/// One admission, as both the device and the gateway know it after I2. Whoever holds it can pass the door and go on to
/// the login, once; nobody on the path and no controller can derive it.
#[derive(Clone)]
pub struct Ticket {
    /// Its name, in clear in each of its tags.
    pub id: TicketId,
    /// `kd`, the key from which the tags derive.
    pub kd: Secret<32>,
    /// The hash of the handshake that agreed on it (I1 and I2; for a gateway's own knock K1 and K6), to which the login is bound.
    pub inner_hash: [u8; 32],
}

impl Ticket {
    /// Numbers of the tags for first packets of QUIC connections (D1): four connects per admission.
    pub const QUIC_TAGS: RangeInclusive<u8> = 0..=3;
    /// Numbers of the tags for tag datagrams before a TCP connection (D0).
    pub const DATAGRAM_TAGS: RangeInclusive<u8> = 4..=7;
    /// Numbers of the tags for prefaces of TCP connections.
    pub const PREFACE_TAGS: RangeInclusive<u8> = 8..=11;

    /// The ticket that a handshake with this hash carried: `kd = HKDF-SHA256(salt = inner hash, ikm = ticket secret,
    /// "vestibule/1 kd")`.
    #[must_use]
    pub fn derive(inner_hash: [u8; 32], ticket_secret: &Secret<32>, id: TicketId) -> Self {
        let kd = key::hkdf(&inner_hash, &[ticket_secret.expose()], b"vestibule/1 kd");
        Self { id, kd, inner_hash }
    }

    /// The tag with number `n`: `tid 8 ‖ BLAKE2s-128(k_door, "door" ‖ tid ‖ n)[..12]`.
    #[must_use]
    pub fn tag(&self, n: u8) -> Tag {
        self.tag_under(&self.k_door(), n)
    }

    /// The tags for first packets of QUIC connections, in the order of their numbers.
    #[must_use]
    pub fn quic_tags(&self) -> [Tag; 4] {
        let k_door = self.k_door();
        [0, 1, 2, 3].map(|n| self.tag_under(&k_door, n))
    }

    fn k_door(&self) -> Secret<32> {
        key::expand(&self.kd, b"vestibule/1 door")
    }

    fn tag_under(&self, k_door: &Secret<32>, n: u8) -> Tag {
        let mac = key::blake2s_mac(k_door.expose(), &[b"door", self.id.as_bytes(), &[n]]);
        let mut tag = [0; Tag::SIZE];
        tag[..8].copy_from_slice(self.id.as_bytes());
        tag[8..].copy_from_slice(&mac[..12]);
        Tag(tag)
    }
}

/// What a packet must bear to pass a door: 20 bytes, the longest connection id that QUIC allows. Not secret any more once
/// sent, and worth nothing once spent.
#[derive(Clone, Copy)]
pub struct Tag([u8; Tag::SIZE]);

impl Tag {
    /// Size in bytes.
    pub const SIZE: usize = 20;

    /// The tag with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// The ticket that it claims to be of.
    #[must_use]
    pub fn ticket(&self) -> TicketId {
        let mut id = [0; TicketId::SIZE];
        id.copy_from_slice(&self.0[..TicketId::SIZE]);
        TicketId::new(id)
    }
}

impl PartialEq for Tag {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Tag {}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Tag {
    /// Names the ticket; the rest opens a door until it is spent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({}…)", self.ticket())
    }
}

/// How the address that comes to a door must agree with the address that the controller announced. The tag decides who
/// comes in; this is a second filter, for networks that do not change addresses (PROTOCOL 3.5, NAT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatPolicy {
    /// The same address.
    Strict,
    /// The same /24 of IPv4 or /56 of IPv6.
    Net,
    /// Any address: the tag alone.
    #[default]
    Follow,
}

impl NatPolicy {
    /// Whether a packet from `seen` may use an admission announced for `announced`. IPv4 addresses mapped into IPv6 count as
    /// what they stand for.
    #[must_use]
    pub fn matches(self, announced: IpAddr, seen: IpAddr) -> bool {
        match self {
            Self::Strict => announced.to_canonical() == seen.to_canonical(),
            Self::Net => same_net(announced.to_canonical(), seen.to_canonical()),
            Self::Follow => true,
        }
    }
}

fn same_net(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => prefix_56(one) == prefix_56(other),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn prefix_56(address: Ipv6Addr) -> u128 {
    address.to_bits() >> (128 - 56)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::entropy::SeededEntropy;

    fn ticket(number: u64) -> Ticket {
        let mut entropy = SeededEntropy::new(number);
        let secret = Secret::random(&mut entropy);
        Ticket::derive(crate::entropy::bytes(&mut entropy), &secret, TicketId::new(*b"ticket#1"))
    }

    #[test]
    fn every_tag_is_another_one_and_names_its_ticket() {
        let ticket = ticket(1);
        let tags: HashSet<_> = (0..12).map(|n| ticket.tag(n)).collect();
        assert_eq!(tags.len(), 12);
        assert!(tags.iter().all(|tag| tag.ticket() == ticket.id));
        assert_eq!(ticket.quic_tags(), [0, 1, 2, 3].map(|n| ticket.tag(n)));
    }

    #[test]
    fn two_secrets_have_no_tag_in_common() {
        let (one, other) = (ticket(1), ticket(2));
        for n in 0..12 {
            assert_ne!(one.tag(n), other.tag(n));
        }
        assert!(one.kd != other.kd);
    }

    #[test]
    fn policies_compare_addresses() {
        let matches =
            |policy: NatPolicy, one: &str, other: &str| policy.matches(one.parse().unwrap(), other.parse().unwrap());
        use NatPolicy::{Follow, Net, Strict};
        assert!(matches(Strict, "192.0.2.1", "192.0.2.1"));
        assert!(matches(Strict, "192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!matches(Strict, "192.0.2.1", "192.0.2.2"));
        assert!(matches(Net, "192.0.2.1", "192.0.2.255"));
        assert!(!matches(Net, "192.0.2.1", "192.0.3.1"));
        assert!(matches(Net, "2001:db8:0:ff00::1", "2001:db8:0:ffff::2"));
        assert!(!matches(Net, "2001:db8:0:ff00::1", "2001:db8:0:fe00::1"));
        assert!(!matches(Net, "192.0.2.1", "2001:db8::1"));
        assert!(matches(Follow, "192.0.2.1", "2001:db8::1"));
    }
}
