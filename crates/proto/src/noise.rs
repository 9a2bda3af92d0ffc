//! The two Noise handshakes (revision 34 of its specification), each of two messages.
//!
//! Snow keeps a copy of the pre-shared keys and the chaining key per handshake and does not erase it. It lives as long as
//! the handshake: seconds. Static and ephemeral keys are ours and erase themselves.

use std::sync::{Arc, LazyLock};

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};

use crate::error::{Unreadable, Unsealable};
use crate::key::{PrivateKey, Psk, PublicKey, Secret};
use crate::resolver::{Ephemeral, Resolver};

/// Client to controller: K1, K6.
static OUTER: LazyLock<NoiseParams> = LazyLock::new(|| params("Noise_IKpsk0+psk2_25519_ChaChaPoly_BLAKE2s"));

/// Client to gateway: I1, I2.
static INNER: LazyLock<NoiseParams> = LazyLock::new(|| params("Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"));

/// Why a constant call of the builder can't fail: each value is set once, each prerequisite is there.
const COMPLETE: &str = "the handshake has all that its pattern asks for";

fn params(name: &str) -> NoiseParams {
    name.parse().expect("the name of a handshake is one that snow knows")
}

/// One side of a handshake.
pub(crate) struct Handshake {
    state: HandshakeState,
    ephemeral: Arc<Ephemeral>,
    /// The other side's ephemeral, once a message of its was read.
    theirs: Option<PublicKey>,
}

impl Handshake {
    /// `IKpsk0+psk2`, the device's side.
    pub(crate) fn outer_initiator(
        prologue: &[u8],
        device: &PrivateKey,
        ephemeral: PrivateKey,
        controller: &PublicKey,
        psks: [&Psk; 2],
    ) -> Self {
        let ephemeral = Ephemeral::from_key(ephemeral);
        let builder = local(&OUTER, prologue, device, &ephemeral)
            .and_then(|builder| builder.remote_public_key(controller.as_bytes()))
            .and_then(|builder| builder.psk(0, psks[0].expose())?.psk(2, psks[1].expose()));
        Self::of(builder.and_then(Builder::build_initiator), ephemeral)
    }

    /// `IKpsk0+psk2`, the controller's side. The second psk is that of the device, which only the first message names.
    pub(crate) fn outer_responder(prologue: &[u8], controller: &PrivateKey, ephemeral: Secret<32>, psk0: &Psk) -> Self {
        let ephemeral = Ephemeral::of(ephemeral);
        let builder = local(&OUTER, prologue, controller, &ephemeral).and_then(|builder| builder.psk(0, psk0.expose()));
        Self::of(builder.and_then(Builder::build_responder), ephemeral)
    }

    /// `KKpsk0`, the device's side.
    pub(crate) fn inner_initiator(
        prologue: &[u8],
        device: &PrivateKey,
        ephemeral: Secret<32>,
        gateway: &PublicKey,
        psk: &Psk,
    ) -> Self {
        let ephemeral = Ephemeral::of(ephemeral);
        let builder = local(&INNER, prologue, device, &ephemeral)
            .and_then(|builder| builder.remote_public_key(gateway.as_bytes())?.psk(0, psk.expose()));
        Self::of(builder.and_then(Builder::build_initiator), ephemeral)
    }

    /// `KKpsk0`, the gateway's side.
    pub(crate) fn inner_responder(
        prologue: &[u8],
        gateway: &PrivateKey,
        ephemeral: Secret<32>,
        device: &PublicKey,
        psk: &Psk,
    ) -> Self {
        let ephemeral = Ephemeral::of(ephemeral);
        let builder = local(&INNER, prologue, gateway, &ephemeral)
            .and_then(|builder| builder.remote_public_key(device.as_bytes())?.psk(0, psk.expose()));
        Self::of(builder.and_then(Builder::build_responder), ephemeral)
    }

    fn of(state: Result<HandshakeState, snow::Error>, ephemeral: Arc<Ephemeral>) -> Self {
        Self { state: state.expect(COMPLETE), ephemeral, theirs: None }
    }

    /// The responder's agreements of the second message, of both handshakes `ee` and `se`: computed now, between the two
    /// messages, they need not be when it is written.
    pub(crate) fn work_ahead(&self) {
        if let Some((ephemeral, device)) = self.theirs.zip(self.remote_static()) {
            self.ephemeral.agree_ahead([ephemeral, device]);
        }
    }

    /// Adds the psk of `psk2`, needed before the second message is written.
    pub(crate) fn set_psk2(&mut self, psk: &Psk) {
        self.state.set_psk(2, psk.expose()).expect("a psk has 32 bytes");
    }

    /// Writes the next message, which fills all of `message`.
    pub(crate) fn write(&mut self, payload: &[u8], message: &mut [u8]) -> Result<(), Unsealable> {
        let written = self.state.write_message(payload, message).map_err(|_| Unsealable)?;
        assert_eq!(written, message.len(), "the layout is filled");
        Ok(())
    }

    /// Reads the next message, whose payload fills all of `payload`. A message that fails leaves the handshake as it was:
    /// who sends us junk does not keep the right one from being read.
    pub(crate) fn read(&mut self, message: &[u8], payload: &mut [u8]) -> Result<(), Unreadable> {
        let read = self.state.read_message(message, payload).map_err(|_| Unreadable::Seal)?;
        // Every message of both handshakes begins with an ephemeral.
        self.theirs = message.first_chunk().copied().map(PublicKey::new);
        if read == payload.len() { Ok(()) } else { Err(Unreadable::Form) }
    }

    /// The static public key of the other side, once it is known.
    pub(crate) fn remote_static(&self) -> Option<PublicKey> {
        self.state.get_remote_static().and_then(|bytes| bytes.try_into().ok()).map(PublicKey::new)
    }

    /// The handshake hash: equal on both sides after the second message, and different for any two handshakes.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.state.get_handshake_hash());
        hash
    }
}

fn local<'a>(
    params: &NoiseParams,
    prologue: &'a [u8],
    key: &'a PrivateKey,
    ephemeral: &Arc<Ephemeral>,
) -> Result<Builder<'a>, snow::Error> {
    let resolver = Resolver { local: key.clone(), ephemeral: Arc::clone(ephemeral) };
    Builder::with_resolver(params.clone(), Box::new(resolver))
        .prologue(prologue)?
        .local_private_key(key.secret().expose())
}
