//! The inner part of a knock, between client and gateway, which the controller only carries: I1, I2, and the gateway's sealed
//! refusal in the place of I2.
//!
//! `Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s`; psk0 is `psk_g`. The prologue is `"vestibule/1 inner" ‖ gateway id 16 ‖ A2 32`.
//!
//! | I1 | field | | I2 | field | | refusal | field |
//! |---|---|---|---|---|---|---|---|
//! | 0..32 | e | | 0..32 | e | | 0..24 | nonce |
//! | 32..176 | sealed [`InnerKnock`], 128 + 16 | | 32..208 | sealed [`Ready`], 160 + 16 | | 24..208 | sealed [`Refusal`], 168 + 16 |
//! | 176..192 | m_r | | | | | | |
//!
//! `m_r = BLAKE2s-128(psk_r, I1[..176])`. The device can make it with layer 1 of its local credential alone, the seal only with
//! layer 2: m_r wrong is junk that was made on the way, m_r right and the seal wrong is a wrong password on this device.

mod client;
mod gateway;
mod knock;
mod ready;
mod refusal;

pub use client::{AwaitReady, seal_inner};
pub use gateway::{OpenedInner, open_inner, vouched};
pub use knock::{InnerKnock, Purpose};
pub use ready::{READY, Ready};
pub use refusal::{Refusal, RefusalCode, open_refusal, seal_refusal};

pub use crate::error::{Unreadable, Unsealable};
pub use crate::header::Versions;
use crate::id::{GatewayId, LoginDigest};
use crate::key::{self, Psk};

/// Size of I1 in bytes.
pub const I1_LEN: usize = 192;

/// Size of I2, and of a sealed refusal, in bytes.
pub const I2_LEN: usize = 208;

/// The hash of the inner handshake, equal on both sides after I2; the login is bound to it.
pub type InnerHash = [u8; 32];

/// Where m_r stands in I1; what precedes it is Noise's first message.
const M_R: std::ops::Range<usize> = 176..I1_LEN;

const PROLOGUE: &[u8; 17] = b"vestibule/1 inner";

fn prologue(gateway: &GatewayId, digest: &LoginDigest) -> Vec<u8> {
    [PROLOGUE.as_slice(), gateway.as_bytes(), digest.as_bytes()].concat()
}

