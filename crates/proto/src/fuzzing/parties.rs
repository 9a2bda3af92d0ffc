//! A controller, a gateway and a device whose keys are the same in every run, and the knock that this device makes.

use std::time::Duration;

use crate::entropy::{Entropy, SeededEntropy};
use crate::id::{GatewayId, KnockId, LoginDigest, Stamp, TicketId};
use crate::inner::{self, AwaitReady, InnerKnock, Purpose, READY, Ready};
use crate::key::{PrivateKey, Psk, Secret};
use crate::outer::{self, AwaitGuidance, ControllerPin, Guidance, Knock, KnockFlags, Message, Status, Versions};

/// The keys of all parties to a knock.
pub struct Parties {
    /// `C` and its secret half.
    pub controller: PrivateKey,
    /// `C` and `K_realm`.
    pub pin: ControllerPin,
    /// `D_out`.
    pub device: PrivateKey,
    /// `psk_c`.
    pub psk_c: Psk,
    /// The gateway's id.
    pub gateway: GatewayId,
    /// `G` and its secret half.
    pub g: PrivateKey,
    /// `D_in`.
    pub d_in: PrivateKey,
    /// `psk_g`.
    pub psk_g: Psk,
    /// `psk_r`.
    pub psk_r: Psk,
    /// `A2`.
    pub digest: LoginDigest,
}

impl Parties {
    /// The parties: every field drawn from [`SeededEntropy::new`]`(1)` in the order of the fields, a public half excepted.
    #[must_use]
    pub fn new() -> Self {
        let entropy = &mut SeededEntropy::new(1);
        let controller = PrivateKey::random(entropy);
        Self {
            pin: ControllerPin { key: controller.public(), realm: Secret::random(entropy) },
            controller,
            device: PrivateKey::random(entropy),
            psk_c: Secret::random(entropy),
            gateway: GatewayId::random(entropy),
            g: PrivateKey::random(entropy),
            d_in: PrivateKey::random(entropy),
            psk_g: Secret::random(entropy),
            psk_r: Secret::random(entropy),
            digest: LoginDigest::random(entropy),
        }
    }

    /// What the device asks its gateway.
    #[must_use]
    pub fn inner_knock(&self) -> InnerKnock {
        InnerKnock {
            versions: Versions::OURS,
            purpose: Purpose::Login,
            stamp: Stamp::from_millis(1_800_000_000_123),
            knock_id: KnockId::new(*b"one knock's name"),
            digest: self.digest,
            session: None,
            addresses: vec![([192, 0, 2, 7], 40_000).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 40_000).into()],
            expects: None,
        }
    }

    /// I1 of [`inner_knock`](Self::inner_knock), with the client's randomness from `entropy`.
    #[must_use]
    pub fn seal_inner(&self, entropy: &mut dyn Entropy) -> ([u8; 192], AwaitReady) {
        let (key, knock) = (self.g.public(), self.inner_knock());
        inner::seal_inner(self.gateway, &key, &self.d_in, &self.psk_g, &self.psk_r, &knock, entropy)
            .expect("the gateway's key is one")
    }

    /// What the device tells the controller, around this I1.
    #[must_use]
    pub fn knock(&self, inner: [u8; 192]) -> Knock {
        let InnerKnock { versions, stamp, knock_id, digest, .. } = self.inner_knock();
        let flags = KnockFlags::default();
        Knock {
            versions,
            flags,
            digest,
            stamp,
            knock_id,
            challenge: Some(*b"a challenge to be echoed"),
            inner: Some(inner),
        }
    }

    /// K1 of [`knock`](Self::knock), with the client's randomness from `entropy`.
    #[must_use]
    pub fn seal_knock(
        &self,
        inner: [u8; 192],
        cookie: Option<&[u8; 16]>,
        entropy: &mut dyn Entropy,
    ) -> (Message, AwaitGuidance) {
        outer::seal_knock(&self.pin, &self.device, &self.psk_c, &self.knock(inner), cookie, entropy)
            .expect("the controller's key is one")
    }

    /// What the gateway answers.
    #[must_use]
    pub fn ready(&self) -> Ready {
        Ready {
            knock_id: self.inner_knock().knock_id,
            ticket: TicketId::new(*b"ticket 1"),
            ticket_secret: Secret::new(*b"the secret that a ticket is of.."),
            window: Duration::from_secs(10),
            code: READY,
            announced: ([192, 0, 2, 7], 40_000).into(),
            addresses: vec![([198, 51, 100, 1], 443).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 443).into()],
            stamp: Stamp::from_millis(1_800_000_000_400),
            versions: Versions::OURS,
        }
    }

    /// What the controller answers, around this I2.
    #[must_use]
    pub fn guidance(&self, inner: [u8; 208]) -> Guidance {
        Guidance {
            status: Status::Ready,
            window: Duration::from_secs(10),
            seen: ([192, 0, 2, 7], 40_000).into(),
            controller_time: Stamp::from_millis(1_800_000_000_456),
            challenge: None,
            gateways: vec![([198, 51, 100, 1], 443).into()],
            inner: Some(inner),
        }
    }
}

impl Default for Parties {
    fn default() -> Self {
        Self::new()
    }
}
