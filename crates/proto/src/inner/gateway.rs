//! The gateway's side: it opens I1 and, once its door is open, seals I2.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::knock::{CONTENT_LEN, InnerKnock};
use super::ready::Ready;
use super::{I1_LEN, I2_LEN, InnerHash, M_R, m_r, prologue};
use crate::entropy::Entropy;
use crate::error::{Unreadable, Unsealable};
use crate::id::{GatewayId, LoginDigest};
use crate::key::{PrivateKey, Psk, PublicKey, Secret};
use crate::noise::Handshake;

/// Whether I1 was made by who has layer 1 of this device (m_r is right). If not it is junk that was made on the way and
/// counts against nobody's tries.
#[must_use]
pub fn vouched(psk_r: &Psk, i1: &[u8; I1_LEN]) -> bool {
    m_r(psk_r, i1).ct_eq(&i1[M_R]).into()
}

/// Opens an I1 that is [`vouched`] for, which came for this digest.
///
/// # Errors
/// [`Unreadable::Seal`]: not made by who has layer 2 of this device, so the password was wrong, and the try counts.
/// [`Unreadable::Content`]: made by the device, and not understood.
pub fn open_inner(
    gateway: GatewayId,
    g: &PrivateKey,
    d_in: &PublicKey,
    psk_g: &Psk,
    digest: LoginDigest,
    i1: &[u8; I1_LEN],
    entropy: &mut dyn Entropy,
) -> Result<OpenedInner, Unreadable> {
    let prologue = prologue(&gateway, &digest);
    let mut handshake = Handshake::inner_responder(&prologue, g, Secret::random(entropy), d_in, psk_g);
    let mut content = Zeroizing::new([0; CONTENT_LEN]);
    handshake.read(&i1[..M_R.start], content.as_mut())?;
    let knock = InnerKnock::from_bytes(&content)?;
    if knock.digest == digest { Ok(OpenedInner { knock, handshake }) } else { Err(Unreadable::Content) }
}

/// An I1 whose seal was right: this device made it, at some time.
pub struct OpenedInner {
    /// What it says.
    pub knock: InnerKnock,
    handshake: Handshake,
}

impl OpenedInner {
    /// Computes now what [`seal_ready`](Self::seal_ready) would: the curve's share of I2, for which there is time while the
    /// knock is written down.
    pub fn work_ahead(&self) {
        self.handshake.work_ahead();
    }

    /// I2, and the hash of the handshake. To be sent only when the door is open.
    ///
    /// # Errors
    /// [`Unsealable`] if the device's key is none, which [`open_inner`] would have found.
    pub fn seal_ready(mut self, ready: &Ready) -> Result<([u8; I2_LEN], InnerHash), Unsealable> {
        let mut i2 = [0; I2_LEN];
        self.handshake.write(ready.to_bytes().as_slice(), &mut i2)?;
        Ok((i2, self.handshake.hash()))
    }
}