fn m_r(psk_r: &Psk, i1: &[u8; I1_LEN]) -> [u8; 16] {
    key::blake2s_mac(psk_r.expose(), &[&i1[..M_R.start]])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::{KnockId, SessionId, Stamp, TicketId};
    use crate::key::{PrivateKey, Secret};

    struct World {
        entropy: SeededEntropy,
        gateway: GatewayId,
        g: PrivateKey,
        d_in: PrivateKey,
        psk_g: Psk,
        psk_r: Psk,
        knock: InnerKnock,
    }

    impl World {
        fn new() -> Self {
            let mut entropy = SeededEntropy::new(2);
            let knock = InnerKnock {
                versions: Versions::OURS,
                purpose: Purpose::Resume,
                stamp: Stamp::from_millis(1_800_000_000_123),
                knock_id: KnockId::random(&mut entropy),
                digest: LoginDigest::random(&mut entropy),
                session: Some(SessionId::random(&mut entropy)),
                addresses: vec!["[2001:db8::7]:40000".parse().unwrap()],
                expects: Some(crate::gateway_key::KeyName::from_bytes([0x6b; 8])),
            };
            let (g, d_in) = (PrivateKey::random(&mut entropy), PrivateKey::random(&mut entropy));
            let (psk_g, psk_r) = (Secret::random(&mut entropy), Secret::random(&mut entropy));
            Self { gateway: GatewayId::random(&mut entropy), entropy, g, d_in, psk_g, psk_r, knock }
        }

        fn seal(&mut self) -> ([u8; I1_LEN], AwaitReady) {
            let key = self.g.public();
            seal_inner(self.gateway, &key, &self.d_in, &self.psk_g, &self.psk_r, &self.knock, &mut self.entropy)
                .unwrap()
        }

        fn open(&mut self, i1: &[u8; I1_LEN]) -> Result<OpenedInner, Unreadable> {
            let device = self.d_in.public();
            open_inner(self.gateway, &self.g, &device, &self.psk_g, self.knock.digest, i1, &mut self.entropy)
        }

        fn ready(&self) -> Ready {
            Ready {
                knock_id: self.knock.knock_id,
                ticket: TicketId::new([8; 8]),
                ticket_secret: Secret::new([9; 32]),
                window: Duration::from_secs(10),
                code: READY,
                announced: "192.0.2.7:40000".parse().unwrap(),
                addresses: vec!["198.51.100.1:443".parse().unwrap()],
                stamp: Stamp::from_millis(1_800_000_000_456),
                versions: Versions::OURS,
            }
        }
    }

    #[test]
    fn i1_and_i2_arrive_as_they_were_sent() {
        let mut world = World::new();
        let (i1, mut wait) = world.seal();
        assert!(vouched(&world.psk_r, &i1));
        let opened = world.open(&i1).unwrap();
        assert_eq!(opened.knock, world.knock);
        let sent = world.ready();
        let (i2, hash) = opened.seal_ready(&sent).unwrap();

        let mut junk = i2;
        junk[40] ^= 1;
        assert_eq!(wait.open_ready(&junk).err(), Some(Unreadable::Seal));
        let (ready, read_hash) = wait.open_ready(&i2).unwrap();
        assert_eq!(read_hash, hash);
        assert_eq!(ready.to_bytes(), sent.to_bytes());
        assert_eq!(ready.addresses, sent.addresses);
        assert!(wait.open_ready(&i2).is_err());
    }

    #[test]
    fn a_wrong_second_layer_is_vouched_for_and_not_opened() {
        let mut world = World::new();
        let right = world.d_in.clone();
        world.d_in = PrivateKey::random(&mut world.entropy);
        let (i1, _) = world.seal();
        world.d_in = right;
        assert!(vouched(&world.psk_r, &i1));
        assert_eq!(world.open(&i1).err(), Some(Unreadable::Seal));
    }

    #[test]
    fn another_gateway_digest_or_psk_does_not_open_it() {
        let mut world = World::new();
        let (i1, _) = world.seal();
        let (device, digest) = (world.d_in.public(), world.knock.digest);
        let mut open = |gateway, psk: &Psk, digest| {
            open_inner(gateway, &world.g, &device, psk, digest, &i1, &mut world.entropy).err()
        };
        assert_eq!(open(world.gateway, &world.psk_g, digest), None);
        assert_eq!(open(GatewayId::new([0; 16]), &world.psk_g, digest), Some(Unreadable::Seal));
        assert_eq!(open(world.gateway, &Secret::new([0; 32]), digest), Some(Unreadable::Seal));
        assert_eq!(open(world.gateway, &world.psk_g, LoginDigest::new([0; 32])), Some(Unreadable::Seal));
    }

    #[test]
    fn an_answer_to_another_knock_is_not_taken() {
        let mut world = World::new();
        let (i1, mut wait) = world.seal();
        let other = Ready { knock_id: KnockId::new([0; 16]), ..world.ready() };
        let (i2, _) = world.open(&i1).unwrap().seal_ready(&other).unwrap();
        assert_eq!(wait.open_ready(&i2).err(), Some(Unreadable::Content));
    }

    #[test]
    fn a_refusal_answers_one_knock() {
        let mut world = World::new();
        let (i1, _) = world.seal();
        let (other_i1, _) = world.seal();
        let refusal = Refusal {
            code: RefusalCode::WrongPassword,
            retry_after: Duration::from_millis(59_001),
            tries: 6,
            limit: 20,
            detail: "ü".repeat(60),
        };
        let sealed = seal_refusal(&world.psk_r, &i1, &refusal, &mut world.entropy);
        let told = Refusal { retry_after: Duration::from_secs(60), detail: "ü".repeat(50), ..refusal };
        assert_eq!(open_refusal(&world.psk_r, &i1, &sealed), Ok(told));
        assert_eq!(open_refusal(&world.psk_r, &other_i1, &sealed), Err(Unreadable::Seal));
        assert_eq!(open_refusal(&world.psk_g, &i1, &sealed), Err(Unreadable::Seal));
        for position in 0..I2_LEN {
            let mut altered = sealed;
            altered[position] ^= 1;
            assert_eq!(open_refusal(&world.psk_r, &i1, &altered), Err(Unreadable::Seal), "byte {position}");
        }
    }
}
