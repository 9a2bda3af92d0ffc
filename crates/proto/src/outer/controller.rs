//! The controller's side: it opens K1 and, if the client is to be told anything, seals K6.

use zeroize::Zeroizing;

use super::guidance::Guidance;
use super::knock::{Knock, P1_LEN};
use super::{Message, NOISE, prologue};
use crate::entropy::Entropy;
use crate::error::{Unreadable, Unsealable};
use crate::header::{HEADER_LEN, Header, Kind, MESSAGE_LEN};
use crate::key::{PrivateKey, Psk, PublicKey, RealmKey, Secret};
use crate::noise::Handshake;

/// Opens K1. For the caller to have checked: [`Mac1Key::check`](super::Mac1Key::check), without which every datagram of
/// a stranger costs an X25519 agreement. For the caller to check next: that the row of `knock.digest` has `device_key`.
///
/// # Errors
/// [`Unreadable`]; the sender gets silence.
pub fn open_knock(
    key: &PrivateKey,
    realm: &RealmKey,
    datagram: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<OpenedKnock, Unreadable> {
    let k1: &[u8; MESSAGE_LEN] = datagram.try_into().map_err(|_| Unreadable::Form)?;
    let header = Header::read(Kind::Knock, k1).ok_or(Unreadable::Form)?;
    let mut handshake = Handshake::outer_responder(&prologue(k1), key, Secret::random(entropy), realm);
    let mut p1 = Zeroizing::new([0; P1_LEN]);
    handshake.read(&k1[NOISE..], p1.as_mut())?;
    let device_key = handshake.remote_static().ok_or(Unreadable::Seal)?;
    Ok(OpenedKnock { knock: Knock::from_bytes(&p1)?, device_key, header, handshake })
}

/// A K1 whose seal was right: somebody with the realm key and the private half of `device_key` made it, at some time.
pub struct OpenedKnock {
    /// What it says.
    pub knock: Knock,
    /// `D_out` of who made it.
    pub device_key: PublicKey,
    /// Its header.
    pub header: Header,
    handshake: Handshake,
}

impl OpenedKnock {
    /// Computes now what [`seal_guidance`](Self::seal_guidance) would: the curve's share of K6, for which there is time while
    /// the gateway decides.
    pub fn work_ahead(&self) {
        self.handshake.work_ahead();
    }

    /// K6, readable only for the device that has `psk_c` too; the second value is the hash of the handshake.
    ///
    /// # Errors
    /// [`Unsealable`] if the device's key is none, which [`open_knock`] would have found.
    pub fn seal_guidance(mut self, psk_c: &Psk, guidance: &Guidance) -> Result<(Message, [u8; 32]), Unsealable> {
        let mut k6 = Box::new([0; MESSAGE_LEN]);
        k6[..HEADER_LEN].copy_from_slice(&self.header.answer(Kind::Guidance).to_bytes());
        self.handshake.set_psk2(psk_c);
        self.handshake.write(guidance.to_bytes().as_slice(), &mut k6[HEADER_LEN..])?;
        Ok((k6, self.handshake.hash()))
    }
}
