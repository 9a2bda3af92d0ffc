//! The login digest A2: what the controller stores of a device (PROTOCOL 3.3).

use aws_lc_rs::digest::{Context, SHA256};
use vestibule_proto::id::{GatewayId, LoginDigest, UserName};
use vestibule_proto::key::{PublicKey, Secret, Spki, hmac};

/// First authentication information A1: what the gateway verifies at a login.
pub struct FirstAuthentication<'a> {
    /// The user.
    pub user: &'a UserName,
    /// The public half of D_in.
    pub d_in: &'a PublicKey,
    /// D_tls.
    pub d_tls: &'a Spki,
    /// The OPAQUE record, 192 bytes.
    pub record: &'a [u8],
    /// The device's commitment to its fingerprint.
    pub fingerprint_commitment: &'a [u8; 32],
}

/// `A2 = HMAC-SHA-256(k_lookup, "vestibule/1 A2" ‖ gateway id ‖ SHA-256(A1))`: independent of the password to whoever
/// lacks `k_lookup`, and new after every change of what it is made of.
pub fn login_digest(k_lookup: &Secret<32>, gateway: &GatewayId, a1: &FirstAuthentication<'_>) -> LoginDigest {
    LoginDigest::new(hmac(k_lookup.expose(), &[b"vestibule/1 A2", gateway.as_bytes(), &a1.sha256()]))
}

impl FirstAuthentication<'_> {
    /// SHA-256 of the canonical form: `"vestibule/1 A1"`, then each field behind its length as 4 bytes, big-endian.
    fn sha256(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(b"vestibule/1 A1");
        let fields: [&[u8]; 5] = [
            self.user.as_str().as_bytes(),
            self.d_in.as_bytes(),
            self.d_tls.as_bytes(),
            self.record,
            self.fingerprint_commitment,
        ];
        for field in fields {
            context.update(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(field);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vestibule_proto::entropy::SeededEntropy;
    use vestibule_proto::key::SigningKey;

    use super::*;

    /// Checked with Python's hashlib and hmac over the bytes written out by hand.
    #[test]
    fn known_answer() {
        let user = UserName::parse("alice").unwrap();
        let mut der = [0; 44];
        der[..12].copy_from_slice(&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]);
        der[12..].fill(2);
        let a1 = FirstAuthentication {
            user: &user,
            d_in: &PublicKey::new([1; 32]),
            d_tls: &Spki::from_der(&der).unwrap(),
            record: &[3; 192],
            fingerprint_commitment: &[4; 32],
        };
        let digest = login_digest(&Secret::new([5; 32]), &GatewayId::new([6; 16]), &a1);
        assert_eq!(digest.to_string(), "d161a90222b07da42720645015ada8bdbb80ab32c81306947bdcfd66d4027dad");
    }

    #[test]
    fn every_part_counts() {
        let mut entropy = SeededEntropy::new(1);
        let users = ["alice", "alic"].map(|name| UserName::parse(name).unwrap());
        let d_in = [PublicKey::new([1; 32]), PublicKey::new([2; 32])];
        let d_tls = [SigningKey::random(&mut entropy).spki(), SigningKey::random(&mut entropy).spki()];
        let records = [[3; 192], [4; 192]];
        let fingerprints = [[5; 32], [6; 32]];
        let keys = [Secret::new([7; 32]), Secret::new([8; 32])];
        let gateways = [GatewayId::new([9; 16]), GatewayId::new([10; 16])];
        let mut seen = BTreeSet::new();
        for differing in 0..=7 {
            let pick = |part: usize| usize::from(part == differing);
            let a1 = FirstAuthentication {
                user: &users[pick(0)],
                d_in: &d_in[pick(1)],
                d_tls: &d_tls[pick(2)],
                record: &records[pick(3)],
                fingerprint_commitment: &fingerprints[pick(4)],
            };
            seen.insert(login_digest(&keys[pick(5)], &gateways[pick(6)], &a1));
        }
        assert_eq!(seen.len(), 8, "each of seven parts changes it, and nothing else");
    }
}
