//! The outer part of a knock, between client and controller: K1, the cookie K2c, and K6.
//!
//! `Noise_IKpsk0+psk2_25519_ChaChaPoly_BLAKE2s`; psk0 is the realm key, psk2 is `psk_c` of the device. Both messages are
//! datagrams of 1200 bytes:
//!
//! | K1 | field | | K6 | field |
//! |---|---|---|---|---|
//! | 0..16 | [`header`](crate::header) | | 0..16 | header of K1, type 2 |
//! | 16..32 | mac1 | | 16..48 | e |
//! | 32..48 | mac2, or random bytes | | 48..1200 | sealed [`Guidance`], 1136 + 16 |
//! | 48..80 | e | | | |
//! | 80..128 | sealed `D_out`, 32 + 16 | | | |
//! | 128..1200 | sealed [`Knock`], 1056 + 16 | | | |
//!
//! The prologue is `"vestibule/1 outer"` and the 48 bytes in clear before e: no bit of a K1 can be altered. K6's header is
//! compared with K1's, so no bit of a K6 either.

mod client;
mod controller;
mod cookie;
mod guidance;
mod knock;
mod mac;

pub use client::{AwaitGuidance, ControllerPin, seal_knock};
pub use controller::{OpenedKnock, open_knock};
pub use cookie::{COOKIE_REPLY_LEN, cookie_for, seal_cookie};
pub use guidance::{Guidance, Status, link_ticket};
pub use knock::{Knock, KnockFlags};
pub use mac::{Mac1Key, mac1_of, mac2_matches};

pub use crate::error::{Unreadable, Unsealable};
pub use crate::header::Versions;
use crate::header::{HEADER_LEN, MESSAGE_LEN};

/// A whole K1 or K6: 1200 bytes.
pub type Message = Box<[u8; MESSAGE_LEN]>;

/// Where mac1 stands in K1.
const MAC1: std::ops::Range<usize> = HEADER_LEN..32;
/// Where mac2 stands in K1.
const MAC2: std::ops::Range<usize> = 32..48;
/// Where the client's ephemeral public key stands in K1.
const EPHEMERAL: std::ops::Range<usize> = 48..80;
/// Where Noise's first message begins in K1: with the ephemeral.
const NOISE: usize = EPHEMERAL.start;

const PROLOGUE: &[u8; 17] = b"vestibule/1 outer";

