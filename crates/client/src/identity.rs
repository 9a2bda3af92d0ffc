//! Who knocks: a device's keys, or those of an invitation, and where they are taken.

use crate::agent::DeviceInfo;
use crate::ways::{Transport, Ways};
use std::path::PathBuf;
use std::sync::Arc;
use vestibule_local_credential::Sealed;
use vestibule_local_credential::credential::InnerKeys;
use vestibule_proto::gateway_key::KeyName;
use vestibule_proto::id::DeviceId;
use vestibule_proto::invitation::Invitation;
use vestibule_proto::key::{SigningKey, Spki};
use vestibule_proto::knocker::Device;
use vestibule_proto::login::LoginNames;
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::words::DeviceWords;

/// What it takes to knock and to dial. Zeroized when dropped.
pub(crate) struct Identity {
    /// For the knock.
    pub(crate) device: Arc<Device>,
    /// D_tls, for the connection.
    pub(crate) tls: SigningKey,
    /// G_tls: what the gateway may present.
    pub(crate) pins: Vec<Spki>,
    /// The controller's addresses, `host:port`; resolved at each knock.
    pub(crate) controllers: Vec<String>,
    /// The credential beside which the last acknowledged stamp is kept; an invitation keeps none.
    pub(crate) credential: Option<PathBuf>,
    /// The words of a device that the gateway's owner had to approve.
    pub(crate) awaits: Option<DeviceWords>,
    /// Which ways to the gateway it takes.
    pub(crate) ways: Ways,
}

/// What a device is called, for its login and for people.
pub(crate) struct Names {
    /// What OPAQUE binds to.
    pub(crate) login: LoginNames,
    /// What people are told.
    pub(crate) info: DeviceInfo,
}

impl Identity {
    /// An enrolled device.
    pub(crate) fn of_device(sealed: &Sealed, keys: &InnerKeys, credential: PathBuf) -> Self {
        let device = Device {
            gateway: sealed.gateway,
            controller: ControllerPin { key: sealed.controller_key, realm: sealed.realm.clone() },
            d_out: sealed.d_out.clone(),
            psk_c: sealed.psk_c.clone(),
            psk_r: sealed.psk_r.clone(),
            digest: sealed.digest,
            gateway_key: sealed.gateway_key,
            expects: expected(&sealed.gateway_pins),
            d_in: keys.d_in.clone(),
            psk_g: keys.psk_g.clone(),
        };
        device.work_ahead();
        Self {
            device: Arc::new(device),
            tls: keys.d_tls.clone(),
            pins: sealed.gateway_pins.clone(),
            controllers: sealed.controllers.clone(),
            ways: Ways::beside(&credential),
            credential: Some(credential),
            awaits: sealed.awaits,
        }
    }

    /// The same, by these ways.
    pub(crate) fn by(mut self, transport: Transport) -> Self {
        self.ways.choose(transport);
        self
    }

    /// The device that an invitation stands for until one is enrolled with it.
    pub(crate) fn of_invitation(invitation: &Invitation) -> Self {
        let keys = invitation.keys();
        let device = Device {
            gateway: invitation.gateway,
            controller: ControllerPin { key: invitation.controller_key, realm: invitation.realm.clone() },
            d_out: keys.knock.d_out,
            psk_c: keys.knock.psk_c,
            psk_r: keys.psk_r,
            digest: keys.knock.digest,
            gateway_key: invitation.gateway_key,
            expects: expected(&invitation.gateway_pins),
            d_in: keys.d_in,
            psk_g: keys.psk_g,
        };
        Self {
            device: Arc::new(device),
            tls: keys.d_tls,
            pins: invitation.gateway_pins.clone(),
            controllers: invitation.controllers.clone(),
            credential: None,
            awaits: None,
            ways: Ways::default(),
        }
    }
}

impl Identity {
    /// The same, with the rotated keys that its credential has now.
    pub(crate) fn renewed(&self, sealed: &Sealed) -> Self {
        let (known, realm) = (&self.device, sealed.realm.clone());
        let device = Device {
            gateway: known.gateway,
            controller: ControllerPin { key: known.controller.key, realm },
            d_out: known.d_out.clone(),
            psk_c: known.psk_c.clone(),
            psk_r: known.psk_r.clone(),
            digest: known.digest,
            gateway_key: known.gateway_key,
            expects: expected(&sealed.gateway_pins),
            d_in: known.d_in.clone(),
            psk_g: known.psk_g.clone(),
        };
        Self {
            device: Arc::new(device),
            tls: self.tls.clone(),
            pins: sealed.gateway_pins.clone(),
            controllers: self.controllers.clone(),
            ways: self.ways.clone(),
            credential: self.credential.clone(),
            awaits: self.awaits,
        }
    }
}

/// What the gateway is asked to present: the first of its keys.
fn expected(pins: &[Spki]) -> Option<KeyName> {
    pins.first().map(KeyName::of)
}

impl Names {
    /// Those of an enrolled device.
    pub(crate) fn of(sealed: &Sealed) -> Self {
        let login = login_names(sealed, sealed.device);
        Self { login, info: DeviceInfo::of(sealed) }
    }
}

fn login_names(sealed: &Sealed, device: DeviceId) -> LoginNames {
    LoginNames { user: sealed.user.clone(), gateway: sealed.gateway, device }
}
