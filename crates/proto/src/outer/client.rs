//! The client's side: it seals K1 and awaits K6.

use zeroize::Zeroizing;

use super::cookie::{self, cookie_key};
use super::guidance::{Guidance, P2_LEN};
use super::knock::Knock;
use super::mac::{Mac1Key, mac2};
use super::{EPHEMERAL, MAC1, MAC2, Message, NOISE, prologue};
use crate::entropy::{self, Entropy};
use crate::error::{Unreadable, Unsealable};
use crate::header::{self, HEADER_LEN, Header, Kind, MESSAGE_LEN};
use crate::key::{PrivateKey, Psk, PublicKey, RealmKey, Secret};
use crate::noise::Handshake;

/// What a device knows its controller by.
#[derive(Clone)]
pub struct ControllerPin {
    /// `C`, the controller's public key.
    pub key: PublicKey,
    /// `K_realm`.
    pub realm: RealmKey,
}

/// K1: a fresh knock, and the state that awaits its answer. `cookie` is the one that the controller gave to our address, if
/// it did. The epoch in the header is that of the knock's stamp.
///
/// # Errors
/// [`Unsealable`] if the pin is no key.
pub fn seal_knock(
    pin: &ControllerPin,
    device: &PrivateKey,
    psk_c: &Psk,
    knock: &Knock,
    cookie: Option<&[u8; 16]>,
    entropy: &mut dyn Entropy,
) -> Result<(Message, AwaitGuidance), Unsealable> {
    let ephemeral = PrivateKey::random(entropy);
    let e = ephemeral.public();
    let header = Header {
        kind: Kind::Knock,
        masked_epoch: header::masked_epoch(&pin.realm, e.as_bytes(), knock.stamp),
        message_id: entropy::bytes(entropy),
    };
    let mut k1 = Box::new([0; MESSAGE_LEN]);
    k1[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    k1[EPHEMERAL].copy_from_slice(e.as_bytes());
    let mac1 = Mac1Key::new(&pin.key, &pin.realm).mac1(k1.as_slice());
    k1[MAC1].copy_from_slice(&mac1);
    // Random bytes where there is no cookie: an onlooker does not see whether the controller is under load.
    let mac2 = cookie.map_or_else(|| entropy::bytes(entropy), |cookie| mac2(k1.as_slice(), cookie));
    k1[MAC2].copy_from_slice(&mac2);

    let mut handshake = Handshake::outer_initiator(&prologue(&k1), device, ephemeral, &pin.key, [&pin.realm, psk_c]);
    handshake.write(knock.to_bytes().as_slice(), &mut k1[NOISE..])?;
    Ok((k1, AwaitGuidance { header, mac1, cookie_key: cookie_key(&pin.key, &pin.realm), handshake }))
}

/// A client that has sent K1 and awaits K6, or a cookie. Nothing that arrives and is not the answer changes it.
pub struct AwaitGuidance {
    header: Header,
    mac1: [u8; 16],
    cookie_key: Secret<32>,
    handshake: Handshake,
}

impl AwaitGuidance {
    /// Reads K6; the second value is the hash of the handshake. Succeeds once: a copy of the answer is unreadable.
    ///
    /// # Errors
    /// [`Unreadable`], and the right answer can still be read: junk does not end the wait.
    pub fn open_guidance(&mut self, datagram: &[u8]) -> Result<(Guidance, [u8; 32]), Unreadable> {
        if datagram.len() != MESSAGE_LEN || !datagram.starts_with(&self.header.answer(Kind::Guidance).to_bytes()) {
            return Err(Unreadable::Form);
        }
        let mut p2 = Zeroizing::new([0; P2_LEN]);
        self.handshake.read(&datagram[HEADER_LEN..], p2.as_mut())?;
        Ok((Guidance::from_bytes(&p2)?, self.handshake.hash()))
    }

    /// Reads K2c: the cookie with which to make the next K1.
    ///
    /// # Errors
    /// [`Unreadable`]; the wait goes on.
    pub fn open_cookie(&self, datagram: &[u8]) -> Result<[u8; 16], Unreadable> {
        cookie::open_cookie(&self.cookie_key, &self.header, &self.mac1, datagram)
    }
}