/// What both sides hash before the handshake: all of K1 that precedes it.
fn prologue(k1: &[u8; MESSAGE_LEN]) -> [u8; PROLOGUE.len() + NOISE] {
    let mut prologue = [0; PROLOGUE.len() + NOISE];
    prologue[..PROLOGUE.len()].copy_from_slice(PROLOGUE);
    prologue[PROLOGUE.len()..].copy_from_slice(&k1[..NOISE]);
    prologue
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entropy::{Entropy, SeededEntropy};
    use crate::id::{KnockId, LoginDigest, Stamp, TicketId};
    use crate::key::{PrivateKey, Psk, RealmKey, Secret};

    struct World {
        entropy: SeededEntropy,
        controller: PrivateKey,
        realm: RealmKey,
        device: PrivateKey,
        psk_c: Psk,
    }

    impl World {
        fn new() -> Self {
            let mut entropy = SeededEntropy::new(1);
            let controller = PrivateKey::random(&mut entropy);
            let device = PrivateKey::random(&mut entropy);
            let (realm, psk_c) = (Secret::random(&mut entropy), Secret::random(&mut entropy));
            Self { entropy, controller, realm, device, psk_c }
        }

        fn pin(&self) -> ControllerPin {
            ControllerPin { key: self.controller.public(), realm: self.realm.clone() }
        }

        fn knock(&mut self) -> Knock {
            let mut inner = [0; 192];
            self.entropy.fill(&mut inner);
            Knock {
                versions: Versions::OURS,
                flags: KnockFlags::default(),
                digest: LoginDigest::random(&mut self.entropy),
                stamp: Stamp::from_millis(1_800_000_000_123),
                knock_id: KnockId::random(&mut self.entropy),
                challenge: None,
                inner: Some(inner),
            }
        }

        fn seal(&mut self, knock: &Knock, cookie: Option<&[u8; 16]>) -> (Message, AwaitGuidance) {
            let pin = self.pin();
            seal_knock(&pin, &self.device, &self.psk_c, knock, cookie, &mut self.entropy).unwrap()
        }

        fn open(&mut self, k1: &[u8]) -> Result<OpenedKnock, Unreadable> {
            open_knock(&self.controller, &self.realm, k1, &mut self.entropy)
        }
    }

    fn guidance() -> Guidance {
        Guidance {
            status: Status::Ready,
            window: Duration::from_secs(10),
            seen: "192.0.2.7:40000".parse().unwrap(),
            controller_time: Stamp::from_millis(1_800_000_000_456),
            challenge: Some([7; 24]),
            gateways: vec!["198.51.100.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()],
            inner: Some([9; 208]),
        }
    }

    #[test]
    fn k1_and_k6_arrive_as_they_were_sent() {
        let mut world = World::new();
        let knock = world.knock();
        let (k1, mut wait) = world.seal(&knock, None);
        assert!(Mac1Key::new(&world.controller.public(), &world.realm).check(k1.as_slice()));

        let opened = world.open(k1.as_slice()).unwrap();
        assert_eq!(opened.knock, knock);
        assert_eq!(opened.device_key, world.device.public());
        let (k6, hash) = opened.seal_guidance(&world.psk_c, &guidance()).unwrap();

        assert_eq!(wait.open_guidance(k6.as_slice()), Ok((guidance(), hash)));
        assert_eq!(wait.open_guidance(k6.as_slice()), Err(Unreadable::Seal));
    }

    #[test]
    fn a_gateways_own_knock_carries_no_inner_part() {
        let mut world = World::new();
        let knock = Knock { flags: KnockFlags { link: true }, inner: None, ..world.knock() };
        let (k1, _) = world.seal(&knock, None);
        assert_eq!(world.open(k1.as_slice()).unwrap().knock, knock);

        let contradiction = Knock { flags: KnockFlags { link: true }, ..world.knock() };
        let (k1, _) = world.seal(&contradiction, None);
        assert_eq!(world.open(k1.as_slice()).err(), Some(Unreadable::Content));
    }

    #[test]
    fn junk_does_not_end_the_wait() {
        let mut world = World::new();
        let knock = world.knock();
        let (k1, mut wait) = world.seal(&knock, None);
        let opened = world.open(k1.as_slice()).unwrap();
        let (k6, hash) = opened.seal_guidance(&world.psk_c, &guidance()).unwrap();

        for position in [0, 5, 9, 16, 47, 48, 1199] {
            let mut junk = k6.clone();
            junk[position] ^= 1;
            assert!(wait.open_guidance(junk.as_slice()).is_err(), "byte {position}");
        }
        // An ephemeral of low order fails in the middle of the handshake, not at its end.
        let mut junk = k6.clone();
        junk[16..48].fill(0);
        assert_eq!(wait.open_guidance(junk.as_slice()), Err(Unreadable::Seal));
        assert_eq!(wait.open_guidance(k6.as_slice()), Ok((guidance(), hash)));
    }

    #[test]
    fn a_guidance_sealed_with_another_psk_is_not_read() {
        let mut world = World::new();
        let knock = world.knock();
        let (k1, mut wait) = world.seal(&knock, None);
        let opened = world.open(k1.as_slice()).unwrap();
        let (k6, _) = opened.seal_guidance(&Secret::new([1; 32]), &guidance()).unwrap();
        assert_eq!(wait.open_guidance(k6.as_slice()), Err(Unreadable::Seal));
    }

    #[test]
    fn a_cookie_reaches_who_knocked_and_no_one_else() {
        let mut world = World::new();
        let knock = world.knock();
        let (k1, wait) = world.seal(&knock, None);
        let (_, other_wait) = world.seal(&knock, None);
        let cookie = cookie_for(&Secret::new([3; 32]), "192.0.2.7:40000".parse().unwrap());
        assert_eq!(cookie, cookie_for(&Secret::new([3; 32]), "[::ffff:192.0.2.7]:40000".parse().unwrap()));
        assert_ne!(cookie, cookie_for(&Secret::new([3; 32]), "192.0.2.7:40001".parse().unwrap()));

        let key = world.controller.public();
        let reply = seal_cookie(&key, &world.realm, k1.as_slice(), &cookie, &mut world.entropy).unwrap();
        assert_eq!(wait.open_cookie(&reply), Ok(cookie));
        assert_eq!(other_wait.open_cookie(&reply), Err(Unreadable::Form));
        for position in 0..reply.len() {
            let mut altered = reply;
            altered[position] ^= 0x80;
            assert!(wait.open_cookie(&altered).is_err(), "byte {position}");
        }

        assert!(!mac2_matches(k1.as_slice(), &cookie));
        let (with_cookie, _) = world.seal(&knock, Some(&cookie));
        assert!(mac2_matches(with_cookie.as_slice(), &cookie));
        assert!(world.open(with_cookie.as_slice()).is_ok());
    }

    #[test]
    fn mac1_is_that_of_one_controller_and_realm() {
        let mut world = World::new();
        let knock = world.knock();
        let (k1, _) = world.seal(&knock, None);
        let other_realm = Mac1Key::new(&world.controller.public(), &Secret::new([1; 32]));
        let other_controller = Mac1Key::new(&world.device.public(), &world.realm);
        assert!(!other_realm.check(k1.as_slice()));
        assert!(!other_controller.check(k1.as_slice()));
        assert_eq!(mac1_of(k1.as_slice()).as_ref().map(<[u8; 16]>::as_slice), Some(&k1[16..32]));
    }

    #[test]
    fn the_ticket_of_a_link_is_read_back() {
        let secret = Secret::new([5; 32]);
        let mut inner = link_ticket::encode(TicketId::new([6; 8]), &secret);
        let (id, read) = link_ticket::decode(&inner).unwrap();
        assert!(id == TicketId::new([6; 8]) && read == secret);
        inner[207] = 1;
        assert_eq!(link_ticket::decode(&inner).err(), Some(Unreadable::Content));
    }
}
