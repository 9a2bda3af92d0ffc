//! Who knocks, and what for.

use crate::gateway_key::KeyName;
use crate::id::{GatewayId, LoginDigest, SessionId};
use crate::inner::Purpose;
use crate::key::{PrivateKey, Psk, PublicKey};
use crate::outer::ControllerPin;

/// What a device knocks with: both layers of its local credential, opened, or an invitation's keys.
pub struct Device {
    /// The gateway that it wants to reach.
    pub gateway: GatewayId,
    /// What it knows its controller by.
    pub controller: ControllerPin,
    /// D_out.
    pub d_out: PrivateKey,
    /// Shared with the controller.
    pub psk_c: Psk,
    /// Vouches for its knocks at the gateway, and opens refusals.
    pub psk_r: Psk,
    /// A2.
    pub digest: LoginDigest,
    /// G.
    pub gateway_key: PublicKey,
    /// The G_tls that it takes its gateway by, if it names one.
    pub expects: Option<KeyName>,
    /// D_in, from layer 2.
    pub d_in: PrivateKey,
    /// Shared with the gateway, from layer 2.
    pub psk_g: Psk,
}

impl Device {
    /// Lets the lasting keys agree now, so that no knock has to.
    pub fn work_ahead(&self) {
        self.d_out.keep_agreement(&self.controller.key);
        self.d_in.keep_agreement(&self.gateway_key);
    }
}

/// What a gateway knocks with for its own link.
pub struct LinkDevice {
    /// What it knows its controller by.
    pub controller: ControllerPin,
    /// Its D_out.
    pub d_out: PrivateKey,
    /// Shared with the controller.
    pub psk_c: Psk,
    /// Selects its row.
    pub digest: LoginDigest,
}

/// What a device knocks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Login, resumption, leave, enrolment.
    pub purpose: Purpose,
    /// The session, for a resumption.
    pub session: Option<SessionId>,
}
