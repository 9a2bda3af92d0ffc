//! The client's side: it seals I1 and awaits I2.

use zeroize::Zeroizing;

use super::knock::InnerKnock;
use super::ready::{CONTENT_LEN, Ready};
use super::{I1_LEN, I2_LEN, InnerHash, M_R, m_r, prologue};
use crate::entropy::Entropy;
use crate::error::{Unreadable, Unsealable};
use crate::id::{GatewayId, KnockId};
use crate::key::{PrivateKey, Psk, PublicKey, Secret};
use crate::noise::Handshake;

/// I1, and the state that awaits its answer. `d_in` and `psk_g` come from layer 2 of the local credential, `psk_r` from layer 1.
///
/// # Errors
/// [`Unsealable`] if `gateway_key` is no key.
pub fn seal_inner(
    gateway: GatewayId,
    gateway_key: &PublicKey,
    d_in: &PrivateKey,
    psk_g: &Psk,
    psk_r: &Psk,
    knock: &InnerKnock,
    entropy: &mut dyn Entropy,
) -> Result<([u8; I1_LEN], AwaitReady), Unsealable> {
    let prologue = prologue(&gateway, &knock.digest);
    let mut handshake = Handshake::inner_initiator(&prologue, d_in, Secret::random(entropy), gateway_key, psk_g);
    let mut i1 = [0; I1_LEN];
    handshake.write(knock.to_bytes().as_slice(), &mut i1[..M_R.start])?;
    let m_r = m_r(psk_r, &i1);
    i1[M_R].copy_from_slice(&m_r);
    Ok((i1, AwaitReady { knock_id: knock.knock_id, handshake }))
}

/// A client that has sent I1 and awaits I2.
pub struct AwaitReady {
    knock_id: KnockId,
    handshake: Handshake,
}

impl AwaitReady {
    /// Reads I2; the second value is the hash of the handshake, equal to the gateway's. Succeeds once.
    ///
    /// # Errors
    /// [`Unreadable`], and the right I2 can still be read.
    pub fn open_ready(&mut self, i2: &[u8; I2_LEN]) -> Result<(Ready, InnerHash), Unreadable> {
        let mut content = Zeroizing::new([0; CONTENT_LEN]);
        self.handshake.read(i2, content.as_mut())?;
        let ready = Ready::from_bytes(&content)?;
        if ready.knock_id == self.knock_id { Ok((ready, self.handshake.hash())) } else { Err(Unreadable::Content) }
    }
}
