//! The people of these tests: a controller, its gateways, and devices whose halves fit each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_proto::admission::{AdmissibleDevice, DeviceKind, GatewayKeys};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, GatewayId, LoginDigest, Now, Stamp};
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret};
use vestibule_proto::knocker::{Ask, Device};
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::recognition::{ControllerKeys, Owner, Row};

pub(crate) const LOGIN: Ask = Ask { purpose: Purpose::Login, session: None };

/// The keys of one realm; all a function of the seed.
pub(crate) struct Realm {
    pub(crate) controller: ControllerKeys,
    pub(crate) gateway: GatewayKeys,
    pub(crate) entropy: SeededEntropy,
}

/// A device, as itself, its controller and its gateway know it.
pub(crate) struct Person {
    pub(crate) device: Arc<Device>,
    pub(crate) row: Row,
    pub(crate) admissible: AdmissibleDevice,
}

impl Realm {
    pub(crate) fn new(seed: u64) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let controller =
            ControllerKeys { key: PrivateKey::random(&mut entropy), realm: RealmKey::random(&mut entropy) };
        let gateway = GatewayKeys { id: GatewayId::random(&mut entropy), key: PrivateKey::random(&mut entropy) };
        Self { controller, gateway, entropy }
    }

    pub(crate) fn pin(&self) -> ControllerPin {
        ControllerPin { key: self.controller.key.public(), realm: self.controller.realm.clone() }
    }

    /// A new person with one device.
    pub(crate) fn person(&mut self) -> Person {
        let pin = self.pin();
        let entropy = &mut self.entropy;
        let device = Device {
            gateway: self.gateway.id,
            controller: pin,
            d_out: PrivateKey::random(entropy),
            psk_c: Psk::random(entropy),
            psk_r: Psk::random(entropy),
            digest: LoginDigest::random(entropy),
            gateway_key: self.gateway.key.public(),
            expects: None,
            d_in: PrivateKey::random(entropy),
            psk_g: Psk::random(entropy),
        };
        let admissible = AdmissibleDevice {
            digest: device.digest,
            device: DeviceId::random(entropy),
            kind: DeviceKind::Enrolled,
            d_in: device.d_in.public(),
            psk_g: device.psk_g.clone(),
            psk_r: device.psk_r.clone(),
            guesses: GuessCount::default(),
            version_floor: 0,
            revoked: false,
        };
        let row = Row {
            digest: device.digest,
            device_key: device.d_out.public(),
            psk_c: device.psk_c.clone(),
            owner: Owner::Gateway(self.gateway.id),
            temporary_until: None,
            last: Stamp::default(),
        };
        Person { device: Arc::new(device), row, admissible }
    }
}

impl Person {
    /// The same device with a wrong password: layer 1 is right, what comes from layer 2 is not.
    pub(crate) fn with_wrong_password(&self, number: u8) -> Arc<Device> {
        let wrong = PrivateKey::from_bytes(Secret::new([number; 32]));
        Arc::new(Device { d_in: wrong, psk_g: Psk::new([number; 32]), ..copy(&self.device) })
    }
}

/// Another copy of a device, for a test that changes something.
pub(crate) fn copy(device: &Device) -> Device {
    Device {
        gateway: device.gateway,
        controller: device.controller.clone(),
        d_out: device.d_out.clone(),
        psk_c: device.psk_c.clone(),
        psk_r: device.psk_r.clone(),
        digest: device.digest,
        gateway_key: device.gateway_key,
        expects: device.expects,
        d_in: device.d_in.clone(),
        psk_g: device.psk_g.clone(),
    }
}

/// A fixed moment, by both clocks.
pub(crate) fn start() -> Now {
    Now::new(Instant::now(), Stamp::from_millis(1_800_000_000_000))
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
